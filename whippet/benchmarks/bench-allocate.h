/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Allocation of tagged benchmark objects, and stores into them.

   An object that was allocated after everything it refers to, with no
   allocation since, needs no write barrier: such stores are plain assignments.
   All others go through BENCH_STORE.  */

#ifndef BENCH_ALLOCATE_H
#define BENCH_ALLOCATE_H

#include "bench-types.h"

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"

static inline void *bench_allocate(struct gc_mutator *mut, size_t size,
                                   enum bench_kind kind,
                                   enum gc_allocation_kind how) {
  uintptr_t *object = gc_allocate(mut, size, how);
  *object = BENCH_TAG(kind);
  return object;
}

/* `struct foo *allocate_foo (mut)', with all fields zero.  */
#define DEFINE_ALLOCATE(name, NAME, how)                                     \
  static inline struct name *allocate_##name(struct gc_mutator *mut) {       \
    return bench_allocate(mut, sizeof(struct name), BENCH_KIND_##NAME, how); \
  }
DEFINE_ALLOCATE(node, NODE, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(quad, QUAD, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(vertex, VERTEX, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(pair, PAIR, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(box, BOX, GC_ALLOCATION_TAGGED_POINTERLESS)
DEFINE_ALLOCATE(item, ITEM, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(queue, QUEUE, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(entry, ENTRY, GC_ALLOCATION_TAGGED)
DEFINE_ALLOCATE(resource, RESOURCE, GC_ALLOCATION_TAGGED)
#undef DEFINE_ALLOCATE

static inline struct hole *allocate_hole(struct gc_mutator *mut,
                                         size_t word_count) {
  struct hole *hole = bench_allocate(mut, hole_size_for(word_count),
                                     BENCH_KIND_HOLE, GC_ALLOCATION_TAGGED);
  hole->word_count = word_count;
  return hole;
}

static inline struct cell *allocate_cell(struct gc_mutator *mut, size_t size,
                                         enum gc_allocation_kind how) {
  struct cell *cell = bench_allocate(mut, size, BENCH_KIND_CELL, how);
  cell->byte_count = size;
  return cell;
}

static inline struct adjacency *allocate_adjacency(struct gc_mutator *mut,
                                                   size_t degree) {
  struct adjacency *adjacency =
      bench_allocate(mut, adjacency_size_for(degree), BENCH_KIND_ADJACENCY,
                     GC_ALLOCATION_TAGGED);
  adjacency->degree = degree;
  return adjacency;
}

static inline struct vector *allocate_vector(struct gc_mutator *mut,
                                             size_t length) {
  struct vector *vector = bench_allocate(
      mut, vector_size_for(length), BENCH_KIND_VECTOR, GC_ALLOCATION_TAGGED);
  vector->length = length;
  return vector;
}

static inline struct bytes *allocate_bytes(struct gc_mutator *mut,
                                           size_t length) {
  struct bytes *bytes =
      bench_allocate(mut, bytes_size_for(length), BENCH_KIND_BYTES,
                     GC_ALLOCATION_TAGGED_POINTERLESS);
  bytes->length = length;
  return bytes;
}

static inline struct gc_ref bench_ref(void *object) {
  return gc_ref_from_heap_object(object);
}

/* Store VALUE, which may be NULL, into FIELD of the object OBJECT of SIZE
   bytes.  Arguments other than FIELD are evaluated once.  */
#define BENCH_STORE(mut, object, size, field, value)                           \
  do {                                                                         \
    __auto_type store_object = (object);                                       \
    __auto_type store_value = (value);                                         \
    if (store_value)                                                           \
      gc_write_barrier((mut), bench_ref(store_object), (size),                 \
                       gc_edge(&store_object->field), bench_ref(store_value)); \
    store_object->field = store_value;                                         \
  } while (0)

#endif /* BENCH_ALLOCATE_H */
