/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The nofl space: slabs, block lists and the memory budget.

   Blocks that hold no object wait on the `empty` or `paged_out` list, or in the
   quarantine of nofl-protect.h; the space's lock protects these.  What is on
   `empty` is in order of age, so that what is old can be returned to the OS bit
   by bit without looking at the rest.  Blocks that
   survived a collection wait on `to_sweep`, a lock-free stack that mutators only
   pop from while they run and only the collector pushes to, in a pause: no ABA.
   In generational builds, blocks that have been used up since wait on `used`.  Every other block is
   found through its slab; its `place` says what it is.

   Budget.  The bytes that blocks in use and large objects may occupy are one
   budget.  An empty block belongs to nobody until it is taken, so giving room
   to large objects, growing and shrinking are changes of numbers.

   Lock order: space lock, then the reservation's lock.  Neither is held at a
   safepoint.  */

#ifndef NOFL_SPACE_H
#define NOFL_SPACE_H

#include <pthread.h>
#include <string.h>

#include "gc-atomics.h"
#include "gc-platform.h"
#include "gc-reservation.h"
#include "nofl-huge-pages.h"
#include "nofl-layout.h"
#include "nofl-protect.h"

/* Can objects move in this configuration?  */
#define NOFL_MOVES (!GC_CONSERVATIVE_TRACE)

struct nofl_list {
  struct nofl_block *head;
  size_t count;
};

/* Empty blocks.  The youngest are at the head, and taken first; the oldest, to
   go back to the OS, are at the tail.  */
struct nofl_empty_list {
  struct nofl_block *head, *tail;
  size_t count;
};

/* Blocks stay resident until the clock has advanced by this since they became
   empty: for two ticks and a part.  */
#define NOFL_RESIDENT_TICKS 3
/* Heaps up to this size, 32 GiB, tell the kernel of each slab that has no huge pages:
   it counts neighbours of different kinds as different mappings, of which a
   process may have some 65,000.  */
#define NOFL_MAX_ADVISED_SLABS ((size_t)8192)
/* How many go back to the OS at a time, with the lock held.  */
#define NOFL_DISCARD_SLICE_BLOCKS 32

struct nofl_space {
  /* Membership: an address is in the space iff it is less than EXTENT bytes
     above BASE.  EXTENT only grows; stored with release order after the new
     slab's descriptors are set up.  */
  uintptr_t base;
  size_t extent;
  uint8_t current_mark;
  uint8_t survivor_mark;
  uint8_t evacuating;
  uint8_t collecting;
  /* While evacuating: a worker has found neither a block nor room for one.
     Relaxed: who reads it late asks once more in vain.  */
  uint8_t targets_exhausted;
  uint8_t poison;             /* stress: overwrite free memory */
  uint16_t min_hole_granules; /* stress: smaller holes are passed over */
  /* Lock-free stacks, popped by mutators, pushed in pauses only.  Apart from what
     is only read meanwhile.  */
  __attribute__((aligned(64))) struct nofl_block *to_sweep[NOFL_CLASS_COUNT];
  /* Generational: the same for blocks that are known to have small holes.  The
     collector adds to its end, so that each has its turn.  */
  struct nofl_block *to_sweep_last[NOFL_CLASS_COUNT];
  struct nofl_block *to_sweep_end[NOFL_CLASS_COUNT]; /* if not empty */
  /* Generational: what is FULL or PROMOTED, hence may hold young objects.  A
     lock-free stack, pushed by mutators, taken as a whole in pauses.  */
  struct nofl_block *used;

  __attribute__((aligned(64))) pthread_mutex_t lock;
  /* Protected by the lock.  */
  struct nofl_huge_pages huge_pages;
  struct nofl_empty_list empty;
  struct nofl_list paged_out;
  struct nofl_quarantine quarantine; /* stress */
  struct nofl_list partly_full[NOFL_CLASS_COUNT];
  size_t budget_bytes;              /* for blocks in use and large objects */
  size_t large_bytes;               /* charged by large objects */
  size_t used_blocks;               /* neither EMPTY nor PAGED_OUT */
  size_t reserve_blocks;            /* withheld from mutators */
  size_t evacuation_credit;         /* blocks; 0 outside of pauses */
  size_t evacuation_limit;          /* granules; SIZE_MAX outside of pauses */
  int evacuation_was_cut;           /* some blocks were left; in pauses */
  size_t total_blocks;              /* in committed slabs */
  size_t page_size;                 /* of the system; constant */
  int cannot_add_slab;              /* as the last attempt has shown; atomic */
  uint32_t clock;                   /* ticks of the ageing of empty blocks */
  uint32_t refuse_blocks_per_mille; /* stress: pretend no block is there */
  uint32_t refuse_seed;

