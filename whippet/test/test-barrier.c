/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Collectors: %generational-mmc */
/* The write barrier and the remembered set.  Looks at internals.  */

#include "../src/mmc.c"
#include "test-heap.h"
#include "unit.h"

static int is_logged(void *loc) {
  return (*nofl_metadata_byte((uintptr_t)loc) & nofl_log_bit(gc_edge(loc))) !=
         0;
}

static int barrier_fast(struct test_heap *t, struct test_node *node, uint32_t i,
                        void *value) {
  return gc_write_barrier_fast(
      t->mut, gc_ref_from_heap_object(node),
      test_node_bytes(node->edge_count, node->payload_words),
      gc_edge(&node->edges[i]), gc_ref_from_heap_object(value));
}

/* The inline path asks for the slow one iff the object is old and the bit of
   this very field is clear.  */
static void inline_path_agrees_with_the_model(void **state) {
  (void)state;
  enum { N = 64 };
  struct test_heap *t = test_heap_make("heap-size=8m", "verify");
  uint8_t logged[N] = {0};
  t->root.ref = test_make_node(t->mut, N, 3);
  struct test_box *young = test_make_box(t->mut, 1);
  for (int i = 0; i < N; i++)
    assert_int_equal(barrier_fast(t, t->root.ref, i, young), 0);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  uint32_t x = 1;
  for (int round = 0; round < 500; round++) {
    x = x * 1664525 + 1013904223;
    uint32_t i = (x >> 16) % N;
    young = test_make_box(t->mut, i);
    if (round % 50 == 49) {
      gc_collect(t->mut, round % 100 == 49 ? GC_COLLECTION_MINOR
                                           : GC_COLLECTION_COMPACTING);
      memset(logged, 0, sizeof(logged));
      test_check_table(&t->root);
      continue;
    }
    struct test_node *node = t->root.ref;
    for (int j = 0; j < N; j++) {
      assert_int_equal(barrier_fast(t, node, j, young) != 0, !logged[j]);
      assert_int_equal(is_logged(&node->edges[j]), logged[j]);
    }
    test_store(t->mut, node, i, young);
    logged[i] = 1;
  }
  test_heap_finish(t);
}

/* Old values and immediates are not remembered.  */
static void uninteresting_stores_are_not_logged(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  struct test_handle old = {NULL, NULL};
  test_push(t, &old);
  t->root.ref = test_make_node(t->mut, 8, 0);
  old.ref = test_make_box(t->mut, 1);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  struct test_node *node = t->root.ref;
  test_store(t->mut, node, 1, old.ref);
  gc_write_barrier(t->mut, gc_ref_from_heap_object(node), test_node_bytes(8, 0),
                   gc_edge(&node->edges[2]), gc_ref_immediate(17));
  assert_false(is_logged(&node->edges[1]));
  assert_false(is_logged(&node->edges[2]));
  test_store(t->mut, node, 1, test_make_box(t->mut, 1));
  assert_true(is_logged(&((struct test_node *)t->root.ref)->edges[1]));
  test_pop(t, &old);
  test_heap_finish(t);
}

static inline void check_not_logged(struct nofl_space *space,
                                    struct nofl_block *block, void *data) {
  (void)space;
  (void)data;
  if (block->place == NOFL_PLACE_PAGED_OUT)
    return;
  const uint8_t *meta = nofl_block_metadata(block);
  if (!nofl_block_is_empty(block))
    for (size_t i = 0; i < NOFL_GRANULES_PER_BLOCK; i++)
      assert_int_equal(meta[i] & NOFL_LOGGED_MASK, 0);
}

/* No collection leaves a logged field behind, also where objects moved.  */
static void collections_empty_the_remembered_set(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m", "verify,compact");
  t->root.ref = test_make_node(t->mut, 1000, 0);
  test_make_table(t->mut, &t->root, 1000);
  for (int round = 0; round < 9; round++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR + round % 3);
    nofl_visit_blocks(&t->heap->space, check_not_logged, NULL);
    assert_null(t->heap->full_edges);
    for (int i = 0; i < 1000; i++)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
  }
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* Several threads store into the same objects, small and large.  */

enum { STORERS = 4, STORES = 20000 };

struct storer {
  struct test_heap *t;
  struct test_handle *tables;
  uint32_t seed;
};

