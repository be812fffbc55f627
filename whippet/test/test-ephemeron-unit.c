/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of gc-ephemeron.c around the collector of fake-heap.h: operations
   of mutators, resolution by several workers, and the cost of chains.

   The environment variable GC_TEST_QUICK makes tables smaller and the runs
   fewer.  */
/* Collectors: mmc */

#include "ephemeron-unit.h"

#include <time.h>

/* Divisor of what takes time.  */
static int quick = 1;

/* ---- Mutators ---- */

static void test_size(void **state) {
  (void)state;
  assert_int_equal(gc_ephemeron_size(), sizeof(struct fake_header) + 48);
  assert_int_equal(gc_ephemeron_size(), fake_size(FAKE_EPHEMERON));
}

static void test_accessors(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_mutator mut = {heap};
  struct gc_ref k = make_object(heap), v = make_object(heap);
  struct gc_ref w = make_object(heap);
  struct gc_ephemeron *e = make_ephemeron(heap, k, v);
  assert_ref_equal(gc_ephemeron_key(e), k);
  assert_ref_equal(gc_ephemeron_value(e), v);
  assert_ref_equal(gc_ephemeron_swap_value(&mut, e, w), v);
  assert_ref_equal(gc_ephemeron_value(e), w);
  gc_ephemeron_mark_dead(e);
  assert_ref_null(gc_ephemeron_key(e));
  assert_ref_null(gc_ephemeron_value(e));
  assert_ref_null(gc_ephemeron_swap_value(&mut, e, v));
  assert_ref_null(e->value);
  free_heap(heap);
}

/* The collector killed it: a swap stores nothing and returns nothing.  */
static void test_swap_after_collection(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_mutator mut = {heap};
  struct gc_ref root =
      fake_ref(make_ephemeron(heap, make_object(heap), make_object(heap)));
  collect(heap, &root, 1);
  assert_int_equal(heap->killed, 1);
  struct gc_ephemeron *e = (struct gc_ephemeron *)gc_ref_value(root);
  assert_ref_null(gc_ephemeron_swap_value(&mut, e, root));
  assert_ref_null(gc_ephemeron_value(e));
  assert_ref_null(e->value);
  free_heap(heap);
}

static void test_swap_logs_old_ephemerons(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_mutator mut = {heap};
  struct gc_ref roots[2] = {make_object(heap)};
  roots[1] = fake_ref(make_ephemeron(heap, roots[0], roots[0]));
  struct gc_ephemeron *e = (struct gc_ephemeron *)gc_ref_value(roots[1]);
  collect(heap, roots, 2);
  struct gc_ref young = make_object(heap);
  assert_ref_equal(gc_ephemeron_swap_value(&mut, e, young), roots[0]);
  assert_int_equal(heap->remembered_count, 1);
  assert_int_equal(gc_edge_address(heap->remembered[0]),
                   gc_edge_address(gc_ephemeron_value_edge(e)));
  fake_collect(heap, &phases, roots, 2, 1);
  assert_ref_equal(gc_ephemeron_value(e), young);
  assert_int_equal(heap->count, 3);
  free_heap(heap);
}

static size_t chain_length(struct gc_ephemeron **loc) {
  size_t n = 0;
  for (struct gc_ephemeron *e = gc_ephemeron_chain_head(loc); e;
       e = gc_ephemeron_chain_next(e))
    n++;
  return n;
}

static void test_chain(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ephemeron *chain = NULL, *e[8], *tail;
  struct gc_ref k = make_object(heap);
  for (int i = 0; i < 8; i++)
    e[i] = make_ephemeron(heap, k, k);
  assert_null(gc_ephemeron_chain_head(&chain));
  for (int i = 0; i < 7; i++)
    gc_ephemeron_chain_push(&chain, e[i]);
  tail = NULL;
  assert_false(gc_ephemeron_chain_try_push(&chain, e[7], &tail));
  assert_ptr_equal(tail, e[6]);
  assert_true(gc_ephemeron_chain_try_push(&chain, e[7], &tail));
  assert_int_equal(chain_length(&chain), 8);
  /* In the middle, at the end, at the head.  */
  gc_ephemeron_mark_dead(e[4]);
  gc_ephemeron_mark_dead(e[3]);
  assert_ptr_equal(gc_ephemeron_chain_next(e[5]), e[2]);
  assert_ptr_equal(e[5]->chain, e[2]);
  gc_ephemeron_mark_dead(e[0]);
  assert_null(gc_ephemeron_chain_next(e[1]));
  assert_null(e[1]->chain);
  gc_ephemeron_mark_dead(e[7]);
  gc_ephemeron_mark_dead(e[6]);
  assert_ptr_equal(gc_ephemeron_chain_head(&chain), e[5]);
  assert_ptr_equal(chain, e[5]);
  assert_int_equal(chain_length(&chain), 3);
  free_heap(heap);
}

