/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Collectors: %generational-mmc */
/* Minor collections: the limit of the nursery, and what they leave alone.  Looks
   at internals.  */

#include "../src/mmc.c"
#include "gc-inhibit.h"
#include "test-heap.h"

#define MB ((size_t)1 << 20)

static struct test_heap *make_heap(const char *options, const char *nursery,
                                   const char *stress) {
  setenv("GC_MMC_NURSERY", nursery, 1);
  struct test_heap *t = test_heap_make(options, stress);
  unsetenv("GC_MMC_NURSERY");
  return t;
}

static struct gc_heap_statistics statistics(struct test_heap *t) {
  struct gc_heap_statistics stats;
  gc_heap_statistics(t->heap, &stats);
  return stats;
}

static uint64_t minors(struct test_heap *t) {
  return statistics(t).collections_minor;
}

static uint64_t fulls(struct test_heap *t) {
  struct gc_heap_statistics stats = statistics(t);
  return stats.collections_major + stats.collections_compacting;
}

/* A table whose fields are boxes, each of which lies between garbage.  */
static void make_sparse_table(struct test_heap *t, uint32_t count,
                              size_t garbage) {
  t->root.ref = test_make_node(t->mut, count, 0);
  for (uint32_t i = 0; i < count; i++) {
    test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    test_make_garbage(t->mut, garbage);
  }
}

static void limit_starts_minor_collections(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=64m", "1048576", "verify");
  test_make_table(t->mut, &t->root, 10000);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  uint64_t before = minors(t), full = fulls(t);
  test_make_garbage(t->mut, 32 * MB);
  /* A block that is in use is not counted yet.  */
  assert_in_range(minors(t) - before, 28, 33);
  assert_int_equal(fulls(t), full);
  test_check_table(&t->root);
  test_heap_finish(t);
}

static void no_limit(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=64m", "0", NULL);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_make_garbage(t->mut, 32 * MB);
  assert_int_equal(minors(t), 0);
  test_make_garbage(t->mut, 64 * MB);
  assert_in_range(minors(t), 1, 2);
  test_heap_finish(t);
}

static void malformed_limits_are_ignored(void **state) {
  (void)state;
  assert_false(make_heap("heap-size=16m", "1x", NULL)->heap->nursery_is_fixed);
  assert_false(make_heap("heap-size=16m", "", NULL)->heap->nursery_is_fixed);
  assert_true(make_heap("heap-size=16m", "1", NULL)->heap->nursery_is_fixed);
}

static void limit_heeds_inhibition(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=64m", "1048576", NULL);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  gc_heap_inhibit_collection(t->heap);
  test_make_garbage(t->mut, 16 * MB);
  assert_int_equal(minors(t), 0);
  gc_heap_allow_collection(t->heap);
  test_make_garbage(t->mut, MB / 2);
  assert_int_equal(minors(t), 1);
  test_heap_finish(t);
}

static size_t count_to_sweep(struct test_heap *t) {
  size_t count = 0;
  for (int class = 0; class < NOFL_CLASS_COUNT; class ++) {
    count += verify_list_length(t->heap->space.to_sweep[class]);
    count += verify_list_length(t->heap->space.to_sweep_last[class]);
  }
  return count;
}

/* Of what sweeping clears.  */
static uint64_t metadata_sum(struct nofl_block *block) {
  const uint8_t *meta = nofl_block_metadata(block);
  uint64_t sum = 0;
  for (size_t i = 0; i < NOFL_GRANULES_PER_BLOCK; i++)
    sum += meta[i];
  return sum;
}

/* A minor collection neither sweeps nor visits blocks in which nothing was
   allocated, and what is dead in them does not come to life.  */
