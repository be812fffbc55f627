/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Exhaustion: bounded escalation, failure handlers, accounting.  */

#include "../src/mmc.c"
#include "test-heap.h"

struct accounts {
  size_t used_blocks, large_bytes, budget, heap_size;
};

static struct accounts accounts_of(struct test_heap *t) {
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  struct nofl_space *space = &t->heap->space;
  return (struct accounts){space->used_blocks, space->large_bytes,
                           space->budget_bytes, t->heap->heap_size};
}

static void assert_accounts_equal(struct accounts a, struct accounts b) {
  assert_in_range(a.used_blocks, b.used_blocks ? b.used_blocks - 1 : 0,
                  b.used_blocks + 1);
  assert_int_equal(a.large_bytes, b.large_bytes);
  assert_int_equal(a.budget, b.budget);
  assert_int_equal(a.heap_size, b.heap_size);
}

/* A failed request leaves nothing behind, whether the handler returns or
   unwinds.  */
static void failed_large_requests_leave_no_trace(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_leave_by_longjmp);
  test_make_table(t->mut, &t->root, 1000);
  struct accounts before = accounts_of(t);
  test_failures = 0;
  for (volatile int i = 0; i < 1000; i++)
    if (!setjmp(test_failure_jump)) {
      size_t size = i % 2 ? (size_t)32 << 20 : SIZE_MAX / 8 + i;
      gc_allocate(t->mut, size, GC_ALLOCATION_TAGGED_POINTERLESS);
      fail();
    }
  assert_int_equal(test_failures, 1000);
  assert_accounts_equal(accounts_of(t), before);
  assert_int_equal(t->mut->in_library, 0);
  assert_non_null(test_make_bytes(t->mut, 1 << 20));
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* Nor in a heap that may grow: it must go on to collect.  */
static void growth_for_failed_requests_is_taken_back(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(
      "heap-size=8m,heap-size-policy=growable,maximum-heap-size=64m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  size_t before = t->heap->heap_size;
  assert_null(gc_allocate(t->mut, (size_t)200 << 20,
                          GC_ALLOCATION_UNTAGGED_POINTERLESS));
  assert_int_equal(t->heap->heap_size, before);
  uint64_t collections = t->heap->started[GC_COLLECTION_ANY];
  for (int i = 0; i < 64; i++)
    assert_non_null(test_make_bytes(t->mut, 1 << 20));
  assert_true(t->heap->started[GC_COLLECTION_ANY] > collections);
  test_heap_finish(t);
}

static void impossible_requests_do_not_collect(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size=8m,heap-size-policy=growable", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  test_failures = 0;
  uint64_t collections = t->heap->started[GC_COLLECTION_ANY];
  for (int i = 0; i < 1000; i++)
    assert_null(gc_allocate(t->mut, (SIZE_MAX / 2) - i * 4096,
                            GC_ALLOCATION_UNTAGGED_POINTERLESS));
  assert_int_equal(test_failures, 1000);
  assert_int_equal(t->heap->started[GC_COLLECTION_ANY], collections);
  test_heap_finish(t);
}

static void __attribute__((noinline)) fill_with_list(struct test_heap *t) {
  for (;;) {
    struct test_node *node = test_make_node(t->mut, 1, 13);
    node->edges[0] = t->root.ref;
    t->root.ref = node;
  }
}

/* The same for small objects: the heap is full each time.  */
static void failed_small_requests_leave_no_trace(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=2m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_leave_by_longjmp);
  test_failures = 0;
  struct accounts before = accounts_of(t);
  for (volatile int i = 0; i < 20; i++) {
    if (!setjmp(test_failure_jump))
      fill_with_list(t);
    t->root.ref = NULL;
  }
  assert_int_equal(test_failures, 20);
  assert_int_equal(test_failure_size, test_node_bytes(1, 13));
  if (TEST_EXACT)
    assert_accounts_equal(accounts_of(t), before);
  assert_int_equal(t->mut->in_library, 0);
  test_heap_finish(t);
}

static void failure_handler_result_is_returned(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=2m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  assert_null(gc_allocate(t->mut, 1 << 24, GC_ALLOCATION_TAGGED_POINTERLESS));
  assert_int_equal(test_failure_size, 1 << 24);
  test_heap_finish(t);
}

