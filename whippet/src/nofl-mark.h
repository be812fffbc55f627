/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Marking and moving single objects of the nofl space, asking whether they are
   live, and finding the object that a bit pattern may denote.

   PARALLEL is a compile-time constant at every call: 0 when one thread traces,
   and then no atomic read-modify-write is used.

   Publication order of a move: contents, metadata and block mark of the copy,
   then the forwarding address in the first word of the old copy, then the
   state "forwarded" with release order.  Whoever reads that state with acquire
   order sees all of it.  */

#ifndef NOFL_MARK_H
#define NOFL_MARK_H

#include <sched.h>

#include "gc-displacement.h"
#include "gc-edge.h"
#include "gc-embedder-api.h"
#include "gc-ref.h"
#include "nofl-allocator.h"

static inline void nofl_mark_block_of(uintptr_t addr) {
  uint8_t *mark = nofl_block_mark_of(addr);
  /* Relaxed: any number of tracers store the same value; read after they have
     been joined.  The test keeps the line shared.  */
  if (!gc_atomic_load_relaxed(mark))
    gc_atomic_store_relaxed(mark, (uint8_t)1);
}

/* Can an object in STATE be reached for the first time now?  */
static inline int nofl_state_is_candidate(const struct nofl_space *space,
                                          uint8_t state) {
  return state == NOFL_STATE_YOUNG || state == space->survivor_mark ||
         state == NOFL_STATE_FIXED;
}

/* Mark the object at ADDR where it is.  Returns 1 if this call marked it.  */
static inline int nofl_mark_in_place(struct nofl_space *space, uintptr_t addr,
                                     int parallel) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t current = space->current_mark;
  uint8_t byte = gc_atomic_load_relaxed(loc);
  for (;;) {
    if ((byte & NOFL_STATE_MASK) == current)
      return 0;
    GC_ASSERT(nofl_state_is_candidate(space, byte & NOFL_STATE_MASK));
    uint8_t marked = (byte & ~NOFL_STATE_MASK) | current;
    if (!parallel) {
      gc_atomic_store_relaxed(loc, marked);
      break;
    }
    /* Acquire-release: the winner's claim orders its later reads of the
       object; the loser needs nothing.  */
    if (gc_atomic_cmpxchg_weak(loc, &byte, marked))
      break;
  }
  nofl_mark_block_of(addr);
  return 1;
}

/* Wait for another tracer to finish copying; returns the byte afterwards.  */
static uint8_t nofl_await_copy(uint8_t *loc) {
  for (unsigned spins = 0;; spins++) {
    uint8_t byte = gc_atomic_load(loc);
    if ((byte & NOFL_STATE_MASK) != NOFL_STATE_BUSY)
      return byte;
    if (spins < 64)
      gc_platform_spin_hint();
    else
      sched_yield();
  }
}

static inline uintptr_t nofl_forwarding_address(uintptr_t addr) {
  /* Ordered by the acquire load of the state that led here.  */
  return gc_atomic_load_relaxed((uintptr_t *)addr);
}

/* Are objects like that at ADDR to be moved?  */
static inline int nofl_is_in_evacuated_block(uintptr_t addr) {
  return (nofl_block_of(addr)->flags & NOFL_BLOCK_EVACUATE) != 0;
}

static inline int nofl_may_move(uintptr_t addr, uint8_t byte) {
  if ((byte & NOFL_STATE_MASK) == NOFL_STATE_FIXED || (byte & NOFL_PINNED))
    return 0;
  return nofl_is_in_evacuated_block(addr);
}

/* Room for a copy of GRANULES in a target block of the worker, or 0.  */
static inline uintptr_t nofl_allocate_copy(struct nofl_space *space,
                                           struct nofl_allocator *target,
                                           size_t granules) {
  size_t bytes = granules << NOFL_GRANULE_SIZE_LOG_2;
  if (target->hole_end - target->alloc < bytes &&
      !nofl_target_refill(space, target, granules))
    return 0;
  uintptr_t addr = target->alloc;
  target->alloc = target->counted = addr + bytes;
  return addr;
}

/* Most objects are so small that calling memcpy takes longer than copying.  */
static inline void nofl_copy_granules(uintptr_t to, uintptr_t from,
                                      size_t granules) {
  if (GC_UNLIKELY(granules > 8)) {
    memcpy((void *)to, (void *)from, granules << NOFL_GRANULE_SIZE_LOG_2);
    return;
  }
  do {
    memcpy((void *)to, (void *)from, NOFL_GRANULE_SIZE);
    to += NOFL_GRANULE_SIZE;
    from += NOFL_GRANULE_SIZE;
  } while (--granules);
}

