/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of gc-finalizer.c around the collector of fake-heap.h.

   The seed of a random run is printed; the argument of the program sets it.
   The environment variable GC_TEST_QUICK makes the runs fewer.  */
/* Collectors: mmc */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#undef GC_EMBEDDER
#define GC_EMBEDDER "../test/unit-embedder.h"
#include "../src/gc-finalizer.c"

#include "fake-heap.h"

#define PRIORITIES 3

static uint64_t seed = 20240817;

static const struct fake_phases phases = {
    .finalizer_roots = gc_visit_finalizer_roots,
    .resolve = gc_resolve_finalizers,
};

static struct gc_heap *make_heap(void) {
  struct gc_heap *heap = test_malloc(sizeof(*heap));
  fake_heap_init(heap);
  heap->priorities = PRIORITIES;
  heap->finalizers = gc_make_finalizer_state(PRIORITIES);
  assert_non_null(heap->finalizers);
  fake_trace_finalizer = gc_trace_finalizer;
  return heap;
}

static void free_heap(struct gc_heap *heap) {
  gc_free_finalizer_state(heap->finalizers);
  fake_heap_destroy(heap);
  test_free(heap);
}

static struct gc_ref make_object(struct gc_heap *heap) {
  return fake_ref(fake_allocate(heap, FAKE_OBJECT));
}

static struct gc_ref *field(struct gc_ref obj, int i) {
  return &((struct fake_object *)gc_ref_value(obj))->fields[i];
}

static struct gc_finalizer *attach(struct gc_heap *heap, unsigned priority,
                                   struct gc_ref object,
                                   struct gc_ref closure) {
  struct gc_finalizer *f = fake_allocate(heap, FAKE_FINALIZER);
  gc_finalizer_attach_internal(heap->finalizers, f, priority, object, closure);
  return f;
}

static void collect(struct gc_heap *heap, struct gc_ref *roots, size_t count) {
  fake_collect(heap, &phases, roots, count, 0);
  gc_finalizer_state_verify(heap->finalizers);
}

static void collect_minor(struct gc_heap *heap, struct gc_ref *roots,
                          size_t count) {
  fake_collect(heap, &phases, roots, count, 1);
  gc_finalizer_state_verify(heap->finalizers);
}

static struct gc_finalizer *pop(struct gc_heap *heap) {
  return gc_finalizer_state_pop(heap->finalizers);
}

static size_t pop_all(struct gc_heap *heap) {
  size_t n = 0;
  while (pop(heap))
    n++;
  return n;
}

#define assert_ref_equal(a, b) \
  assert_int_equal(gc_ref_value(a), gc_ref_value(b))

static void test_size(void **state) {
  (void)state;
  assert_int_equal(gc_finalizer_size(), sizeof(struct fake_header) + 32);
}

static void test_fires_once(void **state) {
  (void)state;
  for (int moving = 0; moving < 2; moving++) {
    struct gc_heap *heap = make_heap();
    heap->moving = moving;
    struct gc_ref root = make_object(heap), object = root;
    attach(heap, 1, object, gc_ref_null());
    for (int i = 0; i < 3; i++) {
      collect(heap, &root, 1);
      assert_int_equal(heap->fired, 0);
      assert_null(pop(heap));
    }
    *field(root, 0) = make_object(heap);
    fake_header_of(root)->id = 42;
    fake_header_of(*field(root, 0))->id = 43;
    root = gc_ref_null();
    collect(heap, &root, 1);
    assert_int_equal(heap->fired, 1);
    /* The object, and what it refers to, are kept as long as it is queued.  */
    collect(heap, &root, 1);
    collect(heap, &root, 1);
    assert_int_equal(heap->fired, 0);
    struct gc_finalizer *f = pop(heap);
    assert_non_null(f);
    object = gc_finalizer_object(f);
    assert_int_equal(fake_header_of(object)->id, 42);
    assert_int_equal(fake_header_of(*field(object, 0))->id, 43);
    assert_null(pop(heap));
    /* Popped: it is up to the program.  */
    root = fake_ref(f);
    collect(heap, &root, 1);
    assert_int_equal(heap->count, 3);
    root = gc_ref_null();
    collect(heap, &root, 1);
    assert_int_equal(heap->count, 0);
    free_heap(heap);
  }
}

