/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What must not move: pinned objects, and what ambiguous objects reference.
   Resolution of ambiguous references.  Looks at internals.  */

#include "../src/mmc.c"
#include "gc-moving.h"
#include "test-heap.h"

enum { N = 20000 };

/* Pinned objects stay, and others around them move.  */
static void pinned_objects_stay(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m", "verify,compact");
  uintptr_t *where = calloc(N, sizeof(*where));
  test_make_table(t->mut, &t->root, N);
  for (int i = 0; i < N; i++) {
    where[i] = ~(uintptr_t)((struct test_node *)t->root.ref)->edges[i];
    if (i % 7 == 0)
      gc_pin_object(t->mut, gc_ref(~where[i]));
  }
  for (int i = 0; i < N; i++)
    if (i % 7 > 2)
      ((struct test_node *)t->root.ref)->edges[i] = NULL;
  size_t moved = 0;
  for (int round = 0; round < 4; round++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_make_garbage(t->mut, 1 << 20);
    test_check_table(&t->root);
  }
  for (int i = 0; i < N; i++) {
    uintptr_t now = (uintptr_t)((struct test_node *)t->root.ref)->edges[i];
    if (i % 7 == 0)
      assert_int_equal(now, ~where[i]);
    else if (now)
      moved += now != ~where[i];
  }
  if (TEST_EXACT)
    assert_true(moved > 1000);
  free(where);
  test_heap_finish(t);
}

/* Words of an ambiguous object of COUNT words are references that cannot be
   updated: what they denote stays, the object itself too, and the rest of the
   heap moves.  Every NOISE-th word denotes nothing.  */
static void check_ambiguous_object(int count, int noise) {
  struct test_heap *t = test_heap_make("heap-size=16m", "verify,compact");
  struct test_handle ambiguous = {NULL, NULL};
  test_push(t, &ambiguous);
  test_make_table(t->mut, &t->root, N);
  void **words = gc_allocate(t->mut, count * sizeof(void *),
                             GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
  ambiguous.ref = words;
  struct test_node *table = t->root.ref;
  int step = N / (count + 1);
  for (int i = 0; i < count; i++)
    words[i] = i % noise ? table->edges[i * step] : (void *)(uintptr_t)i;
  for (int i = 0; i < N; i++)
    if (i % 3 == 0)
      table->edges[i] = NULL;
  table = NULL;
  uint64_t before = t->heap->statistics.objects_evacuated;
  for (int round = 0; round < 3; round++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_make_garbage(t->mut, 1 << 20);
    assert_ptr_equal(ambiguous.ref, words);
    for (int i = 0; i < count; i++)
      if (i % noise)
        assert_int_equal(((struct test_box *)words[i])->tag,
                         TEST_TAG(TEST_BOX, i * step));
    test_check_table(&t->root);
  }
  if (TEST_MOVES)
    assert_true(t->heap->statistics.objects_evacuated > before);
  test_pop(t, &ambiguous);
  test_heap_finish(t);
}

static void ambiguous_objects_fix_their_referents(void **state) {
  (void)state;
  static const int counts[] = {2,
                               TRACE_AMBIGUOUS_BATCH - 1,
                               TRACE_AMBIGUOUS_BATCH,
                               TRACE_AMBIGUOUS_BATCH + 1,
                               2 * TRACE_AMBIGUOUS_BATCH,
                               5000};
  for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
    check_ambiguous_object(counts[i], counts[i] + 1);
    check_ambiguous_object(counts[i], 7);
  }
}

