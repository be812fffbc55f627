/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The embedder of all benchmark programs: how the collector traces their
   objects and finds their roots.  Only the library's sources include it.  */

#ifndef BENCH_EMBEDDER_H
#define BENCH_EMBEDDER_H

#include "bench-roots.h"
#include "bench-types.h"

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-config.h"
#include "gc-edge.h"
#include "gc-ephemeron.h"
#include "gc-finalizer.h"
#include "gc-inline.h"

#define GC_EMBEDDER_EPHEMERON_HEADER BENCH_OBJECT_HEADER;
#define GC_EMBEDDER_FINALIZER_HEADER BENCH_OBJECT_HEADER;

/* Vectors can be huge.  */
#define GC_EMBEDDER_TRACE_OBJECT_SLICES 1

#include "gc-embedder-api.h"

typedef void (*bench_visitor)(struct gc_edge edge, struct gc_heap *heap,
                              void *visit_data);

/* Holes are never stored anywhere, so only an ambiguous root can reach one.  */
#define BENCH_HOLES_ARE_UNREACHABLE (GC_PRECISE_ROOTS && !GC_CONSERVATIVE_ROOTS)

/* One function per kind that visits the object's fields.  */

#define DEFINE_VISIT(name, body)                                            \
  static inline void bench_visit_##name(                                    \
      struct name *object, bench_visitor visit, struct gc_heap *heap,       \
      void *data) GC_ALWAYS_INLINE;                                         \
  static inline void bench_visit_##name(struct name *object,                \
                                        bench_visitor visit,                \
                                        struct gc_heap *heap, void *data) { \
    (void)object, (void)visit, (void)heap, (void)data;                      \
    body                                                                    \
  }
#define VISIT(field) visit(gc_edge(&object->field), heap, data)

DEFINE_VISIT(node, VISIT(left); VISIT(right);)
DEFINE_VISIT(hole, if (BENCH_HOLES_ARE_UNREACHABLE) GC_CRASH();)
DEFINE_VISIT(quad, for (int i = 0; i < 4; i++) VISIT(kids[i]);)
DEFINE_VISIT(cell, ;)
DEFINE_VISIT(vertex, VISIT(edges);)
DEFINE_VISIT(adjacency,
             for (uint64_t i = 0; i < object->degree; i++) VISIT(targets[i]);)
DEFINE_VISIT(vector,
             for (uint64_t i = 0; i < object->length; i++) VISIT(slots[i]);)
DEFINE_VISIT(bytes, ;)
DEFINE_VISIT(pair, VISIT(head); VISIT(tail);)
DEFINE_VISIT(box, ;)
DEFINE_VISIT(item, VISIT(next); VISIT(payload);)
DEFINE_VISIT(queue, VISIT(front); VISIT(back);)
DEFINE_VISIT(entry, VISIT(link);)
DEFINE_VISIT(resource, VISIT(closure); VISIT(neighbour);)

#undef DEFINE_VISIT
#undef VISIT

static inline uintptr_t *bench_tag_word(struct gc_ref ref) {
  return (uintptr_t *)gc_ref_heap_object(ref);
}

GC_EMBEDDER_API inline size_t gc_trace_object(struct gc_ref ref,
                                              bench_visitor visit,
                                              struct gc_heap *heap,
                                              void *trace_data) {
  void *object = gc_ref_heap_object(ref);
  switch (BENCH_TAG_KIND(*bench_tag_word(ref))) {
#define TRACE_KIND(name, NAME)                                            \
  case BENCH_KIND_##NAME:                                                 \
    if (visit)                                                            \
      bench_visit_##name((struct name *)object, visit, heap, trace_data); \
    return name##_size((struct name *)object);
    BENCH_FOR_EACH_OWN_KIND(TRACE_KIND)
#undef TRACE_KIND
  case BENCH_KIND_EPHEMERON:
    if (visit)
      gc_trace_ephemeron((struct gc_ephemeron *)object, visit, heap,
                         trace_data);
    return gc_ephemeron_size();
  case BENCH_KIND_FINALIZER:
    if (visit)
      gc_trace_finalizer((struct gc_finalizer *)object, visit, heap,
                         trace_data);
    return gc_finalizer_size();
  }
  GC_CRASH();
}