static void test_closure_is_strong(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref object = make_object(heap), closure = make_object(heap);
  attach(heap, 0, object, closure);
  /* It reaches the object of another one.  */
  struct gc_ref other = make_object(heap);
  *field(closure, 1) = other;
  attach(heap, 0, other, gc_ref_null());
  collect(heap, NULL, 0);
  assert_int_equal(heap->fired, 1);
  struct gc_finalizer *f = pop(heap);
  assert_ref_equal(gc_finalizer_closure(f), closure);
  assert_ref_equal(gc_finalizer_object(f), object);
  /* The popped finalizer is garbage now, and so is its closure.  */
  collect(heap, NULL, 0);
  assert_int_equal(heap->fired, 1);
  assert_ref_equal(gc_finalizer_object(pop(heap)), other);
  free_heap(heap);
}

static void test_cycle_fires_together(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref a = make_object(heap), b = make_object(heap);
  *field(a, 0) = b;
  *field(b, 0) = a;
  attach(heap, 2, a, gc_ref_null());
  attach(heap, 2, b, gc_ref_null());
  attach(heap, 2, b, gc_ref_null());
  collect(heap, NULL, 0);
  assert_int_equal(heap->fired, 3);
  assert_int_equal(pop_all(heap), 3);
  free_heap(heap);
}

static void test_priorities(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref a = make_object(heap), b = make_object(heap);
  *field(a, 0) = b;
  attach(heap, 1, b, gc_ref_null());
  attach(heap, 2, a, gc_ref_null());
  attach(heap, 0, a, gc_ref_null());
  collect(heap, NULL, 0);
  /* The one of priority 0 resurrects both.  */
  assert_int_equal(heap->fired, 1);
  assert_ref_equal(gc_finalizer_object(pop(heap)), a);
  collect(heap, NULL, 0);
  assert_int_equal(heap->fired, 2);
  assert_int_equal(pop_all(heap), 2);
  free_heap(heap);
}

static void test_immediate_and_foreign_objects_live(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  attach(heap, 0, gc_ref(0x77), gc_ref_null());
  attach(heap, 0, fake_ref(fake_foreign), gc_ref_null());
  for (int i = 0; i < 2; i++) {
    collect(heap, NULL, 0);
    assert_int_equal(heap->fired, 0);
    assert_int_equal(heap->count, 2);
  }
  free_heap(heap);
}

/* ---- Generations ---- */

static void count_edges(struct gc_edge edge, struct gc_heap *heap, void *data) {
  (void)edge;
  (void)heap;
  ++*(size_t *)data;
}

static void test_minor_collections(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref roots[2] = {make_object(heap)};
  struct gc_ref old_dead = make_object(heap);
  roots[1] = old_dead;
  attach(heap, 0, old_dead, gc_ref_null());
  attach(heap, 0, roots[0], gc_ref_null());
  collect_minor(heap, roots, 2);
  assert_int_equal(heap->fired, 0);
  roots[1] = gc_ref_null();
  /* An old object and a young one, both dead: the young one fires.  */
  attach(heap, 0, make_object(heap), make_object(heap));
  collect_minor(heap, roots, 2);
  assert_int_equal(heap->fired, 1);
  collect_minor(heap, roots, 2);
  assert_int_equal(heap->fired, 0);
  collect(heap, roots, 2);
  assert_int_equal(heap->fired, 1);
  assert_int_equal(pop_all(heap), 2);
  free_heap(heap);
}

/* A minor collection does not look at old finalizers.  */
static void test_minor_collections_skip_old_lists(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref root = make_object(heap);
  for (int i = 0; i < 1000; i++)
    attach(heap, i % PRIORITIES, root, gc_ref_null());
  collect(heap, &root, 1);
  size_t visited = 0;
  gc_visit_finalizer_roots(heap->finalizers, 1, count_edges, heap, &visited);
  assert_int_equal(visited, 0);
  /* A dead object would be noticed.  */
  fake_header_of(root)->state = FAKE_WHITE;
  for (int i = 0; i < PRIORITIES; i++)
    assert_int_equal(gc_resolve_finalizers(heap->finalizers, i, 1, count_edges,
                                           heap, &visited),
                     0);
  assert_int_equal(visited, 0);
  assert_int_equal(gc_finalizer_state_verify(heap->finalizers), 1000);
  free_heap(heap);
}

/* A collection between allocation and attachment: the finalizer is old, what it
   refers to is young.  */
static void test_late_attachment(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  struct gc_ref roots[2] = {make_object(heap)};
  struct gc_finalizer *late = fake_allocate(heap, FAKE_FINALIZER);
  roots[1] = fake_ref(late);
  collect_minor(heap, roots, 2);
  for (int i = 0; i < 40; i++)
    attach(heap, 0, roots[0], make_object(heap));
  struct gc_ref closure = make_object(heap), object = make_object(heap);
  fake_header_of(closure)->id = 42;
  gc_finalizer_attach_internal(heap->finalizers, late, 0, object, closure);
  for (int i = 0; i < 40; i++)
    attach(heap, 0, roots[0], make_object(heap));
  roots[1] = gc_ref_null();
  collect_minor(heap, roots, 2);
  assert_int_equal(heap->fired, 1);
  assert_int_equal(heap->count, 1 + 80 * 2 + 3);
  struct gc_finalizer *f = pop(heap);
  assert_ptr_equal(f, late);
  assert_int_equal(fake_header_of(gc_finalizer_closure(f))->id, 42);
  assert_int_equal(gc_finalizer_state_verify(heap->finalizers), 80);
  free_heap(heap);
}