/* Whoever has two chains for itself can share one out to the other, as a hash table
   does that grows.  */
static void test_change_of_chain(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ephemeron *chain = NULL, *even = NULL, *odd = NULL, *e[8], *next;
  struct gc_ref k = make_object(heap);
  for (int i = 0; i < 8; i++) {
    e[i] = make_ephemeron(heap, k, k);
    gc_ephemeron_chain_push(&chain, e[i]);
  }
  gc_ephemeron_mark_dead(e[5]);
  int n = 7;
  for (struct gc_ephemeron *x = gc_ephemeron_chain_head(&chain); x; x = next) {
    if (n == 5)
      n--;
    assert_ptr_equal(x, e[n]);
    next = gc_ephemeron_chain_next(x);
    gc_ephemeron_chain_push(n % 2 ? &odd : &even, x);
    n--;
  }
  assert_int_equal(chain_length(&even), 4);
  assert_int_equal(chain_length(&odd), 3);
  assert_ptr_equal(odd, e[1]);
  assert_null(e[7]->chain);
  free_heap(heap);
}

/* The collector cuts dead successors out, and keeps the links strong.  */
static void test_chain_in_collection(void **state) {
  (void)state;
  for (int moving = 0; moving < 2; moving++) {
    struct gc_heap *heap = make_heap();
    heap->moving = moving;
    struct gc_ref roots[2] = {make_object(heap), gc_ref_null()};
    for (int i = 0; i < 6; i++)
      gc_ephemeron_chain_push(
          (struct gc_ephemeron **)&roots[1],
          make_ephemeron(heap, i % 2 ? roots[0] : make_object(heap), roots[0]));
    collect(heap, roots, 2);
    assert_int_equal(heap->killed, 3);
    assert_int_equal(heap->count, 7);
    assert_int_equal(chain_length((struct gc_ephemeron **)&roots[1]), 3);
    collect(heap, roots, 2);
    assert_int_equal(heap->count, 4);
    free_heap(heap);
  }
}

static void test_keys_that_are_always_live(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref roots[2];
  struct gc_ref immediate = gc_ref(0x1234567), foreign = fake_ref(fake_foreign);
  roots[0] = fake_ref(make_ephemeron(heap, immediate, make_object(heap)));
  roots[1] = fake_ref(make_ephemeron(heap, foreign, make_object(heap)));
  for (int i = 0; i < 3; i++) {
    collect(heap, roots, 2);
    assert_int_equal(heap->killed, 0);
    assert_int_equal(heap->count, 4);
  }
  free_heap(heap);
}

#define THREADS 4
#define PER_THREAD 5000

struct mutator_test {
  struct gc_heap *heap;
  struct gc_ephemeron *chain;
  struct gc_ephemeron *shared;
  unsigned next_index;
  uintptr_t taken[THREADS];
};

static void *pushing_thread(void *data) {
  struct mutator_test *t = data;
  struct gc_ref k = make_object(t->heap);
  for (int i = 0; i < PER_THREAD; i++) {
    struct gc_ephemeron *e = make_ephemeron(t->heap, k, k);
    gc_ephemeron_chain_push(&t->chain, e);
    if (i % 3 == 0)
      gc_ephemeron_mark_dead(e);
    e = gc_ephemeron_chain_head(&t->chain);
    for (int j = 0; e && j < i % 50; j++)
      e = gc_ephemeron_chain_next(e);
  }
  return NULL;
}

/* Every value that is swapped in is swapped out once.  */
static void *swapping_thread(void *data) {
  struct mutator_test *t = data;
  struct gc_mutator mut = {t->heap};
  unsigned me = gc_atomic_fetch_add(&t->next_index, 1);
  for (uintptr_t i = 1; i <= PER_THREAD; i++) {
    struct gc_ref in = gc_ref((me * PER_THREAD + i) * 8 + 1);
    t->taken[me] += gc_ref_value(gc_ephemeron_swap_value(&mut, t->shared, in));
  }
  return NULL;
}

static void run_threads(void *(*f)(void *), void *data) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    pthread_create(&threads[i], NULL, f, data);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
}

static void test_threads_push_and_cut(void **state) {
  (void)state;
  struct mutator_test t = {.heap = make_heap()};
  run_threads(pushing_thread, &t);
  size_t dead = (PER_THREAD + 2) / 3;
  assert_int_equal(chain_length(&t.chain), THREADS * (PER_THREAD - dead));
  free_heap(t.heap);
}