static void unswept_blocks_are_left_alone(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=64m", "0", "verify");
  make_sparse_table(t, 2000, 8000);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t waiting = count_to_sweep(t);
  assert_in_range(waiting, 100, 400);
  struct nofl_block *last = t->heap->space.to_sweep[NOFL_CLASS_ORDINARY];
  while (last->next)
    last = last->next;
  uint64_t sum = metadata_sum(last);
  for (int i = 0; i < 50; i++) {
    test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    test_make_garbage(t->mut, 100000);
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    test_check_table(&t->root);
    /* Their number: the blocks that were used up wait again.  */
    assert_in_range(count_to_sweep(t), waiting - 4, waiting + 2);
    assert_int_equal(metadata_sum(last), sum);
  }
  assert_int_equal(fulls(t), 1);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* Where the sweep found small holes is allocated last, and in turn.  */
static void small_holes_come_last(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=64m", "0", "verify");
  make_sparse_table(t, 50000, 100);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  struct nofl_space *space = &t->heap->space;
  size_t waiting = count_to_sweep(t);
  assert_in_range(waiting, 70, 400);
  assert_null(space->to_sweep_last[NOFL_CLASS_ORDINARY]);
  /* Sweep some, of which nobody knows yet that their holes are small.  */
  test_make_garbage(t->mut, MB);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  struct nofl_block *first = space->to_sweep_last[NOFL_CLASS_ORDINARY];
  assert_non_null(first);
  assert_int_equal(first->place, NOFL_PLACE_TO_SWEEP);
  assert_true(nofl_block_has_small_holes(first));
  /* More than there is elsewhere: the first are swept first again.  */
  size_t empty = (t->heap->heap_size - space->used_blocks * NOFL_BLOCK_SIZE);
  for (size_t made = 0; made < empty / 2; made += MB) {
    test_make_garbage(t->mut, MB);
    assert_ptr_equal(space->to_sweep_last[NOFL_CLASS_ORDINARY], first);
    gc_collect(t->mut, GC_COLLECTION_MINOR);
  }
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* Many small nurseries count as one collection in what is decided by that
   number.  */
static void compactions_are_not_more_frequent(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=32m", "262144", NULL);
  make_sparse_table(t, 100000, 50);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  uint32_t clock = t->heap->compaction_clock;
  uint64_t before = minors(t);
  test_make_garbage(t->mut, 128 * MB);
  assert_in_range(minors(t) - before, 300, 600);
  assert_in_range(t->heap->compaction_clock - clock, 3, 12);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* What is free, but in holes too small to be found: a full collection, no series
   of useless minor ones.  */
static void exhaustion_ends_a_minor_run(void **state) {
  (void)state;
  struct test_heap *t = make_heap("heap-size=16m", "1048576", NULL);
  t->root.ref = test_make_node(t->mut, 200000, 0);
  for (uint32_t i = 0; i < 200000; i++)
    test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
  uint64_t before = fulls(t);
  /* Old garbage, which only a full collection finds.  */
  for (int round = 0; round < 10; round++)
    for (uint32_t i = round % 2; i < 200000; i += 2)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
  assert_in_range(fulls(t) - before, 1, 40);
  assert_in_range(minors(t), 1, 80);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* Without a limit by hand, measuring switches it on and off again; nothing is
   lost.  */
static void measured_limit(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  test_make_table(t->mut, &t->root, 10000);
  int with = 0, without = 0;
  for (int i = 0; i < 1000; i++) {
    test_make_garbage(t->mut, MB);
    test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    if (t->heap->nursery_limit == SIZE_MAX)
      without++;
    else
      with++;
  }
  assert_in_range(with, NURSERY_WINDOW, 1000);
  assert_in_range(without, 16, 1000);
  test_check_table(&t->root);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(limit_starts_minor_collections),
      cmocka_unit_test(no_limit),
      cmocka_unit_test(malformed_limits_are_ignored),
      cmocka_unit_test(limit_heeds_inhibition),
      cmocka_unit_test(unswept_blocks_are_left_alone),
      cmocka_unit_test(small_holes_come_last),
      cmocka_unit_test(compactions_are_not_more_frequent),
      cmocka_unit_test(exhaustion_ends_a_minor_run),
      cmocka_unit_test(measured_limit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
