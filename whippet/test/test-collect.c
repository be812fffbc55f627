/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Kinds of collection, sharing of collections between threads and of work between
   tracing threads, ephemerons and finalizers end to end, heap sizing.  Looks at
   internals.  */

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
  gc_deactivate_for_call(t->mut, test_join, &thread);
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
    skip();
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

/* A compaction that was asked for marks first: it traces twice, from the roots and the
   start of the extern space on.  */
static void hooks_are_called_in_each_trace(void **state) {
  (void)state;
  static struct gc_extern_space space;
  static struct test_extern object = {.tag = TEST_TAG(TEST_EXTERN, 0)};
  struct test_heap *t = test_heap_make("heap-size=4m", NULL);
  gc_heap_set_extern_space(t->heap, &space);
  t->root.ref = &object;
  static const enum gc_collection_kind kinds[] = {GC_COLLECTION_COMPACTING,
                                                  GC_COLLECTION_MINOR};
  static const uint32_t traces[] = {TEST_MOVES ? 2 : 1, 1};
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  for (size_t i = 0; i < 2; i++) {
    struct gc_extern_space before = space;
    gc_collect(t->mut, kinds[i]);
    if (kinds[i] == GC_COLLECTION_MINOR && !GC_GENERATIONAL)
      continue;
    assert_int_equal(space.starts - before.starts, traces[i]);
    assert_int_equal(space.finishes - before.finishes, traces[i]);
    assert_int_equal(space.visits - before.visits, traces[i]);
  }
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
  assert_int_equal(t->heap->waiting_bytes, 0);
  size_t usual = heap_policy_size(t->heap, 32 << 20);
  /* As long as nobody takes them.  */
  for (int i = 0; i < 3; i++) {
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    assert_in_range(t->heap->doomed_bytes, 0, SOME * (finalizer + 4 * box));
    assert_in_range(t->heap->waiting_bytes, (N - SOME) * (finalizer + box),
                    N * (finalizer + 4 * box));
    size_t waiting = t->heap->waiting_bytes;
    assert_true(heap_policy_size(t->heap, (32 << 20) + waiting) <=
                usual + waiting + NOFL_BLOCK_SIZE);
  }
  /* But if there is nothing else, they have some room.  */
  t->heap->waiting_bytes = 32 << 20;
  for (int policy = GC_HEAP_SIZE_GROWABLE; policy <= GC_HEAP_SIZE_ADAPTIVE;
       policy++) {
    t->heap->sizing.policy = policy;
    size_t size = heap_policy_size(t->heap, 32 << 20);
    assert_in_range(size, 36 << 20, 42 << 20);
  }
  t->heap->sizing.policy = GC_HEAP_SIZE_GROWABLE;
  /* One that holds much does not make the others count for as much.  */
  size_t before = t->heap->bytes_per_finalizer;
  value.ref = test_make_node(t->mut, 10000, 0);
  test_attach_finalizer(t->mut, 0, &value, 9);
  value.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_in_range(t->heap->bytes_per_finalizer, before, before + 100);
  while (gc_pop_finalizable(t->mut))
    continue;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_in_range(t->heap->waiting_bytes, 0, SOME * (finalizer + 4 * box));
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

/* The size of a large object need not be a multiple of the word, but slices are.  */
static void slices_are_of_whole_words(void **state) {
  (void)state;
  enum { EDGES = 100000 };
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  for (size_t more = 1; more < sizeof(uintptr_t); more++) {
    struct test_node *node = gc_allocate(
        t->mut, test_node_bytes(EDGES, 0) + more, GC_ALLOCATION_TAGGED);
    assert_non_null(node);
    node->tag = TEST_TAG(TEST_NODE, 0);
    node->edge_count = EDGES;
    t->root.ref = node;
    for (uint32_t i = 0; i < EDGES; i += 100)
      test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    test_check_table(&t->root);
  }
  test_heap_finish(t);
}

/* A secondary thread without memory for a stack does not come to be, until there is
   some.  */
static void tracers_have_stacks(void **state) {
  (void)state;
  if (!GC_PARALLEL)
    skip();
  struct test_heap *t = test_heap_make("heap-size=8m,parallelism=3", NULL);
  struct gc_tracer *tracer = &t->heap->tracer;
  gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, 1);
  tracer_start_threads(tracer);
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
  assert_int_equal(tracer->worker_count, 1);
  tracer_start_threads(tracer);
  assert_int_equal(tracer->worker_count, 3);
  for (unsigned i = 0; i < 3; i++)
    assert_true(tracer->workers[i].capacity > 0);
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
    skip();
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
      cmocka_unit_test(dying_things_are_not_sized_for),
      cmocka_unit_test(woken_workers_find_work),
      cmocka_unit_test(largest_objects_are_sliced),
      cmocka_unit_test(slices_are_of_whole_words),
      cmocka_unit_test(tracers_have_stacks),
      cmocka_unit_test(kicks_during_ticks_are_not_lost),
      cmocka_unit_test(requests_are_honoured),
      cmocka_unit_test(minor_request_is_safe_without_generations),
      cmocka_unit_test(shared_collections_are_of_the_right_kind),
      cmocka_unit_test(inhibition_begins_at_once),
      cmocka_unit_test(long_ephemeron_chain),
      cmocka_unit_test(finalizer_priorities),
      cmocka_unit_test(mark_stack_overflow),
      cmocka_unit_test(foreign_ephemeron_key),
      cmocka_unit_test(hooks_are_called_in_each_trace),
      cmocka_unit_test(large_objects),
      cmocka_unit_test(adaptive_size_follows_the_rule),
      cmocka_unit_test(many_mutators_have_room),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
