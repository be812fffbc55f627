/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Kinds of collection, sharing of collections between threads, ephemerons and
   finalizers end to end, heap sizing.  Looks at internals.  */

#include "../src/mmc.c"
#include "test-heap.h"

/* A request is satisfied by a collection of its kind or more, also the first
   one of a heap, also in a build that has no such kind.  */
static void requests_are_honoured(void **state) {
  (void)state;
  static const enum gc_collection_kind kinds[] = {
      GC_COLLECTION_COMPACTING, GC_COLLECTION_MINOR, GC_COLLECTION_MAJOR,
      GC_COLLECTION_MINOR,      GC_COLLECTION_MINOR, GC_COLLECTION_COMPACTING,
      GC_COLLECTION_ANY};
  struct test_heap *t = test_heap_make("heap-size=8m", "verify");
  test_make_table(t->mut, &t->root, 5000);
  for (int i = 0; i < 7; i++) {
    enum gc_collection_kind kind = kinds[i];
    gc_collect(t->mut, kind);
    if (kind == GC_COLLECTION_MINOR && !GC_GENERATIONAL)
      kind = GC_COLLECTION_MAJOR;
    if (kind == GC_COLLECTION_COMPACTING && !TEST_MOVES)
      kind = GC_COLLECTION_MAJOR;
    assert_true(t->heap->last_kind >= kind);
    test_make_garbage(t->mut, 1 << 20);
    test_check_table(&t->root);
  }
  test_heap_finish(t);
}

/* Without a barrier a minor collection would sweep live objects.  */
static void minor_request_is_safe_without_generations(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", "verify,poison");
  t->root.ref = test_make_node(t->mut, 1000, 0);
  for (int round = 0; round < 20; round++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    for (uint32_t i = 0; i < 1000; i++) {
      struct test_box *box = test_make_box(t->mut, i);
      if (GC_GENERATIONAL)
        test_store(t->mut, t->root.ref, i, box);
      else
        ((struct test_node *)t->root.ref)->edges[i] = box;
    }
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    test_check_table(&t->root);
  }
  test_heap_finish(t);
}

/* Several threads ask for different kinds at once; what each asked for has
   happened when its call returns.  */

enum { COLLECTORS = 6, ROUNDS = 60 };

struct requester {
  struct test_heap *t;
  unsigned index;
};

static void __attribute__((noinline))
make_dying_ephemeron(struct gc_mutator *mut, struct test_handle *e) {
  struct test_handle key = {test_make_box(mut, 1), NULL};
  /* No safepoint: the allocation of the ephemeron is one, so root the key.  */
  e->ref = key.ref;
  struct gc_ephemeron *ephemeron = gc_allocate_ephemeron(mut);
  *(uintptr_t *)ephemeron = TEST_TAG(TEST_EPHEMERON, 0);
  gc_ephemeron_init(mut, ephemeron, gc_ref((uintptr_t)e->ref),
                    gc_ref((uintptr_t)e->ref));
  e->ref = ephemeron;
}

