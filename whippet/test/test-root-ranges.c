/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ambiguous ranges among the roots of a heap.  Looks at internals.  */
/* Collectors: stack-conservative-mmc stack-conservative-parallel-mmc stack-conservative-parallel-generational-mmc heap-conservative-parallel-mmc */

#include "../src/mmc.c"
#include "test-heap.h"

#define WORDS_PER_PIECE (MMC_ROOT_PIECE / sizeof(void *))

/* In memory of malloc, where a collector does not look by itself.  */
static struct gc_heap_roots *set_roots(struct test_heap *t) {
  struct gc_heap_roots *roots = calloc(1, sizeof(*roots));
  gc_heap_set_roots(t->heap, roots);
  return roots;
}

static uint64_t box_id(const struct test_box *box) {
  assert_int_equal(TEST_TAG_KIND(box->tag), TEST_BOX);
  return TEST_TAG_ID(box->tag);
}

/* The words at both ends of each piece, and some between.  */
static int is_used(size_t i, size_t count) {
  size_t in_piece = i % WORDS_PER_PIECE;
  return in_piece == 0 || in_piece == WORDS_PER_PIECE - 1 || i == count - 1 ||
         i % 1009 == 0;
}

static void check_range(void **slots, size_t count, void **copy) {
  for (size_t i = 0; i < count; i++) {
    assert_ptr_equal(slots[i], copy[i]);
    if (is_used(i, count))
      assert_int_equal(box_id(slots[i]), i);
    else
      assert_null(slots[i]);
  }
}

/* As many words as make it worth while to wake workers, and an odd number.  */
static void long_range(void **state) {
  (void)state;
  size_t count = MMC_PARALLEL_THRESHOLD / sizeof(void *) + WORDS_PER_PIECE + 3;
  struct test_heap *t = test_heap_make("heap-size=64m,parallelism=3", "verify");
  struct gc_mutator_roots *range = calloc(1, sizeof(*range));
  struct gc_heap_roots *roots = set_roots(t);
  roots->first = range;
  void **slots = calloc(count, sizeof(void *));
  void **copy = calloc(count, sizeof(void *));
  range->ambiguous.slots = slots;
  range->ambiguous.count = count;
  for (size_t i = 0; i < count; i++)
    if (is_used(i, count)) {
      slots[i] = test_make_box(t->mut, i);
      test_make_garbage(t->mut, 100);
    }
  memcpy(copy, slots, count * sizeof(void *));
  static const enum gc_collection_kind kinds[] = {
      GC_COLLECTION_MAJOR, GC_COLLECTION_COMPACTING, GC_COLLECTION_MINOR,
      GC_COLLECTION_MAJOR};
  for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
    gc_collect(t->mut, kinds[i]);
    /* And the stack of this thread.  */
    size_t bytes = count * sizeof(void *);
    size_t pieces = (count + WORDS_PER_PIECE - 1) / WORDS_PER_PIECE;
    assert_in_range(t->heap->root_range_bytes, bytes, bytes + (256 << 10));
    assert_in_range(t->heap->root_range_pieces, pieces, pieces + 16);
    check_range(slots, count, copy);
    test_make_garbage(t->mut, MMC_ROOT_PIECE);
  }
  if (GC_PARALLEL)
    assert_int_equal(t->heap->tracer.worker_count, 3);
  gc_heap_set_roots(t->heap, NULL);
  free(slots);
  free(copy);
  free(range);
  free(roots);
  test_heap_finish(t);
}

/* More ranges than the table of roots has room for at first.  */
static void many_ranges(void **state) {
  (void)state;
  enum { N = 2000, WORDS = 3 };
  struct test_heap *t = test_heap_make("heap-size=16m,parallelism=2", "verify");
  struct gc_heap_roots *roots = set_roots(t);
  struct gc_mutator_roots *all = calloc(N, sizeof(*all));
  void **slots = calloc(N * WORDS, sizeof(void *));
  for (int i = 0; i < N; i++) {
    all[i].ambiguous.slots = slots + i * WORDS;
    all[i].ambiguous.count = WORDS;
    all[i].next = roots->first;
    roots->first = &all[i];
    slots[i * WORDS + i % WORDS] = test_make_box(t->mut, i);
  }
  assert_true(N > t->heap->tracer.root_capacity);
  for (int round = 0; round < 3; round++) {
    gc_collect(t->mut,
               round == 1 ? GC_COLLECTION_COMPACTING : GC_COLLECTION_MAJOR);
    test_make_garbage(t->mut, 1 << 20);
    for (int i = 0; i < N; i++)
      assert_int_equal(box_id(slots[i * WORDS + i % WORDS]), i);
  }
  assert_true(N <= t->heap->tracer.root_capacity);
  gc_heap_set_roots(t->heap, NULL);
  free(all);
  free(slots);
  free(roots);
  test_heap_finish(t);
}

/* The range is a local variable of the embedder's function.  */
static void range_in_a_frame(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m", "verify");
  struct gc_heap_roots *roots = set_roots(t);
  roots->copied = test_make_box(t->mut, 42);
  for (int round = 0; round < 3; round++) {
    gc_collect(t->mut,
               round == 1 ? GC_COLLECTION_COMPACTING : GC_COLLECTION_MAJOR);
    test_make_garbage(t->mut, 1 << 20);
    assert_int_equal(box_id(roots->copied), 42);
  }
  gc_heap_set_roots(t->heap, NULL);
  free(roots);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(long_range),
      cmocka_unit_test(many_ranges),
      cmocka_unit_test(range_in_a_frame),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