/* Edges of a vector whose offset is in [OFFSET, LIMIT).  */
static inline size_t bench_trace_vector_slice(struct vector *object,
                                              size_t offset, size_t limit,
                                              bench_visitor visit,
                                              struct gc_heap *heap,
                                              void *trace_data) {
  size_t header = offsetof(struct vector, slots);
  size_t size = vector_size(object);
  if (offset < header)
    offset = header;
  if (limit > size)
    limit = size;
  for (; offset < limit; offset += sizeof(void *))
    visit(gc_edge((char *)object + offset), heap, trace_data);
  return size;
}

GC_EMBEDDER_API inline size_t gc_trace_object_slice(struct gc_ref ref,
                                                    size_t offset, size_t limit,
                                                    bench_visitor visit,
                                                    struct gc_heap *heap,
                                                    void *trace_data) {
  if (BENCH_TAG_KIND(*bench_tag_word(ref)) == BENCH_KIND_VECTOR)
    return bench_trace_vector_slice((struct vector *)gc_ref_heap_object(ref),
                                    offset, limit, visit, heap, trace_data);
  return gc_trace_object(ref, offset == 0 ? visit : NULL, heap, trace_data);
}

GC_EMBEDDER_API inline void gc_trace_mutator_roots(
    struct gc_mutator_roots *roots,
    void (*trace_edge)(struct gc_edge edge, struct gc_heap *heap,
                       void *trace_data),
    struct gc_heap *heap, void *trace_data) {
  bench_visit_handles(roots->handles, trace_edge, heap, trace_data);
}

GC_EMBEDDER_API inline void
gc_trace_heap_roots(struct gc_heap_roots *roots,
                    void (*trace_edge)(struct gc_edge edge,
                                       struct gc_heap *heap, void *trace_data),
                    struct gc_heap *heap, void *trace_data) {
  bench_visit_handles(roots->handles, trace_edge, heap, trace_data);
}

/* No root needs its referent to stay in place.  */

GC_EMBEDDER_API inline void gc_trace_mutator_pinned_roots(
    struct gc_mutator_roots *roots,
    void (*trace_pinned)(struct gc_ref ref, struct gc_heap *heap, void *data),
    void (*trace_ambiguous)(uintptr_t start, uintptr_t end,
                            int possibly_interior, struct gc_heap *heap,
                            void *data),
    struct gc_heap *heap, void *data) {
  (void)roots, (void)trace_pinned, (void)trace_ambiguous, (void)heap,
      (void)data;
}

GC_EMBEDDER_API inline void gc_trace_heap_pinned_roots(
    struct gc_heap_roots *roots,
    void (*trace_pinned)(struct gc_ref ref, struct gc_heap *heap, void *data),
    void (*trace_ambiguous)(uintptr_t start, uintptr_t end,
                            int possibly_interior, struct gc_heap *heap,
                            void *data),
    struct gc_heap *heap, void *data) {
  (void)roots, (void)trace_pinned, (void)trace_ambiguous, (void)heap,
      (void)data;
}

GC_EMBEDDER_API inline int
gc_is_valid_conservative_ref_displacement(uintptr_t displacement) {
#if GC_CONSERVATIVE_ROOTS || GC_CONSERVATIVE_TRACE
  return displacement == 0;
#else
  (void)displacement;
  GC_CRASH();
#endif
}

GC_EMBEDDER_API inline size_t gc_finalizer_priority_count(void) {
  return BENCH_FINALIZER_PRIORITIES;
}

/* All objects are in the collector's memory.  */

GC_EMBEDDER_API inline int gc_extern_space_visit(struct gc_extern_space *space,
                                                 struct gc_ref ref) {
  (void)space, (void)ref;
  GC_CRASH();
}

GC_EMBEDDER_API inline void
gc_extern_space_start_gc(struct gc_extern_space *space, int is_minor_gc) {
  (void)space, (void)is_minor_gc;
}

GC_EMBEDDER_API inline void
gc_extern_space_finish_gc(struct gc_extern_space *space, int is_minor_gc) {
  (void)space, (void)is_minor_gc;
}

/* Forwarding through the tag word: odd means not forwarded, zero that some
   thread is moving the object, any other value is the new address.  */

static inline int bench_is_whole(uintptr_t tag) {
  return tag & 1;
}

