/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Compactions: when there is one, in how many steps, and what it gives back.  Looks at
   internals.  */

#include "../src/mmc.c"
#include "test-heap.h"

/* A program whose data has become sparse and that asks for a collection gets
   memory back: one request and a few ticks.  (With generations it may get a
   minor collection.)  */
static void sparse_heap_gives_memory_back(void **state) {
  (void)state;
  if (!TEST_MOVES || GC_GENERATIONAL)
    skip();
  struct test_heap *t = test_heap_make(
      "heap-size-policy=growable,heap-size=32m,parallelism=1", "verify");
  t->root.ref = test_make_node(t->mut, 200000, 0);
  struct test_node *root;
  for (uint32_t i = 0; i < 200000; i++) {
    struct test_node *kid = test_make_node(t->mut, 10, 0);
    test_store(t->mut, t->root.ref, i, kid);
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t full = t->heap->space.used_blocks;
  root = t->root.ref;
  for (uint32_t i = 0; i < 200000; i++)
    if (i % 10)
      root->edges[i] = NULL;
  root = NULL;
  gc_collect(t->mut, GC_COLLECTION_ANY);
  size_t live = t->heap->live_bytes - t->heap->live_large_bytes;
  assert_true(t->heap->space.used_blocks * NOFL_BLOCK_SIZE <
              live + live / 4 + MMC_SPARSE_HEAP_SLACK + 16 * NOFL_BLOCK_SIZE);
  assert_true(t->heap->space.used_blocks < full / 4);
  uint64_t counter = 0;
  for (int i = 0; i < 4; i++)
    heap_tick(t->heap, &counter);
  assert_int_equal(t->heap->space.empty.count, 0);
  heap_verify_blocks(t->heap);
  /* What was paged out can be used again, and is zero.  */
  for (uint32_t i = 0; i < 20000; i++) {
    struct test_node *kid = test_make_node(t->mut, 10, 0);
    for (int j = 0; j < 10; j++)
      assert_null(kid->edges[j]);
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_heap_finish(t);
}

/* A pause is one collection to those who count them, also if it marks twice: a
   compaction that was asked for, or a collection that finds the heap sparse.  */

static char trace_events[64];

static void note_event(char event) {
  size_t n = strlen(trace_events);
  assert_true(n + 1 < sizeof trace_events);
  trace_events[n] = event;
}
static void note_prepare(void *data, enum gc_collection_kind kind,
                         uint64_t counter) {
  (void)data;
  (void)counter;
  note_event((char)('0' + kind));
}
static void note_live_data(void *data, size_t size) {
  (void)size;
  /* That of the collection before.  */
  assert_int_equal(size, ((struct gc_heap *)data)->live_bytes);
  note_event('l');
}
static void note_roots(void *data) {
  (void)data;
  note_event('r');
}
static void note_heap(void *data) {
  (void)data;
  note_event('h');
}
static void note_ephemerons(void *data) {
  (void)data;
  note_event('e');
}
static void note_finalizers(void *data) {
  (void)data;
  note_event('f');
}

/* It traces twice, if objects can move.  */
static void check_one_collection(struct test_heap *t,
                                 enum gc_collection_kind kind,
                                 const char *events) {
  struct gc_heap *heap = t->heap;
  struct gc_heap_statistics before, after;
  gc_heap_statistics(heap, &before);
  uint32_t epoch = heap->epoch;
  memset(trace_events, 0, sizeof trace_events);
  gc_collect(t->mut, kind);
  gc_heap_statistics(heap, &after);
  assert_string_equal(trace_events, events);
  assert_int_equal(heap->epoch, epoch + (TEST_MOVES ? 2 : 1));
  assert_int_equal(after.collections_major,
                   before.collections_major + !TEST_MOVES);
  assert_int_equal(after.collections_minor, before.collections_minor);
  assert_int_equal(after.collections_compacting,
                   before.collections_compacting + TEST_MOVES);
}

static void one_pause_is_one_collection(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(
      "heap-size-policy=growable,heap-size=32m,parallelism=1", NULL);
  t->root.ref = test_make_node(t->mut, 200000, 0);
  for (uint32_t i = 0; i < 200000; i++) {
    struct test_node *kid = test_make_node(t->mut, 10, 0);
    test_store(t->mut, t->root.ref, i, kid);
  }
  struct gc_event_listener listener = GC_NULL_EVENT_LISTENER;
  listener.prepare_gc = note_prepare;
  listener.live_data_size = note_live_data;
  listener.roots_traced = note_roots;
  listener.heap_traced = note_heap;
  listener.ephemerons_traced = note_ephemerons;
  listener.finalizers_traced = note_finalizers;
  t->heap->listener = listener;
  t->heap->listener_data = t->heap;
  check_one_collection(t, GC_COLLECTION_COMPACTING,
                       TEST_MOVES ? "3lrhef" : "2lrhef");
  if (!GC_GENERATIONAL) {
    struct test_node *root = t->root.ref;
    for (uint32_t i = 0; i < 200000; i++)
      if (i % 10)
        root->edges[i] = NULL;
    root = NULL;
    check_one_collection(t, GC_COLLECTION_MAJOR, "2lrhef");
  }
  t->heap->listener = GC_NULL_EVENT_LISTENER;
  test_heap_finish(t);
}

/* A table of N nodes, with EDGES and WORDS each, of which those are left that
   IS_LEFT says.  */
static void make_holes(struct test_heap *t, uint32_t n, uint32_t edges,
                       uint32_t words, int (*is_left)(uint32_t)) {
  t->root.ref = test_make_node(t->mut, n, 0);
  for (uint32_t i = 0; i < n; i++) {
    struct test_node *kid = test_make_node(t->mut, edges, words);
    test_store(t->mut, t->root.ref, i, kid);
  }
  struct test_node *root = t->root.ref;
  for (uint32_t i = 0; i < n; i++)
    if (!is_left(i))
      root->edges[i] = NULL;
}

static int is_odd(uint32_t i) {
  return i % 2;
}

/* In a heap whose holes are all small, larger objects now and then do not cause a
   collection each: the heap grows by a little instead.  */
static void small_holes_cause_no_collections(void **state) {
  (void)state;
  enum { N = 400000 };
  struct test_heap *t = test_heap_make(
      "heap-size-policy=growable,heap-size=18m,heap-double-threshold=1m,"
      "parallelism=1",
      "verify");
  make_holes(t, N, 1, 0, is_odd);
  t->heap->next_sparse = t->heap->next_compaction =
      t->heap->compaction_clock + 1000;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  pthread_mutex_lock(&t->heap->lock);
  heap_resize(t->heap, heap_least_size(t->heap));
  pthread_mutex_unlock(&t->heap->lock);
  uint32_t epoch = t->heap->epoch;
  size_t before = t->heap->heap_size;
  size_t room = before - t->heap->live_bytes, allocated = 0;
  assert_true(room > before / MMC_EARLY_ROOM);
  while (allocated < room / 8) {
    test_make_bytes(t->mut, 600);
    for (int i = 0; i < 10; i++)
      test_make_box(t->mut, i);
    allocated += 600 + 10 * 16;
  }
  assert_in_range(t->heap->epoch - epoch, 0, 1);
  assert_true(t->heap->heap_size <= before + before / 4);
  heap_verify_blocks(t->heap);
  test_heap_finish(t);
}

/* A heap that cannot grow compacts instead, whenever that was done last.  */
static void small_holes_of_a_fixed_heap_are_joined(void **state) {
  (void)state;
  enum { N = 330000 };
  struct test_heap *t = test_heap_make("heap-size=14m,parallelism=1", NULL);
  struct gc_heap *heap = t->heap;
  make_holes(t, N, 1, 0, is_odd);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  heap->next_sparse = heap->next_compaction = heap->compaction_clock + 1000;
  uint64_t before = heap->started[GC_COLLECTION_ANY];
  uint64_t compactions = heap->statistics.collections_compacting;
  for (size_t allocated = 0; allocated < 32 << 20; allocated += 600)
    test_make_bytes(t->mut, 600);
  assert_in_range(heap->started[GC_COLLECTION_ANY] - before, 2, 80);
  if (NOFL_MOVES)
    assert_in_range(heap->statistics.collections_compacting - compactions, 1,
                    8);
  heap_verify_blocks(heap);
  test_heap_finish(t);
}

/* However many collections there were since then.  */
static void compactions_become_due(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,heap-size=4m", NULL);
  struct gc_heap *heap = t->heap;
  size_t used_blocks = heap->space.used_blocks;
  heap->space.used_blocks = 1 << 20;
  for (int log_2 = 0; log_2 < 63; log_2++) {
    heap->next_sparse = UINT64_C(1) << log_2;
    heap->compaction_clock = heap->next_sparse - 1;
    assert_false(heap_is_sparse(heap));
    heap->compaction_clock = UINT64_C(2) << log_2;
    assert_int_equal(heap_is_sparse(heap), NOFL_MOVES);
  }
  heap->space.used_blocks = used_blocks;
  test_heap_finish(t);
}

/* A compaction makes the next one rarer if it gained little, or if it was due as soon
   as it was allowed, since then the last one has not lasted.  */
static void compactions_that_do_not_last_become_rarer(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,heap-size=4m", NULL);
  struct gc_heap *heap = t->heap;
  size_t all = heap->space.used_blocks + 16;
  uint32_t least = MMC_MIN_COMPACTION_INTERVAL;
  heap->compaction_interval = least;
  heap->next_compaction = 1000;
  heap->compaction_clock = 1000 + least;
  heap_schedule_compaction(heap, all, all, 0);
  assert_true(heap->compaction_was_useful);
  assert_int_equal(heap->compaction_interval, least);
  assert_int_equal(heap->next_compaction, heap->compaction_clock + least);
  /* Due at once: twice as long, up to the maximum.  */
  for (uint32_t interval = 2 * least; interval <= MMC_MAX_COMPACTION_INTERVAL;
       interval *= 2) {
    heap->compaction_clock = heap->next_compaction;
    heap_schedule_compaction(heap, all, all, 0);
    assert_true(heap->compaction_was_useful);
    assert_int_equal(heap->compaction_interval, interval);
  }
  heap->compaction_clock = heap->next_compaction;
  heap_schedule_compaction(heap, all, all, 0);
  assert_int_equal(heap->compaction_interval, MMC_MAX_COMPACTION_INTERVAL);
  /* It lasted.  */
  heap->compaction_clock = heap->next_compaction + MMC_MAX_COMPACTION_INTERVAL;
  heap_schedule_compaction(heap, all, all, 0);
  assert_int_equal(heap->compaction_interval, least);
  /* It lasted, but gained nothing.  */
  heap->compaction_clock = heap->next_compaction + least;
  heap_schedule_compaction(heap, all, 0, 0);
  assert_false(heap->compaction_was_useful);
  assert_int_equal(heap->compaction_interval, 2 * least);
  test_heap_finish(t);
}

/* A heap in which two of three objects are left, or one of nine, that may be compacted by
   choice.  */
enum { SPARSE_OBJECTS = 120000, SPARSE_EDGES = 2, SPARSE_WORDS = 30 };
static int is_left_in_dense(uint32_t i) {
  return i % 3 != 0;
}

static int is_left_in_sparse(uint32_t i) {
  return i % 9 == 0;
}

static struct test_heap *make_sparse_heap(int dense) {
  struct test_heap *t = test_heap_make(
      "heap-size-policy=growable,heap-size=48m,maximum-heap-size=256m,"
      "parallelism=1",
      NULL);
  struct gc_heap *heap = t->heap;
  make_holes(t, SPARSE_OBJECTS, SPARSE_EDGES, SPARSE_WORDS,
             dense ? is_left_in_dense : is_left_in_sparse);
  heap->next_sparse = heap->next_compaction = heap->compaction_clock + 1000;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  heap->next_compaction = heap->compaction_clock;
  heap->compaction_interval = MMC_MIN_COMPACTION_INTERVAL;
  return t;
}

static void check_sparse_heap(struct test_heap *t, int dense) {
  for (uint32_t i = 0; i < SPARSE_OBJECTS; i++)
    assert_int_equal(((struct test_node *)t->root.ref)->edges[i] != NULL,
                     dense ? is_left_in_dense(i) : is_left_in_sparse(i));
  heap_verify_blocks(t->heap);
  test_heap_finish(t);
}

/* Allocate until the heap has been compacted once more.  Returns how many bytes that
   moved.  */
static uint64_t compact_by_choice(struct test_heap *t) {
  struct gc_heap_statistics *stats = &t->heap->statistics;
  uint64_t before = stats->collections_compacting;
  uint64_t evacuated = stats->bytes_evacuated;
  while (stats->collections_compacting == before) {
    test_make_node(t->mut, SPARSE_EDGES, SPARSE_WORDS);
    /* A reason to compact, and one to do it slowly.  */
    t->heap->shrink_blocked = 1;
    t->heap->sizing.marking_rate = 1e-3;
    t->heap->sizing.waits_for_memory = 1;
  }
  assert_int_equal(stats->collections_compacting, before + 1);
  assert_int_equal(t->heap->space.evacuation_limit, SIZE_MAX);
  return stats->bytes_evacuated - evacuated;
}

/* A compaction by choice is a round of steps with limited pauses; only its end
   decides when the next one may be.  */
static void compactions_by_choice_go_in_steps(void **state) {
  (void)state;
  if (!NOFL_MOVES)
    skip();
  struct test_heap *t = make_sparse_heap(1);
  struct gc_heap *heap = t->heap;
  uint64_t all = 0;
  unsigned steps = 0;
  do {
    size_t step = heap->live_bytes * MMC_COMPACTION_STEP_PART /
                  MMC_COPYING_COST_OUT_OF_CACHE;
    uint64_t bytes = compact_by_choice(t);
    all += bytes;
    steps++;
    assert_true(bytes > 0 && bytes <= step);
    if (heap->compaction_steps) {
      assert_int_equal(heap->compaction_steps, steps);
      assert_int_equal(heap->next_compaction,
                       heap->compaction_clock + MMC_COMPACTION_STEP_INTERVAL);
    }
  } while (heap->compaction_steps);
  assert_in_range(steps, 3, MMC_MAX_COMPACTION_STEPS);
  assert_true(heap->next_compaction - heap->compaction_clock >=
              MMC_MIN_COMPACTION_INTERVAL);
  assert_true(all >= heap->live_bytes / 8);
  check_sparse_heap(t, 1);
}

/* Much is gained at once where little has to be moved.  */
static void very_sparse_blocks_take_larger_steps(void **state) {
  (void)state;
  if (!NOFL_MOVES)
    skip();
  struct test_heap *t = make_sparse_heap(0);
  size_t step = t->heap->live_bytes * MMC_COMPACTION_STEP_PART /
                MMC_COPYING_COST_OUT_OF_CACHE;
  size_t live = t->heap->live_bytes - t->heap->live_large_bytes;
  uint64_t bytes = compact_by_choice(t);
  assert_true(live > step);
  assert_true(bytes > step && bytes <= NOFL_VERY_SPARSE_FACTOR * step);
  assert_true(bytes > live / 4);
  check_sparse_heap(t, 0);
}

/* Whatever asks for compactions: the program, a request that cannot be satisfied, or
   fragmentation.  */
static void moving_can_be_forbidden(void **state) {
  (void)state;
  struct test_heap *t = make_sparse_heap(0);
  struct gc_heap *heap = t->heap;
  struct gc_heap_statistics before = heap->statistics;
  gc_heap_forbid_moving(heap);
  struct test_node *root = t->root.ref;
  uintptr_t *addresses = calloc(SPARSE_OBJECTS, sizeof(*addresses));
  for (uint32_t i = 0; i < SPARSE_OBJECTS; i++)
    addresses[i] = (uintptr_t)root->edges[i];
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  assert_int_equal(heap->statistics.collections_major,
                   before.collections_major + 1);
  gc_heap_set_allocation_failure_handler(heap, test_return_null);
  assert_null(test_make_bytes(t->mut, 1 << 30));
  while (heap->statistics.collections_major < before.collections_major + 12) {
    heap->shrink_blocked = 1;
    heap->next_compaction = heap->next_sparse = heap->compaction_clock;
    test_make_node(t->mut, SPARSE_EDGES, SPARSE_WORDS);
    if (GC_GENERATIONAL)
      gc_collect(t->mut, GC_COLLECTION_ANY);
    if (heap->statistics.collections_minor > before.collections_minor + 50)
      break;
  }
  assert_int_equal(heap->statistics.collections_compacting,
                   before.collections_compacting);
  assert_int_equal(heap->statistics.bytes_evacuated, before.bytes_evacuated);
  assert_int_equal(heap->space.reserve_blocks, 0);
  root = t->root.ref;
  for (uint32_t i = 0; i < SPARSE_OBJECTS; i++)
    assert_true(addresses[i] == (uintptr_t)root->edges[i]);
  free(addresses);
  check_sparse_heap(t, 0);
}

/* An adaptive heap that cannot shrink for sparsely used blocks, though it has
   waited for a while, compacts by itself.  */
static void sparse_adaptive_heap_shrinks(void **state) {
  (void)state;
  if (!TEST_MOVES || GC_GENERATIONAL)
    skip();
  struct test_heap *t = test_heap_make(
      "heap-size-policy=adaptive,heap-size=32m,parallelism=1", NULL);
  t->root.ref = test_make_node(t->mut, 400000, 0);
  for (uint32_t i = 0; i < 400000; i++)
    test_store(t->mut, t->root.ref, i, test_make_node(t->mut, 10, 0));
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t full = t->heap->heap_size;
  struct test_node *root = t->root.ref;
  for (uint32_t i = 0; i < 400000; i++)
    if (i % 16)
      root->edges[i] = NULL;
  root = NULL;
  for (int i = 0; i < 200 && !t->heap->statistics.collections_compacting; i++) {
    /* The ticker looks at it, too.  */
    mutator_lock_heap(t->mut);
    t->heap->sizing.kept_nsec = 0;
    heap_unlock(t->heap);
    test_make_garbage(t->mut, 16 << 20);
  }
  assert_true(t->heap->statistics.collections_compacting > 0);
  assert_true(t->heap->heap_size < full);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sparse_heap_gives_memory_back),
      cmocka_unit_test(one_pause_is_one_collection),
      cmocka_unit_test(small_holes_cause_no_collections),
      cmocka_unit_test(small_holes_of_a_fixed_heap_are_joined),
      cmocka_unit_test(compactions_become_due),
      cmocka_unit_test(compactions_that_do_not_last_become_rarer),
      cmocka_unit_test(compactions_by_choice_go_in_steps),
      cmocka_unit_test(very_sparse_blocks_take_larger_steps),
      cmocka_unit_test(moving_can_be_forbidden),
      cmocka_unit_test(sparse_adaptive_heap_shrinks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