  struct gc_reservation *reservation;

  /* Taken for small and large objects without being resident, since that was
     last looked at: mmc-residency.h.  A relaxed atomic, read whenever an allocator
     needs another hole: apart from what is written as often.  */
  __attribute__((aligned(64))) size_t fresh_bytes;

  /* Statistics since the last collection; relaxed atomics, added to when an
     allocator leaves a block.  Abandoned: granules of holes that were too small
     for some request and are not in use.  */
  __attribute__((aligned(64))) size_t allocated_granules;
  size_t abandoned_granules;
  size_t swept_holes;
  size_t swept_hole_granules;
  /* Since the heap was made.  */
  uint64_t total_allocated_granules;
};

static inline void nofl_space_lock(struct nofl_space *space) {
  pthread_mutex_lock(&space->lock);
}

static inline void nofl_space_unlock(struct nofl_space *space) {
  pthread_mutex_unlock(&space->lock);
}

static inline size_t nofl_space_extent(const struct nofl_space *space) {
  /* Acquire: pairs with the release store in nofl_space_add_slab, so that a
     member address's metadata is readable.  */
  return gc_atomic_load(&space->extent);
}

/* Is ADDR inside the range of slabs?  May be in a metadata block.  */
static inline int nofl_space_contains(const struct nofl_space *space,
                                      uintptr_t addr) {
  return addr - space->base < gc_atomic_load_relaxed(&space->extent);
}

static inline int
nofl_space_contains_object_address(const struct nofl_space *space,
                                   uintptr_t addr) {
  return addr - space->base < nofl_space_extent(space) &&
         nofl_block_index(addr) >= NOFL_META_BLOCKS_PER_SLAB;
}

static inline size_t nofl_space_slab_count(const struct nofl_space *space) {
  return nofl_space_extent(space) >> NOFL_SLAB_SIZE_LOG_2;
}

static inline struct nofl_slab *nofl_space_slab(const struct nofl_space *space,
                                                size_t idx) {
  return (struct nofl_slab *)(space->base + (idx << NOFL_SLAB_SIZE_LOG_2));
}

static inline void nofl_list_push(struct nofl_list *list,
                                  struct nofl_block *block) {
  GC_ASSERT(!block->next);
  block->next = list->head;
  /* Relaxed: peeked at without the lock.  */
  gc_atomic_store_relaxed(&list->head, block);
  list->count++;
}

static inline struct nofl_block *nofl_list_pop(struct nofl_list *list) {
  struct nofl_block *block = list->head;
  if (!block)
    return NULL;
  list->head = block->next;
  list->count--;
  block->next = NULL;
  return block;
}

/* BLOCK has become empty at the present value of the clock.  */
static inline void nofl_empty_push(struct nofl_empty_list *list,
                                   struct nofl_block *block) {
  block->prev = NULL;
  block->next = list->head;
  if (block->next)
    block->next->prev = block;
  else
    list->tail = block;
  list->head = block;
  list->count++;
}

static inline void nofl_empty_remove(struct nofl_empty_list *list,
                                     struct nofl_block *block) {
  if (block->prev)
    block->prev->next = block->next;
  else
    list->head = block->next;
  if (block->next)
    block->next->prev = block->prev;
  else
    list->tail = block->prev;
  list->count--;
  block->next = block->prev = NULL;
}

static inline struct nofl_block *
nofl_empty_pop_youngest(struct nofl_empty_list *list) {
  struct nofl_block *block = list->head;
  if (block)
    nofl_empty_remove(list, block);
  return block;
}

/* Pop a block to sweep.  Relaxed loads suffice for the contents: the pushes
   happened in a pause, before this mutator was restarted.  */