static inline enum gc_forwarding_state bench_forwarding_state(uintptr_t tag) {
  if (bench_is_whole(tag))
    return GC_FORWARDING_STATE_NOT_FORWARDED;
  return tag == 0 ? GC_FORWARDING_STATE_BUSY : GC_FORWARDING_STATE_FORWARDED;
}

GC_EMBEDDER_API inline uintptr_t
gc_object_forwarded_nonatomic(struct gc_ref ref) {
  uintptr_t tag = *bench_tag_word(ref);
  return bench_is_whole(tag) ? 0 : tag;
}

GC_EMBEDDER_API inline void gc_object_forward_nonatomic(struct gc_ref ref,
                                                        struct gc_ref new_ref) {
  *bench_tag_word(ref) = gc_ref_value(new_ref);
}

GC_EMBEDDER_API inline struct gc_atomic_forward
gc_atomic_forward_begin(struct gc_ref ref) {
  uintptr_t tag = gc_atomic_load(bench_tag_word(ref));
  return (struct gc_atomic_forward){ref, tag, bench_forwarding_state(tag)};
}

GC_EMBEDDER_API inline void
gc_atomic_forward_acquire(struct gc_atomic_forward *fwd) {
  GC_ASSERT(fwd->state == GC_FORWARDING_STATE_NOT_FORWARDED);
  uintptr_t tag = fwd->data;
  if (gc_atomic_cmpxchg_strong(bench_tag_word(fwd->ref), &tag, (uintptr_t)0)) {
    fwd->state = GC_FORWARDING_STATE_ACQUIRED;
  } else {
    fwd->data = tag;
    fwd->state = bench_forwarding_state(tag);
  }
}

GC_EMBEDDER_API inline int
gc_atomic_forward_retry_busy(struct gc_atomic_forward *fwd) {
  GC_ASSERT(fwd->state == GC_FORWARDING_STATE_BUSY);
  fwd->data = gc_atomic_load(bench_tag_word(fwd->ref));
  fwd->state = bench_forwarding_state(fwd->data);
  return fwd->state != GC_FORWARDING_STATE_BUSY;
}

GC_EMBEDDER_API inline void
gc_atomic_forward_abort(struct gc_atomic_forward *fwd) {
  GC_ASSERT(fwd->state == GC_FORWARDING_STATE_ACQUIRED);
  gc_atomic_store(bench_tag_word(fwd->ref), fwd->data);
  fwd->state = GC_FORWARDING_STATE_NOT_FORWARDED;
}

/* The tag is out of the object, so the size comes from the saved one.  */
GC_EMBEDDER_API inline size_t
gc_atomic_forward_object_size(struct gc_atomic_forward *fwd) {
  GC_ASSERT(fwd->state == GC_FORWARDING_STATE_ACQUIRED);
  void *object = gc_ref_heap_object(fwd->ref);
  switch (BENCH_TAG_KIND(fwd->data)) {
#define SIZE_OF_KIND(name, NAME) \
  case BENCH_KIND_##NAME:        \
    return name##_size((struct name *)object);
    BENCH_FOR_EACH_OWN_KIND(SIZE_OF_KIND)
#undef SIZE_OF_KIND
  case BENCH_KIND_EPHEMERON:
    return gc_ephemeron_size();
  case BENCH_KIND_FINALIZER:
    return gc_finalizer_size();
  }
  GC_CRASH();
}

GC_EMBEDDER_API inline void
gc_atomic_forward_commit(struct gc_atomic_forward *fwd, struct gc_ref new_ref) {
  GC_ASSERT(fwd->state == GC_FORWARDING_STATE_ACQUIRED);
  *bench_tag_word(new_ref) = fwd->data;
  gc_atomic_store(bench_tag_word(fwd->ref), gc_ref_value(new_ref));
  fwd->data = gc_ref_value(new_ref);
  fwd->state = GC_FORWARDING_STATE_FORWARDED;
}

GC_EMBEDDER_API inline uintptr_t
gc_atomic_forward_address(struct gc_atomic_forward *fwd) {
  GC_ASSERT(fwd->state == GC_FORWARDING_STATE_FORWARDED);
  return fwd->data;
}

#endif /* BENCH_EMBEDDER_H */