static void *storer_attached(struct gc_stack_addr base, void *data) {
  struct storer *s = data;
  struct gc_mutator *mut = gc_init_for_thread(base, s->t->heap);
  for (int n = 0; n < STORES; n++) {
    s->seed = s->seed * 1664525 + 1013904223;
    struct test_box *box = NULL;
    int which = (s->seed >> 12) & 1;
    uint32_t i = (s->seed >> 14) %
                 ((struct test_node *)s->tables[which].ref)->edge_count;
    box = test_make_box(mut, i);
    struct test_node *table = s->tables[which].ref;
    gc_write_barrier(mut, gc_ref_from_heap_object(table),
                     test_node_bytes(table->edge_count, 0),
                     gc_edge(&table->edges[i]), gc_ref_from_heap_object(box));
    gc_atomic_store(&table->edges[i], (void *)box);
    if (n % 1000 == 999)
      gc_collect(mut, GC_COLLECTION_MINOR);
    if (n % 64 == 0)
      gc_pin_object(mut, gc_ref_from_heap_object(s->tables[which].ref));
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *storer_main(void *data) {
  return gc_call_with_stack_addr(storer_attached, data);
}

static void *join_storers(struct gc_mutator *mut, void *data) {
  (void)mut;
  for (int i = 0; i < STORERS; i++)
    pthread_join(((pthread_t *)data)[i], NULL);
  return NULL;
}

static void concurrent_stores_are_remembered(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  struct test_handle tables[2] = {{NULL, NULL}, {NULL, NULL}};
  test_push(t, &tables[0]);
  test_push(t, &tables[1]);
  tables[0].ref = test_make_node(t->mut, 300, 0);
  tables[1].ref = test_make_node(t->mut, 5000, 0);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  pthread_t threads[STORERS];
  struct storer storers[STORERS];
  for (int i = 0; i < STORERS; i++) {
    storers[i] = (struct storer){t, tables, i};
    assert_int_equal(
        pthread_create(&threads[i], NULL, storer_main, &storers[i]), 0);
  }
  gc_deactivate_for_call(t->mut, join_storers, threads);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  test_make_garbage(t->mut, 16 << 20);
  test_check_table(&tables[0]);
  test_check_table(&tables[1]);
  test_pop(t, &tables[1]);
  test_pop(t, &tables[0]);
  test_heap_finish(t);
}

/* Old large objects and objects outside of the heap hold young ones.  */
static void large_and_foreign_holders(void **state) {
  (void)state;
  static struct gc_extern_space space;
  static struct test_extern object = {.tag = TEST_TAG(TEST_EXTERN, 0)};
  struct test_heap *t = test_heap_make("heap-size=16m", "verify,poison");
  struct test_handle foreign = {&object, NULL};
  gc_heap_set_extern_space(t->heap, &space);
  test_push(t, &foreign);
  t->root.ref = test_make_node(t->mut, 3000, 0);
  for (int round = 0; round < 10; round++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    for (int i = 0; i < 3000; i += 100)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    struct test_box *box = test_make_box(t->mut, round);
    gc_write_barrier_slow(t->mut, gc_ref_from_heap_object(&object),
                          sizeof(object), gc_edge(&object.edges[0]),
                          gc_ref_from_heap_object(box));
    object.edges[0] = box;
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    test_make_garbage(t->mut, 1 << 20);
    test_check_table(&t->root);
    box = object.edges[0];
    assert_int_equal(box->tag, TEST_TAG(TEST_BOX, round));
  }
  test_pop(t, &foreign);
  test_heap_finish(t);
}

/* The link of an old ephemeron to a young one is remembered.  */
static void old_ephemerons_are_pushed_on_young_ones(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", "verify,poison");
  struct test_handle key = {NULL, NULL}, old = {NULL, NULL};
  struct test_handle chain = {NULL, NULL};
  test_push(t, &key);
  test_push(t, &old);
  test_push(t, &chain);
  key.ref = test_make_box(t->mut, 1);
  old.ref = test_make_ephemeron(t->mut, &key, &key);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  struct gc_ephemeron **loc = (struct gc_ephemeron **)&chain.ref;
  gc_ephemeron_chain_push(loc, test_make_ephemeron(t->mut, &key, &key));
  gc_ephemeron_chain_push(loc, old.ref);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  test_make_garbage(t->mut, 1 << 20);
  struct gc_ephemeron *young = gc_ephemeron_chain_next(old.ref);
  assert_non_null(young);
  assert_ptr_equal(gc_ref_value(gc_ephemeron_key(young)), key.ref);
  assert_null(gc_ephemeron_chain_next(young));
  test_pop(t, &chain);
  test_pop(t, &old);
  test_pop(t, &key);
  test_heap_finish(t);
}

/* Who passes over a dead ephemeron cuts it out, and has then the rest of the chain
   in an old object.  */
static void links_are_advanced_to_young_ephemerons(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", "verify,poison");
  struct test_handle key = {NULL, NULL};
  struct test_handle first = {NULL, NULL}, second = {NULL, NULL};
  struct test_handle chain = {NULL, NULL};
  test_push(t, &key);
  test_push(t, &first);
  test_push(t, &second);
  test_push(t, &chain);
  key.ref = test_make_box(t->mut, 1);
  first.ref = test_make_ephemeron(t->mut, &key, &key);
  second.ref = test_make_ephemeron(t->mut, &key, &key);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  struct gc_ephemeron **loc = (struct gc_ephemeron **)&chain.ref;
  struct gc_ephemeron *young = test_make_ephemeron(t->mut, &key, &key);
  gc_ephemeron_chain_push(loc, young);
  gc_ephemeron_chain_push(loc, second.ref);
  gc_ephemeron_chain_push(loc, first.ref);
  gc_ephemeron_mark_dead(second.ref);
  assert_ptr_equal(gc_ephemeron_chain_next(first.ref), young);
  /* Only the first one leads to the young one now.  */
  gc_ephemeron_mark_dead(young);
  assert_null(gc_ephemeron_chain_next(second.ref));
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  test_make_garbage(t->mut, 1 << 20);
  assert_null(gc_ephemeron_chain_next(first.ref));
  test_pop(t, &chain);
  test_pop(t, &second);
  test_pop(t, &first);
  test_pop(t, &key);
  test_heap_finish(t);
}

/* Stores into a field outside of the heap take up no memory each.  */
static void foreign_fields_are_remembered_once(void **state) {
  (void)state;
  static struct test_extern object = {.tag = TEST_TAG(TEST_EXTERN, 0)};
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  struct test_box *box = test_make_box(t->mut, 1);
  for (int i = 0; i < 100000; i++)
    gc_write_barrier_slow(t->mut, gc_ref_from_heap_object(&object),
                          sizeof(object), gc_edge(&object.edges[0]),
                          gc_ref_from_heap_object(box));
  assert_int_equal(t->heap->foreign_edges.count, 1);
  assert_null(t->heap->full_edges);
  test_heap_finish(t);
}

/* Large objects: the log bits of their fields.  */

static int is_logged_large(struct test_heap *t, void *loc) {
  return large_field_is_logged(&t->heap->large, (uintptr_t)loc);
}

/* Outside of collections: what T's only mutator has recorded since the last one.  */
static size_t count_recorded(struct test_heap *t) {
  size_t count = t->mut->edges ? t->mut->edges->count : 0;
  for (struct edge_buffer *buf = t->heap->full_edges; buf; buf = buf->next)
    count += buf->count;
  return count;
}

static void check_no_large_log(struct test_heap *t) {
  assert_int_equal(large_space_logged_chunks(&t->heap->large), 0);
}

/* Dead boxes do not look like live ones.  */
static void check_full_table(struct test_heap *t) {
  struct test_node *node = t->root.ref;
  for (uint32_t i = 0; i < node->edge_count; i++)
    assert_non_null(node->edges[i]);
  test_check_table(&t->root);
}

/* A heap that is collected when it is full, or when a test says so.  */
static struct test_heap *make_patient_heap(const char *stress) {
  setenv("GC_MMC_NURSERY", "0", 1);
  struct test_heap *t = test_heap_make("heap-size=32m", stress);
  unsetenv("GC_MMC_NURSERY");
  return t;
}

/* A large table, old since a collection of KIND, with nothing logged.  */
static void make_old_table(struct test_heap *t, uint32_t count,
                           enum gc_collection_kind kind) {
  test_make_table(t->mut, &t->root, count);
  gc_collect(t->mut, kind);
  assert_true(large_object_is_old(&t->heap->large,
                                  gc_ref_from_heap_object(t->root.ref)));
  check_no_large_log(t);
}

/* Each word of a large object is remembered, whatever else is; and the next
   collection forgets all of them.  */
static void each_field_of_a_large_object_is_remembered(void **state) {
  (void)state;
  enum { N = 40000 };
  static const uint32_t strides[] = {1, 64, 63, 3, 1000, N};
  struct test_heap *t = make_patient_heap("poison");
  make_old_table(t, N, GC_COLLECTION_MINOR);
  for (size_t s = 0; s < sizeof(strides) / sizeof(*strides); s++)
    for (uint32_t first = 0; first < 3; first++) {
      uint32_t stride = strides[s];
      size_t chunks = 0;
      uintptr_t last_chunk = 0;
      for (uint32_t i = first; i < N; i += stride) {
        struct test_node *node = t->root.ref;
        uintptr_t chunk = large_chunk((uintptr_t)&node->edges[i]);
        assert_false(is_logged_large(t, &node->edges[i]));
        test_store(t->mut, node, i, test_make_box(t->mut, i));
        assert_true(is_logged_large(t, &node->edges[i]));
        chunks += chunk != last_chunk;
        last_chunk = chunk;
      }
      assert_int_equal(count_recorded(t), chunks);
      gc_collect(t->mut, s % 2 ? GC_COLLECTION_MAJOR : GC_COLLECTION_MINOR);
      check_no_large_log(t);
      assert_int_equal(count_recorded(t), 0);
      gc_collect(t->mut, GC_COLLECTION_MINOR);
      test_make_garbage(t->mut, 1 << 20);
      check_full_table(t);
    }
  test_heap_finish(t);
}

/* Again and again into the same fields: they are recorded once, and what they hold
   last is what lives.  */
static void repeated_stores_are_recorded_once(void **state) {
  (void)state;
  struct test_heap *t = make_patient_heap("verify,poison");
  make_old_table(t, 3000, GC_COLLECTION_MAJOR);
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 20000; i++) {
      uint32_t field = i % 2 ? 7 : 2999;
      test_store(t->mut, t->root.ref, field, test_make_box(t->mut, field));
    }
    assert_in_range(count_recorded(t), 0, 2);
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    test_make_garbage(t->mut, 1 << 20);
    check_full_table(t);
  }
  test_heap_finish(t);
}

