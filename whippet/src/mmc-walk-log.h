/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the verifier's own walk of the heap (mmc-walk.h) remembers about a
   collection: sets of objects, and what tracers found that cannot be found out
   a second time.  Ambiguous roots are such: threads that are inactive go on
   running, and may overwrite a word between trace and walk.  */

#ifndef MMC_WALK_LOG_H
#define MMC_WALK_LOG_H

#include <pthread.h>

#include "gc-atomics.h"
#include "gc-platform.h"
#include "large-object-space.h"
#include "nofl-space.h"

/* A bit for each place in a range where an object may start.  */
struct walk_range {
  uintptr_t base;
  size_t size;
  unsigned shift;
  uint64_t *bits;
};

/* A set of objects: of the nofl space, and large ones.  */
struct walk_set {
  struct walk_range small, large;
};

struct walk_array {
  uintptr_t *items;
  size_t count, capacity;
};

/* Written by any number of tracing threads.  */
struct walk_log {
  struct walk_set ambiguous; /* referents of ambiguous roots */
  pthread_mutex_t lock;
  struct walk_array externs; /* visited objects outside of the heap */
};

static inline size_t walk_range_bytes(const struct walk_range *range) {
  size_t places = (range->size >> range->shift) + 1;
  return (places + 63) / 64 * sizeof(uint64_t);
}

static int walk_range_init(struct walk_range *range, uintptr_t base,
                           size_t size, unsigned shift) {
  range->base = base;
  range->size = size;
  range->shift = shift;
  range->bits = gc_platform_map(walk_range_bytes(range));
  return range->bits != NULL;
}

static void walk_set_release(struct walk_set *set) {
  if (set->small.bits)
    gc_platform_release(set->small.bits, walk_range_bytes(&set->small));
  if (set->large.bits)
    gc_platform_release(set->large.bits, walk_range_bytes(&set->large));
  set->small.bits = set->large.bits = NULL;
}

/* World stopped.  0 if there is no memory.  */
static int walk_set_init(struct walk_set *set, const struct nofl_space *space,
                         const struct large_space *large) {
  uintptr_t bottom = gc_atomic_load(&large->bottom);
  set->large.bits = NULL;
  return walk_range_init(&set->small, space->base, nofl_space_extent(space),
                         NOFL_GRANULE_SIZE_LOG_2) &&
         walk_range_init(&set->large, bottom, large->limit - bottom,
                         large->page_shift);
}

/* The word that has the bit for ADDR, or NULL if ADDR is out of range.  */
static inline uint64_t *walk_set_word(const struct walk_set *set,
                                      uintptr_t addr, uint64_t *bit) {
  const struct walk_range *range = &set->small;
  if (addr - range->base >= range->size)
    range = &set->large;
  uintptr_t offset = addr - range->base;
  if (offset >= range->size)
    return NULL;
  size_t place = offset >> range->shift;
  *bit = (uint64_t)1 << (place % 64);
  return &range->bits[place / 64];
}

static inline int walk_set_has(const struct walk_set *set, uintptr_t addr) {
  uint64_t bit;
  uint64_t *word = walk_set_word(set, addr, &bit);
  return word && (gc_atomic_load_relaxed(word) & bit);
}

/* 1 if ADDR was not in SET before.  Any thread; relaxed, because threads are
   joined before anybody looks.  */
static inline int walk_set_add(const struct walk_set *set, uintptr_t addr) {
  uint64_t bit;
  uint64_t *word = walk_set_word(set, addr, &bit);
  return word && !(__atomic_fetch_or(word, bit, __ATOMIC_RELAXED) & bit);
}

static void walk_array_release(struct walk_array *array) {
  if (array->items)
    gc_platform_release(array->items, array->capacity * sizeof(uintptr_t));
  array->items = NULL;
  array->count = array->capacity = 0;
}

/* Room for more items; 0 if there is no memory.  */
static int walk_array_grow(struct walk_array *array) {
  struct walk_array bigger = {NULL, 0, 0};
  bigger.capacity = array->capacity ? array->capacity * 2 : 8192;
  bigger.items = gc_platform_map(bigger.capacity * sizeof(uintptr_t));
  if (!bigger.items)
    return 0;
  bigger.count = array->count;
  if (array->count)
    memcpy(bigger.items, array->items, array->count * sizeof(uintptr_t));
  walk_array_release(array);
  *array = bigger;
  return 1;
}

static inline int walk_array_push(struct walk_array *array, uintptr_t item) {
  if (array->count == array->capacity && !walk_array_grow(array))
    return 0;
  array->items[array->count++] = item;
  return 1;
}

static void GC_NEVER_INLINE walk_log_extern(struct walk_log *log,
                                            uintptr_t addr) {
  pthread_mutex_lock(&log->lock);
  walk_array_push(&log->externs, addr);
  pthread_mutex_unlock(&log->lock);
}

#endif // MMC_WALK_LOG_H