/* Move the claimed object at ADDR.  Returns its new address, or ADDR when there
   was no room and it is marked in place.  */
static uintptr_t nofl_move_claimed(struct nofl_space *space, uintptr_t addr,
                                   uint8_t byte, struct nofl_allocator *target,
                                   size_t *moved_granules) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t current = space->current_mark;
  size_t granules = nofl_object_granules(loc, nofl_granules_to_block_end(addr));
  uintptr_t copy = nofl_allocate_copy(space, target, granules);
  if (!copy) {
    nofl_mark_block_of(addr);
    /* Release: pairs with the acquire loads of threads waiting on "busy".  */
    gc_atomic_store(loc, (uint8_t)((byte & ~NOFL_STATE_MASK) | current));
    return addr;
  }
  nofl_copy_granules(copy, addr, granules);
  uint8_t *copy_loc = nofl_metadata_byte(copy);
  copy_loc[granules - 1] = NOFL_END;
  copy_loc[0] =
      (byte & NOFL_KIND_MASK) | current | (granules == 1 ? NOFL_END : 0);
  nofl_mark_block_of(copy);
  gc_atomic_store_relaxed((uintptr_t *)addr, copy);
  /* Release: everything about the copy comes first.  */
  gc_atomic_store(loc,
                  (uint8_t)((byte & ~NOFL_STATE_MASK) | NOFL_STATE_FORWARDED));
  *moved_granules += granules;
  return copy;
}

/* EDGE now references the copy at ADDR.  Release: whoever finds the copy by this
   edge, which may be visited more than once, finds its metadata.  */
static inline void nofl_redirect_edge(struct gc_edge edge, uintptr_t addr) {
  gc_atomic_store((uintptr_t *)gc_edge_address(edge), addr);
}

/* Visit EDGE, which references ADDR in the space, in a collection that
   evacuates.  Marks or moves the object and redirects the edge.  Returns the
   object's address if this call was the first to reach it, else 0.  */
static inline uintptr_t nofl_evacuate_edge(struct nofl_space *space,
                                           struct gc_edge edge, uintptr_t addr,
                                           struct nofl_allocator *target,
                                           size_t *moved_granules) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t current = space->current_mark;
  uint8_t byte = gc_atomic_load(loc);
  for (;;) {
    uint8_t state = byte & NOFL_STATE_MASK;
    if (state == current)
      return 0;
    if (state == NOFL_STATE_BUSY) {
      byte = nofl_await_copy(loc);
      continue;
    }
    if (state == NOFL_STATE_FORWARDED) {
      nofl_redirect_edge(edge, nofl_forwarding_address(addr));
      return 0;
    }
    GC_ASSERT(nofl_state_is_candidate(space, state));
    if (!nofl_may_move(addr, byte))
      return nofl_mark_in_place(space, addr, 1) ? addr : 0;
    uint8_t busy = (byte & ~NOFL_STATE_MASK) | NOFL_STATE_BUSY;
    if (gc_atomic_cmpxchg_strong(loc, &byte, busy))
      break;
  }
  uintptr_t copy = nofl_move_claimed(space, addr, byte, target, moved_granules);
  if (copy != addr)
    nofl_redirect_edge(edge, copy);
  return copy;
}

/* Is the object that EDGE references known to be live?  Redirects the edge if
   the object has moved.  */
static inline int nofl_edge_is_live(struct nofl_space *space,
                                    struct gc_edge edge, uintptr_t addr) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t byte = gc_atomic_load(loc);
  if ((byte & NOFL_STATE_MASK) == NOFL_STATE_BUSY)
    byte = nofl_await_copy(loc);
  uint8_t state = byte & NOFL_STATE_MASK;
  if (state == space->current_mark)
    return 1;
  if (state == NOFL_STATE_FORWARDED) {
    nofl_redirect_edge(edge, nofl_forwarding_address(addr));
    return 1;
  }
  return 0;
}

/* First granule, as an index into META, of the object that contains granule
   G, or -1 if that granule is free.  META describes one block.  */
static inline NOFL_MAY_RACE ptrdiff_t nofl_object_start(const uint8_t *meta,
                                                        size_t g) {
  ptrdiff_t i = g;
  if (meta[i] & NOFL_STATE_MASK)
    return i;
  while (--i >= 0) {
    uint8_t byte = meta[i];
    if (byte & NOFL_END)
      return -1;
    if (byte & NOFL_STATE_MASK)
      return i;
  }
  return -1;
}