static void test_threads_swap(void **state) {
  (void)state;
  struct mutator_test t = {.heap = make_heap()};
  t.shared = make_ephemeron(t.heap, make_object(t.heap), gc_ref(1));
  run_threads(swapping_thread, &t);
  uintptr_t in = 1, out = gc_ref_value(gc_ephemeron_value(t.shared));
  for (uintptr_t i = 1; i <= THREADS * PER_THREAD; i++)
    in += i * 8 + 1;
  for (int i = 0; i < THREADS; i++)
    out += t.taken[i];
  assert_int_equal(in, out);
  free_heap(t.heap);
}

/* ---- Chains through values ---- */

/* Ephemerons 0..n-1, in a chain; the value of each is the key of the next, and
   ROOT keeps the first key.  */
static void make_dependent_keys(struct gc_heap *heap, struct gc_ref roots[2],
                                size_t n) {
  roots[0] = make_object(heap);
  roots[1] = gc_ref_null();
  struct gc_ref key = roots[0];
  for (size_t i = 0; i < n; i++) {
    struct gc_ref value = make_object(heap);
    gc_ephemeron_chain_push((struct gc_ephemeron **)&roots[1],
                            make_ephemeron(heap, key, value));
    key = value;
  }
}

/* Make roots such that VALUE is first reached in the eager phase: the ephemeron
   is traced before its key is found, since workers take what they found last.
   All of this survives as long as the roots do.  */
static void make_eager_entrance(struct gc_heap *heap, struct gc_ref roots[2],
                                struct gc_ref value) {
  struct gc_ref key = make_object(heap);
  roots[0] = make_object(heap);
  *field(roots[0], 0) = key;
  roots[1] = fake_ref(make_ephemeron(heap, key, value));
}

/* N pairs of ephemeron and key.  Each pair is found through the value of the
   one before it; the key a little later than the ephemeron.  */
static void make_nested_keys(struct gc_heap *heap, struct gc_ref roots[2],
                             size_t n) {
  struct gc_ref holder = make_object(heap);
  make_eager_entrance(heap, roots, holder);
  for (size_t i = 0; i < n; i++) {
    struct gc_ref box = make_object(heap), key = make_object(heap);
    struct gc_ref value = make_object(heap);
    *field(holder, 0) = box;
    *field(box, 0) = key;
    *field(holder, 1) = fake_ref(make_ephemeron(heap, key, value));
    holder = value;
  }
}

static double seconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* On a thread with a small stack, so that recursion would not go unnoticed.  */
static void *collect_dependent_keys(void *data) {
  struct gc_heap *heap = data;
  struct gc_ref roots[2];
  size_t n = 200000 / quick;
  make_dependent_keys(heap, roots, n);
  double start = seconds();
  collect(heap, roots, 2);
  fake_crash_unless(heap->killed == 0 && heap->count == 2 * n + 1);
  collect(heap, roots, 2);
  fake_crash_unless(heap->killed == 0 && heap->count == 2 * n + 1);
  fake_crash_unless(chain_length((struct gc_ephemeron **)&roots[1]) == n);
  roots[0] = gc_ref_null();
  collect(heap, roots, 2);
  fake_crash_unless(heap->killed == n && heap->count == n);
  fake_crash_unless(chain_length((struct gc_ephemeron **)&roots[1]) == 0);
  /* Seconds for three collections: quadratic would be minutes.  */
  fake_crash_unless(seconds() - start < 30);
  return heap;
}

static void test_dependent_keys(void **state) {
  (void)state;
  for (int workers = 1; workers <= 3; workers += 2)
    for (int moving = 0; moving < 2; moving++) {
      struct gc_heap *heap = make_heap();
      heap->workers = workers;
      heap->moving = moving;
      pthread_attr_t attr;
      pthread_t thread;
      void *ret;
      pthread_attr_init(&attr);
      pthread_attr_setstacksize(&attr, 256 * 1024);
      assert_int_equal(
          pthread_create(&thread, &attr, collect_dependent_keys, heap), 0);
      pthread_join(thread, &ret);
      pthread_attr_destroy(&attr);
      assert_ptr_equal(ret, heap);
      free_heap(heap);
    }
}

