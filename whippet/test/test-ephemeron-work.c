/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of gc-ephemeron.c around the collector of fake-heap.h: what a
   collection does about sequences of dead ephemerons in chains, and that the
   work is linear in their number.  Work is counted in loads by gc-ephemeron.c,
   not in time.  */
/* Collectors: mmc */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define GC_IMPL 1
/* First, so that what it loads does not count.  */
#include "fake-heap.h"

static size_t work;

#define count_work() __atomic_fetch_add(&work, 1, __ATOMIC_RELAXED)
#undef gc_atomic_load
#define gc_atomic_load(loc) \
  (count_work(), gc_atomic(load_n, loc, __ATOMIC_ACQUIRE))
#undef gc_atomic_load_relaxed
#define gc_atomic_load_relaxed(loc) \
  (count_work(), gc_atomic(load_n, loc, __ATOMIC_RELAXED))
#undef GC_IMPL

#include "ephemeron-unit.h"

#define N 1000

/* The order in which ephemerons are reached by themselves.  */
enum order { HEAD_FIRST, TAIL_FIRST, SHUFFLED, ORDERS };

struct run {
  struct gc_heap *heap;
  /* The key of those that live, a list of those that are held, and a chain.  */
  struct gc_ref roots[3];
  uint64_t rng;
};

static void run_start(struct run *r, int workers, int moving) {
  memset(r, 0, sizeof(*r));
  r->heap = make_heap();
  r->heap->workers = workers;
  r->heap->moving = moving;
  r->heap->yield_every = workers > 1 ? 97 : 0;
  r->rng = 88172645463325252u;
  r->roots[0] = make_object(r->heap);
}

static void run_collect(struct run *r) {
  collect(r->heap, r->roots, 3);
}

static void run_end(struct run *r) {
  free_heap(r->heap);
}

static struct gc_ephemeron *run_make(struct run *r, int lives, uint32_t id) {
  struct gc_ref key = lives ? r->roots[0] : make_object(r->heap);
  struct gc_ephemeron *e = make_ephemeron(r->heap, key, r->roots[0]);
  e->header.id = id;
  return e;
}

/* A worker takes what it has found last: it traces E before the rest of the list
   is found, or after all of the list.  */
static void run_hold(struct run *r, struct gc_ephemeron *e, int early) {
  struct gc_ref holder = make_object(r->heap);
  *field(holder, early ? 1 : 0) = fake_ref(e);
  *field(holder, early ? 0 : 1) = r->roots[1];
  *field(holder, 2) = fake_ref(e);
  r->roots[1] = holder;
}

static struct gc_ephemeron *held(struct gc_ref holder) {
  return (struct gc_ephemeron *)gc_ref_value(*field(holder, 2));
}

static struct gc_ref next_holder(struct gc_ref holder) {
  int early = gc_ref_value(*field(holder, 1)) == (uintptr_t)held(holder);
  return *field(holder, early ? 0 : 1);
}

static void shuffle(struct run *r, uint32_t *order, uint32_t n) {
  for (uint32_t i = n; i > 1; i--) {
    uint32_t j = fake_random(&r->rng) % i, k = order[i - 1];
    order[i - 1] = order[j];
    order[j] = k;
  }
}

/* A chain of N ephemerons, the last one number 0.  Each that is a multiple of
   SPACING will live.  Of the others, and of these, one in HELD is also in a list.
   Returns the number of objects that the second collection leaves: in the
   first, those that are dead then die.  */
static size_t run_make_chain(struct run *r, uint32_t n, uint32_t spacing,
                             uint32_t held_one_in, enum order order,
                             int early) {
  struct gc_ephemeron **e = test_malloc(n * sizeof(*e)), *chain = NULL;
  uint32_t *numbers = test_malloc(n * sizeof(*numbers)), last = 0;
  for (uint32_t i = 0; i < n; i++) {
    e[i] = run_make(r, i % spacing == 0, i);
    gc_ephemeron_chain_push(&chain, e[i]);
    /* The list is made from its end.  */
    numbers[i] = order == TAIL_FIRST ? n - 1 - i : i;
  }
  if (order == SHUFFLED)
    shuffle(r, numbers, n);
  size_t dead = 0, holders = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t number = numbers[i];
    if (fake_random(&r->rng) % held_one_in)
      continue;
    run_hold(r, e[number], early);
    holders++;
    dead += number % spacing != 0;
    last = number > last ? number : last;
  }
  test_free(numbers);
  test_free(e);
  return 1 + holders + dead + last / spacing + 1;
}

/* Each of the list is followed by the next that lives.  */
static void run_check_chain(struct run *r, uint32_t spacing) {
  size_t n = 0;
  for (struct gc_ref h = r->roots[1]; !gc_ref_is_null(h); h = next_holder(h)) {
    struct gc_ephemeron *e = held(h);
    uint32_t id = e->header.id;
    assert_int_equal(!ephemeron_is_dead(e), id % spacing == 0);
    if (!id) {
      assert_null(e->chain);
      continue;
    }
    assert_int_equal(e->chain->header.id, (id - 1) / spacing * spacing);
    assert_ref_equal(gc_ephemeron_key(e->chain), r->roots[0]);
    n++;
  }
  assert_true(n > 0);
  /* All that live are in order.  */
  struct gc_ephemeron *e = held(r->roots[1]);
  while (e->chain) {
    assert_true(e->chain->header.id < e->header.id);
    e = e->chain;
  }
  assert_int_equal(e->header.id, 0);
}

