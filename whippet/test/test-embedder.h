/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The embedder of the test programs: how the collector traces their objects
   and finds their roots.  */

#ifndef TEST_EMBEDDER_H
#define TEST_EMBEDDER_H

#include "test-types.h"

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-config.h"
#include "gc-edge.h"
#include "gc-ephemeron.h"
#include "gc-finalizer.h"

#define GC_EMBEDDER_EPHEMERON_HEADER uintptr_t tag;
#define GC_EMBEDDER_FINALIZER_HEADER uintptr_t tag;
#define GC_EMBEDDER_TRACE_OBJECT_SLICES 1
#define GC_EMBEDDER_FIXES_REFERENTS 1

#include "gc-embedder-api.h"

typedef void (*test_visitor)(struct gc_edge edge, struct gc_heap *heap,
                             void *data);

static inline void test_visit_array(void **edges, size_t count,
                                    test_visitor visit, struct gc_heap *heap,
                                    void *data) {
  for (size_t i = 0; i < count; i++)
    visit(gc_edge(&edges[i]), heap, data);
}

static inline size_t test_trace_node(struct test_node *node, test_visitor visit,
                                     struct gc_heap *heap, void *data) {
  if (visit)
    test_visit_array(node->edges, node->edge_count, visit, heap, data);
  return test_node_bytes(node->edge_count, node->payload_words);
}

GC_EMBEDDER_API inline size_t gc_trace_object(struct gc_ref ref,
                                              test_visitor visit,
                                              struct gc_heap *heap,
                                              void *trace_data) {
  void *obj = gc_ref_heap_object(ref);
  switch (TEST_TAG_KIND(*(uintptr_t *)obj)) {
  case TEST_LEAF:
    return sizeof(struct test_leaf);
  case TEST_BOX:
    if (visit)
      visit(gc_edge(&((struct test_box *)obj)->edge), heap, trace_data);
    return sizeof(struct test_box);
  case TEST_NODE:
    return test_trace_node(obj, visit, heap, trace_data);
  case TEST_BYTES:
    return ((struct test_bytes *)obj)->size;
  case TEST_EPHEMERON:
    if (visit)
      gc_trace_ephemeron(obj, visit, heap, trace_data);
    return gc_ephemeron_size();
  case TEST_FINALIZER:
    if (visit)
      gc_trace_finalizer(obj, visit, heap, trace_data);
    return gc_finalizer_size();
  case TEST_EXTERN:
    if (visit)
      test_visit_array(((struct test_extern *)obj)->edges, TEST_EXTERN_EDGES,
                       visit, heap, trace_data);
    return sizeof(struct test_extern);
  default:
    GC_CRASH();
  }
}

GC_EMBEDDER_API inline size_t gc_trace_object_slice(struct gc_ref ref,
                                                    size_t offset, size_t limit,
                                                    test_visitor visit,
                                                    struct gc_heap *heap,
                                                    void *trace_data) {
  struct test_node *node = gc_ref_heap_object(ref);
  if ((offset | limit) % sizeof(uintptr_t))
    GC_CRASH();
  if (TEST_TAG_KIND(node->tag) != TEST_NODE)
    return gc_trace_object(ref, offset ? NULL : visit, heap, trace_data);
  size_t header = offsetof(struct test_node, edges);
  size_t end = header + node->edge_count * sizeof(void *);
  if (offset < header)
    offset = header;
  if (limit > end)
    limit = end;
  for (; offset < limit; offset += sizeof(void *))
    visit(gc_edge((char *)node + offset), heap, trace_data);
  return test_node_bytes(node->edge_count, node->payload_words);
}

/* Roots.  */

static inline void test_trace_handles(struct test_handle *handle,
                                      test_visitor visit, struct gc_heap *heap,
                                      void *data) {
  for (; handle; handle = handle->next)
    visit(gc_edge(&handle->ref), heap, data);
}

GC_EMBEDDER_API inline void
gc_trace_mutator_roots(struct gc_mutator_roots *roots, test_visitor visit,
                       struct gc_heap *heap, void *data) {
  test_trace_handles(roots->handles, visit, heap, data);
  test_visit_array(roots->precise.slots, roots->precise.count, visit, heap,
                   data);
  if (GC_CONSERVATIVE_ROOTS)
    return;
  test_visit_array(roots->pinned.slots, roots->pinned.count, visit, heap, data);
  test_visit_array(roots->ambiguous.slots, roots->ambiguous.count, visit, heap,
                   data);
}

GC_EMBEDDER_API inline void gc_trace_heap_roots(struct gc_heap_roots *roots,
                                                test_visitor visit,
                                                struct gc_heap *heap,
                                                void *data) {
  test_trace_handles(roots->handles, visit, heap, data);
  for (struct gc_mutator_roots *r = roots->first; r; r = r->next)
    gc_trace_mutator_roots(r, visit, heap, data);
}