static void test_nested_keys(void **state) {
  (void)state;
  for (int moving = 0; moving < 2; moving++) {
    struct gc_heap *heap = make_heap();
    struct gc_ref roots[2];
    heap->moving = moving;
    heap->workers = 2;
    make_nested_keys(heap, roots, 20000);
    size_t count = heap->count;
    for (int i = 0; i < 2; i++) {
      collect(heap, roots, 2);
      assert_int_equal(heap->killed, 0);
      assert_int_equal(heap->count, count);
      /* Sharing between workers changes the order for some.  */
      assert_true(pending_published(heap->pending) > 1000);
    }
    free_heap(heap);
  }
}

/* A table of ephemerons that is found in the eager phase of the first
   collection, when the pending table is as small as can be: it must grow.  */
static void make_late_table(struct gc_heap *heap, struct gc_ref roots[2],
                            size_t n) {
  struct gc_ref value = make_object(heap), last_key = make_object(heap);
  make_eager_entrance(heap, roots, value);
  for (size_t i = 0; i < n; i++) {
    struct gc_ref key = make_object(heap);
    gc_ephemeron_chain_push((struct gc_ephemeron **)field(value, 0),
                            make_ephemeron(heap, key, make_object(heap)));
    /* All keys hang on the last ephemeron to be traced.  */
    *field(key, 0) = last_key;
    last_key = key;
  }
  struct gc_ref holder = make_object(heap);
  *field(holder, 0) = last_key;
  struct gc_ephemeron *first =
      (struct gc_ephemeron *)gc_ref_value(*field(value, 0));
  while (first->chain)
    first = first->chain;
  gc_ephemeron_chain_push(&first->chain,
                          make_ephemeron(heap, roots[0], holder));
}

static void test_late_table(void **state) {
  (void)state;
  for (int workers = 1; workers <= 3; workers += 2) {
    struct gc_heap *heap = make_heap();
    struct gc_ref roots[2];
    size_t n = 100000 / quick;
    heap->workers = workers;
    make_late_table(heap, roots, n);
    size_t count = heap->count;
    double start = seconds();
    collect(heap, roots, 2);
    assert_int_equal(heap->killed, 0);
    assert_int_equal(heap->count, count);
    assert_true(heap->pending->level_count > 1);
    assert_true(seconds() - start < 20);
    /* The next table is of one level.  */
    collect(heap, roots, 2);
    assert_int_equal(heap->pending->level_count, 1);
    assert_true(n <= (size_t)1 << heap->pending->levels[0].log_2);
    assert_int_equal(heap->count, count);
    /* It shrinks when it is not needed any more.  */
    roots[1] = gc_ref_null();
    for (int i = 0; i < 40; i++)
      collect(heap, roots, 2);
    assert_true(heap->pending->levels[0].log_2 <=
                PENDING_MIN_BUCKETS_LOG_2 + PENDING_SLACK_LOG_2);
    assert_int_equal(heap->count, 2);
    free_heap(heap);
  }
}

#ifdef GC_FAULT_INJECTION
static void test_table_cannot_grow(void **state) {
  (void)state;
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 1);
  assert_null(gc_make_pending_ephemerons());
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 2);
  assert_null(gc_make_pending_ephemerons());
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
  for (uint64_t n = 1; n < 4; n++) {
    struct gc_heap *heap = make_heap();
    struct gc_ref roots[2];
    make_late_table(heap, roots, 5000);
    size_t count = heap->count;
    gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, n);
    for (int i = 0; i < 3; i++) {
      collect(heap, roots, 2);
      assert_int_equal(heap->killed, 0);
      assert_int_equal(heap->count, count);
    }
    roots[0] = gc_ref_null();
    collect(heap, roots, 2);
    assert_int_equal(heap->killed, 1);
    assert_int_equal(heap->count, 1);
    roots[1] = gc_ref_null();
    gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
    free_heap(heap);
  }
}
#endif

/* ---- Races of the eager phase ---- */

/* As another worker might: mark the key that was just found not to be live, and
   look it up.  */
static void mark_behind_the_back(struct gc_heap *heap, struct gc_ref key) {
  struct gc_ref *found = heap->on_white_data;
  struct fake_worker worker = {.heap = heap, .rng = 1};
  if (!gc_pending_ephemerons_eager(heap->pending))
    return;
  heap->on_white = NULL;
  *found = key;
  fake_visit(gc_edge(found), heap, &worker);
  free(worker.grey);
}

/* In the eager phase, the key is marked and looked up between the test of the
   key and the publication of the ephemeron.  */