/* Does the byte in META at granule G of BLOCK denote an object that the last
   collection kept or that is younger?  */
static NOFL_MAY_RACE int
nofl_granule_has_live_object(const struct nofl_space *space,
                             const struct nofl_block *block, size_t g,
                             const uint8_t *meta) {
  /* Acquire: pairs with the sweeper's release store, and comes first.  What a
     sweeper has passed it has cleaned; a state from before would not tell.  */
  int swept = g < gc_atomic_load(&block->swept_granules);
  uint8_t state = gc_atomic_load_relaxed(&meta[g]) & NOFL_STATE_MASK;
  if (state == space->survivor_mark || state == space->current_mark)
    return 1;
  if (state == NOFL_STATE_FIXED)
    /* Only in the cycle that fixed it.  Later it is an object that was not
       reached, until its block is swept, which a minor collection does not wait
       for.  */
    return space->current_mark != space->survivor_mark;
  /* In a part that was not swept since the last collection, nothing is
     young.  */
  return state == NOFL_STATE_YOUNG && swept;
}

/* The object that the bit pattern ADDR, which lies in the space's range, may
   denote, or 0.  */
static NOFL_MAY_RACE uintptr_t nofl_resolve_conservative(
    struct nofl_space *space, uintptr_t addr, int possibly_interior) {
  if (nofl_block_index(addr) < NOFL_META_BLOCKS_PER_SLAB)
    return 0;
  const struct nofl_block *block = nofl_block_of(addr);
  uint8_t place = gc_atomic_load(&block->place);
  if (place == NOFL_PLACE_EMPTY || place == NOFL_PLACE_PAGED_OUT)
    return 0;
  uintptr_t displacement = addr & (NOFL_GRANULE_SIZE - 1);
  size_t g = (addr & (NOFL_BLOCK_SIZE - 1)) >> NOFL_GRANULE_SIZE_LOG_2;
  const uint8_t *meta = nofl_block_metadata(block);
  if (possibly_interior) {
    ptrdiff_t start = nofl_object_start(meta, g);
    if (start < 0)
      return 0;
    g = start;
  } else if (!gc_accepts_displacement(displacement)) {
    return 0;
  }
  if (!nofl_granule_has_live_object(space, block, g, meta))
    return 0;
  return nofl_block_start(block) + g * NOFL_GRANULE_SIZE;
}

/* The object at ADDR must not move in the compacting collection that is being
   prepared.  */
static inline void nofl_fix_object(struct nofl_space *space, uintptr_t addr) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t state = *loc & NOFL_STATE_MASK;
  if (state != space->current_mark)
    *loc = (*loc & ~NOFL_STATE_MASK) | NOFL_STATE_FIXED;
}

/* Pin the object at ADDR for ever.  Any thread; atomic with respect to other
   bits of the byte.  Relaxed would do for the bit itself: a collection starts
   with a handshake.  */
static inline void nofl_pin_object(uintptr_t addr) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t byte = gc_atomic_load_relaxed(loc);
  while (!(byte & NOFL_PINNED) &&
         !gc_atomic_cmpxchg_weak(loc, &byte, (uint8_t)(byte | NOFL_PINNED)))
    continue;
}

/* How to trace the object at ADDR, as a trace kind without the pin:
   NOFL_KIND_PRECISE, NOFL_KIND_NONE or NOFL_KIND_PINNED_OR_CONSERVATIVE for
   "conservatively".  */
static inline uint8_t nofl_object_trace_kind(uintptr_t addr) {
  uint8_t byte = gc_atomic_load_relaxed(nofl_metadata_byte(addr));
  if (byte & NOFL_KIND_NONE)
    return NOFL_KIND_NONE;
  if (GC_LIKELY(!(byte & NOFL_PINNED)))
    return NOFL_KIND_PRECISE;
  if (GC_CONSERVATIVE_TRACE ||
      nofl_block_of(addr)->class == NOFL_CLASS_AMBIGUOUS)
    return NOFL_KIND_PINNED_OR_CONSERVATIVE;
  return NOFL_KIND_PRECISE;
}

static inline int nofl_object_is_old(uintptr_t addr) {
  uint8_t byte = gc_atomic_load_relaxed(nofl_metadata_byte(addr));
  return (byte & NOFL_STATE_MASK) != NOFL_STATE_YOUNG;
}

#endif // NOFL_MARK_H
