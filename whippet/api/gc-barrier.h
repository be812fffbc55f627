/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The write barrier.  Any active mutator; several threads may store in the
   same object.  */
#ifndef GC_BARRIER_H
#define GC_BARRIER_H

#include "gc-api.h"
#include "gc-atomics.h"

#include <sys/types.h>

/* Nonzero if OBJ, found not to be young by no inline means, is old.  */
GC_API_ int gc_object_is_old_generation_slow(struct gc_mutator *mut,
                                             struct gc_ref obj) GC_NEVER_INLINE;

/* Record that the field EDGE of OBJ, of OBJ_SIZE bytes, gets the value
   NEW_VAL, if that is of interest.  Does nothing in builds that are not
   generational.  */
GC_API_ void gc_write_barrier_slow(struct gc_mutator *mut, struct gc_ref obj,
                                   size_t obj_size, struct gc_edge edge,
                                   struct gc_ref new_val) GC_NEVER_INLINE;

/* Nonzero if OBJ, of OBJ_SIZE bytes, is old.  Traps in builds that are not
   generational, where the question has no meaning.  */
static inline int gc_object_is_old_generation(struct gc_mutator *mut,
                                              struct gc_ref obj,
                                              size_t obj_size) GC_ALWAYS_INLINE;
static inline int gc_object_is_old_generation(struct gc_mutator *mut,
                                              struct gc_ref obj,
                                              size_t obj_size) {
  switch (gc_old_generation_check_kind(obj_size)) {
  case GC_OLD_GENERATION_CHECK_ALLOC_TABLE: {
    size_t alignment = gc_allocator_alloc_table_alignment();
    GC_ASSERT(alignment);
    uintptr_t addr = gc_ref_value(obj);
    uintptr_t base = addr & ~(uintptr_t)(alignment - 1);
    uintptr_t granule =
        (addr & (uintptr_t)(alignment - 1)) / gc_allocator_small_granule_size();
    /* Relaxed: the state of a mark changes in collections only; log and pin
       bits of the same byte may change now.  */
    uint8_t byte = gc_atomic_load_relaxed((uint8_t *)(base + granule));
    uint8_t tag = byte & gc_old_generation_check_alloc_table_tag_mask();
    return tag != gc_old_generation_check_alloc_table_young_tag();
  }
  case GC_OLD_GENERATION_CHECK_SMALL_OBJECT_NURSERY: {
    struct gc_heap *heap = gc_mutator_heap(mut);
    uintptr_t low = gc_small_object_nursery_low_address(heap);
    uintptr_t size = gc_small_object_nursery_high_address(heap) - low;
    return gc_ref_value(obj) - low >= size;
  }
  case GC_OLD_GENERATION_CHECK_SLOW:
    return gc_object_is_old_generation_slow(mut, obj);
  case GC_OLD_GENERATION_CHECK_NONE:
    break;
  }
  GC_CRASH();
}

/* Nonzero if gc_write_barrier_slow must be called with the same arguments.  */
static inline int gc_write_barrier_fast(struct gc_mutator *mut,
                                        struct gc_ref obj, size_t obj_size,
                                        struct gc_edge edge,
                                        struct gc_ref new_val) GC_ALWAYS_INLINE;
static inline int gc_write_barrier_fast(struct gc_mutator *mut,
                                        struct gc_ref obj, size_t obj_size,
                                        struct gc_edge edge,
                                        struct gc_ref new_val) {
  (void)new_val;
  switch (gc_write_barrier_kind(obj_size)) {
  case GC_WRITE_BARRIER_NONE:
    return 0;
  case GC_WRITE_BARRIER_FIELD: {
    if (!gc_object_is_old_generation(mut, obj, obj_size))
      return 0;
    size_t alignment = gc_write_barrier_field_table_alignment();
    size_t fields_per_byte = gc_write_barrier_field_fields_per_byte();
    uintptr_t addr = gc_edge_address(edge);
    uintptr_t base = (addr & ~(uintptr_t)(alignment - 1)) +
                     (uintptr_t)gc_write_barrier_field_table_offset();
    uintptr_t field = (addr & (uintptr_t)(alignment - 1)) / sizeof(uintptr_t);
    /* Relaxed: a stale clear bit only costs a call to the slow path, which
       sets it by a read-modify-write.  */
    uint8_t byte =
        gc_atomic_load_relaxed((uint8_t *)(base + field / fields_per_byte));
    unsigned mask = (unsigned)gc_write_barrier_field_first_bit_pattern()
                    << (field % fields_per_byte);
    return !(byte & mask);
  }
  case GC_WRITE_BARRIER_SLOW:
    return 1;
  }
  GC_CRASH();
}

/* To be called next to each store of the reference NEW_VAL, which must not be
   null but may be immediate, in the field EDGE of the object OBJ of OBJ_SIZE
   bytes, with no safepoint in between.  Stores that initialise an object
   allocated since the last safepoint need no barrier.  OBJ must be in the heap:
   for an object of an extern space call gc_write_barrier_slow.

   Until the next collection the field must hold null, an immediate or a reference,
   of itself, unless OBJ is traced conservatively: then any word will do.  */
static inline void gc_write_barrier(struct gc_mutator *mut, struct gc_ref obj,
                                    size_t obj_size, struct gc_edge edge,
                                    struct gc_ref new_val) GC_ALWAYS_INLINE;
static inline void gc_write_barrier(struct gc_mutator *mut, struct gc_ref obj,
                                    size_t obj_size, struct gc_edge edge,
                                    struct gc_ref new_val) {
  if (GC_UNLIKELY(gc_write_barrier_fast(mut, obj, obj_size, edge, new_val)))
    gc_write_barrier_slow(mut, obj, obj_size, edge, new_val);
}

#endif /* GC_BARRIER_H */
