/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What small and large objects leave to each other is bounded.  */

#include "../src/mmc.c"

#include <limits.h>
#include <sys/resource.h>

#include "pages.h"
#include "test-heap.h"

#define MIB ((size_t)1 << 20)
#define HEAP (64 * MIB)
#define LARGE (2 * MIB)
/* Taken before the bound is looked at, and what is taken at a time.  */
#define SLACK (MIB + LARGE)

static size_t resident_bytes(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  return (space->used_blocks + nofl_space_resident_empty_blocks(space)) *
             NOFL_BLOCK_SIZE +
         large_space_live_bytes(&heap->large) +
         large_space_quarantined_bytes(&heap->large);
}

/* As the kernel sees it, with what describes the blocks.  */
static size_t kernel_resident_bytes(struct gc_heap *heap) {
  size_t page = gc_platform_page_size(), bytes = 0;
  struct nofl_space *space = &heap->space;
  for (size_t i = 0; i < nofl_space_slab_count(space); i++)
    bytes += pages_resident(nofl_space_slab(space, i), NOFL_SLAB_SIZE) * page;
  uintptr_t low = heap->large.bottom, high = heap->large.limit;
  if (low < high)
    bytes += pages_resident((void *)low, high - low) * page;
  return bytes;
}

static size_t peak, kernel_peak;

static void note_peak(struct test_heap *t) {
  size_t now = resident_bytes(t->heap);
  if (now > peak)
    peak = now;
  now = kernel_resident_bytes(t->heap);
  if (now > kernel_peak)
    kernel_peak = now;
}

static struct test_heap *start(const char *options) {
  peak = kernel_peak = 0;
  pages_forbid_huge(1);
  return test_heap_make(options, NULL);
}

static void finish(struct test_heap *t) {
  test_heap_finish(t);
  pages_forbid_huge(0);
  assert_true(peak <= heap_residency_limit(HEAP) + SLACK);
  /* With the metadata, a sixteenth and what comes before the first block.  */
  assert_true(kernel_peak <= heap_residency_limit(HEAP) + SLACK + HEAP / 8);
}

/* BYTES of large objects, used and kept by the root.  */
static void make_large(struct test_heap *t, size_t bytes) {
  uint32_t n = bytes / LARGE;
  t->root.ref = test_make_node(t->mut, n, 0);
  for (uint32_t i = 0; i < n; i++) {
    struct test_bytes *object = test_make_bytes(t->mut, LARGE);
    assert_non_null(object);
    if (object)
      memset(object->payload, 1, LARGE - sizeof(*object));
    test_store(t->mut, t->root.ref, i, object);
    note_peak(t);
  }
}

static void make_small(struct test_heap *t, size_t bytes) {
  size_t per_node = test_node_bytes(32, 0);
  uint32_t n = bytes / per_node;
  t->root.ref = test_make_node(t->mut, n, 0);
  for (uint32_t i = 0; i < n; i++) {
    struct test_node *kid = test_make_node(t->mut, 32, 0);
    test_store(t->mut, t->root.ref, i, kid);
    if (i % (MIB / per_node) == 0)
      note_peak(t);
  }
}

static void drop_all(struct test_heap *t) {
  t->root.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
}

/* FIRST and then SECOND make three quarters of a heap of small objects and large
   ones, or the other way round.  */
static void check_one_after_the_other(void (*first)(struct test_heap *, size_t),
                                      void (*second)(struct test_heap *,
                                                     size_t)) {
  struct test_heap *t =
      start("heap-size-policy=fixed,heap-size=64m,parallelism=1");
  first(t, HEAP * 3 / 4);
  assert_true(peak > HEAP / 2);
  drop_all(t);
  /* What has died is still there.  */
  if (TEST_EXACT)
    assert_true(resident_bytes(t->heap) > HEAP / 2);
  second(t, HEAP * 3 / 4);
  heap_verify_blocks(t->heap);
  large_space_verify(&t->heap->large);
  finish(t);
}

static void small_after_large(void **state) {
  (void)state;
  check_one_after_the_other(make_large, make_small);
}

static void large_after_small(void **state) {
  (void)state;
  check_one_after_the_other(make_small, make_large);
}

static long page_faults(void) {
  struct rusage usage;
  assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
  return usage.ru_minflt;
}

static void make_mixture(struct test_heap *t, int rounds) {
  for (int i = 0; i < rounds; i++) {
    make_large(t, 8 * MIB);
    make_small(t, 8 * MIB);
  }
}

/* A program of a constant mixture settles: hardly anything is given back then
   that it wants again at once.  The system may take pages away, too: the least of
   some counts is right.  */
static void mixture_settles(void **state) {
  (void)state;
  struct test_heap *t =
      start("heap-size-policy=fixed,heap-size=64m,parallelism=1");
  make_mixture(t, 20);
  long least = LONG_MAX;
  for (int i = 0; i < 4; i++) {
    long before = page_faults();
    make_mixture(t, 10);
    long faults = page_faults() - before;
    if (faults < least)
      least = faults;
  }
  size_t pages = 10 * 16 * MIB / gc_platform_page_size();
  assert_in_range(least, 0, pages / 50);
  finish(t);
}

/* While somebody waits for this thread, it makes no such calls; nor many at a time.  */
static void a_stop_is_not_delayed(void **state) {
  (void)state;
  struct test_heap *t =
      start("heap-size-policy=fixed,heap-size=64m,parallelism=1");
  make_large(t, HEAP / 2);
  drop_all(t);
  struct gc_heap *heap = t->heap;
  size_t before = resident_bytes(heap);
  nofl_space_lock(&heap->space);
  size_t budget = heap->space.budget_bytes;
  heap->space.budget_bytes = before / 2;
  nofl_space_unlock(&heap->space);
  mutator_enter_library(t->mut);
  heap->space.fresh_bytes = MMC_RESIDENCY_STEP;
  heap->stop_flag = STOP_COOPERATIVE;
  mutator_check_residency(t->mut);
  assert_int_equal(resident_bytes(heap), before);
  heap->stop_flag = STOP_NONE;
  heap->space.fresh_bytes = MMC_RESIDENCY_STEP - 1;
  mutator_check_residency(t->mut);
  assert_int_equal(resident_bytes(heap), before);
  for (size_t taken = 0; taken < before / 2; taken += 3 * MMC_RESIDENCY_STEP) {
    size_t last = resident_bytes(heap);
    heap->space.fresh_bytes = MMC_RESIDENCY_STEP;
    mutator_check_residency(t->mut);
    size_t returned = last - resident_bytes(heap);
    assert_in_range(returned, 0,
                    MMC_RESIDENCY_RATIO * MMC_RESIDENCY_STEP +
                        MMC_RESIDENCY_SLICE);
  }
  if (TEST_EXACT)
    assert_true(resident_bytes(heap) <= heap_residency_limit(before / 2));
  mutator_leave_library(t->mut);
  heap->space.budget_bytes = budget;
  finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(small_after_large),
      cmocka_unit_test(large_after_small),
      cmocka_unit_test(mixture_settles),
      cmocka_unit_test(a_stop_is_not_delayed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