/* ---- Notification ---- */

static size_t notified;

static void count_notified(struct gc_heap *heap, size_t count) {
  (void)heap;
  notified += count;
}

static void test_notification(void **state) {
  (void)state;
  struct gc_heap *heap = make_heap();
  notified = 0;
  attach(heap, 0, make_object(heap), gc_ref_null());
  collect(heap, NULL, 0);
  /* Without a callback the count does not pile up.  */
  assert_int_equal(gc_notify_finalizers(heap->finalizers, heap), 1);
  assert_int_equal(gc_notify_finalizers(heap->finalizers, heap), 0);
  gc_finalizer_state_set_callback(heap->finalizers, count_notified);
  for (int i = 0; i < 5; i++)
    attach(heap, i % PRIORITIES, make_object(heap), gc_ref_null());
  collect(heap, NULL, 0);
  assert_int_equal(gc_notify_finalizers(heap->finalizers, heap), 5);
  assert_int_equal(notified, 5);
  assert_int_equal(gc_notify_finalizers(heap->finalizers, heap), 0);
  assert_int_equal(notified, 5);
  assert_int_equal(pop_all(heap), 6);
  free_heap(heap);
}

/* ---- Threads ---- */

#define THREADS 4
#define PER_THREAD 3000

struct thread_test {
  struct gc_heap *heap;
  unsigned next_index;
  size_t popped;
  uint8_t seen[THREADS * PER_THREAD];
};

/* Attaches its own and pops what an earlier collection fired.  */
static void *attach_and_pop(void *data) {
  struct thread_test *t = data;
  unsigned me = gc_atomic_fetch_add(&t->next_index, 1);
  for (unsigned i = 0; i < PER_THREAD; i++) {
    struct gc_finalizer *f = fake_allocate(t->heap, FAKE_FINALIZER);
    f->header.id = me * PER_THREAD + i;
    struct gc_ref object = make_object(t->heap);
    fake_header_of(object)->id = f->header.id;
    gc_finalizer_attach_internal(t->heap->finalizers, f, i % PRIORITIES, object,
                                 gc_ref_null());
    f = pop(t->heap);
    if (f) {
      fake_crash_unless(fake_header_of(gc_finalizer_object(f))->id ==
                        f->header.id);
      fake_crash_unless(!gc_atomic_swap(&t->seen[f->header.id], 1));
      gc_atomic_fetch_add(&t->popped, 1);
    }
  }
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  struct thread_test *t = test_calloc(1, sizeof(*t));
  t->heap = make_heap();
  t->heap->workers = 3;
  t->heap->moving = 1;
  for (int round = 0; round < 4; round++) {
    pthread_t threads[THREADS];
    t->next_index = t->popped = 0;
    memset(t->seen, 0, sizeof(t->seen));
    for (int i = 0; i < THREADS; i++)
      pthread_create(&threads[i], NULL, attach_and_pop, t);
    for (int i = 0; i < THREADS; i++)
      pthread_join(threads[i], NULL);
    assert_int_equal(t->popped, round ? THREADS * PER_THREAD : 0);
    assert_int_equal(gc_finalizer_state_verify(t->heap->finalizers),
                     THREADS * PER_THREAD);
    collect(t->heap, NULL, 0);
    assert_int_equal(t->heap->fired, THREADS * PER_THREAD);
  }
  assert_int_equal(pop_all(t->heap), THREADS * PER_THREAD);
  free_heap(t->heap);
  test_free(t);
}

/* ---- Random operations against a shadow ---- */

#define OBJECTS 100

/* Objects 0..OBJECTS-1, each held by its own root or not; each with some
   finalizers, that carry the number of the object.  Object I refers to object
   links[I], or to none if that is I.  */
struct model {
  struct gc_heap *heap;
  struct gc_ref roots[OBJECTS];
  int links[OBJECTS];
  int exists[OBJECTS], old[OBJECTS];
  size_t attached[OBJECTS][PRIORITIES];
  /* Fired, not yet popped.  */
  size_t queued[OBJECTS];
  int reached[OBJECTS];
  uint64_t rng;
};

static int below(struct model *m, int n) {
  return fake_random(&m->rng) % n;
}

