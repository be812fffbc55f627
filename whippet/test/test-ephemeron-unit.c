/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of gc-ephemeron.c around the collector of fake-heap.h: operations
   of mutators, resolution by several workers, random graphs against a shadow,
   and the cost of chains.

   The seed of a random run is printed; the argument of the program sets it.
   The environment variable GC_TEST_QUICK makes tables smaller and the runs
   fewer.  */
/* Collectors: mmc */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#undef GC_EMBEDDER
#define GC_EMBEDDER "../test/unit-embedder.h"
#include "../src/gc-ephemeron.c"

#include "fake-heap.h"

static uint64_t seed = 20240817;
/* Divisor of what takes time.  */
static int quick = 1;

static const struct fake_phases phases = {
  .prepare = gc_pending_ephemerons_prepare,
  .scan = gc_scan_pending_ephemerons,
  .sweep = gc_sweep_pending_ephemerons,
};

static struct gc_heap *
make_heap(void) {
  struct gc_heap *heap = test_malloc(sizeof(*heap));
  fake_heap_init(heap);
  heap->pending = gc_make_pending_ephemerons();
  assert_non_null(heap->pending);
  fake_trace_ephemeron = gc_trace_ephemeron;
  fake_is_eager = gc_pending_ephemerons_eager;
  fake_resolve = gc_resolve_pending_ephemerons;
  return heap;
}

static void
free_heap(struct gc_heap *heap) {
  gc_free_pending_ephemerons(heap->pending);
  fake_heap_destroy(heap);
  test_free(heap);
}

static struct gc_ephemeron *
make_ephemeron(struct gc_heap *heap, struct gc_ref key, struct gc_ref value) {
  struct gc_ephemeron *e = fake_allocate(heap, FAKE_EPHEMERON);
  gc_ephemeron_init_internal(heap, e, key, value);
  return e;
}

static struct gc_ref
make_object(struct gc_heap *heap) {
  return fake_ref(fake_allocate(heap, FAKE_OBJECT));
}

static struct gc_ref *
field(struct gc_ref obj, int i) {
  return &((struct fake_object *)gc_ref_value(obj))->fields[i];
}

static void
collect(struct gc_heap *heap, struct gc_ref *roots, size_t count) {
  fake_collect(heap, &phases, roots, count, 0);
  /* What must hold outside of collections.  */
  for (size_t i = 0; i < heap->count; i++)
    if (heap->objects[i]->kind == FAKE_EPHEMERON) {
      struct gc_ephemeron *e = (struct gc_ephemeron *)heap->objects[i];
      assert_int_equal(e->state, EPHEMERON_TRACED);
      assert_int_equal(gc_ref_is_null(e->key), gc_ref_is_null(e->value));
    }
}

#define assert_ref_equal(a, b)                                                 \
  assert_int_equal(gc_ref_value(a), gc_ref_value(b))
#define assert_ref_null(a) assert_int_equal(gc_ref_value(a), 0)

/* ---- Mutators ---- */

static void
test_size(void **state) {
  (void)state;
  assert_int_equal(gc_ephemeron_size(), sizeof(struct fake_header) + 48);
  assert_int_equal(gc_ephemeron_size(), fake_size(FAKE_EPHEMERON));
}