/* A full collection that frees most of the heap must not be mistaken for one
   that failed, because there was no progress before it.  */
static void no_false_exhaustion_after_explicit_collection(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=4m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  test_failures = 0;
  for (int i = 0; i < 10; i++) {
    struct test_node *node;
    while ((node = test_make_node(t->mut, 1, 13))) {
      node->edges[0] = t->root.ref;
      t->root.ref = node;
    }
    assert_int_equal(test_failures, i + 1);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    node = NULL;
    t->root.ref = NULL;
    assert_true(test_make_node(t->mut, 0, 900) || !TEST_EXACT);
  }
  test_heap_finish(t);
}

/* Fill the heap, then let go of so many BYTES: of each node, since an ambiguous
   reference to one may be left on the stack.  */
static void __attribute__((noinline))
fill_but_for(struct test_heap *t, size_t bytes) {
  struct test_node *node;
  while ((node = test_make_node(t->mut, 1, 13))) {
    node->edges[0] = t->root.ref;
    t->root.ref = node;
  }
  for (size_t freed = 0; freed < bytes; freed += test_node_bytes(1, 13)) {
    node = t->root.ref;
    t->root.ref = node->edges[0];
    node->edges[0] = NULL;
  }
}

/* Returns how many BYTES of garbage could be allocated.  */
static size_t make_garbage(struct test_heap *t, size_t bytes) {
  size_t made = 0;
  while (made < bytes && test_make_node(t->mut, 1, 13))
    made += test_node_bytes(1, 13);
  return made;
}

/* A program that runs out of memory hears so soon, although each collection finds a
   little.  */
static void an_almost_full_heap_is_given_up(void **state) {
  (void)state;
  size_t little = 128 << 10, much = 2 << 20, plenty = 64 << 20;
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  fill_but_for(t, little);
  uint64_t before = t->heap->started[GC_COLLECTION_ANY];
  assert_true(make_garbage(t, plenty) < plenty);
  uint64_t collections = t->heap->started[GC_COLLECTION_ANY] - before;
  assert_in_range(collections, MMC_MAX_FUTILE_COLLECTIONS - 2,
                  8 * MMC_MAX_FUTILE_COLLECTIONS);
  /* It may let go of something and go on.  */
  t->root.ref = NULL;
  assert_int_equal(make_garbage(t, plenty), plenty);
  /* Also on the way there.  */
  fill_but_for(t, little);
  while (t->heap->futile_collections < MMC_MAX_FUTILE_COLLECTIONS / 2)
    assert_non_null(test_make_node(t->mut, 1, 13));
  t->root.ref = NULL;
  assert_int_equal(make_garbage(t, plenty), plenty);
  /* To work in little room is no failure.  */
  fill_but_for(t, much);
  assert_int_equal(make_garbage(t, plenty), plenty);
  test_heap_finish(t);
}

static void maximum_heap_size_is_enforced(void **state) {
  (void)state;
  static const char *const policies[] = {"growable", "adaptive"};
  for (int p = 0; p < 2; p++) {
    char options[128];
    snprintf(options, sizeof(options),
             "heap-size-policy=%s,heap-size=2m,"
             "maximum-heap-size=12m",
             policies[p]);
    struct test_heap *t = test_heap_make(options, NULL);
    gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
    size_t bytes = 0;
    struct test_node *node;
    while ((node = test_make_node(t->mut, 1, 100))) {
      node->edges[0] = t->root.ref;
      t->root.ref = node;
      bytes += test_node_bytes(1, 100);
      assert_in_range(t->heap->heap_size, 0, 12 << 20);
      assert_in_range(bytes, 0, 12 << 20);
    }
    assert_in_range(bytes, 8 << 20, 12 << 20);
    test_heap_finish(t);
  }
}

/* Growth for a request that no collection can satisfy.  */
static void growable_heap_grows_for_large_requests(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,heap-size=1m", NULL);
  for (size_t size = 1 << 20; size <= (size_t)32 << 20; size *= 2) {
    struct test_bytes *bytes = test_make_bytes(t->mut, size);
    assert_non_null(bytes);
    t->root.ref = bytes;
  }
  test_heap_finish(t);
}