static void test_key_marked_before_publication(void **state) {
  (void)state;
  for (int moving = 0; moving < 2; moving++) {
    struct gc_heap *heap = make_heap();
    struct gc_ref roots[2], holder = make_object(heap), found = gc_ref_null();
    heap->moving = moving;
    make_eager_entrance(heap, roots, holder);
    struct gc_ref value = make_object(heap);
    *field(holder, 0) =
        fake_ref(make_ephemeron(heap, make_object(heap), value));
    heap->on_white = mark_behind_the_back;
    heap->on_white_data = &found;
    collect(heap, roots, 2);
    assert_int_equal(heap->killed, 0);
    holder = gc_ephemeron_value((struct gc_ephemeron *)gc_ref_value(roots[1]));
    struct gc_ephemeron *e =
        (struct gc_ephemeron *)gc_ref_value(*field(holder, 0));
    assert_ref_equal(gc_ephemeron_key(e), found);
    assert_false(gc_ref_is_null(gc_ephemeron_value(e)));
    free_heap(heap);
  }
}

/* Many small structures, each with an ephemeron and its key on different paths
   that are found at about the same time in the eager phase.  Every key is
   live, so that each ephemeron that dies is a lost wake-up.  */
static void test_no_lost_wakeup(void **state) {
  (void)state;
  for (int round = 0; round < 60 / quick; round++) {
    struct gc_heap *heap = make_heap();
    struct gc_ref roots[2];
    heap->workers = 2 + round % 3;
    heap->moving = round % 2;
    heap->yield_every = round % 4 ? 7 * round + 3 : 0;
    struct gc_ref top = make_object(heap), list = gc_ref_null();
    make_eager_entrance(heap, roots, top);
    for (int i = 0; i < 500; i++) {
      struct gc_ref pair = make_object(heap), box = make_object(heap);
      struct gc_ref key = make_object(heap);
      *field(box, 0) = key;
      *field(pair, i % 2) = box;
      *field(pair, 1 - i % 2) =
          fake_ref(make_ephemeron(heap, key, make_object(heap)));
      *field(pair, 2) = list;
      list = pair;
    }
    *field(top, 0) = list;
    size_t count = heap->count;
    for (int i = 0; i < 2; i++) {
      collect(heap, roots, 2);
      assert_int_equal(heap->killed, 0);
      assert_int_equal(heap->count, count);
    }
    free_heap(heap);
  }
}

/* ---- Verifiers ---- */

struct edge_count {
  size_t count;
};

static void count_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  (void)heap;
  (void)edge;
  ((struct edge_count *)data)->count++;
}

static void test_inspection(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref root = make_object(heap);
  struct gc_ephemeron *e = make_ephemeron(heap, root, root);
  struct edge_count n = {0};
  gc_pending_ephemerons_inspect(heap->pending, 1);
  gc_trace_ephemeron(e, count_edge, heap, &n);
  gc_trace_ephemeron(e, count_edge, heap, &n);
  assert_int_equal(n.count, 6);
  gc_ephemeron_mark_dead(e);
  gc_trace_ephemeron(e, count_edge, heap, &n);
  assert_int_equal(n.count, 7);
  gc_pending_ephemerons_inspect(heap->pending, 0);
  free_heap(heap);
}

/* Whoever visits it again in the same collection finds nothing to do.  */
static void test_traced_once(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct edge_count n = {0};
  struct gc_ephemeron *e = make_ephemeron(heap, gc_ref(1), make_object(heap));
  gc_pending_ephemerons_prepare(heap->pending);
  gc_trace_ephemeron(e, count_edge, heap, &n);
  gc_trace_ephemeron(e, count_edge, heap, &n);
  assert_int_equal(n.count, 1);
  heap->epoch++;
  gc_trace_ephemeron(e, count_edge, heap, &n);
  assert_int_equal(n.count, 2);
  free_heap(heap);
}

int main(void) {
  if (getenv("GC_TEST_QUICK"))
    quick = 10;
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_size),
      cmocka_unit_test(test_accessors),
      cmocka_unit_test(test_swap_after_collection),
      cmocka_unit_test(test_swap_logs_old_ephemerons),
      cmocka_unit_test(test_chain),
      cmocka_unit_test(test_change_of_chain),
      cmocka_unit_test(test_chain_in_collection),
      cmocka_unit_test(test_keys_that_are_always_live),
      cmocka_unit_test(test_threads_push_and_cut),
      cmocka_unit_test(test_threads_swap),
      cmocka_unit_test(test_dependent_keys),
      cmocka_unit_test(test_nested_keys),
      cmocka_unit_test(test_late_table),
#ifdef GC_FAULT_INJECTION
      cmocka_unit_test(test_table_cannot_grow),
#endif
      cmocka_unit_test(test_key_marked_before_publication),
      cmocka_unit_test(test_no_lost_wakeup),
      cmocka_unit_test(test_inspection),
      cmocka_unit_test(test_traced_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
