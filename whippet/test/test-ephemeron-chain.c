/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Long sequences of dead ephemerons in chains, with the real collectors: what
   lives stays in order, whoever leads to it.  */

#include "test-heap.h"

#define N 3000
#define SPACING 500
#define SHARERS 200

struct chain_test {
  struct test_heap *t;
  /* KEYS: one key for each ephemeron, or null.  MEMBERS: two thirds of the
     ephemerons.  SHARERS: ephemerons that are followed by the chain.  */
  struct test_handle key, value, keys, members, sharers, chain;
};

static void start(struct chain_test *c, const char *options,
                  const char *stress) {
  memset(c, 0, sizeof(*c));
  c->t = test_heap_make(options, stress);
  test_push(c->t, &c->key);
  test_push(c->t, &c->value);
  test_push(c->t, &c->keys);
  test_push(c->t, &c->members);
  test_push(c->t, &c->sharers);
  test_push(c->t, &c->chain);
  test_make_table(c->t->mut, &c->keys, N);
  c->members.ref = test_make_node(c->t->mut, N, 0);
  c->sharers.ref = test_make_node(c->t->mut, SHARERS, 0);
}

static void finish(struct chain_test *c) {
  test_pop(c->t, &c->chain);
  test_pop(c->t, &c->sharers);
  test_pop(c->t, &c->members);
  test_pop(c->t, &c->keys);
  test_pop(c->t, &c->value);
  test_pop(c->t, &c->key);
  test_heap_finish(c->t);
}

/* Push a new ephemeron for KEY, whose value is a box for I, in front of CHAIN.  */
static struct gc_ephemeron *push(struct chain_test *c, void *key, uint32_t i) {
  struct gc_mutator *mut = c->t->mut;
  c->key.ref = key;
  c->value.ref = test_make_box(mut, i);
  struct gc_ephemeron *e = test_make_ephemeron(mut, &c->key, &c->value);
  struct gc_ephemeron *head = c->chain.ref;
  gc_ephemeron_chain_push(&head, e);
  c->key.ref = c->value.ref = NULL;
  return e;
}

static void __attribute__((noinline)) make_members(struct chain_test *c) {
  for (uint32_t i = 0; i < N; i++) {
    c->chain.ref = push(c, ((struct test_node *)c->keys.ref)->edges[i], i);
    if (i % 3)
      test_store(c->t->mut, c->members.ref, i, c->chain.ref);
  }
}

static void __attribute__((noinline)) make_sharers(struct chain_test *c) {
  for (uint32_t i = 0; i < SHARERS; i++) {
    struct gc_ephemeron *e = push(c, c->keys.ref, N + i);
    test_store(c->t->mut, c->sharers.ref, i, e);
  }
}

static void __attribute__((noinline)) drop_keys(struct chain_test *c) {
  for (uint32_t i = 0; i < N; i++)
    if (i % SPACING)
      test_store(c->t->mut, c->keys.ref, i, NULL);
}

static uint64_t number(struct gc_ephemeron *e) {
  struct test_box *box = gc_ref_heap_object(gc_ephemeron_value(e));
  for (uint64_t i = 0; i < N; i++)
    if (box->tag == TEST_TAG(TEST_BOX, i))
      return i;
  fail();
  return 0;
}

/* E, in front of number I, is followed by what lives, in order.  A stale word may
   keep more alive than should be.  */
static void check_tail(struct gc_ephemeron *e, uint32_t i) {
  uint32_t lives = i ? (i - 1) / SPACING + 1 : 0, found = 0;
  while ((e = gc_ephemeron_chain_next(e))) {
    uint64_t n = number(e);
    assert_true(n < i);
    i = n;
    if (n % SPACING == 0)
      found++;
    else
      assert_false(TEST_EXACT);
  }
  assert_int_equal(found, lives);
}

static void __attribute__((noinline)) check(struct chain_test *c) {
  for (uint32_t i = 0; i < N; i++) {
    struct gc_ephemeron *e = ((struct test_node *)c->members.ref)->edges[i];
    if (!e)
      continue;
    if (i % SPACING == 0)
      assert_int_equal(number(e), i);
    else if (TEST_EXACT)
      assert_true(gc_ref_is_null(gc_ephemeron_key(e)));
    check_tail(e, i);
  }
  for (uint32_t i = 0; i < SHARERS; i++) {
    struct gc_ephemeron *e = ((struct test_node *)c->sharers.ref)->edges[i];
    if (!e)
      continue;
    assert_int_equal(gc_ref_value(gc_ephemeron_key(e)), (uintptr_t)c->keys.ref);
    check_tail(e, N);
  }
}

/* The members die in a collection, and then there is one of KIND.  In it, the
   sharers are young.  */
static void run(const char *options, const char *stress,
                enum gc_collection_kind kind, int with_sharers) {
  struct chain_test c;
  start(&c, options, stress);
  make_members(&c);
  drop_keys(&c);
  gc_collect(c.t->mut, GC_COLLECTION_MAJOR);
  if (with_sharers)
    make_sharers(&c);
  c.chain.ref = NULL;
  gc_collect(c.t->mut, kind);
  gc_collect(c.t->mut, kind);
  check(&c);
  gc_collect(c.t->mut, GC_COLLECTION_COMPACTING);
  check(&c);
  finish(&c);
}

static void run_all(const char *options, const char *stress) {
  for (int i = 0; i < 2; i++) {
    run(options, stress, GC_COLLECTION_MINOR, i);
    run(options, stress, GC_COLLECTION_MAJOR, i);
    run(options, stress, GC_COLLECTION_COMPACTING, i);
  }
}

static void with_one_worker(void **state) {
  (void)state;
  run_all("heap-size=16m,parallelism=1", NULL);
  run_all("heap-size=16m,parallelism=1", "verify");
}

static void with_several_workers(void **state) {
  (void)state;
  run_all("heap-size=16m,parallelism=4", NULL);
  run_all("heap-size=16m,parallelism=4", "verify");
}

static void with_small_mark_stacks(void **state) {
  (void)state;
  run_all("heap-size=16m,parallelism=3", "verify,mark-stack=16");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(with_one_worker),
      cmocka_unit_test(with_several_workers),
      cmocka_unit_test(with_small_mark_stacks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