static void uninteresting_stores_in_large_objects_are_not_logged(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  t->root.ref = test_make_node(t->mut, 2000, 0);
  test_store(t->mut, t->root.ref, 1, test_make_box(t->mut, 1));
  struct test_node *node = t->root.ref;
  assert_false(is_logged_large(t, &node->edges[1]));
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  test_store(t->mut, node, 2, node->edges[1]);
  gc_write_barrier(t->mut, gc_ref_from_heap_object(node),
                   test_node_bytes(2000, 0), gc_edge(&node->edges[3]),
                   gc_ref_immediate(17));
  check_no_large_log(t);
  assert_int_equal(count_recorded(t), 0);
  test_heap_finish(t);
}

/* Threads store into fields next to each other: each word of the log is written by
   all of them.  */

struct neighbour {
  struct test_heap *t;
  uint32_t index;
  pthread_barrier_t *start;
};

static void *wait_for_start(struct gc_mutator *mut, void *barrier) {
  (void)mut;
  pthread_barrier_wait(barrier);
  return NULL;
}

static void *neighbour_attached(struct gc_stack_addr base, void *data) {
  struct neighbour *n = data;
  struct test_heap *t = n->t;
  struct gc_mutator *mut = gc_init_for_thread(base, t->heap);
  gc_deactivate_for_call(mut, wait_for_start, n->start);
  uint32_t count = ((struct test_node *)t->root.ref)->edge_count;
  for (uint32_t i = n->index; i < count; i += STORERS) {
    struct test_box *box = test_make_box(mut, i);
    struct test_node *node = t->root.ref;
    gc_write_barrier(mut, gc_ref_from_heap_object(node),
                     test_node_bytes(count, 0), gc_edge(&node->edges[i]),
                     gc_ref_from_heap_object(box));
    gc_atomic_store(&node->edges[i], (void *)box);
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *neighbour_main(void *data) {
  return gc_call_with_stack_addr(neighbour_attached, data);
}

static void neighbouring_fields_are_remembered(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=48m", "poison");
  int rounds = getenv("GC_TEST_QUICK") ? 10 : 40;
  make_old_table(t, 20000, GC_COLLECTION_MAJOR);
  pthread_barrier_t start;
  pthread_barrier_init(&start, NULL, STORERS);
  for (int round = 0; round < rounds; round++) {
    pthread_t threads[STORERS];
    struct neighbour neighbours[STORERS];
    for (uint32_t i = 0; i < STORERS; i++) {
      neighbours[i] = (struct neighbour){t, i, &start};
      assert_int_equal(
          pthread_create(&threads[i], NULL, neighbour_main, &neighbours[i]), 0);
    }
    gc_deactivate_for_call(t->mut, join_storers, threads);
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    check_no_large_log(t);
    test_make_garbage(t->mut, 1 << 20);
    check_full_table(t);
  }
  pthread_barrier_destroy(&start);
  test_heap_finish(t);
}

/* An object dies with logged fields: the next one in its place has none.  */

static void __attribute__((noinline)) log_and_drop(struct test_heap *t) {
  struct test_node *node = t->root.ref;
  for (uint32_t i = 0; i < node->edge_count; i++)
    test_store(t->mut, node, i, test_make_box(t->mut, i));
  t->root.ref = NULL;
}

static void reused_addresses_have_no_log(void **state) {
  (void)state;
  enum { N = 5000 };
  struct test_heap *t = make_patient_heap("poison");
  int reused = 0;
  uintptr_t before = 0;
  for (int round = 0; round < 20; round++) {
    make_old_table(t, N, GC_COLLECTION_MINOR);
    reused += (uintptr_t)t->root.ref == before;
    log_and_drop(t);
    test_make_table(t->mut, &t->root, 1);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    check_no_large_log(t);
    make_old_table(t, N, GC_COLLECTION_MINOR);
    for (uint32_t i = 0; i < N; i++)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    test_make_garbage(t->mut, 1 << 20);
    check_full_table(t);
    before = (uintptr_t)t->root.ref;
    log_and_drop(t);
    test_make_table(t->mut, &t->root, 1);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
  }
  if (TEST_EXACT)
    assert_in_range(reused, 1, 20);
  test_heap_finish(t);
}

/* There is no memory to record a chunk.  The next collection is a full one, and then
   fields of that chunk are remembered as ever, also those that were logged when the
   record was missing already.  */
static void chunks_without_record(void **state) {
  (void)state;
  enum { N = 3000 };
  struct test_heap *t = make_patient_heap("verify,poison");
  make_old_table(t, N, GC_COLLECTION_MAJOR);
  for (int round = 0; round < 4; round++) {
    /* Neither a buffer nor memory for one.  */
    pthread_mutex_lock(&t->heap->edges_lock);
    struct edge_buffer *free_edges = t->heap->free_edges;
    t->heap->free_edges = NULL;
    pthread_mutex_unlock(&t->heap->edges_lock);
    assert_null(t->mut->edges);
    for (uint32_t i = 0; i < N; i += 2) {
      struct test_box *box = test_make_box(t->mut, i);
      if (round % 2 == 0 || i < 16)
        gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, 1);
      test_store(t->mut, t->root.ref, i, box);
      gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
      assert_true(t->heap->minor_impossible);
    }
    t->heap->free_edges = free_edges;
    for (uint32_t i = 1; i < N; i += 2)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    assert_int_equal(t->heap->last_kind != GC_COLLECTION_MINOR, 1);
    assert_false(t->heap->minor_impossible);
    check_no_large_log(t);
    test_make_garbage(t->mut, 1 << 20);
    check_full_table(t);
    for (uint32_t i = 0; i < N; i++)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    assert_int_equal(t->heap->last_kind, GC_COLLECTION_MINOR);
    test_make_garbage(t->mut, 1 << 20);
    check_full_table(t);
  }
  test_heap_finish(t);
}

/* The verifier compares the log with the record of it.  */

static void collect_unrecorded(void *data) {
  int unrecorded = *(int *)data;
  struct test_heap *t = make_patient_heap("verify");
  make_old_table(t, 3000, GC_COLLECTION_MAJOR);
  test_store(t->mut, t->root.ref, 5, test_make_box(t->mut, 5));
  if (unrecorded)
    large_log_field(&t->heap->large,
                    (uintptr_t) & ((struct test_node *)t->root.ref)->edges[99]);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
}

static void verifier_finds_chunks_without_record(void **state) {
  (void)state;
  int unrecorded = 0;
  assert_int_equal(unit_run_in_child(collect_unrecorded, &unrecorded), 0);
  unrecorded = 1;
  unit_assert_traps(collect_unrecorded, &unrecorded);
}

static size_t count_buffers(const struct edge_buffer *buf) {
  size_t count = 0;
  for (; buf; buf = buf->next)
    count++;
  return count;
}

/* Threads that come, remember an edge and go, do not leave a buffer each; and what
   they have remembered holds.  */
static void edges_of_gone_threads_share_buffers(void **state) {
  (void)state;
  enum { N = 3 * EDGE_BUFFER_SIZE };
  struct test_heap *t = test_heap_make("heap-size=16m", "verify");
  t->root.ref = test_make_node(t->mut, 500, 0);
  for (uint32_t i = 0; i < 500; i++) {
    struct test_node *kid = test_make_node(t->mut, 4, 0);
    test_store(t->mut, t->root.ref, i, kid);
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  gc_deactivate(t->mut);
  for (uint32_t i = 0; i < N; i++) {
    struct gc_mutator *mut = gc_init_for_thread(gc_empty_stack_addr(), t->heap);
    assert_non_null(mut);
    struct test_box *box = test_make_box(mut, i);
    struct test_node *root = t->root.ref;
    test_store(mut, root->edges[i % 500], i / 500, box);
    gc_finish_for_thread(mut);
  }
  gc_reactivate(t->mut);
  assert_in_range(count_buffers(t->heap->full_edges) +
                      count_buffers(t->heap->free_edges) +
                      count_buffers(t->heap->bequeathed_edges),
                  3, 6);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  assert_null(t->heap->bequeathed_edges);
  for (uint32_t i = 0; i < N; i++) {
    struct test_node *kid = ((struct test_node *)t->root.ref)->edges[i % 500];
    struct test_box *box = kid->edges[i / 500];
    assert_int_equal(box->tag, TEST_TAG(TEST_BOX, i));
  }
  test_heap_finish(t);
}

/* The words of an object that is traced conservatively may be anything, also those
   that held a reference when they were logged.  */
static void check_any_word_will_do(enum gc_allocation_kind kind,
                                   uint32_t count) {
  struct test_heap *t = make_patient_heap("verify,poison");
  struct test_handle other = {NULL, NULL};
  test_push(t, &other);
  t->root.ref = test_make_node_of_kind(t->mut, count, 0, kind);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  for (int round = 0; round < 3; round++) {
    struct test_node *node = test_make_node(t->mut, 8, 0);
    other.ref = node;
    node->edges[7] = test_make_box(t->mut, 7);
    uint8_t *inside = nofl_metadata_byte((uintptr_t)&node->edges[1]);
    uint8_t byte = *inside;
    uint32_t last = count - 1;
    for (uint32_t i = last - 3; i <= last; i++)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    struct test_node *holder = t->root.ref;
    holder->edges[last] = (void *)(uintptr_t)24;
    holder->edges[last - 1] = &((struct test_node *)other.ref)->edges[1];
    holder->edges[last - 2] = (char *)other.ref + 3;
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    assert_int_equal(t->heap->last_kind, GC_COLLECTION_MINOR);
    assert_int_equal(*inside, byte);
    test_make_garbage(t->mut, 1 << 20);
    struct test_box *box = ((struct test_node *)t->root.ref)->edges[last - 3];
    assert_int_equal(box->tag, TEST_TAG(TEST_BOX, last - 3));
    box = ((struct test_node *)other.ref)->edges[7];
    assert_int_equal(box->tag, TEST_TAG(TEST_BOX, 7));
  }
  test_pop(t, &other);
  test_heap_finish(t);
}

static void any_word_will_do_in_a_conservative_object(void **state) {
  (void)state;
  static const uint32_t counts[] = {4, 100, 3000, 100000};
  for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
    check_any_word_will_do(GC_ALLOCATION_UNTAGGED_CONSERVATIVE, counts[i]);
    if (GC_CONSERVATIVE_TRACE)
      check_any_word_will_do(GC_ALLOCATION_TAGGED, counts[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(any_word_will_do_in_a_conservative_object),
      cmocka_unit_test(verifier_finds_chunks_without_record),
      cmocka_unit_test(inline_path_agrees_with_the_model),
      cmocka_unit_test(uninteresting_stores_are_not_logged),
      cmocka_unit_test(collections_empty_the_remembered_set),
      cmocka_unit_test(concurrent_stores_are_remembered),
      cmocka_unit_test(large_and_foreign_holders),
      cmocka_unit_test(old_ephemerons_are_pushed_on_young_ones),
      cmocka_unit_test(links_are_advanced_to_young_ephemerons),
      cmocka_unit_test(foreign_fields_are_remembered_once),
      cmocka_unit_test(each_field_of_a_large_object_is_remembered),
      cmocka_unit_test(repeated_stores_are_recorded_once),
      cmocka_unit_test(uninteresting_stores_in_large_objects_are_not_logged),
      cmocka_unit_test(neighbouring_fields_are_remembered),
      cmocka_unit_test(reused_addresses_have_no_log),
      cmocka_unit_test(chunks_without_record),
      cmocka_unit_test(edges_of_gone_threads_share_buffers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
