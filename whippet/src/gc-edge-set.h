/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A set of edges, for fields outside of the heap that the write barrier has to
   remember.  They are few, so that a lock and a probe for each store do not matter.

   Open addressing with linear probing, in pages of its own.  The capacity is a
   power of two; at most three quarters are used, and if the table cannot grow,
   at most seven eighths.  Insertion takes the lock, which is a leaf; iteration
   and clearing are for the stopped world and take none.  */

#ifndef GC_EDGE_SET_H
#define GC_EDGE_SET_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gc-assert.h"
#include "gc-edge.h"
#include "gc-platform.h"

/* In edges; a multiple of all page sizes.  */
#define GC_EDGE_SET_MIN_CAPACITY ((size_t)64 * 1024 / sizeof(uintptr_t))

struct gc_edge_set {
  /* 0 is a free slot.  NULL while capacity is 0.  */
  uintptr_t *slots;
  size_t capacity;
  size_t count;
  pthread_mutex_t lock;
};

static inline int gc_edge_set_init(struct gc_edge_set *set) {
  *set = (struct gc_edge_set){0};
  return pthread_mutex_init(&set->lock, NULL) == 0;
}

static inline void gc_edge_set_release(struct gc_edge_set *set) {
  if (set->slots)
    gc_platform_release(set->slots, set->capacity * sizeof(uintptr_t));
  set->slots = NULL;
  set->capacity = set->count = 0;
}

static inline void gc_edge_set_destroy(struct gc_edge_set *set) {
  gc_edge_set_release(set);
  pthread_mutex_destroy(&set->lock);
}

/* The slot that holds ADDR, or the free slot where it belongs.  Some slot is
   free.  */
static inline uintptr_t *gc_edge_set_slot(uintptr_t *slots, size_t capacity,
                                          uintptr_t addr) {
  /* Multiplicative hashing; the high half has the good bits.  */
  uint64_t hash = (addr / sizeof(uintptr_t)) * UINT64_C(0x9e3779b97f4a7c15);
  size_t i = (hash >> 32) & (capacity - 1);
  while (slots[i] && slots[i] != addr)
    i = (i + 1) & (capacity - 1);
  return &slots[i];
}

static inline int gc_edge_set_grow(struct gc_edge_set *set) {
  size_t capacity =
      set->capacity ? set->capacity * 2 : GC_EDGE_SET_MIN_CAPACITY;
  uintptr_t *slots = gc_platform_map(capacity * sizeof(uintptr_t));
  if (!slots)
    return 0;
  for (size_t i = 0; i < set->capacity; i++)
    if (set->slots[i])
      *gc_edge_set_slot(slots, capacity, set->slots[i]) = set->slots[i];
  if (set->slots)
    gc_platform_release(set->slots, set->capacity * sizeof(uintptr_t));
  set->slots = slots;
  set->capacity = capacity;
  return 1;
}

/* Any thread.  Return 0, without adding the edge, if there is no memory.  */
static inline int gc_edge_set_add(struct gc_edge_set *set,
                                  struct gc_edge edge) {
  uintptr_t addr = gc_edge_address(edge);
  int ret = 0;
  GC_ASSERT(addr);
  pthread_mutex_lock(&set->lock);
  if (set->count >= set->capacity - set->capacity / 4)
    gc_edge_set_grow(set);
  if (set->capacity) {
    uintptr_t *slot = gc_edge_set_slot(set->slots, set->capacity, addr);
    if (*slot) {
      ret = 1;
    } else if (set->count < set->capacity - set->capacity / 8) {
      *slot = addr;
      set->count++;
      ret = 1;
    }
  }
  pthread_mutex_unlock(&set->lock);
  return ret;
}

/* World stopped.  */
static inline void gc_edge_set_visit(struct gc_edge_set *set,
                                     void (*visit)(struct gc_edge edge,
                                                   struct gc_heap *heap,
                                                   void *data),
                                     struct gc_heap *heap, void *data) {
  if (!set->count)
    return;
  for (size_t i = 0; i < set->capacity; i++)
    if (set->slots[i])
      visit(gc_edge((void *)set->slots[i]), heap, data);
}

/* World stopped.  A table that was mostly unused is given back.  */
static inline void gc_edge_set_clear(struct gc_edge_set *set) {
  if (set->capacity > GC_EDGE_SET_MIN_CAPACITY &&
      set->count < set->capacity / 16)
    gc_edge_set_release(set);
  else if (set->count)
    memset(set->slots, 0, set->capacity * sizeof(uintptr_t));
  set->count = 0;
}

#endif // GC_EDGE_SET_H
