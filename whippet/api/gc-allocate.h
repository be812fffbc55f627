/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Inline allocation.

   Objects are aligned to the granule and all their bytes are zero, but for what
   gc_allocate_uncleared says.  Only the mutator's own thread allocates, while
   active.  */
#ifndef GC_ALLOCATE_H
#define GC_ALLOCATE_H

#include "gc-api.h"

/* Allocate BYTES, which must not be 0, collecting if need be; a safepoint.
   The result is NULL only if the allocation-failure handler returned NULL.  */
GC_API_ void *gc_allocate_slow(struct gc_mutator *mut, size_t bytes,
                               enum gc_allocation_kind kind) GC_NEVER_INLINE;

/* The same for a pointerless KIND and without the promise of zeros: of a large
   object, only the first granule need be zero.  An extension of the API.  */
GC_API_ void *
gc_allocate_uncleared_slow(struct gc_mutator *mut, size_t bytes,
                           enum gc_allocation_kind kind) GC_NEVER_INLINE;

/* Record OBJ, of SIZE bytes (a multiple of the granule) and of KIND, in the
   allocation table.  The granules belong to this thread, and the stores need
   no order: other threads learn of the object by means that order them.  They
   are atomic because a conservative lookup may read the bytes meanwhile.  */
static inline void
gc_update_alloc_table(struct gc_ref obj, size_t size,
                      enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void gc_update_alloc_table(struct gc_ref obj, size_t size,
                                         enum gc_allocation_kind kind) {
  size_t alignment = gc_allocator_alloc_table_alignment();
  if (!alignment)
    return;

  size_t granule_size = gc_allocator_small_granule_size();
  uintptr_t addr = gc_ref_value(obj);
  uintptr_t base = addr & ~(uintptr_t)(alignment - 1);
  uint8_t *loc =
      (uint8_t *)(base + (addr & (uintptr_t)(alignment - 1)) / granule_size);

  uint8_t begin = gc_allocator_alloc_table_begin_pattern(kind);
  uint8_t end = gc_allocator_alloc_table_end_pattern();
  if (!end) {
    __atomic_store_n(loc, begin, __ATOMIC_RELAXED);
    return;
  }
  /* No branch: of sizes that vary, no processor can tell which will be one
     granule.  */
  size_t last = size / granule_size - 1;
  if (!__builtin_constant_p(size) || last)
    __atomic_store_n(loc + last, end, __ATOMIC_RELAXED);
  uint8_t only = (uint8_t)(end * !last);
  __atomic_store_n(loc, (uint8_t)(begin | only), __ATOMIC_RELAXED);
}

/* BYTES rounded up to the granule.  */
static inline size_t
gc_allocate_round_up_to_granule(size_t bytes) GC_ALWAYS_INLINE;
static inline size_t gc_allocate_round_up_to_granule(size_t bytes) {
  size_t granule_size = gc_allocator_small_granule_size();
  return (bytes + granule_size - 1) & ~(granule_size - 1);
}

/* The fast paths never collect.  They return NULL when the slow path is
   needed.  */

static inline void *gc_allocate_small_fast_bump_pointer(
    struct gc_mutator *mut, size_t bytes,
    enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void *
gc_allocate_small_fast_bump_pointer(struct gc_mutator *mut, size_t bytes,
                                    enum gc_allocation_kind kind) {
  GC_ASSERT(bytes > 0 && bytes <= gc_allocator_large_threshold());

  size_t size = gc_allocate_round_up_to_granule(bytes);
  uintptr_t base = (uintptr_t)mut + gc_allocator_kind_offset(kind);
  uintptr_t *hp_loc =
      (uintptr_t *)(base + gc_allocator_allocation_pointer_offset());
  uintptr_t *limit_loc =
      (uintptr_t *)(base + gc_allocator_allocation_limit_offset());

  uintptr_t hp = *hp_loc;
  uintptr_t limit = *limit_loc;
  uintptr_t new_hp = hp + size;
  if (GC_UNLIKELY(new_hp > limit))
    return NULL;

  /* There is no memory at 0; so nobody need look whether the result is NULL.  */
  if (!hp)
    __builtin_unreachable();
  *hp_loc = new_hp;
  gc_update_alloc_table(gc_ref(hp), size, kind);
  return (void *)hp;
}

static inline void *
gc_allocate_small_fast_freelist(struct gc_mutator *mut, size_t bytes,
                                enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void *
gc_allocate_small_fast_freelist(struct gc_mutator *mut, size_t bytes,
                                enum gc_allocation_kind kind) {
  GC_ASSERT(bytes > 0 && bytes <= gc_allocator_large_threshold());

  void **head_loc =
      (void **)((uintptr_t)mut + gc_allocator_freelist_offset(bytes, kind));
  void **head = (void **)*head_loc;
  if (GC_UNLIKELY(!head))
    return NULL;

  *head_loc = *head;
  *head = NULL;
  gc_update_alloc_table(gc_ref_from_heap_object(head),
                        gc_allocate_round_up_to_granule(bytes), kind);
  return head;
}

static inline void *
gc_allocate_small_fast(struct gc_mutator *mut, size_t bytes,
                       enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void *gc_allocate_small_fast(struct gc_mutator *mut, size_t bytes,
                                           enum gc_allocation_kind kind) {
  GC_ASSERT(bytes > 0 && bytes <= gc_allocator_large_threshold());

  switch (gc_inline_allocator_kind(kind)) {
  case GC_INLINE_ALLOCATOR_BUMP_POINTER:
    return gc_allocate_small_fast_bump_pointer(mut, bytes, kind);
  case GC_INLINE_ALLOCATOR_FREELIST:
    return gc_allocate_small_fast_freelist(mut, bytes, kind);
  case GC_INLINE_ALLOCATOR_NONE:
    return NULL;
  }
  GC_CRASH();
}

static inline void *
gc_allocate_fast(struct gc_mutator *mut, size_t bytes,
                 enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void *gc_allocate_fast(struct gc_mutator *mut, size_t bytes,
                                     enum gc_allocation_kind kind) {
  GC_ASSERT(bytes > 0);
  if (bytes > gc_allocator_large_threshold())
    return NULL;
  return gc_allocate_small_fast(mut, bytes, kind);
}

/* Allocate BYTES, which must not be 0, for an object of KIND; a safepoint.
   The result is NULL only if the allocation-failure handler returned NULL.  */
static inline void *gc_allocate(struct gc_mutator *mut, size_t bytes,
                                enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void *gc_allocate(struct gc_mutator *mut, size_t bytes,
                                enum gc_allocation_kind kind) {
  void *obj = gc_allocate_fast(mut, bytes, kind);
  if (GC_LIKELY(obj != NULL))
    return obj;
  return gc_allocate_slow(mut, bytes, kind);
}

/* Like gc_allocate, for an object of pointerless KIND that the caller fills at
   once: of a large one, only the first granule need be zero.  An extension of
   the API.  */
static inline void *
gc_allocate_uncleared(struct gc_mutator *mut, size_t bytes,
                      enum gc_allocation_kind kind) GC_ALWAYS_INLINE;
static inline void *gc_allocate_uncleared(struct gc_mutator *mut, size_t bytes,
                                          enum gc_allocation_kind kind) {
  void *obj = gc_allocate_fast(mut, bytes, kind);
  if (GC_LIKELY(obj != NULL))
    return obj;
  return gc_allocate_uncleared_slow(mut, bytes, kind);
}

#endif /* GC_ALLOCATE_H */