/* A large request is reckoned with when the heap is sized after the collection
   that it causes; it does not need a second one, nor a compaction.  */
static void a_large_request_collects_once(void **state) {
  (void)state;
  static const char *const policies[] = {"growable", "adaptive"};
  for (int p = 0; p < 2; p++) {
    char options[64];
    snprintf(options, sizeof(options), "heap-size-policy=%s,heap-size=2m",
             policies[p]);
    struct test_heap *t = test_heap_make(options, NULL);
    test_make_table(t->mut, &t->root, 1000);
    struct gc_heap_statistics *stats = &t->heap->statistics;
    for (int round = 0; round < 5; round++) {
      for (size_t size = 1 << 20; size <= (size_t)32 << 20; size *= 2) {
        uint64_t before = t->heap->started[GC_COLLECTION_ANY];
        assert_non_null(test_make_bytes(t->mut, size));
        assert_in_range(t->heap->started[GC_COLLECTION_ANY] - before, 0, 1);
      }
    }
    assert_int_equal(stats->collections_compacting, 0);
    test_check_table(&t->root);
    test_heap_finish(t);
  }
}

static void uncleared_objects(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  static const size_t sizes[] = {1, 16, 100, 8192, 8193, 100000, 3000000};
  for (int round = 0; round < 50; round++)
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
      char *p = gc_allocate_uncleared(t->mut, sizes[i],
                                      GC_ALLOCATION_UNTAGGED_POINTERLESS);
      assert_non_null(p);
      for (size_t j = 0; j < 16 && j < sizes[i]; j++)
        assert_int_equal(p[j], 0);
      memset(p, 0x55, sizes[i]);
      /* Others stay clear.  */
      char *clear =
          gc_allocate(t->mut, sizes[i], GC_ALLOCATION_UNTAGGED_POINTERLESS);
      for (size_t j = 0; j < sizes[i]; j++)
        assert_int_equal(clear[j], 0);
    }
  test_heap_finish(t);
}

static void tiny_heaps_are_usable(void **state) {
  (void)state;
  static const char *const sizes[] = {"1", "64k", "256k", "300k", "1m"};
  for (int i = 0; i < 5; i++) {
    char options[64];
    snprintf(options, sizeof(options), "heap-size=%s", sizes[i]);
    struct test_heap *t = test_heap_make(options, NULL);
    gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
    test_failures = 0;
    test_make_table(t->mut, &t->root, 1000);
    test_make_garbage(t->mut, 4 << 20);
    for (int j = 0; j < 20; j++)
      assert_non_null(test_make_bytes(t->mut, 30000));
    assert_int_equal(test_failures, 0);
    test_check_table(&t->root);
    if (TEST_MOVES)
      assert_in_range(t->heap->space.reserve_blocks, 1, 4);
    test_heap_finish(t);
  }
}

static void growable_policy_never_loops(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size-policy=growable,heap-size=2m,"
                                       "maximum-heap-size=8m",
                                       NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  uint64_t before = t->heap->started[GC_COLLECTION_ANY];
  test_failures = 0;
  for (int i = 0; i < 10; i++)
    assert_null(test_make_bytes(t->mut, 16 << 20));
  assert_int_equal(test_failures, 10);
  assert_in_range(t->heap->started[GC_COLLECTION_ANY] - before, 10, 50);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(failed_large_requests_leave_no_trace),
      cmocka_unit_test(growth_for_failed_requests_is_taken_back),
      cmocka_unit_test(impossible_requests_do_not_collect),
      cmocka_unit_test(failed_small_requests_leave_no_trace),
      cmocka_unit_test(failure_handler_result_is_returned),
      cmocka_unit_test(no_false_exhaustion_after_explicit_collection),
      cmocka_unit_test(an_almost_full_heap_is_given_up),
      cmocka_unit_test(maximum_heap_size_is_enforced),
      cmocka_unit_test(growable_heap_grows_for_large_requests),
      cmocka_unit_test(a_large_request_collects_once),
      cmocka_unit_test(uncleared_objects),
      cmocka_unit_test(tiny_heaps_are_usable),
      cmocka_unit_test(growable_policy_never_loops),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
