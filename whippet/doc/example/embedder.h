/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* How the collector finds its way through the example's objects and roots.
   Only the collector's sources include this.  */
#ifndef EMBEDDER_H
#define EMBEDDER_H

#include "types.h"

#include "gc-assert.h"
#include "gc-ephemeron.h"
#include "gc-finalizer.h"

#define GC_EMBEDDER_EPHEMERON_HEADER struct object header;
#define GC_EMBEDDER_FINALIZER_HEADER struct object header;

#include "gc-embedder-api.h"

typedef void (*visitor)(struct gc_edge edge, struct gc_heap *heap, void *data);

/* Objects: visit each field that is a reference; return the size.  */
static inline size_t gc_trace_object(struct gc_ref ref, visitor visit,
                                     struct gc_heap *heap, void *trace_data) {
  struct object *obj = gc_ref_heap_object(ref);
  if (obj->kind == STRING)
    return ((struct string *)obj)->size;
  struct pair *pair = (struct pair *)obj;
  if (visit) {
    visit(gc_edge(&pair->car), heap, trace_data);
    visit(gc_edge(&pair->cdr), heap, trace_data);
  }
  return sizeof *pair;
}

/* Roots.  */
static inline void gc_trace_mutator_roots(struct gc_mutator_roots *roots,
                                          visitor visit, struct gc_heap *heap,
                                          void *data) {
  for (struct root *root = roots->first; root; root = root->next)
    visit(gc_edge(&root->ref), heap, data);
}

/* The program has no roots but those of its mutators, ...  */
static inline void gc_trace_heap_roots(struct gc_heap_roots *roots,
                                       visitor visit, struct gc_heap *heap,
                                       void *data) {
}

typedef void (*pinned_visitor)(struct gc_ref ref, struct gc_heap *heap,
                               void *data);
typedef void (*range_visitor)(uintptr_t start, uintptr_t end,
                              int possibly_interior, struct gc_heap *heap,
                              void *data);

static inline void gc_trace_mutator_pinned_roots(struct gc_mutator_roots *roots,
                                                 pinned_visitor pinned,
                                                 range_visitor ambiguous,
                                                 struct gc_heap *heap,
                                                 void *data) {
}

static inline void gc_trace_heap_pinned_roots(struct gc_heap_roots *roots,
                                              pinned_visitor pinned,
                                              range_visitor ambiguous,
                                              struct gc_heap *heap,
                                              void *data) {
}

/* ... no tagged pointers, ...  */
static inline int
gc_is_valid_conservative_ref_displacement(uintptr_t displacement) {
  return displacement == 0;
}

/* ... no finalizers, ...  */
static inline size_t gc_finalizer_priority_count(void) {
  return 1;
}

/* ... and no objects elsewhere.  */
static inline int gc_extern_space_visit(struct gc_extern_space *space,
                                        struct gc_ref ref) {
  GC_CRASH();
}
static inline void gc_extern_space_start_gc(struct gc_extern_space *space,
                                            int is_minor_gc) {
}
static inline void gc_extern_space_finish_gc(struct gc_extern_space *space,
                                             int is_minor_gc) {
}

/* The collectors of this library do not forward in the object itself.  */
static inline uintptr_t gc_object_forwarded_nonatomic(struct gc_ref ref) {
  GC_CRASH();
}
static inline void gc_object_forward_nonatomic(struct gc_ref ref,
                                               struct gc_ref new_ref) {
  GC_CRASH();
}
static inline struct gc_atomic_forward
gc_atomic_forward_begin(struct gc_ref ref) {
  GC_CRASH();
}
static inline void gc_atomic_forward_acquire(struct gc_atomic_forward *fwd) {
  GC_CRASH();
}
static inline int gc_atomic_forward_retry_busy(struct gc_atomic_forward *fwd) {
  GC_CRASH();
}
static inline void gc_atomic_forward_abort(struct gc_atomic_forward *fwd) {
  GC_CRASH();
}
static inline size_t
gc_atomic_forward_object_size(struct gc_atomic_forward *fwd) {
  GC_CRASH();
}
static inline void gc_atomic_forward_commit(struct gc_atomic_forward *fwd,
                                            struct gc_ref new_ref) {
  GC_CRASH();
}
static inline uintptr_t
gc_atomic_forward_address(struct gc_atomic_forward *fwd) {
  GC_CRASH();
}

#endif /* EMBEDDER_H */
