/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The bounds on the size of an adaptive heap, which are the embedder's.  Looks at
   internals.  */
/* Collectors: mmc stack-conservative-parallel-mmc */

#include "../src/mmc.c"
#include "test-heap.h"

static double target(struct test_heap *t, double live, double allocation_rate) {
  t->heap->sizing.allocation_rate = allocation_rate;
  t->heap->sizing.trace_rate = 1;
  return heap_adaptive_target(t->heap, live);
}

static void assert_near(double x, double expected) {
  if (x < expected * 0.999 || x > expected * 1.001)
    fail_msg("%g is not %g", x, expected);
}

static void bounds_of_the_size(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(
      "heap-size-policy=adaptive,heap-size=4m,heap-expansiveness=2", NULL);
  double MB = 1024 * 1024;
  assert_near(target(t, 64 * MB, 1e9), 2.5 * 64 * MB);
  assert_near(target(t, 6 * MB, 1e9), 2.5 * 6 * MB);
  assert_near(target(t, 4096 * MB, 1e-9), 1.2 * 4096 * MB);
  /* Room for some allocation comes first.  */
  assert_near(target(t, 1 * MB, 1e9), 1 * MB + MMC_ADAPTIVE_MIN_EXTRA);
  assert_near(target(t, 1 * MB, 1e-9), 1 * MB + MMC_ADAPTIVE_MIN_EXTRA);
  test_heap_finish(t);
}

/* Where memory is short the heap takes three quarters of it, or what it needs.  */
static void memory_bounds_the_size(void **state) {
  (void)state;
  static const char *const policies[] = {
      "heap-size-policy=adaptive,heap-size=4m,heap-expansiveness=2",
      "heap-size-policy=growable,heap-size=4m,heap-double-threshold=1g"};
  size_t MB = 1024 * 1024;
  for (size_t i = 0; i < 2; i++) {
    struct test_heap *t = test_heap_make(policies[i], NULL);
    assert_true(t->heap->sizing.memory > 16 * MB);
    target(t, 1, 1e9);
    t->heap->sizing.memory = 64 * MB;
    assert_int_equal(heap_policy_size(t->heap, 30 * MB), 48 * MB);
    assert_int_equal(heap_policy_size(t->heap, 48 * MB), 63 * MB);
    t->heap->sizing.memory = 1024 * MB;
    assert_true(heap_policy_size(t->heap, 30 * MB) > 60 * MB);
    test_heap_finish(t);
  }
}

/* A program that allocates as fast as it can.  */
static void heap_stays_within(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(
      "heap-size-policy=adaptive,heap-size=4m,heap-expansiveness=50", "verify");
  test_make_table(t->mut, &t->root, 200000);
  for (int i = 0; i < 100; i++)
    test_make_garbage(t->mut, 1024 * 1024);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t live = t->heap->live_bytes;
  assert_in_range(live, 4 << 20, 60 << 20);
  assert_in_range(t->heap->heap_size, live * 2, live / 2 * 5 + NOFL_BLOCK_SIZE);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* The heap has EXPECTED bytes, rounded up to blocks.  */
static void assert_size(struct test_heap *t, double expected) {
  double size = t->heap->heap_size;
  if (size < expected || size > expected + NOFL_BLOCK_SIZE)
    fail_msg("%g is not %g", size, expected);
}

/* Apply the policy so many seconds after the heap had SIZE, when LIVE bytes are
   live.  */
static void size_after(struct test_heap *t, double size, double live,
                       double seconds) {
  struct gc_heap *heap = t->heap;
  heap->live_bytes = live;
  heap_resize(heap, size);
  heap->sizing.kept_size = size;
  heap->sizing.kept_nsec = UINT64_C(1000000000);
  heap->sizing.last_nsec = 1e9 + seconds * 1e9;
  heap_apply_sizing_policy(heap, 0);
}

static void size_falls_slowly(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(
      "heap-size-policy=adaptive,heap-size=4m,heap-expansiveness=0", NULL);
  double MB = 1024 * 1024;
  size_after(t, 100 * MB, 40 * MB, 0);
  assert_size(t, 100 * MB);
  size_after(t, 100 * MB, 40 * MB, 3 * log(2));
  assert_size(t, 50 * MB);
  /* However often somebody looks.  */
  size_after(t, 100 * MB, 40 * MB, 0);
  for (int i = 1; i <= 3000; i++) {
    t->heap->sizing.last_nsec += 1000000 * log(2);
    heap_apply_sizing_policy(t->heap, 0);
  }
  assert_size(t, 50 * MB);
  /* Not below what the rule says, and not at once from there.  */
  size_after(t, 100 * MB, 40 * MB, 60);
  assert_size(t, 48 * MB);
  t->heap->live_bytes = 20 * MB;
  heap_apply_sizing_policy(t->heap, 0);
  assert_size(t, 48 * MB);
  /* Far too large: at once.  */
  size_after(t, 1000 * MB, 10 * MB, 0);
  assert_size(t, (50 + 64) * MB);
  size_after(t, 100 * MB, 1 * MB, 60);
  assert_size(t, 1 * MB + MMC_ADAPTIVE_MIN_EXTRA);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bounds_of_the_size),
      cmocka_unit_test(memory_bounds_the_size),
      cmocka_unit_test(heap_stays_within),
      cmocka_unit_test(size_falls_slowly),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
