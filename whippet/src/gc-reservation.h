/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The address range of the heap.

   One contiguous range is reserved when the heap is created.  Slabs of the nofl
   space grow upwards from its start, large objects downwards from its end, and
   the memory between has no access rights:

     base       low_top                            high_bottom       limit
      |  nofl slabs  | - - - - - - free - - - - - - - |  large objects  |

   Therefore "is this word in that space" is one subtraction and one
   comparison, and the range never moves.

   When the address space itself is limited, the middle of the free part can be
   given back (gc_reservation_trim).  Then `gap_low' bounds low_top and `gap_high'
   bounds high_bottom.  An end that reaches the hole tries to get a part of it back,
   which fails if others have mapped something there.  Without a hole the gap is the
   empty interval at the meeting point, wherever that will be: gap_low is `limit'
   and gap_high is `base'.  */

#ifndef GC_RESERVATION_H
#define GC_RESERVATION_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-platform.h"

/* Alignment of the range, and unit of its size.  */
#define GC_RESERVATION_UNIT ((size_t)4 * 1024 * 1024)
/* An end that grows into the hole takes this much more, if it can.  */
#define GC_RESERVATION_RECLAIM ((size_t)32 * 1024 * 1024)

struct gc_reservation {
  /* Constant.  Both 0 if there is no reservation.  */
  uintptr_t base;
  uintptr_t limit;
  /* [base, low_top) and [high_bottom, limit) are readable and writable.
     Invariant: base <= low_top <= high_bottom <= limit.  Stored with release
     order after the memory is usable, by a thread that holds the lock; loaded
     with acquire order by anyone.  */
  uintptr_t low_top;
  uintptr_t high_bottom;
  /* Protected by the lock.  */
  uintptr_t gap_low;
  uintptr_t gap_high;
  /* Neither end takes this much at the other end.  Constant.  */
  size_t least_share;
  /* A leaf: nothing is called with it held but system calls.  */
  pthread_mutex_t lock;
};

/* Reserve SIZE bytes, or if that fails, half as much, and so on, but at least
   MIN_SIZE.  Sizes are rounded up to the unit.  Return 0 on failure.  */
static inline int gc_reservation_init(struct gc_reservation *res, size_t size,
                                      size_t min_size) {
  size_t mask = GC_RESERVATION_UNIT - 1;
  if (size > SIZE_MAX / 2)
    size = SIZE_MAX / 2;
  if (min_size < GC_RESERVATION_UNIT)
    min_size = GC_RESERVATION_UNIT;
  if (min_size > size)
    min_size = size;
  min_size = (min_size + mask) & ~mask;
  size = (size + mask) & ~mask;
  *res = (struct gc_reservation){0};
  if (pthread_mutex_init(&res->lock, NULL) != 0)
    return 0;
  for (;;) {
    void *mem = gc_platform_reserve(size, GC_RESERVATION_UNIT);
    if (mem) {
      res->base = (uintptr_t)mem;
      res->limit = res->base + size;
      break;
    }
    if (size == min_size) {
      pthread_mutex_destroy(&res->lock);
      return 0;
    }
    size = (size / 2 + mask) & ~mask;
    if (size < min_size)
      size = min_size;
  }
  /* Platforms have returned unaligned memory: never build on it.  */
  if (res->base & mask)
    GC_CRASH();
  res->low_top = res->gap_high = res->base;
  res->high_bottom = res->gap_low = res->limit;
  return 1;
}

static inline uintptr_t
gc_reservation_low_top(const struct gc_reservation *res) {
  return gc_atomic_load(&res->low_top);
}

static inline uintptr_t
gc_reservation_high_bottom(const struct gc_reservation *res) {
  return gc_atomic_load(&res->high_bottom);
}

static inline size_t gc_reservation_size(const struct gc_reservation *res) {
  return res->limit - res->base;
}

/* For fork handlers.  */
static inline void gc_reservation_lock(struct gc_reservation *res) {
  pthread_mutex_lock(&res->lock);
}

static inline void gc_reservation_unlock(struct gc_reservation *res) {
  pthread_mutex_unlock(&res->lock);
}

/* With the lock held.  */
static inline int gc_reservation_has_hole(const struct gc_reservation *res) {
  return res->gap_low < res->gap_high;
}

/* What neither end uses yet of [base, limit), without the hole.  Any thread.  */
static inline size_t gc_reservation_unused(struct gc_reservation *res) {
  pthread_mutex_lock(&res->lock);
  size_t hole = gc_reservation_has_hole(res) ? res->gap_high - res->gap_low : 0;
  size_t unused = res->high_bottom - res->low_top - hole;
  pthread_mutex_unlock(&res->lock);
  return unused;
}

/* How far down the high end could grow without getting any of the hole back.  Any
   thread.  */
static inline uintptr_t gc_reservation_high_floor(struct gc_reservation *res) {
  pthread_mutex_lock(&res->lock);
  uintptr_t floor = gc_reservation_has_hole(res) ? res->gap_high : res->base;
  pthread_mutex_unlock(&res->lock);
  return floor;
}