static inline struct nofl_block *nofl_pop_to_sweep(struct nofl_block **loc) {
  struct nofl_block *head = gc_atomic_load(loc);
  while (head) {
    struct nofl_block *next = gc_atomic_load_relaxed(&head->next);
    if (gc_atomic_cmpxchg_weak(loc, &head, next)) {
      gc_atomic_store_relaxed(&head->next, (struct nofl_block *)NULL);
      GC_ASSERT(head->place == NOFL_PLACE_TO_SWEEP);
      gc_atomic_store_relaxed(&head->place, NOFL_PLACE_OWNED);
      return head;
    }
  }
  return NULL;
}

static inline struct nofl_block *
nofl_space_pop_to_sweep(struct nofl_space *space, enum nofl_class class) {
  return nofl_pop_to_sweep(&space->to_sweep[class]);
}

static inline struct nofl_block *
nofl_space_pop_to_sweep_last(struct nofl_space *space, enum nofl_class class) {
  return GC_GENERATIONAL ? nofl_pop_to_sweep(&space->to_sweep_last[class])
                         : NULL;
}

/* Does a block wait for being swept?  Relaxed: who asks while mutators run gets an
   estimate, in a pause it is exact.  */
static inline int nofl_space_has_unswept(struct nofl_space *space) {
  for (int class = 0; class < NOFL_CLASS_COUNT; class ++)
    if (gc_atomic_load_relaxed(&space->to_sweep[class]) ||
        (GC_GENERATIONAL &&
         gc_atomic_load_relaxed(&space->to_sweep_last[class])))
      return 1;
  return 0;
}

/* In a pause only.  LAST: to be swept when there is no other block any more.  */
static inline void nofl_space_push_to_sweep(struct nofl_space *space,
                                            struct nofl_block *block,
                                            int last) {
  GC_ASSERT(space->collecting);
  unsigned class = block->class;
  block->place = NOFL_PLACE_TO_SWEEP;
  block->swept_granules = 0;
  if (!last) {
    block->next = space->to_sweep[class];
    space->to_sweep[class] = block;
    return;
  }
  block->next = NULL;
  if (space->to_sweep_last[class])
    space->to_sweep_end[class]->next = block;
  else
    space->to_sweep_last[class] = block;
  space->to_sweep_end[class] = block;
}

static inline void nofl_space_push_used(struct nofl_space *space,
                                        struct nofl_block *block) {
  /* The list is read in pauses, before which the pusher has stopped.  */
  struct nofl_block *head = gc_atomic_load_relaxed(&space->used);
  do
    /* Relaxed: whoever is late to pop the block from to_sweep reads it, too.  */
    gc_atomic_store_relaxed(&block->next, head);
  while (!gc_atomic_cmpxchg_weak(&space->used, &head, block));
}

/* Touch COUNT small pages from ADDR on; returns the processor time.  */
static inline uint64_t nofl_time_first_use(uintptr_t addr, size_t count) {
  size_t page = gc_platform_page_size();
  uint64_t start = gc_platform_thread_cpu_nanoseconds();
  for (size_t i = 0; i < count; i++)
    *(volatile uint8_t *)(addr + i * page) = 0;
  return gc_platform_thread_cpu_nanoseconds() - start;
}

/* Advise the system on the pages of SLAB, which is new and all zero, and time
   how long it takes to get them.  What is touched will be soon: the metadata of
   the first blocks.  */
static void nofl_slab_choose_pages(struct nofl_space *space,
                                   struct nofl_slab *slab) {
  struct nofl_huge_pages *pages = &space->huge_pages;
  size_t in_huge = NOFL_HUGE_PAGE_SIZE / gc_platform_page_size();
  size_t sample = sizeof(slab->metadata) / gc_platform_page_size();
  if (sample > 16)
    sample = 16;
  int huge = nofl_huge_pages_wanted(pages);
  gc_platform_advise_huge(slab, NOFL_SLAB_SIZE, huge);
  if (pages->always || !sample)
    return;
  uintptr_t addr = (uintptr_t)slab->metadata;
  if (!huge) {
    uint64_t ns = nofl_time_first_use(addr, sample);
    nofl_huge_pages_measured(pages, 0, ns * in_huge / sample);
    return;
  }
  nofl_huge_pages_measured(pages, 1, nofl_time_first_use(addr, 1));
  if (!nofl_huge_pages_are_cheap(pages))
    gc_platform_advise_huge((uint8_t *)slab + NOFL_HUGE_PAGE_SIZE,
                            NOFL_SLAB_SIZE - NOFL_HUGE_PAGE_SIZE, 0);
}

