/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the tests of the collector share: a heap per test, handles, objects.

   Tests that look at internals include src/mmc.c first.  */

#ifndef TEST_HEAP_H
#define TEST_HEAP_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"
#include "gc-ephemeron.h"
#include "gc-finalizer.h"
#include "gc-heap-stats.h"
#include "gc-null-event-listener.h"
#include "gc-options.h"
#include "gc-safepoint.h"
#include "test-types.h"

/* Is what is dead sure to be found?  */
#define TEST_EXACT (!GC_CONSERVATIVE_ROOTS)
#define TEST_MOVES (!GC_CONSERVATIVE_TRACE)

struct test_heap {
  struct gc_heap *heap;
  struct gc_mutator *mut;
  struct gc_mutator_roots roots;
  struct test_handle root; /* general purpose */
};

/* Heaps are never freed; one mutator at a time is this thread's.  */
static struct test_heap *test_heap_make(const char *options,
                                        const char *stress) {
  struct test_heap *t = calloc(1, sizeof(*t));
  struct gc_options *o = gc_allocate_options();
  assert_non_null(t);
  assert_true(gc_options_parse_and_set_many(o, options));
  if (stress)
    setenv("GC_MMC_STRESS", stress, 1);
  else
    unsetenv("GC_MMC_STRESS");
  assert_true(gc_init(o, gc_empty_stack_addr(), &t->heap, &t->mut,
                      GC_NULL_EVENT_LISTENER, NULL));
  unsetenv("GC_MMC_STRESS");
  t->roots.handles = &t->root;
  gc_mutator_set_roots(t->mut, &t->roots);
  return t;
}

static void test_heap_finish(struct test_heap *t) {
  gc_finish_for_thread(t->mut);
}

/* For gc_deactivate_for_call: wait for the end of the thread at DATA.  */
static void *test_join(struct gc_mutator *mut, void *data) {
  (void)mut;
  pthread_join(*(pthread_t *)data, NULL);
  return NULL;
}

static inline void test_push(struct test_heap *t, struct test_handle *handle) {
  handle->next = t->roots.handles;
  t->roots.handles = handle;
}

static inline void test_pop(struct test_heap *t, struct test_handle *handle) {
  assert_ptr_equal(t->roots.handles, handle);
  t->roots.handles = handle->next;
}

/* Objects; null if a failure handler returned that.  */

static inline struct test_node *
test_make_node_of_kind(struct gc_mutator *mut, uint32_t edges, uint32_t words,
                       enum gc_allocation_kind kind) {
  struct test_node *node =
      gc_allocate(mut, test_node_bytes(edges, words), kind);
  if (node) {
    node->tag = TEST_TAG(TEST_NODE, words);
    node->edge_count = edges;
    node->payload_words = words;
  }
  return node;
}

static inline struct test_node *test_make_node(struct gc_mutator *mut,
                                               uint32_t edges, uint32_t words) {
  return test_make_node_of_kind(mut, edges, words, GC_ALLOCATION_TAGGED);
}

static inline struct test_box *test_make_box(struct gc_mutator *mut,
                                             uint64_t id) {
  struct test_box *box = gc_allocate(mut, sizeof(*box), GC_ALLOCATION_TAGGED);
  if (box)
    box->tag = TEST_TAG(TEST_BOX, id);
  return box;
}

static inline struct test_bytes *test_make_bytes(struct gc_mutator *mut,
                                                 size_t size) {
  struct test_bytes *bytes =
      gc_allocate(mut, size, GC_ALLOCATION_TAGGED_POINTERLESS);
  if (bytes) {
    bytes->tag = TEST_TAG(TEST_BYTES, 0);
    bytes->size = size;
  }
  return bytes;
}

/* KEY and VALUE are handles.  */
static inline struct gc_ephemeron *
test_make_ephemeron(struct gc_mutator *mut, struct test_handle *key,
                    struct test_handle *value) {
  struct gc_ephemeron *e = gc_allocate_ephemeron(mut);
  *(uintptr_t *)e = TEST_TAG(TEST_EPHEMERON, 0);
  gc_ephemeron_init(mut, e, gc_ref((uintptr_t)key->ref),
                    gc_ref((uintptr_t)value->ref));
  return e;
}

static inline struct gc_finalizer *
test_attach_finalizer(struct gc_mutator *mut, unsigned priority,
                      struct test_handle *object, uintptr_t closure) {
  struct gc_finalizer *f = gc_allocate_finalizer(mut);
  *(uintptr_t *)f = TEST_TAG(TEST_FINALIZER, 0);
  gc_finalizer_attach(mut, f, priority, gc_ref((uintptr_t)object->ref),
                      gc_ref(closure));
  return f;
}

/* Store REF to field I of NODE.  */
static inline void test_store(struct gc_mutator *mut, struct test_node *node,
                              uint32_t i, void *ref) {
  if (ref)
    gc_write_barrier(mut, gc_ref_from_heap_object(node),
                     test_node_bytes(node->edge_count, node->payload_words),
                     gc_edge(&node->edges[i]), gc_ref_from_heap_object(ref));
  node->edges[i] = ref;
}

/* A table of COUNT boxes, each identified by its index, in HANDLE.  */
static inline void test_make_table(struct gc_mutator *mut,
                                   struct test_handle *handle, uint32_t count) {
  handle->ref = test_make_node(mut, count, 0);
  assert_non_null(handle->ref);
  for (uint32_t i = 0; i < count; i++) {
    struct test_box *box = test_make_box(mut, i);
    assert_non_null(box);
    test_store(mut, handle->ref, i, box);
  }
}

static inline void test_check_table(struct test_handle *handle) {
  struct test_node *node = handle->ref;
  for (uint32_t i = 0; i < node->edge_count; i++)
    if (node->edges[i])
      assert_int_equal(((struct test_box *)node->edges[i])->tag,
                       TEST_TAG(TEST_BOX, i));
}

/* Allocate and drop BYTES in small objects.  */
static void __attribute__((unused, noinline))
test_make_garbage(struct gc_mutator *mut, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 64)
    if (!test_make_node(mut, 0, 6))
      return;
}

/* Allocation failures.  */

static jmp_buf test_failure_jump;
static unsigned test_failures;
static size_t test_failure_size;

static void *__attribute__((unused))
test_return_null(struct gc_heap *heap, size_t size) {
  (void)heap;
  test_failures++;
  test_failure_size = size;
  return NULL;
}

static void *__attribute__((unused))
test_leave_by_longjmp(struct gc_heap *heap, size_t size) {
  test_return_null(heap, size);
  longjmp(test_failure_jump, 1);
}

#endif // TEST_HEAP_H