static void model_attach(struct model *m) {
  int i = below(m, OBJECTS);
  if (gc_ref_is_null(m->roots[i]))
    return;
  int priority = below(m, PRIORITIES);
  struct gc_finalizer *f =
      attach(m->heap, priority, m->roots[i], gc_ref_null());
  f->header.id = i;
  m->attached[i][priority]++;
}

static void model_allocate(struct model *m) {
  int i = below(m, OBJECTS);
  if (m->exists[i])
    return;
  m->roots[i] = make_object(m->heap);
  fake_header_of(m->roots[i])->id = i;
  m->exists[i] = 1;
  m->old[i] = 0;
  int target = below(m, OBJECTS);
  m->links[i] = i;
  if (!gc_ref_is_null(m->roots[target])) {
    m->links[i] = target;
    *field(m->roots[i], 0) = m->roots[target];
  }
}

static void model_reach(struct model *m, int i) {
  while (!m->reached[i]) {
    m->reached[i] = 1;
    i = m->links[i];
  }
}

static void model_pop(struct model *m) {
  struct gc_finalizer *f = pop(m->heap);
  if (!f)
    return;
  int id = f->header.id;
  assert_true(m->queued[id] > 0);
  m->queued[id]--;
  assert_int_equal(fake_header_of(gc_finalizer_object(f))->id, id);
}

/* Return how many must fire.  */
static size_t model_expect(struct model *m, int is_minor) {
  size_t fired = 0;
  memset(m->reached, 0, sizeof(m->reached));
  for (int i = 0; i < OBJECTS; i++)
    if (!gc_ref_is_null(m->roots[i]) || m->queued[i] ||
        (is_minor && m->exists[i] && m->old[i]))
      model_reach(m, i);
  for (int p = 0; p < PRIORITIES; p++) {
    int fires[OBJECTS];
    for (int i = 0; i < OBJECTS; i++)
      fires[i] = m->exists[i] && !m->reached[i] && m->attached[i][p];
    for (int i = 0; i < OBJECTS; i++)
      if (fires[i]) {
        fired += m->attached[i][p];
        m->queued[i] += m->attached[i][p];
        m->attached[i][p] = 0;
        model_reach(m, i);
      }
  }
  return fired;
}

static void model_collect(struct model *m, int is_minor) {
  size_t expected = model_expect(m, is_minor), registered = 0;
  fake_collect(m->heap, &phases, m->roots, OBJECTS, is_minor);
  assert_int_equal(m->heap->fired, expected);
  for (int i = 0; i < OBJECTS; i++) {
    m->exists[i] = m->exists[i] && m->reached[i];
    m->old[i] = m->exists[i];
    for (int p = 0; p < PRIORITIES; p++)
      registered += m->attached[i][p];
  }
  assert_int_equal(gc_finalizer_state_verify(m->heap->finalizers), registered);
}

static void run_model(uint64_t model_seed, int workers, int moving) {
  struct model *m = test_calloc(1, sizeof(*m));
  m->heap = make_heap();
  m->heap->workers = workers;
  m->heap->moving = moving;
  m->rng = model_seed * 2 + 1;
  for (int cycle = 0; cycle < 30; cycle++) {
    for (int i = 0; i < 200; i++)
      switch (below(m, 6)) {
      case 0:
      case 1:
        model_allocate(m);
        break;
      case 2:
      case 3:
        model_attach(m);
        break;
      case 4:
        m->roots[below(m, OBJECTS)] = gc_ref_null();
        break;
      default:
        if (below(m, 4) == 0)
          model_pop(m);
        break;
      }
    model_collect(m, below(m, 2));
  }
  free_heap(m->heap);
  test_free(m);
}

static void test_random_operations(void **state) {
  (void)state;
  print_message("seed %llu\n", (unsigned long long)seed);
  int runs = getenv("GC_TEST_QUICK") ? 12 : 60;
  for (int i = 0; i < runs; i++)
    run_model(seed + i, 1 + i % 3, i / 3 % 2);
}

int main(int argc, char **argv) {
  if (argc > 1)
    seed = strtoull(argv[1], NULL, 0);
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_size),
      cmocka_unit_test(test_fires_once),
      cmocka_unit_test(test_closure_is_strong),
      cmocka_unit_test(test_cycle_fires_together),
      cmocka_unit_test(test_priorities),
      cmocka_unit_test(test_immediate_and_foreign_objects_live),
      cmocka_unit_test(test_minor_collections),
      cmocka_unit_test(test_minor_collections_skip_old_lists),
      cmocka_unit_test(test_late_attachment),
      cmocka_unit_test(test_notification),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_random_operations),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