GC_EMBEDDER_API inline void gc_trace_mutator_pinned_roots(
    struct gc_mutator_roots *roots,
    void (*trace_pinned)(struct gc_ref ref, struct gc_heap *heap, void *data),
    void (*trace_ambiguous)(uintptr_t start, uintptr_t end,
                            int possibly_interior, struct gc_heap *heap,
                            void *data),
    struct gc_heap *heap, void *data) {
  for (size_t i = 0; i < roots->pinned.count; i++)
    trace_pinned(gc_ref((uintptr_t)roots->pinned.slots[i]), heap, data);
  if (roots->ambiguous.count)
    trace_ambiguous(
        (uintptr_t)roots->ambiguous.slots,
        (uintptr_t)(roots->ambiguous.slots + roots->ambiguous.count), 1, heap,
        data);
}

GC_EMBEDDER_API inline void gc_trace_heap_pinned_roots(
    struct gc_heap_roots *roots,
    void (*trace_pinned)(struct gc_ref ref, struct gc_heap *heap, void *data),
    void (*trace_ambiguous)(uintptr_t start, uintptr_t end,
                            int possibly_interior, struct gc_heap *heap,
                            void *data),
    struct gc_heap *heap, void *data) {
  for (struct gc_mutator_roots *r = roots->first; r; r = r->next)
    gc_trace_mutator_pinned_roots(r, trace_pinned, trace_ambiguous, heap, data);
  void *volatile copy = roots->copied;
  trace_ambiguous((uintptr_t)&copy, (uintptr_t)(&copy + 1), 0, heap, data);
  copy = NULL;
}

GC_EMBEDDER_API inline int
gc_is_valid_conservative_ref_displacement(uintptr_t displacement) {
  return displacement == 0;
}

GC_EMBEDDER_API inline size_t gc_finalizer_priority_count(void) {
  return TEST_FINALIZER_PRIORITIES;
}

/* What a program's memory outside of the heap refers to; see test-pinning.c.  */

typedef void (*test_fixer)(struct gc_ref ref, struct gc_heap *heap, void *data);
static void (*test_fix_referents)(struct gc_ref ref, test_fixer fix,
                                  struct gc_heap *heap, void *data);

GC_EMBEDDER_API inline void gc_fix_referents(struct gc_ref ref, test_fixer fix,
                                             struct gc_heap *heap, void *data) {
  if (test_fix_referents)
    test_fix_referents(ref, fix, heap, data);
}

/* Objects outside of the heap.  */

GC_EMBEDDER_API inline int gc_extern_space_visit(struct gc_extern_space *space,
                                                 struct gc_ref ref) {
  struct test_extern *obj = gc_ref_heap_object(ref);
  if (!space || TEST_TAG_KIND(obj->tag) != TEST_EXTERN)
    GC_CRASH();
  uint32_t epoch = space->epoch;
  if (gc_atomic_swap(&obj->mark, epoch) == epoch)
    return 0;
  gc_atomic_fetch_add_relaxed(&space->visits, 1u);
  return 1;
}

GC_EMBEDDER_API inline void
gc_extern_space_start_gc(struct gc_extern_space *space, int is_minor_gc) {
  (void)is_minor_gc;
  if (!space)
    return;
  space->epoch++;
  space->starts++;
}

GC_EMBEDDER_API inline void
gc_extern_space_finish_gc(struct gc_extern_space *space, int is_minor_gc) {
  (void)is_minor_gc;
  if (space)
    space->finishes++;
}

/* Forwarding in the object is not for this collector.  */

GC_EMBEDDER_API inline uintptr_t
gc_object_forwarded_nonatomic(struct gc_ref ref) {
  (void)ref;
  GC_CRASH();
}

GC_EMBEDDER_API inline void gc_object_forward_nonatomic(struct gc_ref ref,
                                                        struct gc_ref new_ref) {
  (void)ref;
  (void)new_ref;
  GC_CRASH();
}

GC_EMBEDDER_API inline struct gc_atomic_forward
gc_atomic_forward_begin(struct gc_ref ref) {
  (void)ref;
  GC_CRASH();
}

GC_EMBEDDER_API inline void
gc_atomic_forward_acquire(struct gc_atomic_forward *fwd) {
  (void)fwd;
  GC_CRASH();
}

GC_EMBEDDER_API inline int
gc_atomic_forward_retry_busy(struct gc_atomic_forward *fwd) {
  (void)fwd;
  GC_CRASH();
}

GC_EMBEDDER_API inline void
gc_atomic_forward_abort(struct gc_atomic_forward *fwd) {
  (void)fwd;
  GC_CRASH();
}

GC_EMBEDDER_API inline size_t
gc_atomic_forward_object_size(struct gc_atomic_forward *fwd) {
  (void)fwd;
  GC_CRASH();
}

GC_EMBEDDER_API inline void
gc_atomic_forward_commit(struct gc_atomic_forward *fwd, struct gc_ref new_ref) {
  (void)fwd;
  (void)new_ref;
  GC_CRASH();
}

GC_EMBEDDER_API inline uintptr_t
gc_atomic_forward_address(struct gc_atomic_forward *fwd) {
  (void)fwd;
  GC_CRASH();
}

#endif // TEST_EMBEDDER_H