/* Commit one more slab; its blocks become available.  With the lock held.
   Returns 0 if the address space or the memory limit forbids it.  */
static int nofl_space_add_slab(struct nofl_space *space) {
  struct nofl_slab *slab =
      gc_reservation_extend_low(space->reservation, NOFL_SLAB_SIZE);
  /* Relaxed: a hint, for those who do not hold the lock.  */
  gc_atomic_store_relaxed(&space->cannot_add_slab, !slab);
  if (!slab)
    return 0;
  GC_ASSERT((uintptr_t)slab == space->base + space->extent);
  if (nofl_huge_pages_considered(&space->huge_pages, space->budget_bytes))
    nofl_slab_choose_pages(space, slab);
  for (size_t i = NOFL_BLOCKS_PER_SLAB - 1; i >= NOFL_META_BLOCKS_PER_SLAB;
       i--) {
    struct nofl_block *block = &slab->blocks[i];
    block->place = NOFL_PLACE_PAGED_OUT;
    block->flags = NOFL_BLOCK_ZERO;
    block->hole_granules = NOFL_GRANULES_PER_BLOCK;
    nofl_list_push(&space->paged_out, block);
  }
  space->total_blocks += NOFL_OBJECT_BLOCKS_PER_SLAB;
  gc_atomic_store(&space->extent, space->extent + NOFL_SLAB_SIZE);
  return 1;
}

/* Has the last attempt to add a slab found no address space?  Without the lock it may
   have been another one.  */
static inline int nofl_space_cannot_extend(const struct nofl_space *space) {
  return gc_atomic_load_relaxed(&space->cannot_add_slab);
}

/* What may be in use.  While the world is stopped evacuation may overdraw the
   budget by the size of the reserve, since it frees more than it takes: a heap
   that has been filled to the last block can still be compacted.  A heap that
   may grow lends it more, so that one compaction is enough.  */
static inline size_t nofl_space_limit(const struct nofl_space *space) {
  size_t overdraft = space->reserve_blocks + space->evacuation_credit;
  if (!space->collecting)
    overdraft = 0;
  return space->budget_bytes + overdraft * NOFL_BLOCK_SIZE;
}

/* Would the budget allow EXTRA more bytes, with or without the reserve?  With
   the lock held.  */
static inline int nofl_space_budget_allows(const struct nofl_space *space,
                                           size_t extra, int use_reserve) {
  size_t blocks =
      space->used_blocks + (use_reserve ? 0 : space->reserve_blocks);
  size_t bytes = blocks * NOFL_BLOCK_SIZE + space->large_bytes;
  size_t limit = nofl_space_limit(space);
  return bytes <= limit && extra <= limit - bytes;
}

/* Blocks that evacuation may take.  With the lock held or in a pause.  */
static inline size_t
nofl_space_available_blocks(const struct nofl_space *space) {
  size_t bytes = space->used_blocks * NOFL_BLOCK_SIZE + space->large_bytes;
  size_t limit = nofl_space_limit(space);
  size_t blocks = bytes < limit ? (limit - bytes) / NOFL_BLOCK_SIZE : 0;
  size_t there = space->total_blocks - space->used_blocks;
  return nofl_space_cannot_extend(space) && there < blocks ? there : blocks;
}

/* Charge BYTES of large objects to the budget.  Returns 0 if it is full.  */
static inline int nofl_space_charge_large(struct nofl_space *space,
                                          size_t bytes, int use_reserve) {
  nofl_space_lock(space);
  int ok = nofl_space_budget_allows(space, bytes, use_reserve);
  if (ok)
    space->large_bytes += bytes;
  nofl_space_unlock(space);
  return ok;
}

static inline void nofl_space_discharge_large(struct nofl_space *space,
                                              size_t bytes) {
  nofl_space_lock(space);
  GC_ASSERT(bytes <= space->large_bytes);
  space->large_bytes -= bytes;
  nofl_space_unlock(space);
}