static void
test_accessors(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_mutator mut = { heap };
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
static void
test_swap_after_collection(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_mutator mut = { heap };
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

static void
test_swap_logs_old_ephemerons(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_mutator mut = { heap };
  struct gc_ref roots[2] = { make_object(heap) };
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

static size_t
chain_length(struct gc_ephemeron **loc) {
  size_t n = 0;
  for (struct gc_ephemeron *e = gc_ephemeron_chain_head(loc); e;
       e = gc_ephemeron_chain_next(e))
    n++;
  return n;
}

static void
test_chain(void **state) {
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

/* The collector cuts dead successors out, and keeps the links strong.  */
static void
test_chain_in_collection(void **state) {
  (void)state;
  for (int moving = 0; moving < 2; moving++) {
    struct gc_heap *heap = make_heap();
    heap->moving = moving;
    struct gc_ref roots[2] = { make_object(heap), gc_ref_null() };
    for (int i = 0; i < 6; i++)
      gc_ephemeron_chain_push(
        (struct gc_ephemeron **)&roots[1],
        make_ephemeron(heap, i % 2 ? roots[0] : make_object(heap), roots[0]));
    collect(heap, roots, 2);
    assert_int_equal(heap->killed, 3);
    assert_int_equal(heap->count, 7);
    assert_int_equal(
      chain_length((struct gc_ephemeron **)&roots[1]), 3);
    collect(heap, roots, 2);
    assert_int_equal(heap->count, 4);
    free_heap(heap);
  }
}

static void
test_keys_that_are_always_live(void **state) {
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

static void *
pushing_thread(void *data) {
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
static void *
swapping_thread(void *data) {
  struct mutator_test *t = data;
  struct gc_mutator mut = { t->heap };
  unsigned me = gc_atomic_fetch_add(&t->next_index, 1);
  for (uintptr_t i = 1; i <= PER_THREAD; i++) {
    struct gc_ref in = gc_ref((me * PER_THREAD + i) * 8 + 1);
    t->taken[me] += gc_ref_value(gc_ephemeron_swap_value(&mut, t->shared, in));
  }
  return NULL;
}

static void
run_threads(void *(*f)(void *), void *data) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    pthread_create(&threads[i], NULL, f, data);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
}

static void
test_threads_push_and_cut(void **state) {
  (void)state;
  struct mutator_test t = { .heap = make_heap() };
  run_threads(pushing_thread, &t);
  size_t dead = (PER_THREAD + 2) / 3;
  assert_int_equal(chain_length(&t.chain), THREADS * (PER_THREAD - dead));
  free_heap(t.heap);
}

static void
test_threads_swap(void **state) {
  (void)state;
  struct mutator_test t = { .heap = make_heap() };
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
static void
make_dependent_keys(struct gc_heap *heap, struct gc_ref roots[2], size_t n) {
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
static void
make_eager_entrance(struct gc_heap *heap, struct gc_ref roots[2],
                    struct gc_ref value) {
  struct gc_ref key = make_object(heap);
  roots[0] = make_object(heap);
  *field(roots[0], 0) = key;
  roots[1] = fake_ref(make_ephemeron(heap, key, value));
}

/* N pairs of ephemeron and key.  Each pair is found through the value of the
   one before it; the key a little later than the ephemeron.  */
static void
make_nested_keys(struct gc_heap *heap, struct gc_ref roots[2], size_t n) {
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

static double
seconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec + ts.tv_nsec * 1e-9;
}

/* On a thread with a small stack, so that recursion would not go unnoticed.  */
static void *
collect_dependent_keys(void *data) {
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

static void
test_dependent_keys(void **state) {
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

static void
test_nested_keys(void **state) {
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
static void
make_late_table(struct gc_heap *heap, struct gc_ref roots[2], size_t n) {
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

static void
test_late_table(void **state) {
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
    assert_true(heap->pending->levels[0].log_2
                <= PENDING_MIN_BUCKETS_LOG_2 + PENDING_SLACK_LOG_2);
    assert_int_equal(heap->count, 2);
    free_heap(heap);
  }
}

#ifdef GC_FAULT_INJECTION
static void
test_table_cannot_grow(void **state) {
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
static void
mark_behind_the_back(struct gc_heap *heap, struct gc_ref key) {
  struct gc_ref *found = heap->on_white_data;
  struct fake_worker worker = { .heap = heap, .rng = 1 };
  if (!gc_pending_ephemerons_eager(heap->pending))
    return;
  heap->on_white = NULL;
  *found = key;
  fake_visit(gc_edge(found), heap, &worker);
  free(worker.grey);
}

/* In the eager phase, the key is marked and looked up between the test of the
   key and the publication of the ephemeron.  */
static void
test_key_marked_before_publication(void **state) {
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
static void
test_no_lost_wakeup(void **state) {
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

/* ---- Random graphs against a shadow ---- */

#define NODES 200
#define ROOTS 6

enum { NOTHING = -1, IMMEDIATE = -2, FOREIGN = -3 };

struct node {
  int exists, old, reached;
  enum fake_kind kind;
  int fields[FAKE_FIELDS];
  /* Ephemerons: the key is NOTHING when dead.  */
  int key, value, chain;
};

struct model {
  struct gc_heap *heap;
  struct gc_mutator mut;
  struct node nodes[NODES];
  void *address[NODES];
  int roots[ROOTS];
  uint64_t rng;
};

static int
below(struct model *m, int n) {
  return fake_random(&m->rng) % n;
}

static struct gc_ref
model_ref(struct model *m, int id) {
  switch (id) {
  case NOTHING:
    return gc_ref_null();
  case IMMEDIATE:
    return gc_ref(0xabcdef1);
  case FOREIGN:
    return fake_ref(fake_foreign);
  default:
    return fake_ref(m->address[id]);
  }
}

/* A node that is known to be reachable, or NOTHING.  */
static int
model_pick(struct model *m) {
  int id = m->roots[below(m, ROOTS)];
  for (int steps = below(m, 8); id >= 0 && steps; steps--) {
    struct node *n = &m->nodes[id];
    int next = n->kind == FAKE_OBJECT ? n->fields[below(m, FAKE_FIELDS)]
      : below(m, 2) ? n->chain : n->key != NOTHING ? n->value : NOTHING;
    if (next < 0)
      break;
    id = next;
  }
  return id;
}

static int
model_pick_key(struct model *m) {
  int r = below(m, 20);
  return r == 0 ? IMMEDIATE : r == 1 ? FOREIGN : model_pick(m);
}

static void
model_allocate_object(struct model *m, int id) {
  struct fake_object *obj = fake_allocate(m->heap, FAKE_OBJECT);
  struct node *n = &m->nodes[id];
  *n = (struct node){ .exists = 1, .kind = FAKE_OBJECT };
  obj->header.id = id;
  m->address[id] = obj;
  for (int i = 0; i < FAKE_FIELDS; i++) {
    n->fields[i] = below(m, 2) ? model_pick(m) : NOTHING;
    obj->fields[i] = model_ref(m, n->fields[i]);
  }
}

static void
model_allocate_ephemeron(struct model *m, int id) {
  int key = model_pick_key(m), value = model_pick_key(m);
  if (key == NOTHING || value == NOTHING)
    return;
  int chain = model_pick(m);
  if (chain >= 0 && m->nodes[chain].kind != FAKE_EPHEMERON)
    chain = NOTHING;
  struct gc_ephemeron *e =
    make_ephemeron(m->heap, model_ref(m, key), model_ref(m, value));
  struct gc_ephemeron *head = chain >= 0 ? m->address[chain] : NULL;
  gc_ephemeron_chain_push(&head, e);
  e->header.id = id;
  m->address[id] = e;
  m->nodes[id] = (struct node){ .exists = 1, .kind = FAKE_EPHEMERON,
                                .key = key, .value = value, .chain = chain };
}

static void
model_allocate(struct model *m) {
  for (int id = 0; id < NODES; id++)
    if (!m->nodes[id].exists) {
      if (below(m, 2))
        model_allocate_object(m, id);
      else
        model_allocate_ephemeron(m, id);
      if (m->nodes[id].exists)
        m->roots[below(m, ROOTS)] = id;
      return;
    }
}

static void
model_mutate(struct model *m) {
  int id = model_pick(m);
  if (id < 0)
    return;
  struct node *n = &m->nodes[id];
  int target = model_pick(m);
  if (n->kind == FAKE_OBJECT) {
    int i = below(m, FAKE_FIELDS);
    n->fields[i] = target;
    *field(model_ref(m, id), i) = model_ref(m, target);
  } else if (below(m, 6) == 0) {
    gc_ephemeron_mark_dead(m->address[id]);
    n->key = n->value = NOTHING;
  } else if (target != NOTHING) {
    struct gc_ref old = gc_ephemeron_swap_value(&m->mut, m->address[id],
                                                model_ref(m, target));
    assert_ref_equal(old, model_ref(m, n->value));
    if (n->key != NOTHING)
      n->value = target;
  }
}

/* Mark ID as reached, and what it holds, except through ephemerons.  */
static void
model_reach(struct model *m, int id, int is_minor) {
  static int stack[NODES * (FAKE_FIELDS + 2)];
  int depth = 0;
  stack[depth++] = id;
  while (depth) {
    id = stack[--depth];
    if (id < 0 || m->nodes[id].reached)
      continue;
    struct node *n = &m->nodes[id];
    n->reached = 1;
    if (n->kind == FAKE_OBJECT) {
      for (int i = 0; i < FAKE_FIELDS; i++)
        stack[depth++] = n->fields[i];
      continue;
    }
    if (is_minor && n->old)
      continue;
    while (n->chain >= 0 && m->nodes[n->chain].key == NOTHING)
      n->chain = m->nodes[n->chain].chain;
    stack[depth++] = n->chain;
  }
}

static int
model_is_live(struct model *m, int id) {
  return id == IMMEDIATE || id == FOREIGN || (id >= 0 && m->nodes[id].reached);
}

/* The least fixed point, by brute force.  */
static void
model_reach_all(struct model *m, int is_minor) {
  for (int i = 0; i < NODES; i++)
    m->nodes[i].reached = 0;
  for (int i = 0; i < NODES && is_minor; i++)
    if (m->nodes[i].exists && m->nodes[i].old)
      model_reach(m, i, is_minor);
  for (int i = 0; i < ROOTS; i++)
    model_reach(m, m->roots[i], is_minor);
  for (int changed = 1; changed;) {
    changed = 0;
    for (int i = 0; i < NODES; i++) {
      struct node *n = &m->nodes[i];
      if (n->reached && n->kind == FAKE_EPHEMERON && model_is_live(m, n->key)
          && !model_is_live(m, n->value)) {
        model_reach(m, n->value, is_minor);
        changed = 1;
      }
    }
  }
}

static void
model_check_node(struct model *m, int id) {
  struct node *n = &m->nodes[id];
  assert_non_null(m->address[id]);
  if (n->kind == FAKE_OBJECT) {
    for (int i = 0; i < FAKE_FIELDS; i++)
      assert_ref_equal(*field(model_ref(m, id), i), model_ref(m, n->fields[i]));
    return;
  }
  struct gc_ephemeron *e = m->address[id];
  assert_ref_equal(gc_ephemeron_key(e), model_ref(m, n->key));
  assert_ref_equal(gc_ephemeron_value(e), model_ref(m, n->value));
  assert_ref_equal(fake_ref(e->chain), model_ref(m, n->chain));
}

static void
model_collect(struct model *m, int is_minor) {
  struct gc_ref refs[ROOTS];
  size_t killed = 0, count = 0;
  model_reach_all(m, is_minor);
  for (int i = 0; i < NODES; i++) {
    struct node *n = &m->nodes[i];
    n->exists = n->exists && n->reached;
    n->old = n->exists;
    count += n->exists;
    if (n->exists && n->kind == FAKE_EPHEMERON && n->key != NOTHING
        && !model_is_live(m, n->key)) {
      n->key = n->value = NOTHING;
      killed++;
    }
  }
  for (int i = 0; i < ROOTS; i++)
    refs[i] = model_ref(m, m->roots[i]);
  fake_collect(m->heap, &phases, refs, ROOTS, is_minor);
  assert_int_equal(m->heap->killed, killed);
  assert_int_equal(m->heap->count, count);
  memset(m->address, 0, sizeof(m->address));
  for (size_t i = 0; i < m->heap->count; i++)
    m->address[m->heap->objects[i]->id] = m->heap->objects[i];
  for (int i = 0; i < ROOTS; i++)
    assert_ref_equal(refs[i], model_ref(m, m->roots[i]));
  for (int i = 0; i < NODES; i++)
    if (m->nodes[i].exists)
      model_check_node(m, i);
}

static void
run_model(uint64_t model_seed, int workers, int moving) {
  struct model *m = test_calloc(1, sizeof(*m));
  m->heap = make_heap();
  m->heap->workers = workers;
  m->heap->moving = moving;
  m->heap->yield_every = model_seed % 3 ? 5 + model_seed % 50 : 0;
  m->mut.heap = m->heap;
  m->rng = model_seed * 2 + 1;
  for (int i = 0; i < ROOTS; i++)
    m->roots[i] = NOTHING;
  for (int cycle = 0; cycle < 12; cycle++) {
    for (int i = 0; i < 150; i++)
      if (below(m, 3))
        model_allocate(m);
      else
        model_mutate(m);
    for (int i = below(m, 4); i > 0; i--)
      m->roots[below(m, ROOTS)] = NOTHING;
    model_collect(m, below(m, 2));
  }
  free_heap(m->heap);
  test_free(m);
}

static void
test_random_graphs(void **state) {
  (void)state;
  print_message("seed %llu\n", (unsigned long long)seed);
  for (int i = 0; i < 400 / quick; i++)
    run_model(seed + i, 1 + i % 4, i / 4 % 2);
}

/* ---- Verifiers ---- */

struct edge_count {
  size_t count;
};

static void
count_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  (void)heap;
  (void)edge;
  ((struct edge_count *)data)->count++;
}

static void
test_inspection(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref root = make_object(heap);
  struct gc_ephemeron *e = make_ephemeron(heap, root, root);
  struct edge_count n = { 0 };
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
static void
test_traced_once(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct edge_count n = { 0 };
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

int
main(int argc, char **argv) {
  if (argc > 1)
    seed = strtoull(argv[1], NULL, 0);
  if (getenv("GC_TEST_QUICK"))
    quick = 10;
  gc_platform_init();
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_size),
    cmocka_unit_test(test_accessors),
    cmocka_unit_test(test_swap_after_collection),
    cmocka_unit_test(test_swap_logs_old_ephemerons),
    cmocka_unit_test(test_chain),
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
    cmocka_unit_test(test_random_graphs),
    cmocka_unit_test(test_inspection),
    cmocka_unit_test(test_traced_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