/* Get a part of the hole back, next to its low or its high end: MISSING bytes, or
   some more.  With the lock held.  */
static inline void gc_reservation_reclaim(struct gc_reservation *res, int low,
                                          size_t missing) {
  size_t hole = res->gap_high - res->gap_low;
  if (!gc_reservation_has_hole(res) || missing > hole)
    return;
  missing = (missing + GC_RESERVATION_UNIT - 1) & ~(GC_RESERVATION_UNIT - 1);
  size_t sizes[] = {missing + GC_RESERVATION_RECLAIM, missing};
  for (int i = 0; i < 2; i++) {
    size_t size = sizes[i] < hole ? sizes[i] : hole;
    uintptr_t addr = low ? res->gap_low : res->gap_high - size;
    if (!gc_platform_reserve_at((void *)addr, size))
      continue;
    if (size == hole) {
      res->gap_low = res->limit;
      res->gap_high = res->base;
    } else if (low) {
      res->gap_low += size;
    } else {
      res->gap_high -= size;
    }
    return;
  }
}

/* Append BYTES, a multiple of the page size, to the low part.  Return its
   address, with contents zero, or NULL if it would meet the high part or the
   hole, or if the OS refuses.  Any thread.  */
static inline void *gc_reservation_extend_low(struct gc_reservation *res,
                                              size_t bytes) {
  void *ret = NULL;
  pthread_mutex_lock(&res->lock);
  uintptr_t top = res->low_top;
  uintptr_t bound = res->limit - res->least_share;
  if (bound > res->high_bottom)
    bound = res->high_bottom;
  if (top < bound && bytes <= bound - top && top + bytes > res->gap_low)
    gc_reservation_reclaim(res, 1, top + bytes - res->gap_low);
  if (bound > res->gap_low)
    bound = res->gap_low;
  if (top < bound && bytes <= bound - top &&
      gc_platform_commit((void *)top, bytes)) {
    gc_atomic_store(&res->low_top, top + bytes);
    ret = (void *)top;
  }
  pthread_mutex_unlock(&res->lock);
  return ret;
}

/* The same for the high part, which grows downwards.  */
static inline void *gc_reservation_extend_high(struct gc_reservation *res,
                                               size_t bytes) {
  void *ret = NULL;
  pthread_mutex_lock(&res->lock);
  uintptr_t bottom = res->high_bottom;
  uintptr_t bound = res->base + res->least_share;
  if (bound < res->low_top)
    bound = res->low_top;
  if (bound < bottom && bytes <= bottom - bound &&
      bottom - bytes < res->gap_high)
    gc_reservation_reclaim(res, 0, res->gap_high - (bottom - bytes));
  if (bound < res->gap_high)
    bound = res->gap_high;
  if (bound < bottom && bytes <= bottom - bound &&
      gc_platform_commit((void *)(bottom - bytes), bytes)) {
    gc_atomic_store(&res->high_bottom, bottom - bytes);
    ret = (void *)(bottom - bytes);
  }
  pthread_mutex_unlock(&res->lock);
  return ret;
}

/* Unmap [LOW, HIGH), if it is not empty; return its size.  */
static inline size_t gc_reservation_release_range(uintptr_t low,
                                                  uintptr_t high) {
  if (low >= high)
    return 0;
  gc_platform_release((void *)low, high - low);
  return high - low;
}

/* Give the free part back to the OS, but for KEEP_LOW and KEEP_HIGH bytes next to
   the ends; for programs whose address space is limited.  Return how many bytes were given
   back.  The two sides of a hole are trimmed separately: others may have mapped
   something in it.  */
static inline size_t gc_reservation_trim(struct gc_reservation *res,
                                         size_t keep_low, size_t keep_high) {
  size_t mask = GC_RESERVATION_UNIT - 1, released;
  pthread_mutex_lock(&res->lock);
  size_t free = res->high_bottom - res->low_top;
  if (keep_low > free)
    keep_low = free;
  if (keep_high > free)
    keep_high = free;
  uintptr_t low = (res->low_top + keep_low + mask) & ~mask;
  uintptr_t high = (res->high_bottom - keep_high) & ~mask;
  if (gc_reservation_has_hole(res)) {
    released = gc_reservation_release_range(low, res->gap_low) +
               gc_reservation_release_range(res->gap_high, high);
    if (low < res->gap_low)
      res->gap_low = low;
    if (high > res->gap_high)
      res->gap_high = high;
  } else {
    released = gc_reservation_release_range(low, high);
    if (released) {
      res->gap_low = low;
      res->gap_high = high;
    }
  }
  pthread_mutex_unlock(&res->lock);
  return released;
}

/* Unmap everything; for heaps whose creation failed.  */
static inline void gc_reservation_destroy(struct gc_reservation *res) {
  if (!res->base)
    return;
  if (gc_reservation_has_hole(res)) {
    gc_reservation_release_range(res->base, res->gap_low);
    gc_reservation_release_range(res->gap_high, res->limit);
  } else {
    gc_reservation_release_range(res->base, res->limit);
  }
  pthread_mutex_destroy(&res->lock);
  res->base = res->limit = 0;
}

#endif // GC_RESERVATION_H
