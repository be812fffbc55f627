/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A program that could not get its heap may ask for a smaller one.  In processes of
   their own: there bdw has one heap.  */
/* Collectors: bdw mmc */

#include "unit.h"

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-null-event-listener.h"

#include "test-types.h"

#define MIB ((size_t)1024 * 1024)

static struct gc_heap *heap;
static struct gc_mutator *mut;

static int init(size_t heap_size) {
  struct gc_options *options = gc_allocate_options();
  gc_options_set_size(options, GC_OPTION_HEAP_SIZE, heap_size);
  int ok = gc_init(options, gc_empty_stack_addr(), &heap, &mut,
                   GC_NULL_EVENT_LISTENER, NULL);
  free(options);
  return ok;
}

static void *give_up(struct gc_heap *heap, size_t bytes) {
  (void)heap;
  (void)bytes;
  return NULL;
}

static struct test_node *cons(struct gc_mutator_roots *roots, size_t edges) {
  struct test_node *node =
      gc_allocate(mut, test_node_bytes(edges, 0), GC_ALLOCATION_TAGGED);
  if (node) {
    node->tag = TEST_TAG(TEST_NODE, 0);
    node->edge_count = edges;
    node->edges[0] = roots->handles->ref;
    roots->handles->ref = node;
  }
  return node;
}

/* A list of nodes of EDGES edges grows until the heap is full, and has them all.  */
static void fill_heap(size_t edges, size_t expected) {
  struct gc_mutator_roots *roots = calloc(1, sizeof(*roots));
  roots->handles = calloc(1, sizeof(*roots->handles));
  gc_mutator_set_roots(mut, roots);
  gc_heap_set_allocation_failure_handler(heap, give_up);
  size_t count = 0, length = 0;
  while (count * test_node_bytes(edges, 0) < 2 * expected && cons(roots, edges))
    count++;
  for (struct test_node *node = roots->handles->ref; node && length <= count;
       node = node->edges[0])
    length++;
  size_t bytes = count * test_node_bytes(edges, 0);
  if (length != count || bytes < expected / 2 || bytes > expected)
    _exit(1);
}

static void fill_second_heap(void *data) {
  if (init(SIZE_MAX) || heap || mut)
    _exit(2);
  if (!init(16 * MIB) || !heap || !mut)
    _exit(3);
  fill_heap(*(size_t *)data, 16 * MIB);
}

static void test_second_attempt(void **state) {
  (void)state;
  static const size_t edges[] = {1, 2, 4, 14, 30, 100, 1000};
  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
    int status = unit_run_in_child(fill_second_heap, (void *)&edges[i]);
    if (status)
      fail_msg("%zu edges: status %#x", edges[i], status);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_second_attempt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
