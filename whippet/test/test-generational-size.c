/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Collectors: %generational-mmc */
/* The size of a generational heap that can grow: promoted garbage is no reason for it
   to grow, live data are.  Looks at internals.  */

#include "../src/mmc.c"
#include "test-heap.h"

#define MB ((size_t)1 << 20)
#define CELLS 4000

/* With a limit of the nursery and without.  */
static const char *const nurseries[] = {"0", "2097152"};
static const char *const policies[] = {
    "heap-size-policy=growable,heap-size=6m,parallelism=1",
    "heap-size-policy=adaptive,heap-size=6m,parallelism=1"};

static struct test_heap *make_heap(size_t policy, size_t nursery) {
  setenv("GC_MMC_NURSERY", nurseries[nursery], 1);
  struct test_heap *t = test_heap_make(policies[policy], NULL);
  unsetenv("GC_MMC_NURSERY");
  return t;
}

/* The ticker of an adaptive heap changes it, too.  */
static size_t heap_size_now(struct test_heap *t) {
  return gc_atomic_load_relaxed(&t->heap->heap_size);
}

static uint64_t fulls(struct test_heap *t) {
  struct gc_heap_statistics stats;
  gc_heap_statistics(t->heap, &stats);
  return stats.collections_major + stats.collections_compacting;
}

static uint64_t minors(struct test_heap *t) {
  struct gc_heap_statistics stats;
  gc_heap_statistics(t->heap, &stats);
  return stats.collections_minor;
}

struct queue {
  uint32_t cells;
  uint32_t least_words, words; /* of cells: from the former on, so many sizes */
  int raw; /* half of them are, and they are replaced in any order */
};

static const struct queue queue = {4000, 32, 192, 0};
/* Holes are mostly too small for the next one.  */
static const struct queue queue_of_large_cells = {300, 620, 380, 1};

static void *make_cell(struct test_heap *t, struct queue q, uint32_t i,
                       uint32_t words) {
  if (q.raw && i * 2654435761u >> 31)
    return gc_allocate(t->mut, test_node_bytes(0, words),
                       GC_ALLOCATION_UNTAGGED_POINTERLESS);
  return test_make_node(t->mut, 0, words);
}

/* BYTES pass through a queue.  Each cell lives long enough to be promoted, and dies
   soon after.  They are not linked, so that an ambiguous root holds no more than
   one.  Returns the largest size of the heap.  */
static size_t run_queue(struct test_heap *t, struct queue q, size_t bytes) {
  size_t largest = 0;
  t->root.ref = test_make_node(t->mut, q.cells, 0);
  uint32_t random = 1;
  for (uint32_t i = 0; bytes > 0; i++) {
    random = random * 1664525u + 1013904223u;
    uint32_t words = q.least_words + (random >> 8) % q.words;
    uint32_t place = (q.raw ? random >> 12 : i) % q.cells;
    size_t size = test_node_bytes(0, words);
    test_store(t->mut, t->root.ref, place, make_cell(t, q, i, words));
    bytes = size < bytes ? bytes - size : 0;
    size_t now = heap_size_now(t);
    largest = now > largest ? now : largest;
  }
  return largest;
}

/* Lists of nodes, BYTES in all, reachable from the root.  */
static void GC_NEVER_INLINE make_live_data(struct test_heap *t, size_t bytes) {
  uint32_t count = bytes / (test_node_bytes(15, 0) + sizeof(void *));
  uint32_t tables = count / 1000 + 1;
  t->root.ref = test_make_node(t->mut, tables, 0);
  for (uint32_t i = 0; i < tables; i++) {
    test_store(t->mut, t->root.ref, i, test_make_node(t->mut, 1000, 0));
    for (uint32_t j = 0; j < 1000; j++) {
      struct test_node *node = test_make_node(t->mut, 15, 0);
      struct test_node *root = t->root.ref;
      test_store(t->mut, root->edges[i], j, node);
    }
  }
}

/* Bytes up to which a heap with LIVE bytes may grow.  The adaptive rule depends on
   speeds; at most it gives a multiple.  */
static size_t most_size(struct test_heap *t, size_t live) {
  double counts = live + live / MMC_PROMOTED_PART;
  if (t->heap->sizing.policy == GC_HEAP_SIZE_GROWABLE)
    return heap_growable_target(t->heap, counts) + MB;
  double most = counts * MMC_ADAPTIVE_MAX_MULTIPLE;
  double least = counts + MMC_ADAPTIVE_MIN_EXTRA;
  return (most > least ? most : least) + MB;
}

static void check_queue(struct queue q, size_t live) {
  for (size_t policy = 0; policy < 2; policy++)
    for (size_t nursery = 0; nursery < 2; nursery++) {
      struct test_heap *t = make_heap(policy, nursery);
      size_t largest = run_queue(t, q, 128 * MB);
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
      assert_in_range(t->heap->live_bytes, live - live / 4, live + live / 4);
      assert_in_range(largest, 0, most_size(t, t->heap->live_bytes));
      assert_true(minors(t) > fulls(t) / 2);
      test_heap_finish(t);
    }
}