/* The same of addresses in the middle of objects that are live in other ways.  */
static void addresses_in_the_middle_fix(void **state) {
  (void)state;
  enum { STEP = 5 };
  struct test_heap *t = test_heap_make("heap-size=16m", "verify,compact");
  struct test_handle ambiguous = {NULL, NULL};
  test_push(t, &ambiguous);
  test_make_table(t->mut, &t->root, N);
  uintptr_t *words = gc_allocate(t->mut, N / STEP * sizeof(*words),
                                 GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
  ambiguous.ref = words;
  struct test_node *table = t->root.ref;
  for (int i = 0; i < N; i++)
    if (i % STEP == 0)
      words[i / STEP] =
          (uintptr_t) & ((struct test_box *)table->edges[i])->edge;
    else if (i % STEP > 1)
      table->edges[i] = NULL;
  table = NULL;
  uint64_t before = t->heap->statistics.objects_evacuated;
  for (int round = 0; round < 3; round++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_make_garbage(t->mut, 1 << 20);
    table = t->root.ref;
    for (int i = 0; i < N / STEP; i++)
      assert_int_equal(words[i],
                       (uintptr_t) &
                           ((struct test_box *)table->edges[i * STEP])->edge);
    table = NULL;
    test_check_table(&t->root);
  }
  if (TEST_MOVES)
    assert_true(t->heap->statistics.objects_evacuated > before);
  test_pop(t, &ambiguous);
  test_heap_finish(t);
}

/* What was to stay in a compaction, but was not reached, is dead: no stray word
   revives it in the next collection, whose kind does not matter.  */
static void unreached_referents_are_dead(void **state) {
  (void)state;
  if (!TEST_EXACT || !TEST_MOVES)
    skip();
  struct test_heap *t = test_heap_make("heap-size=16m", "compact");
  struct nofl_space *space = &t->heap->space;
  struct test_handle kept = {NULL, NULL}, dropped = {NULL, NULL};
  test_push(t, &kept);
  test_push(t, &dropped);
  test_make_table(t->mut, &t->root, N);
  uintptr_t *where = calloc(N, sizeof(*where));
  void **words[2];
  for (int i = 0; i < 2; i++)
    words[i] = gc_allocate(t->mut, N * sizeof(void *),
                           GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
  kept.ref = words[0];
  struct test_node *table = t->root.ref;
  for (int i = 0; i < N; i++) {
    where[i] = (uintptr_t)table->edges[i];
    words[i % 2][i] = table->edges[i];
    table->edges[i] = NULL;
  }
  table = NULL;
  /* No other cycle comes first.  */
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  int fixed = 0;
  space->collecting = 1;
  for (int i = 0; i < N; i++) {
    fixed +=
        (*nofl_metadata_byte(where[i]) & NOFL_STATE_MASK) == NOFL_STATE_FIXED;
    for (int interior = 0; interior < 2; interior++)
      assert_int_equal(nofl_resolve_conservative(space, where[i], interior),
                       i % 2 ? 0 : where[i]);
  }
  space->collecting = 0;
  assert_true(fixed > N / 4);
  free(where);
  test_pop(t, &dropped);
  test_pop(t, &kept);
  test_heap_finish(t);
}

/* What the embedder names for an object that an ambiguous object refers to stays,
   and the rest of the heap moves.  */

static struct {
  uintptr_t *addresses; /* known from here only */
  size_t count, calls;
} outside;

#define OUTSIDE_TAG TEST_TAG(TEST_LEAF, 0x4242)

static void fix_outside(struct gc_ref ref, test_fixer fix, struct gc_heap *heap,
                        void *data) {
  if (*(uintptr_t *)gc_ref_heap_object(ref) != OUTSIDE_TAG)
    return;
  outside.calls++;
  fix(gc_ref_null(), heap, data);
  for (size_t i = 0; i < outside.count; i++)
    fix(gc_ref(outside.addresses[i]), heap, data);
}

static void embedders_referents_are_fixed(void **state) {
  (void)state;
  enum { EVERY = 30, COUNT = N / EVERY };
  struct test_heap *t = test_heap_make("heap-size=16m", "verify,compact");
  struct test_handle ambiguous = {NULL, NULL};
  test_push(t, &ambiguous);
  test_make_table(t->mut, &t->root, N);
  void **words = gc_allocate(t->mut, 2 * sizeof(void *),
                             GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
  ambiguous.ref = words;
  uintptr_t *leaf =
      gc_allocate(t->mut, sizeof(struct test_leaf), GC_ALLOCATION_TAGGED);
  *leaf = OUTSIDE_TAG;
  words[1] = leaf;
  struct test_node *table = t->root.ref;
  outside.addresses = calloc(COUNT, sizeof(uintptr_t));
  outside.count = COUNT;
  outside.calls = 0;
  for (int i = 0; i < COUNT; i++)
    outside.addresses[i] = (uintptr_t)table->edges[i * EVERY];
  for (int i = 0; i < N; i++)
    if (i % EVERY && i % 3 == 0)
      table->edges[i] = NULL;
  table = NULL;
  test_fix_referents = fix_outside;
  uint64_t before = t->heap->statistics.objects_evacuated;
  for (int round = 0; round < 4; round++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_make_garbage(t->mut, 1 << 20);
    test_check_table(&t->root);
    table = t->root.ref;
    for (int i = 0; i < COUNT; i++)
      assert_int_equal((uintptr_t)table->edges[i * EVERY],
                       outside.addresses[i]);
    table = NULL;
  }
  test_fix_referents = NULL;
  if (TEST_MOVES) {
    assert_true(outside.calls >= 4);
    assert_true(t->heap->statistics.objects_evacuated > before);
  }
  free(outside.addresses);
  test_pop(t, &ambiguous);
  test_heap_finish(t);
}

/* The embedder may want to be asked about live objects only.  With "compact" a
   collection compacts without having marked first, but for that.  */
static void embedders_are_asked_for_live_objects_only(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  for (int exact = 0; exact < 2; exact++) {
    struct test_heap *t = test_heap_make("heap-size=16m", "verify,compact");
    if (exact)
      gc_heap_mark_before_moving(t->heap);
    t->root.ref = test_make_node(t->mut, COUNT, 0);
    for (int i = 0; i < COUNT; i++) {
      uintptr_t *leaf = gc_allocate(t->mut, sizeof(struct test_leaf),
                                    GC_ALLOCATION_TAGGED_PINNED);
      *leaf = OUTSIDE_TAG;
      test_store(t->mut, t->root.ref, i, leaf);
    }
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    /* One by one: a word that is left on the stack must not keep them all.  */
    for (int i = 0; i < COUNT; i++)
      ((struct test_node *)t->root.ref)->edges[i] = NULL;
    outside.addresses = NULL;
    outside.count = outside.calls = 0;
    test_fix_referents = fix_outside;
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    test_fix_referents = NULL;
    if (exact)
      assert_in_range(outside.calls, 0, COUNT / 10);
    else if (TEST_MOVES)
      assert_int_equal(outside.calls, COUNT);
    test_heap_finish(t);
  }
}

/* Objects that are allocated as never moving stay, are traced, and may have
   ambiguous edges that the embedder knows of; they do not keep blocks from being
   emptied.  */
static void born_pinned_objects_live_apart(void **state) {
  (void)state;
  enum { EVERY = 50, COUNT = N / EVERY };
  struct test_heap *t = test_heap_make("heap-size=16m", "verify");
  struct test_handle pinned = {NULL, NULL};
  test_push(t, &pinned);
  test_make_table(t->mut, &t->root, COUNT);
  pinned.ref = t->root.ref;
  test_make_table(t->mut, &t->root, N);
  uintptr_t *where = calloc(COUNT, sizeof(*where));
  for (int i = 0; i < COUNT; i++) {
    struct test_leaf *leaf = gc_allocate(t->mut, sizeof(struct test_leaf),
                                         GC_ALLOCATION_TAGGED_PINNED);
    *(uintptr_t *)leaf = TEST_TAG(TEST_LEAF, i);
    where[i] = ~(uintptr_t)leaf;
    ((struct test_node *)pinned.ref)->edges[i] = leaf;
    gc_allocate(t->mut, 48, GC_ALLOCATION_UNTAGGED_POINTERLESS);
    for (int j = 0; j < 20; j++)
      gc_allocate(t->mut, 64, GC_ALLOCATION_TAGGED_POINTERLESS);
  }
  for (int i = 0; i < N; i++)
    if (i % 10)
      ((struct test_node *)t->root.ref)->edges[i] = NULL;
  outside.addresses = NULL;
  outside.count = outside.calls = 0;
  test_fix_referents = fix_outside;
  for (int round = 0; round < 2; round++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_check_table(&t->root);
  }
  test_fix_referents = NULL;
  for (int i = 0; i < COUNT; i++) {
    void *leaf = ((struct test_node *)pinned.ref)->edges[i];
    assert_int_equal((uintptr_t)leaf, ~where[i]);
    assert_int_equal(*(uintptr_t *)leaf, TEST_TAG(TEST_LEAF, i));
    if (TEST_MOVES)
      assert_int_equal(nofl_block_of((uintptr_t)leaf)->class,
                       NOFL_CLASS_AMBIGUOUS);
  }
  if (TEST_MOVES && TEST_EXACT) {
    struct gc_heap_statistics *s = &t->heap->statistics;
    assert_true(s->blocks_evacuation_candidates > 5);
    assert_true(s->blocks_evacuated_empty * 10 >=
                s->blocks_evacuation_candidates * 8);
  }
  free(where);
  test_pop(t, &pinned);
  test_heap_finish(t);
}

/* Words of tagged objects that gc_trace_object does not visit are references where
   the heap is conservative, and only there.  */
static void words_of_tagged_objects(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  static const size_t words[] = {COUNT, 4 * COUNT};
  for (int large = 0; large < 2; large++) {
    struct test_heap *t = test_heap_make("heap-size=16m", "verify");
    struct test_handle chain = {NULL, NULL}, key = {NULL, NULL};
    test_push(t, &chain);
    test_push(t, &key);
    t->root.ref = test_make_node(t->mut, 0, words[large]);
    for (int i = 0; i < COUNT; i++) {
      key.ref = test_make_box(t->mut, i);
      struct gc_ephemeron *e = test_make_ephemeron(t->mut, &key, &key);
      gc_ephemeron_chain_push((struct gc_ephemeron **)&chain.ref, e);
      test_node_payload(t->root.ref)[i] = (uintptr_t)key.ref;
    }
    key.ref = NULL;
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    int live = 0;
    struct gc_ephemeron *e =
        gc_ephemeron_chain_head((struct gc_ephemeron **)&chain.ref);
    for (; e; e = gc_ephemeron_chain_next(e))
      live++;
    if (GC_CONSERVATIVE_TRACE)
      assert_int_equal(live, COUNT);
    else
      assert_true(live < COUNT / 10);
    test_pop(t, &key);
    test_pop(t, &chain);
    test_heap_finish(t);
  }
}

/* What died in the last collection is not found, though its block is not swept
   yet; nor what is in free blocks, or in metadata.  */
static void dead_objects_do_not_resolve(void **state) {
  (void)state;
  if (!TEST_EXACT)
    skip();
  struct test_heap *t = test_heap_make("heap-size=16m", NULL);
  uintptr_t *where = calloc(N, sizeof(*where));
  test_make_table(t->mut, &t->root, N);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  for (int i = 0; i < N; i++) {
    struct test_node *table = t->root.ref;
    where[i] = (uintptr_t)table->edges[i];
    if (i % 2)
      table->edges[i] = NULL;
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  for (int i = 0; i < N; i++)
    for (int interior = 0; interior < 2; interior++) {
      struct gc_conservative_ref ref =
          gc_conservative_ref(where[i] + (interior ? 9 : 0));
      struct gc_ref found = gc_resolve_conservative_ref(t->heap, ref, interior);
      assert_int_equal(gc_ref_value(found), i % 2 ? 0 : where[i]);
    }
  uintptr_t slab = t->heap->space.base;
  for (uintptr_t addr = slab; addr < slab + 4 * NOFL_BLOCK_SIZE; addr += 4096)
    assert_true(gc_ref_is_null(
        gc_resolve_conservative_ref(t->heap, gc_conservative_ref(addr), 1)));
  free(where);
  test_heap_finish(t);
}

/* Resolution while other threads allocate, sweep and collect.  */

struct allocating_thread {
  struct gc_heap *heap;
  int stop;
};

static void *allocate_attached(struct gc_stack_addr base, void *data) {
  struct allocating_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  while (!gc_atomic_load_relaxed(&self->stop)) {
    test_make_garbage(mut, 1 << 18);
    test_make_bytes(mut, 30000);
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *allocate_main(void *data) {
  return gc_call_with_stack_addr(allocate_attached, data);
}

static void resolution_is_concurrent(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  struct allocating_thread other = {t->heap, 0};
  pthread_t thread;
  test_make_table(t->mut, &t->root, 1000);
  assert_int_equal(0, pthread_create(&thread, NULL, allocate_main, &other));
  uint32_t x = 1;
  for (int i = 0; i < 300000; i++) {
    x = x * 1664525 + 1013904223;
    uintptr_t addr = t->heap->space.base + (x >> 4) % (8 << 20);
    struct gc_ref found =
        gc_resolve_conservative_ref(t->heap, gc_conservative_ref(addr), 1);
    if (!gc_ref_is_null(found)) {
      assert_true(gc_ref_value(found) <= addr);
      assert_true(gc_heap_contains(t->heap, found));
    }
    struct test_node *table = t->root.ref;
    addr = (uintptr_t)table->edges[i % 1000];
    found = gc_resolve_conservative_ref(t->heap,
                                        gc_conservative_ref(addr + i % 16), 1);
    assert_int_equal(gc_ref_value(found), addr);
    gc_safepoint(t->mut);
  }
  gc_atomic_store_relaxed(&other.stop, 1);
  gc_deactivate_for_call(t->mut, test_join, &thread);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(pinned_objects_stay),
      cmocka_unit_test(ambiguous_objects_fix_their_referents),
      cmocka_unit_test(addresses_in_the_middle_fix),
      cmocka_unit_test(unreached_referents_are_dead),
      cmocka_unit_test(embedders_referents_are_fixed),
      cmocka_unit_test(embedders_are_asked_for_live_objects_only),
      cmocka_unit_test(born_pinned_objects_live_apart),
      cmocka_unit_test(words_of_tagged_objects),
      cmocka_unit_test(dead_objects_do_not_resolve),
      cmocka_unit_test(resolution_is_concurrent),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