static void *request_collections(struct gc_stack_addr base, void *data) {
  struct requester *r = data;
  struct gc_mutator *mut = gc_init_for_thread(base, r->t->heap);
  struct test_handle e = {NULL, NULL};
  struct gc_mutator_roots roots = {.handles = &e};
  gc_mutator_set_roots(mut, &roots);
  for (int i = 0; i < ROUNDS; i++) {
    enum gc_collection_kind kind = GC_COLLECTION_MINOR + (i * 7 + r->index) % 3;
    make_dying_ephemeron(mut, &e);
    gc_collect(mut, kind);
    if (TEST_EXACT && kind != GC_COLLECTION_MINOR &&
        !gc_ref_is_null(gc_ephemeron_key(e.ref)))
      abort();
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *requester_thread(void *data) {
  return gc_call_with_stack_addr(request_collections, data);
}

static void *join_threads(struct gc_mutator *mut, void *data) {
  (void)mut;
  for (int i = 0; i < COLLECTORS; i++)
    pthread_join(((pthread_t *)data)[i], NULL);
  return NULL;
}

static void shared_collections_are_of_the_right_kind(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m", "delay=50");
  pthread_t threads[COLLECTORS];
  struct requester requesters[COLLECTORS];
  for (int i = 0; i < COLLECTORS; i++) {
    requesters[i] = (struct requester){t, i};
    assert_int_equal(
        0, pthread_create(&threads[i], NULL, requester_thread, &requesters[i]));
  }
  gc_deactivate_for_call(t->mut, join_threads, threads);
  test_heap_finish(t);
}

/* From the moment when collections are forbidden there is none, although another
   thread asks for them all the time.  */

struct nagger {
  struct gc_heap *heap;
  int ready, stop;
};

static void *nag(struct gc_stack_addr base, void *data) {
  struct nagger *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  __atomic_store_n(&self->ready, 1, __ATOMIC_RELEASE);
  while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
    gc_collect(mut, GC_COLLECTION_ANY);
    gc_safepoint(mut);
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *nagging_thread(void *data) {
  return gc_call_with_stack_addr(nag, data);
}

static void *join_nagger(struct gc_mutator *mut, void *data) {
  (void)mut;
  pthread_join(*(pthread_t *)data, NULL);
  return NULL;
}

static void inhibition_begins_at_once(void **state) {
  (void)state;
  enum { PERIODS = 2000 };
  struct test_heap *t = test_heap_make("heap-size=16m,parallelism=1", NULL);
  struct nagger nagger = {t->heap, 0, 0};
  pthread_t thread;
  unsigned begun = 0;
  assert_int_equal(0, pthread_create(&thread, NULL, nagging_thread, &nagger));
  while (!__atomic_load_n(&nagger.ready, __ATOMIC_ACQUIRE))
    sched_yield();
  uint64_t first = t->heap->epoch;
  for (int i = 0; i < PERIODS; i++) {
    gc_heap_inhibit_collection(t->heap);
    uint64_t epoch = t->heap->epoch;
    for (int j = 0; j < 20; j++) {
      gc_safepoint(t->mut);
      test_make_box(t->mut, j);
      if (j % 10 == 0)
        sched_yield();
    }
    begun += t->heap->epoch != epoch;
    gc_heap_allow_collection(t->heap);
    for (int j = 0; j < 20; j++)
      gc_safepoint(t->mut);
  }
  __atomic_store_n(&nagger.stop, 1, __ATOMIC_RELEASE);
  gc_deactivate_for_call(t->mut, join_nagger, &thread);
  assert_int_equal(begun, 0);
  assert_true(t->heap->epoch > first);
  test_heap_finish(t);
}

/* A chain of ephemerons, each keyed by the value of the one before, longer than
   any stack could hold, dies and lives as one.  */
static void long_ephemeron_chain(void **state) {
  (void)state;
  enum { N = 100000 };
  struct test_heap *t = test_heap_make("heap-size=64m", NULL);
  struct test_handle chain = {NULL, NULL}, key = {NULL, NULL};
  struct test_handle first = {NULL, NULL};
  test_push(t, &chain);
  test_push(t, &key);
  test_push(t, &first);
  first.ref = key.ref = test_make_box(t->mut, 0);
  for (int i = 1; i < N; i++) {
    t->root.ref = test_make_box(t->mut, i);
    struct gc_ephemeron *e = test_make_ephemeron(t->mut, &key, &t->root);
    gc_ephemeron_chain_push((struct gc_ephemeron **)&chain.ref, e);
    key.ref = t->root.ref;
  }
  t->root.ref = key.ref = NULL;
  for (int round = 0; round < 3; round++) {
    gc_collect(t->mut, round ? GC_COLLECTION_COMPACTING : GC_COLLECTION_MAJOR);
    int length = 0;
    struct gc_ephemeron *e =
        gc_ephemeron_chain_head((struct gc_ephemeron **)&chain.ref);
    for (; e; e = gc_ephemeron_chain_next(e), length++)
      assert_int_equal(
          TEST_TAG_ID(
              ((struct test_box *)gc_ref_value(gc_ephemeron_value(e)))->tag),
          N - 1 - length);
    assert_int_equal(length, N - 1);
  }
  first.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  if (TEST_EXACT)
    assert_null(gc_ephemeron_chain_head((struct gc_ephemeron **)&chain.ref));
  test_pop(t, &first);
  test_pop(t, &key);
  test_pop(t, &chain);
  test_heap_finish(t);
}

static void __attribute__((noinline))
make_finalizable(struct test_heap *t, unsigned priority, void *object,
                 uintptr_t closure) {
  struct test_handle handle = {object, NULL};
  test_push(t, &handle);
  test_attach_finalizer(t->mut, priority, &handle, closure);
  test_pop(t, &handle);
}

/* What a fired finalizer keeps alive is not finalized at a later priority in
   the same collection; at the same priority all fire together.  */
static void finalizer_priorities(void **state) {
  (void)state;
  if (!TEST_EXACT)
    return;
  struct test_heap *t = test_heap_make("heap-size=8m", "verify");
  struct test_handle other = {NULL, NULL};
  test_push(t, &other);
  for (int same = 0; same < 2; same++) {
    t->root.ref = test_make_box(t->mut, 1);
    other.ref = test_make_box(t->mut, 2);
    ((struct test_box *)other.ref)->edge = t->root.ref;
    make_finalizable(t, same ? 1 : 0, other.ref, 8 * 2 + 1);
    make_finalizable(t, 1, t->root.ref, 8 * 1 + 1);
    t->root.ref = other.ref = NULL;
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    struct gc_finalizer *f = gc_pop_finalizable(t->mut);
    assert_non_null(f);
    if (!same)
      assert_int_equal(gc_ref_value(gc_finalizer_closure(f)), 8 * 2 + 1);
    f = gc_pop_finalizable(t->mut);
    assert_int_equal(f != NULL, same);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    f = gc_pop_finalizable(t->mut);
    assert_int_equal(f != NULL, !same);
    if (f)
      assert_int_equal(gc_ref_value(gc_finalizer_closure(f)), 8 * 1 + 1);
    assert_null(gc_pop_finalizable(t->mut));
  }
  test_pop(t, &other);
  test_heap_finish(t);
}

static size_t live_size_after(struct test_heap *t,
                              enum gc_collection_kind kind) {
  struct gc_heap_statistics stats;
  gc_collect(t->mut, kind);
  gc_heap_statistics(t->heap, &stats);
  return stats.live_size;
}

/* A mark stack of a few items: what is dropped is found again, also in huge
   objects, through ephemerons and outside of the heap.  */
static void mark_stack_overflow(void **state) {
  (void)state;
  struct gc_extern_space *space = calloc(1, sizeof(*space));
  enum { EXTERNS = 200 };
  struct test_extern *externs = calloc(EXTERNS, sizeof(*externs));
  struct test_heap *t =
      test_heap_make("heap-size=64m,parallelism=3", "verify,mark-stack=16");
  struct test_handle table = {NULL, NULL};
  gc_heap_set_extern_space(t->heap, space);
  test_push(t, &table);
  test_make_table(t->mut, &table, 40000);
  /* Of a kind that all traces look at precisely: no others know of externs.  */
  t->root.ref =
      test_make_node_of_kind(t->mut, EXTERNS, 0, GC_ALLOCATION_TAGGED_PINNED);
  for (int i = 0; i < EXTERNS; i++) {
    externs[i].tag = TEST_TAG(TEST_EXTERN, i);
    struct test_box *box = test_make_box(t->mut, i);
    gc_write_barrier_slow(t->mut, gc_ref_from_heap_object(&externs[i]),
                          sizeof(externs[i]), gc_edge(&externs[i].edges[0]),
                          gc_ref_from_heap_object(box));
    externs[i].edges[0] = box;
    ((struct test_node *)t->root.ref)->edges[i] = &externs[i];
  }
  for (int i = 0; i < 6; i++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR + i % 3);
    test_check_table(&table);
    for (int j = 0; j < EXTERNS; j++)
      assert_int_equal(((struct test_box *)externs[j].edges[0])->tag,
                       TEST_TAG(TEST_BOX, j));
  }
  assert_int_equal(space->starts, space->finishes);
  assert_true(space->visits >= EXTERNS);
  /* What a minor collection has found again is counted once.  */
  test_make_table(t->mut, &t->root, 40000);
  size_t minor = live_size_after(t, GC_COLLECTION_MINOR);
  size_t major = live_size_after(t, GC_COLLECTION_MAJOR);
  assert_in_range(minor, major, major + major / 4);
  test_pop(t, &table);
  test_heap_finish(t);
}

/* A key outside of the heap is live.  */
static void foreign_ephemeron_key(void **state) {
  (void)state;
  static struct gc_extern_space space;
  static struct test_extern object = {.tag = TEST_TAG(TEST_EXTERN, 0)};
  struct test_heap *t = test_heap_make("heap-size=4m", "verify");
  gc_heap_set_extern_space(t->heap, &space);
  struct test_handle key = {&object, NULL}, value = {NULL, NULL};
  value.ref = (void *)(uintptr_t)17;
  t->root.ref = test_make_ephemeron(t->mut, &key, &value);
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  assert_int_equal(gc_ref_value(gc_ephemeron_key(t->root.ref)),
                   (uintptr_t)&object);
  gc_ephemeron_mark_dead(t->root.ref);
  assert_int_equal(0, gc_ref_value(gc_ephemeron_swap_value(t->mut, t->root.ref,
                                                           gc_ref(25))));
  test_heap_finish(t);
}

/* Many large objects need no recursion; young ones die in minor
   collections.  */
static void large_objects(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=256m", NULL);
  t->root.ref = test_make_node(t->mut, 10000, 0);
  for (uint32_t i = 0; i < 10000; i++)
    test_store(t->mut, t->root.ref, i, test_make_node(t->mut, 1100, 0));
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t live = t->heap->space.large_bytes;
  /* In whole pages, in either count.  */
  assert_true(t->heap->live_bytes >= t->heap->live_large_bytes);
  for (int i = 0; i < 100; i++)
    test_make_bytes(t->mut, 100000);
  assert_true(t->heap->space.large_bytes > live + 100 * 90000);
  gc_collect(t->mut, GC_COLLECTION_MINOR);
  if (TEST_EXACT)
    assert_int_equal(t->heap->space.large_bytes, live);
  t->root.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  if (TEST_EXACT)
    assert_int_equal(t->heap->space.large_bytes, 0);
  test_heap_finish(t);
}

/* The square-root rule: more allocation and slower tracing give more room, and
   the ends of the clamp are not where usual inputs lead.  */
static void adaptive_size_follows_the_rule(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=adaptive,heap-size=4m", NULL);
  struct mmc_sizing *sizing = &t->heap->sizing;
  double live = 64 << 20, last = 0;
  for (double rate = 0.05; rate < 10; rate *= 2) {
    sizing->allocation_rate = rate;
    sizing->trace_rate = 1;
    double target = heap_adaptive_target(t->heap, live);
    assert_true(target > last);
    assert_true(target > live * 1.1 && target < live * 5);
    last = target;
  }
  sizing->allocation_rate = sizing->trace_rate = 3;
  double equal = heap_adaptive_target(t->heap, live);
  double growable = heap_growable_target(t->heap, live);
  assert_true(equal > growable * 0.999 && equal < growable * 1.001);
  test_heap_finish(t);
}

/* Mutators hold on to blocks: there is room for them, and that once only.  */
static void many_mutators_have_room(void **state) {
  (void)state;
  enum { MUTATORS = 300 };
  const char *policies[] = {"adaptive", "growable"};
  for (int i = 0; i < 2; i++) {
    char options[64];
    snprintf(options, sizeof(options), "heap-size-policy=%s,heap-size=4m",
             policies[i]);
    struct test_heap *t = test_heap_make(options, NULL);
    size_t live = 64 << 20;
    size_t before = heap_policy_size(t->heap, live);
    t->heap->mutator_count += MUTATORS;
    size_t after = heap_policy_size(t->heap, live);
    assert_in_range(after - before, MUTATORS * NOFL_BLOCK_SIZE,
                    2 * MUTATORS * NOFL_BLOCK_SIZE);
    heap_set_size(t->heap, after);
    assert_int_equal(heap_policy_size(t->heap, live), after);
    t->heap->mutator_count -= MUTATORS;
    test_heap_finish(t);
  }
}

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
    return;
  struct test_heap *t = make_sparse_heap(1);
  struct gc_heap *heap = t->heap;
  uint64_t all = 0;
  unsigned steps = 0;
  do {
    size_t step = heap->live_bytes / MMC_COPYING_COST_OUT_OF_CACHE;
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
    return;
  struct test_heap *t = make_sparse_heap(0);
  size_t step = t->heap->live_bytes / MMC_COPYING_COST_OUT_OF_CACHE;
  size_t live = t->heap->live_bytes - t->heap->live_large_bytes;
  uint64_t bytes = compact_by_choice(t);
  assert_true(live > step);
  assert_true(bytes > step && bytes <= NOFL_VERY_SPARSE_FACTOR * step);
  assert_true(bytes > live * 3 / 4);
  check_sparse_heap(t, 0);
}

/* What dies late does not make the heap larger.  */
static void dying_things_are_not_sized_for(void **state) {
  (void)state;
  /* Some may be found alive where roots are ambiguous.  */
  enum { N = 10000, SOME = TEST_EXACT ? 0 : 100 };
  struct test_heap *t = test_heap_make(
      "heap-size-policy=growable,heap-size=16m,parallelism=1", "verify");
  size_t ephemeron = trace_size_in_heap(gc_ephemeron_size());
  size_t finalizer = trace_size_in_heap(gc_finalizer_size());
  size_t box = trace_size_in_heap(sizeof(struct test_box));
  struct test_handle key = {NULL, NULL}, value = {NULL, NULL};
  t->root.ref = test_make_node(t->mut, N, 0);
  test_push(t, &key);
  test_push(t, &value);
  for (uint32_t i = 0; i < N; i++) {
    key.ref = test_make_box(t->mut, i);
    value.ref = test_make_box(t->mut, i);
    test_store(t->mut, t->root.ref, i,
               test_make_ephemeron(t->mut, &key, &value));
    key.ref = value.ref = NULL;
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_in_range(t->heap->doomed_bytes, (N - SOME) * ephemeron, N * ephemeron);
  assert_int_equal(heap_lasting_bytes(t->heap),
                   t->heap->live_bytes - t->heap->doomed_bytes);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_in_range(t->heap->doomed_bytes, 0, SOME * ephemeron);
  for (uint32_t i = 0; i < N; i++) {
    key.ref = test_make_box(t->mut, i);
    test_attach_finalizer(t->mut, 0, &key, 9);
    key.ref = NULL;
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_in_range(t->heap->doomed_bytes, (N - SOME) * (finalizer + box),
                  N * (finalizer + 4 * box));
  test_pop(t, &value);
  test_pop(t, &key);
  test_heap_finish(t);
}

/* Who wakes another worker has something ready for it; it does so after as much
   work, not as many objects.  */

static void check_wakes(struct trace_worker *worker, size_t objects,
                        size_t bytes, size_t items, int wakes) {
  struct gc_tracer *tracer = worker->tracer;
  uint32_t wake_count = tracer->wake_count, parked = tracer->parked;
  worker->objects_traced = objects;
  worker->bytes_traced = bytes;
  worker->work_at_wake = 0;
  for (size_t i = 0; i < items; i++)
    trace_push(worker, (i + 1) << 3);
  tracer->parked = 1;
  trace_consider_sharing(worker);
  tracer->parked = parked;
  assert_int_equal(tracer->wake_count, wake_count + wakes);
  size_t half = items / 2 < TRACER_SHARED_SIZE ? items / 2 : TRACER_SHARED_SIZE;
  assert_int_equal(worker->shared_count, wakes ? half : 0);
  assert_int_equal(worker->top - worker->bottom + worker->shared_count, items);
  worker->top = worker->bottom = worker->shared_count = 0;
  worker->objects_traced = worker->bytes_traced = worker->work_at_wake = 0;
}

static void woken_workers_find_work(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,heap-size=4m", NULL);
  struct trace_worker *worker = &t->heap->tracer.workers[0];
  check_wakes(worker, TRACER_WAKE_DELAY, 0, 8, 1);
  check_wakes(worker, TRACER_WAKE_DELAY, 0, 2, 0);
  check_wakes(worker, TRACER_WAKE_DELAY / 2, 0, 8, 0);
  check_wakes(worker, 10, TRACER_WAKE_DELAY * 64, 8, 1);
  check_wakes(worker, 0, 0, TRACER_WAKE_DELAY, 1);
  test_heap_finish(t);
}

/* However many large objects there are, the largest are traced in slices.  */
static void largest_objects_are_sliced(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,heap-size=4m", NULL);
  struct gc_tracer *tracer = &t->heap->tracer;
  uintptr_t item;
  size_t count = 0;
  assert_false(tracer_add_sliced(tracer, 4096, TRACER_SLICE_SIZE, 0, &item));
  while (tracer_add_sliced(tracer, 4096, 2 * TRACER_SLICE_SIZE, 0, &item))
    count++;
  assert_in_range(count, 16, TRACER_MAX_SLICED / 4);
  count = 0;
  while (tracer_add_sliced(tracer, 4096, (size_t)64 << 20, 0, &item))
    count++;
  assert_in_range(count, TRACER_MAX_SLICED / 2, TRACER_MAX_SLICED);
  tracer->sliced_count = 0;
  test_heap_finish(t);
}

/* A kick that comes when a tick has looked at everything, as this one from
   its end, is not lost.  */

static unsigned kicks;

static void kick_when_resized(void *data, size_t size) {
  (void)size;
  heap_kick_ticker(data);
  kicks++;
}

static void kicks_during_ticks_are_not_lost(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=adaptive,heap-size=64m", NULL);
  struct gc_heap *heap = t->heap;
  uint64_t counter = 0;
  /* The test is the ticker.  */
  heap->ticker_running = 1;
  heap->listener.heap_resized = kick_when_resized;
  heap->listener_data = heap;
  for (int i = 0; i < 4; i++)
    ticker_tick(heap, &counter);
  heap->ticker_word = TICKER_KICKED;
  heap->sizing.kept_size = 0;
  heap_resize(heap, 128 << 20);
  heap->ticker_word = TICKER_KICKED;
  kicks = 0;
  ticker_tick(heap, &counter);
  assert_int_equal(kicks, 1);
  assert_int_equal(heap->ticker_word, TICKER_KICKED);
  ticker_tick(heap, &counter);
  assert_int_equal(heap->ticker_word, TICKER_IDLE);
  heap->listener = GC_NULL_EVENT_LISTENER;
  test_heap_finish(t);
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

/* A compaction that is asked for sweeps between its two cycles, with all workers
   if there are many blocks.  */
static void workers_share_sweeping(void **state) {
  (void)state;
  enum { N = 200000 };
  struct test_heap *t = test_heap_make("heap-size=64m,parallelism=3", "verify");
  t->root.ref = test_make_node(t->mut, N, 0);
  for (uint32_t i = 0; i < N; i++) {
    struct test_node *kid = test_make_node(t->mut, 8, 1);
    test_node_payload(kid)[0] = i;
    test_store(t->mut, t->root.ref, i, kid);
  }
  for (int round = 1; round <= 3; round++) {
    struct test_node *root = t->root.ref;
    for (uint32_t i = 0; i < N; i++)
      if (i % (1 << round))
        root->edges[i] = NULL;
    root = NULL;
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    if (GC_PARALLEL)
      assert_int_equal(t->heap->tracer.worker_count, 3);
    heap_verify_blocks(t->heap);
    root = t->root.ref;
    for (uint32_t i = 0; i < N; i += 1 << round) {
      struct test_node *kid = root->edges[i];
      assert_int_equal(kid->edge_count, 8);
      assert_int_equal(test_node_payload(kid)[0], i);
    }
    root = NULL;
    /* Into the holes.  */
    test_make_garbage(t->mut, 8 << 20);
  }
  test_heap_finish(t);
}

/* Does a collection wake the second worker?  Whether that gets a processor in
   time is another question, and on a busy machine it may still be on its way to
   where it is woken: so one collection in many is enough.  */
static int second_worker_is_woken(struct test_heap *t) {
  struct gc_tracer *tracer = &t->heap->tracer;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_int_equal(tracer->worker_count, 2);
  for (int i = 0; i < 100; i++) {
    while (!gc_atomic_load_relaxed(&tracer->parked))
      sched_yield();
    uint32_t before = tracer->wake_count;
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    if (tracer->wake_count != before)
      return 1;
  }
  return 0;
}

/* Workers wake others whatever the objects are.  */
static void workers_are_woken_for_all_kinds(void **state) {
  (void)state;
  if (!GC_PARALLEL)
    return;
  enum { N = 100000, WORDS = 1 << 20 };
  struct test_heap *t = test_heap_make("heap-size=64m,parallelism=2", NULL);
  t->root.ref = test_make_node(t->mut, N, 0);
  for (uint32_t i = 0; i < N; i++) {
    struct test_node *kid = test_make_node(t->mut, 4, 1);
    test_store(t->mut, t->root.ref, i, kid);
  }
  assert_true(second_worker_is_woken(t));
  t->root.ref = gc_allocate(t->mut, WORDS * sizeof(void *),
                            GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
  for (uint32_t i = 0; i < WORDS; i += 8) {
    void *bytes = test_make_bytes(t->mut, 32);
    ((void **)t->root.ref)[i] = bytes;
  }
  assert_true(second_worker_is_woken(t));
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(workers_share_sweeping),
      cmocka_unit_test(workers_are_woken_for_all_kinds),
      cmocka_unit_test(sparse_heap_gives_memory_back),
      cmocka_unit_test(one_pause_is_one_collection),
      cmocka_unit_test(small_holes_cause_no_collections),
      cmocka_unit_test(small_holes_of_a_fixed_heap_are_joined),
      cmocka_unit_test(compactions_that_do_not_last_become_rarer),
      cmocka_unit_test(compactions_by_choice_go_in_steps),
      cmocka_unit_test(very_sparse_blocks_take_larger_steps),
      cmocka_unit_test(dying_things_are_not_sized_for),
      cmocka_unit_test(woken_workers_find_work),
      cmocka_unit_test(largest_objects_are_sliced),
      cmocka_unit_test(kicks_during_ticks_are_not_lost),
      cmocka_unit_test(sparse_adaptive_heap_shrinks),
      cmocka_unit_test(requests_are_honoured),
      cmocka_unit_test(minor_request_is_safe_without_generations),
      cmocka_unit_test(shared_collections_are_of_the_right_kind),
      cmocka_unit_test(inhibition_begins_at_once),
      cmocka_unit_test(long_ephemeron_chain),
      cmocka_unit_test(finalizer_priorities),
      cmocka_unit_test(mark_stack_overflow),
      cmocka_unit_test(foreign_ephemeron_key),
      cmocka_unit_test(large_objects),
      cmocka_unit_test(adaptive_size_follows_the_rule),
      cmocka_unit_test(many_mutators_have_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