static size_t chain_work(uint32_t n, uint32_t spacing, int variant) {
  struct run r;
  run_start(&r, variant % 4 < 2 ? 1 : 3, variant % 2);
  size_t left = run_make_chain(&r, n, spacing, 1 + variant / 8 % 2,
                               variant / 16 % ORDERS, variant / 4 % 2);
  run_collect(&r);
  work = 0;
  run_collect(&r);
  size_t ret = work;
  assert_int_equal(r.heap->killed, 0);
  assert_int_equal(r.heap->count, left);
  run_check_chain(&r, spacing);
  run_collect(&r);
  assert_int_equal(r.heap->count, left);
  run_check_chain(&r, spacing);
  run_end(&r);
  return ret;
}

/* Sixteen times the work for four times the size would be quadratic.  */
static void assert_linear(size_t small, size_t large) {
  assert_in_range(large, small, 6 * small);
}

/* Members of a chain that are also held otherwise.  */
static void test_held_members(void **state) {
  (void)state;
  for (int variant = 0; variant < 16 * ORDERS; variant++) {
    assert_linear(chain_work(N, N, variant), chain_work(4 * N, 4 * N, variant));
    chain_work(N, 100, variant);
    chain_work(N, EPHEMERON_MAX_DEAD_STEPS, variant);
    chain_work(N, EPHEMERON_MAX_DEAD_STEPS + 1, variant);
    chain_work(N, EPHEMERON_MAX_DEAD_STEPS + 2, variant);
  }
}

/* Ephemerons that do not belong to the run lead to it: number N, ...  One in
   three has no key, so that it is pending.  They are young; the run is old.  */
static size_t shared_run_work(uint32_t n, int workers, int moving, int minor) {
  struct run r;
  run_start(&r, workers, moving);
  for (uint32_t i = 0; i < n; i++)
    gc_ephemeron_chain_push((struct gc_ephemeron **)&r.roots[2],
                            run_make(&r, 1, i));
  run_collect(&r);
  struct gc_ephemeron *chain = (struct gc_ephemeron *)gc_ref_value(r.roots[2]);
  for (struct gc_ephemeron *e = chain; e->chain; e = e->chain)
    gc_ephemeron_mark_dead(e);
  for (uint32_t i = n; i < 2 * n; i++) {
    struct gc_ephemeron *loc = chain, *e = run_make(&r, i % 3, i);
    gc_ephemeron_chain_push(&loc, e);
    run_hold(&r, e, i % 2);
  }
  if (!minor)
    r.roots[2] = gc_ref_null();
  work = 0;
  fake_collect(r.heap, &phases, r.roots, 3, minor);
  size_t ret = work;
  assert_int_equal(r.heap->killed, (2 * n - 1) / 3 - (n - 1) / 3);
  assert_int_equal(r.heap->count, 1 + 2 * n + (minor ? n : 1));
  for (int i = 0; i < 2; i++) {
    struct gc_ref h = r.roots[1];
    for (; !gc_ref_is_null(h); h = next_holder(h)) {
      assert_int_equal(held(h)->chain->header.id, 0);
      assert_ref_equal(gc_ephemeron_key(held(h)->chain), r.roots[0]);
    }
    r.roots[2] = gc_ref_null();
    run_collect(&r);
    assert_int_equal(r.heap->count, 1 + 2 * n + 1);
  }
  run_end(&r);
  return ret;
}

static void test_shared_run(void **state) {
  (void)state;
  for (int i = 0; i < 8; i++) {
    int workers = i % 2 ? 3 : 1, moving = i / 2 % 2, minor = i / 4;
    assert_linear(shared_run_work(N, workers, moving, minor),
                  shared_run_work(4 * N, workers, moving, minor));
  }
}

/* The end of each run leads to the next run: the number of traces must not
   depend on the number of runs if these are short, and otherwise be at most
   that.  */
static size_t nested_runs(uint32_t runs, uint32_t length, int workers,
                          int moving) {
  struct run r;
  run_start(&r, workers, moving);
  struct gc_ref value = r.roots[0];
  for (uint32_t i = 0; i < runs; i++) {
    struct gc_ephemeron *chain = run_make(&r, 1, 0);
    chain->value = value;
    for (uint32_t j = 0; j <= length; j++) {
      struct gc_ephemeron *e = run_make(&r, j == length, 1);
      gc_ephemeron_chain_push(&chain, e);
    }
    value = fake_ref(chain);
  }
  r.roots[1] = value;
  run_collect(&r);
  assert_int_equal(r.heap->count, 1 + runs * (length + 2));
  work = 0;
  run_collect(&r);
  assert_int_equal(r.heap->count, 1 + runs * 2);
  size_t deferrals = r.heap->deferrals;
  run_collect(&r);
  assert_int_equal(r.heap->count, 1 + runs * 2);
  assert_int_equal(r.heap->deferrals, 0);
  run_end(&r);
  return deferrals;
}

static void test_nested_runs(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    uint32_t n = EPHEMERON_MAX_DEAD_STEPS;
    assert_int_equal(nested_runs(100, n, 1 + i % 2, i / 2), 0);
    assert_int_equal(nested_runs(100, n + 1, 1 + i % 2, i / 2), 100);
  }
}

int main(void) {
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_held_members),
      cmocka_unit_test(test_shared_run),
      cmocka_unit_test(test_nested_runs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