static void queue_does_not_grow(void **state) {
  (void)state;
  check_queue(queue, 4 * MB);
}

static void lack_of_holes_is_no_reason(void **state) {
  (void)state;
  check_queue(queue_of_large_cells, 2 * MB);
}

#define PEAK (12 * MB)

/* What was live at a peak is found dead, and then the heap is sized for what there is
   now.  */
static void peak_is_forgotten(void **state) {
  (void)state;
  for (size_t policy = 0; policy < 2; policy++)
    for (size_t nursery = 0; nursery < 2; nursery++) {
      struct test_heap *t = make_heap(policy, nursery);
      make_live_data(t, PEAK);
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
      size_t peak = t->heap->live_bytes, size = heap_size_now(t);
      assert_in_range(peak, PEAK, PEAK + PEAK / 8);
      uint64_t before = fulls(t);
      size_t largest = run_queue(t, queue, 24 * PEAK);
      assert_true(fulls(t) > before);
      assert_in_range(largest, 0, most_size(t, peak + 6 * MB));
      /* The queue, and not more than that in dead cells.  */
      if (TEST_EXACT)
        assert_in_range(heap_lasting_bytes(t->heap), 3 * MB, 10 * MB);
      /* An adaptive heap shrinks with time.  */
      t->heap->sizing.kept_size = 0;
      gc_collect(t->mut, GC_COLLECTION_MINOR);
      if (t->heap->sizing.policy == GC_HEAP_SIZE_GROWABLE)
        assert_true(heap_size_now(t) >= size);
      else if (TEST_EXACT)
        assert_in_range(heap_size_now(t), 0, most_size(t, 6 * MB));
      test_heap_finish(t);
    }
}

/* The same if nothing is promoted.  Full collections that find nothing become
   rare.  */
static void peak_among_young_garbage(void **state) {
  (void)state;
  for (size_t policy = 0; policy < 2; policy++)
    for (size_t nursery = 0; nursery < 2; nursery++) {
      struct test_heap *t = make_heap(policy, nursery);
      make_live_data(t, PEAK);
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
      t->root.ref = NULL;
      uint64_t before = fulls(t);
      /* The adaptive rule goes by measured speeds: while there is much live, the
         heap may become several times as large.  */
      for (int i = 0; i < 32 && fulls(t) == before; i++)
        test_make_garbage(t->mut, heap_size_now(t));
      assert_true(fulls(t) > before);
      if (TEST_EXACT)
        assert_in_range(t->heap->live_bytes, 0, PEAK / 4);
      t->heap->sizing.kept_size = 0;
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
      if (TEST_EXACT && t->heap->sizing.policy == GC_HEAP_SIZE_ADAPTIVE)
        assert_in_range(heap_size_now(t), 0, most_size(t, MB));
      before = fulls(t);
      for (int i = 0; i < 14; i++)
        test_make_garbage(t->mut, heap_size_now(t));
      assert_in_range(fulls(t) - before, TEST_EXACT ? 1 : 0, 3);
      test_heap_finish(t);
    }
}

/* A full collection comes when live data have grown by a good part, not whenever the
   heap should grow.  */
static void live_data_grow(void **state) {
  (void)state;
  for (size_t policy = 0; policy < 2; policy++)
    for (size_t nursery = 0; nursery < 2; nursery++) {
      struct test_heap *t = make_heap(policy, nursery);
      make_live_data(t, 96 * MB);
      uint64_t count = fulls(t);
      assert_in_range(count, 2, 12);
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
      assert_in_range(t->heap->live_bytes, 96 * MB, 112 * MB);
      test_heap_finish(t);
    }
}

static void what_counts_as_lasting(void **state) {
  (void)state;
  struct test_heap *t = make_heap(0, 0);
  struct gc_heap *heap = t->heap;
  heap->last_kind = GC_COLLECTION_MAJOR;
  heap->live_bytes = heap->full_live_bytes = 110;
  heap->doomed_bytes = heap->full_doomed_bytes = 10;
  assert_int_equal(heap_lasting_bytes(heap), 100);
  heap->last_kind = GC_COLLECTION_MINOR;
  heap->doomed_bytes = 0;
  assert_int_equal(heap_lasting_bytes(heap), 100);
  heap->live_bytes = 130;
  assert_int_equal(heap_lasting_bytes(heap), 120);
  heap->doomed_bytes = 5;
  assert_int_equal(heap_lasting_bytes(heap), 115);
  heap->live_bytes = 1000;
  assert_int_equal(heap_lasting_bytes(heap), 150);
  heap->live_bytes = 3;
  assert_int_equal(heap_lasting_bytes(heap), 100);
  heap->full_doomed_bytes = 200;
  assert_int_equal(heap_lasting_bytes(heap), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(queue_does_not_grow),
      cmocka_unit_test(lack_of_holes_is_no_reason),
      cmocka_unit_test(peak_is_forgotten),
      cmocka_unit_test(peak_among_young_garbage),
      cmocka_unit_test(live_data_grow),
      cmocka_unit_test(what_counts_as_lasting),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