static int nofl_space_refuses_block(struct nofl_space *space) {
  if (GC_LIKELY(!space->refuse_blocks_per_mille) || !space->collecting)
    return 0;
  uint32_t x = gc_atomic_fetch_add_relaxed(&space->refuse_seed, 1);
  x = (x ^ 61) ^ (x >> 16);
  x *= 0x27d4eb2dU;
  return (x ^ (x >> 15)) % 1000 < space->refuse_blocks_per_mille;
}

/* Make the metadata of a block that was empty clean.  */
static inline void nofl_block_make_clean(struct nofl_block *block) {
  if (block->flags & NOFL_BLOCK_DIRTY_METADATA) {
    memset(nofl_block_metadata(block), 0, NOFL_GRANULES_PER_BLOCK);
    block->flags &= ~NOFL_BLOCK_DIRTY_METADATA;
  }
}

/* While a part of a slab is with the OS it must not have huge pages: the kernel would
   fill in what is missing, in the background, and the memory would come back by
   and by.  With the space's lock held.  */

static void nofl_slab_note_discarded(struct nofl_space *space,
                                     struct nofl_slab *slab) {
  if (!slab->discarded_blocks++ &&
      nofl_space_slab_count(space) <= NOFL_MAX_ADVISED_SLABS)
    gc_platform_advise_huge(slab, NOFL_SLAB_SIZE, 0);
}

static void nofl_slab_note_taken(struct nofl_space *space,
                                 struct nofl_slab *slab) {
  GC_ASSERT(slab->discarded_blocks);
  if (!--slab->discarded_blocks &&
      nofl_huge_pages_considered(&space->huge_pages, space->budget_bytes) &&
      nofl_huge_pages_preferred(&space->huge_pages))
    gc_platform_advise_huge(slab, NOFL_SLAB_SIZE, 1);
}

static struct nofl_block *nofl_space_pop_paged_out(struct nofl_space *space) {
  struct nofl_block *block = nofl_list_pop(&space->paged_out);
  if (block && (block->flags & NOFL_BLOCK_DISCARDED)) {
    block->flags &= ~NOFL_BLOCK_DISCARDED;
    nofl_slab_note_taken(space, nofl_slab_of((uintptr_t)block));
  }
  return block;
}

/* One that has its memory with the OS, or in quarantine.  */
static struct nofl_block *nofl_space_find_absent(struct nofl_space *space) {
  struct nofl_block *block;
  gc_atomic_fetch_add_relaxed(&space->fresh_bytes, NOFL_BLOCK_SIZE);
  block = nofl_space_pop_paged_out(space);
  if (!block && nofl_quarantine_is_full(&space->quarantine))
    block = nofl_quarantine_remove(&space->quarantine);
  if (!block && nofl_space_add_slab(space))
    block = nofl_space_pop_paged_out(space);
  return block ? block : nofl_quarantine_remove(&space->quarantine);
}

/* Blocks whose memory is still resident come first.  With the lock held.  */
static struct nofl_block *nofl_space_find_empty(struct nofl_space *space) {
  struct nofl_block *block = nofl_empty_pop_youngest(&space->empty);
  if (block)
    return block;
  block = nofl_space_find_absent(space);
  /* For whoever holds the lock next, it is not with the OS any more.  */
  if (block)
    gc_atomic_store_relaxed(&block->place, NOFL_PLACE_EMPTY);
  return block;
}

/* Take an empty block for an allocator of CLASS, or NULL.  */
static struct nofl_block *nofl_space_take_empty(struct nofl_space *space,
                                                enum nofl_class class,
                                                int use_reserve) {
  if (nofl_space_refuses_block(space))
    return NULL;
  struct nofl_block *block = NULL;
  nofl_space_lock(space);
  if (nofl_space_budget_allows(space, NOFL_BLOCK_SIZE, use_reserve)) {
    block = nofl_space_find_empty(space);
    if (block)
      space->used_blocks++;
  }
  /* No block is released before the end of the trace.  */
  if (!block && space->evacuating)
    gc_atomic_store_relaxed(&space->targets_exhausted, 1);
  nofl_space_unlock(space);
  if (!block)
    return NULL;
  /* It is on no list any more: its pages may be slow to come.  The place is read by
     conservative resolution in other threads: they must not see an owned block
     with dirty metadata.  */
  nofl_block_make_clean(block);
  block->swept_granules = 0;
  block->class = class;
  gc_atomic_store(&block->place, NOFL_PLACE_OWNED);
  block->hole_granules = NOFL_GRANULES_PER_BLOCK;
  block->hole_count = 1;
  gc_atomic_store(&block->swept_granules, NOFL_GRANULES_PER_BLOCK);
  return block;
}

