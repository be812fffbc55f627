/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Bound of resident memory.

   Small and large objects share the heap's budget, but not memory: what one has
   left stays resident until it is used again by its like or has aged.  A program
   that makes large objects, drops them and then makes small ones could so
   occupy the budget twice.  Hence, who has taken fresh memory, that is not
   resident yet, gives back some of what the others have left if more is resident than
   the budget and an eighth.  (Without the eighth, a constant mixture of small
   and large objects keeps giving back what it will use again.)  It is paid for
   by those who grow, in portions, and never in a pause.  */

#ifndef MMC_RESIDENCY_H
#define MMC_RESIDENCY_H

#include "mmc-heap.h"
#include "mmc-stop.h"
#include "nofl-discard.h"

/* The bound is looked at when so much fresh memory has been taken.  */
#define MMC_RESIDENCY_STEP ((size_t)1024 * 1024)
/* So many times that much is given back, and at most one slice more.  */
#define MMC_RESIDENCY_RATIO 4
#define MMC_RESIDENCY_SLICE LARGE_DISCARD_SLICE
_Static_assert(MMC_RESIDENCY_SLICE ==
                   NOFL_DISCARD_SLICE_BLOCKS * NOFL_BLOCK_SIZE,
               "slices of either kind are of one size");

/* BYTES of a large object are fresh.  Relaxed: a count without consequences.  */
static inline void heap_note_fresh_large(struct gc_heap *heap, size_t bytes) {
  gc_atomic_fetch_add_relaxed(&heap->space.fresh_bytes, bytes);
}

static inline size_t heap_residency_limit(size_t budget) {
  return budget + budget / 8;
}

/* Give back a slice of free memory if what is resident exceeds the limit.
   Returns 0 if it does not, or if nothing is free.  An active mutator, not at a
   safepoint, so that no collection moves blocks.  */
static int heap_return_slice_beyond_budget(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  nofl_space_lock(space);
  size_t budget = space->budget_bytes;
  size_t empty = space->empty.count * NOFL_BLOCK_SIZE;
  size_t resident = space->used_blocks * NOFL_BLOCK_SIZE + empty;
  nofl_space_unlock(space);
  size_t dirty = large_space_quarantined_bytes(&heap->large);
  resident += large_space_live_bytes(&heap->large) + dirty;
  if (resident <= heap_residency_limit(budget))
    return 0;
  if (dirty)
    large_space_return_slice(&heap->large);
  else if (empty)
    nofl_space_discard_slice(space, 0);
  else
    return 0;
  return 1;
}

static void GC_NEVER_INLINE mutator_bound_residency(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  size_t fresh = gc_atomic_swap_relaxed(&heap->space.fresh_bytes, (size_t)0);
  size_t slices = fresh / (MMC_RESIDENCY_SLICE / MMC_RESIDENCY_RATIO) + 1;
  /* Nobody is to wait for a thread that makes system calls.  */
  while (slices && !heap_should_stop(heap) &&
         heap_return_slice_beyond_budget(heap))
    slices--;
}

/* After a request was satisfied, and before its memory is used.  */
static inline void mutator_check_residency(struct gc_mutator *mut) {
  if (GC_UNLIKELY(gc_atomic_load_relaxed(&mut->heap->space.fresh_bytes) >=
                  MMC_RESIDENCY_STEP))
    mutator_bound_residency(mut);
}

#endif // MMC_RESIDENCY_H