static inline void nofl_block_poison(struct nofl_space *space,
                                     struct nofl_block *block) {
  if (GC_UNLIKELY(space->poison)) {
    memset((void *)nofl_block_start(block), 0xdb, NOFL_BLOCK_SIZE);
    block->flags &= ~NOFL_BLOCK_ZERO;
  }
}

/* BLOCK holds no live object any more.  In a pause.  */
static inline void nofl_space_release_block(struct nofl_space *space,
                                            struct nofl_block *block) {
  GC_ASSERT(space->used_blocks);
  space->used_blocks--;
  if (GC_UNLIKELY(nofl_quarantine_add(&space->quarantine, block)))
    return;
  block->place = NOFL_PLACE_EMPTY;
  block->flags = NOFL_BLOCK_DIRTY_METADATA;
  block->class = NOFL_CLASS_ORDINARY;
  block->hole_granules = NOFL_GRANULES_PER_BLOCK;
  block->empty_since = space->clock;
  nofl_block_poison(space, block);
  nofl_empty_push(&space->empty, block);
}

static struct nofl_block *nofl_space_take_partly_full(struct nofl_space *space,
                                                      enum nofl_class class,
                                                      size_t granules) {
  /* Relaxed peek: missing a block that is just being pushed is harmless.  */
  if (!gc_atomic_load_relaxed(&space->partly_full[class].head))
    return NULL;
  nofl_space_lock(space);
  struct nofl_block **prev = &space->partly_full[class].head;
  struct nofl_block *block = *prev;
  while (block && block->tail_granules < granules) {
    prev = &block->next;
    block = *prev;
  }
  if (block) {
    gc_atomic_store_relaxed(prev, block->next);
    block->next = NULL;
    space->partly_full[class].count--;
    block->place = NOFL_PLACE_OWNED;
  }
  nofl_space_unlock(space);
  return block;
}

static void nofl_space_add_partly_full(struct nofl_space *space,
                                       struct nofl_block *block,
                                       size_t tail_granules) {
  nofl_space_lock(space);
  block->place = NOFL_PLACE_PARTLY_FULL;
  block->tail_granules = tail_granules;
  nofl_list_push(&space->partly_full[block->class], block);
  nofl_space_unlock(space);
}

/* A tick of the clock.  */
static void nofl_space_advance_clock(struct nofl_space *space) {
  nofl_space_lock(space);
  space->clock++;
  nofl_space_unlock(space);
}

/* How many blocks are empty and resident.  */
static size_t nofl_space_resident_empty_blocks(struct nofl_space *space) {
  nofl_space_lock(space);
  size_t count = space->empty.count;
  nofl_space_unlock(space);
  return count;
}

/* A space with INITIAL_SLABS, of a heap of BUDGET_BYTES.  Returns 0 if not one
   slab could be had.  */
static int nofl_space_init(struct nofl_space *space,
                           struct gc_reservation *reservation,
                           size_t budget_bytes,
                           const struct nofl_huge_pages *huge_pages,
                           size_t initial_slabs) {
  memset(space, 0, sizeof(*space));
  pthread_mutex_init(&space->lock, NULL);
  space->reservation = reservation;
  space->base = reservation->base;
  space->budget_bytes = budget_bytes;
  space->evacuation_limit = SIZE_MAX;
  space->page_size = gc_platform_page_size();
  space->huge_pages = *huge_pages;
  space->current_mark = space->survivor_mark = NOFL_STATE_MARK_0;
  for (size_t i = 0; i < initial_slabs; i++)
    if (!nofl_space_add_slab(space))
      return i > 0;
  return 1;
}

#endif // NOFL_SPACE_H
