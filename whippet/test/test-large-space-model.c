/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Random operations on a large object space against a shadow of all objects, with
   pages of the system of any size; random objects of several threads, and while
   system calls fail.

   The seed of a random run is printed; the argument of the program sets it.
   The environment variable GC_TEST_QUICK makes the runs fewer.  */
/* Collectors: mmc generational-mmc */

#include "large-space-fixture.h"

static uint64_t seed = 20240817;

static uint64_t next_random(uint64_t *rng) {
  *rng ^= *rng << 13;
  *rng ^= *rng >> 7;
  *rng ^= *rng << 17;
  return *rng * UINT64_C(0x2545f4914f6cdd1d);
}

static uint64_t random_below(uint64_t *rng, uint64_t n) {
  return (next_random(rng) >> 11) % n;
}

/* ---- A shadow ---- */

struct shadow {
  uintptr_t start;
  size_t bytes;
  uint64_t stamp;
  uint8_t kind;
  uint8_t old;
};

#define MODEL_OBJECTS 256

struct model {
  struct fixture *f;
  struct shadow objects[MODEL_OBJECTS];
  size_t count;
  uint64_t rng;
};

static void model_stamp(const struct shadow *o) {
  size_t step = gc_platform_page_size() / sizeof(uint64_t);
  uint64_t *p = (uint64_t *)o->start;
  for (size_t i = 0; i + 1 < o->bytes / sizeof(uint64_t); i += step)
    p[i] = o->stamp + i;
  ((uint8_t *)o->start)[o->bytes - 1] = o->stamp;
}

static void model_check_object(struct model *m, const struct shadow *o) {
  struct large_space *s = &m->f->space;
  struct gc_ref ref = gc_ref(o->start);
  size_t step = gc_platform_page_size() / sizeof(uint64_t);
  const uint64_t *p = (const uint64_t *)o->start;
  for (size_t i = 0; i + 1 < o->bytes / sizeof(uint64_t); i += step)
    assert_int_equal(p[i], o->stamp + i);
  assert_int_equal(((uint8_t *)o->start)[o->bytes - 1], (uint8_t)o->stamp);
  assert_int_equal(large_object_size(s, ref), o->bytes);
  assert_int_equal(large_object_trace_kind(s, ref), o->kind);
  assert_int_equal(large_object_is_old(s, ref), o->old);
}

static size_t model_random_size(uint64_t *rng) {
  switch (random_below(rng, 16)) {
  case 0:
    return 8 * MIB + random_below(rng, 2 * MIB);
  case 1:
  case 2:
  case 3:
    return 256 * KIB + random_below(rng, 2 * MIB);
  default:
    return 8193 + random_below(rng, 128 * KIB);
  }
}

static void model_allocate(struct model *m) {
  struct large_space *s = &m->f->space;
  if (m->count == MODEL_OBJECTS)
    return;
  size_t bytes = model_random_size(&m->rng);
  uint8_t kind = random_below(&m->rng, 4) * 8;
  char *p = allocate(s, bytes, kind, 1);
  if (!p)
    return;
  assert_true(is_zero(p, large_space_size_in_bytes(s, bytes)));
  struct shadow *o = &m->objects[m->count++];
  *o = (struct shadow){(uintptr_t)p, bytes, next_random(&m->rng), kind, 0};
  model_stamp(o);
}

static void model_collect(struct model *m) {
  struct large_space *s = &m->f->space;
  int is_minor = GC_GENERATIONAL && random_below(&m->rng, 3);
  unsigned survival = random_below(&m->rng, 101);
  size_t freed = 0, kept = 0;
  large_space_start_gc(s, is_minor);
  for (size_t i = 0; i < m->count; i++) {
    struct shadow o = m->objects[i];
    if ((is_minor && o.old) || random_below(&m->rng, 100) < survival) {
      int was_old = is_minor && o.old;
      struct gc_ref ref = large_space_resolve_conservative(
          s, o.start + random_below(&m->rng, o.bytes), 1, 1);
      assert_int_equal(gc_ref_value(ref), o.start);
      assert_int_equal(large_object_try_mark_atomic(s, ref), !was_old);
      o.old = 1;
      m->objects[kept++] = o;
    } else {
      assert_false(large_object_is_live(s, gc_ref(o.start)));
      freed += large_space_size_in_bytes(s, o.bytes);
    }
  }
  m->count = kept;
  assert_int_equal(large_space_finish_gc(s, is_minor), freed);
}

static uintptr_t model_lookup(struct model *m, uintptr_t addr) {
  size_t mask = large_page_size(&m->f->space) - 1;
  for (size_t i = 0; i < m->count; i++)
    if (addr - m->objects[i].start < ((m->objects[i].bytes + mask) & ~mask))
      return m->objects[i].start;
  return 0;
}

static void model_resolve(struct model *m) {
  struct gc_reservation *res = &m->f->res;
  for (int i = 0; i < 50; i++) {
    uintptr_t addr = res->base + random_below(&m->rng, res->limit - res->base);
    assert_int_equal(resolve(&m->f->space, addr, 1), model_lookup(m, addr));
  }
}

static void check_shadow_object(uintptr_t start, size_t bytes, uint8_t kind,
                                int live, void *data) {
  struct model *m = data;
  for (size_t i = 0; i < m->count; i++)
    if (m->objects[i].start == start) {
      assert_int_equal(m->objects[i].bytes, bytes);
      assert_int_equal(m->objects[i].kind, kind);
      assert_int_equal(m->objects[i].old, live);
      return;
    }
  fail();
}

static void model_check(struct model *m) {
  struct large_space *s = &m->f->space;
  size_t live = 0;
  assert_int_equal(large_space_verify(s), m->count);
  for (size_t i = 0; i < m->count; i++) {
    model_check_object(m, &m->objects[i]);
    live += large_space_size_in_bytes(s, m->objects[i].bytes);
  }
  assert_int_equal(large_space_live_bytes(s), live);
  large_space_visit_objects(s, check_shadow_object, m);
}

static void run_model(uint64_t model_seed, size_t size, unsigned steps) {
  struct model *m = test_calloc(1, sizeof(*m));
  m->f = make_fixture(size);
  m->rng = model_seed;
  for (unsigned i = 0; i < steps; i++) {
    switch (random_below(&m->rng, 20)) {
    case 0:
    case 1:
      model_collect(m);
      break;
    case 2:
      large_space_age(&m->f->space);
      break;
    case 3:
      if (random_below(&m->rng, 4) == 0)
        large_space_release_all(&m->f->space);
      break;
    case 4:
      model_resolve(m);
      break;
    default:
      model_allocate(m);
      break;
    }
    if (i % 16 == 0)
      model_check(m);
  }
  model_check(m);
  free_fixture(m->f);
  test_free(m);
}

static void test_random_operations(void **state) {
  (void)state;
  static const size_t sizes[] = {4 * MIB, 16 * MIB, 64 * MIB, 1024 * MIB};
  print_message("seed %llu\n", (unsigned long long)seed);
  unsigned runs = getenv("GC_TEST_QUICK") ? 8 : 40;
  for (unsigned i = 0; i < runs; i++)
    run_model(seed + i, sizes[i % 4], 500);
}

/* ---- Large pages of the system ---- */

static size_t count_resident(const void *mem, size_t bytes) {
  uintptr_t page = gc_platform_page_size();
  uintptr_t low = (uintptr_t)mem & -page;
  uintptr_t high = ((uintptr_t)mem + bytes + page - 1) & -page;
  return pages_resident((void *)low, high - low) * page;
}

/* Objects that share pages of the system: these go back when the last of them has
   died.  */
static void check_shared_pages(size_t page) {
  struct fixture *f = make_fixture(16 * MIB);
  struct large_space *s = &f->space;
  enum { N = 100 };
  static char *objects[N];
  size_t bytes = 9 * KIB, total = N * large_space_size_in_bytes(s, bytes);
  pages_forbid_huge(1);
  for (int i = 0; i < N; i++)
    objects[i] = allocate_filled(s, bytes, 0);
  assert_int_equal(large_space_live_bytes(s), total);
  char *low = objects[0], *high = objects[0];
  for (int i = 0; i < N; i++) {
    low = objects[i] < low ? objects[i] : low;
    high = objects[i] > high ? objects[i] : high;
  }
  assert_int_equal(high + total / N - low, total);
  for (int odd = 0; odd < 2; odd++) {
    large_space_start_gc(s, 0);
    for (int i = 0; i < N; i++)
      if (!odd && i % 2)
        large_object_try_mark_atomic(s, as_ref(objects[i]));
    large_space_finish_gc(s, 0);
    large_space_release_all(s);
    assert_int_equal(large_space_quarantined_bytes(s), 0);
    assert_int_equal(large_space_verify(s), odd ? 0 : N / 2);
    for (int i = 1; !odd && i < N; i += 2)
      for (size_t j = 0; j < bytes; j += 512)
        assert_int_equal(objects[i][j], 0x77);
  }
  /* But for the pages at both ends.  */
  assert_true(count_resident(low, total) <= 2 * page);
  for (int i = 0; i < N; i++)
    assert_non_null(allocate_filled(s, bytes, 0));
  pages_forbid_huge(0);
  free_fixture(f);
}

/* A very large dirty object is not cleared but discarded, but for what it shares
   with its neighbours.  */
static void check_very_large_object(void) {
  struct fixture *f = make_fixture(1024 * MIB);
  struct large_space *s = &f->space;
  size_t bytes = LARGE_DISCARD_THRESHOLD + 3 * large_page_size(s);
  static const size_t spots[] = {0, 5000, 70000, 100 * MIB};
  enum { SPOTS = sizeof(spots) / sizeof(spots[0]) };
  char *above = allocate_filled(s, 9 * KIB, 0);
  char *mem = allocate(s, bytes, 0, 1);
  char *below = allocate_filled(s, 9 * KIB, 0);
  assert_non_null(mem);
  for (int i = 0; i < SPOTS; i++)
    mem[spots[i]] = mem[bytes - 1 - spots[i]] = 1;
  large_space_start_gc(s, 0);
  large_object_try_mark_atomic(s, as_ref(above));
  large_object_try_mark_atomic(s, as_ref(below));
  large_space_finish_gc(s, 0);
  assert_ptr_equal(allocate(s, bytes, 0, 1), mem);
  for (int i = 0; i < SPOTS; i++)
    assert_true(!mem[spots[i]] && !mem[bytes - 1 - spots[i]]);
  for (size_t i = 0; i < 9 * KIB; i++)
    assert_true(above[i] == 0x77 && below[i] == 0x77);
  free_fixture(f);
}

static void test_large_system_pages(void **state) {
  (void)state;
  static const size_t sizes[] = {4 * MIB, 16 * MIB, 64 * MIB};
  for (size_t page = 4 * KIB; page <= 64 * KIB; page *= 4) {
    if (page < gc_platform_page_size())
      continue;
    system_page_size = page;
    check_shared_pages(page);
    check_very_large_object();
    for (unsigned i = 0; i < 6; i++)
      run_model(seed + i, sizes[i % 3], 500);
  }
  system_page_size = 0;
}

/* ---- Threads ---- */

#define THREADS 4

struct thread_test {
  struct fixture *f;
  pthread_barrier_t barrier;
  int done;
  size_t marked[THREADS];
  uintptr_t objects[THREADS][64];
  size_t counts[THREADS];
  unsigned next_index;
};

static void *allocating_thread(void *data) {
  struct thread_test *t = data;
  unsigned me = gc_atomic_fetch_add(&t->next_index, 1);
  uint64_t rng = seed + me + 1;
  struct large_space *s = &t->f->space;
  for (int i = 0; i < 64; i++) {
    size_t bytes = 8193 + random_below(&rng, 200 * KIB);
    char *p = allocate_filled(s, bytes, 0);
    if (!p)
      continue;
    t->objects[me][t->counts[me]++] = (uintptr_t)p;
    uintptr_t addr = (uintptr_t)p + random_below(&rng, bytes);
    assert_int_equal(
        gc_ref_value(large_space_resolve_conservative(s, addr, 1, 0)),
        (uintptr_t)p);
    assert_true(large_space_contains(s, addr));
  }
  return NULL;
}

/* Each thread marks the objects of all, found from addresses inside.  */
static void *marking_thread(void *data) {
  struct thread_test *t = data;
  unsigned me = gc_atomic_fetch_add(&t->next_index, 1);
  struct large_space *s = &t->f->space;
  for (int i = 0; i < THREADS; i++)
    for (size_t j = 0; j < t->counts[i]; j += 2) {
      struct gc_ref ref =
          large_space_resolve_conservative(s, t->objects[i][j] + 8000, 1, 1);
      assert_int_equal(gc_ref_value(ref), t->objects[i][j]);
      t->marked[me] += large_object_try_mark_atomic(s, ref);
    }
  return NULL;
}

static void *ticking_thread(void *data) {
  struct thread_test *t = data;
  while (!gc_atomic_load(&t->done)) {
    large_space_age(&t->f->space);
    sched_yield();
  }
  return NULL;
}

static void run_threads(struct thread_test *t, void *(*f)(void *)) {
  pthread_t threads[THREADS];
  t->next_index = 0;
  for (int i = 0; i < THREADS; i++)
    pthread_create(&threads[i], NULL, f, t);
  for (int i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
}

static void test_threads(void **state) {
  (void)state;
  struct thread_test *t = test_calloc(1, sizeof(*t));
  pthread_t ticker;
  t->f = make_fixture(128 * MIB);
  pthread_create(&ticker, NULL, ticking_thread, t);
  for (int round = 0; round < 10; round++) {
    memset(t->counts, 0, sizeof(t->counts));
    memset(t->marked, 0, sizeof(t->marked));
    run_threads(t, allocating_thread);
    large_space_start_gc(&t->f->space, 0);
    run_threads(t, marking_thread);
    large_space_finish_gc(&t->f->space, 0);
    size_t marked = 0, expected = 0;
    for (int i = 0; i < THREADS; i++) {
      marked += t->marked[i];
      expected += (t->counts[i] + 1) / 2;
    }
    assert_int_equal(marked, expected);
    assert_int_equal(large_space_verify(&t->f->space), expected);
  }
  gc_atomic_store(&t->done, 1);
  pthread_join(ticker, NULL);
  free_fixture(t->f);
  test_free(t);
}

/* ---- Fault injection ---- */

#ifdef GC_FAULT_INJECTION
/* Let the Nth operation of KIND fail, for every N until none does.  */
static void run_with_faults(enum gc_platform_fault_kind kind) {
  for (uint64_t n = 1;; n++) {
    struct gc_reservation res;
    struct large_space s;
    gc_platform_fault_inject(kind, n);
    if (gc_reservation_init(&res, 64 * MIB, 64 * MIB)) {
      if (large_space_init(&s, &res)) {
        uint64_t rng = seed + n;
        for (int i = 0; i < 60; i++) {
          uintptr_t *p =
              (uintptr_t *)allocate_filled(&s, model_random_size(&rng), 0);
          if (p && GC_GENERATIONAL)
            large_log_field(&s, (uintptr_t)(p + i));
          if (i % 20 == 19) {
            large_space_start_gc(&s, 0);
            large_space_finish_gc(&s, 0);
            if (GC_GENERATIONAL)
              large_space_clear_logs(&s);
          }
          large_space_verify(&s);
        }
        large_space_destroy(&s);
      }
      gc_reservation_destroy(&res);
    }
    if (gc_platform_fault_count(kind) < n)
      break;
  }
  gc_platform_fault_inject(kind, 0);
}

static void test_failing_system_calls(void **state) {
  (void)state;
  run_with_faults(GC_PLATFORM_FAULT_MAP);
  run_with_faults(GC_PLATFORM_FAULT_PROTECT);
}
#endif

int main(int argc, char **argv) {
  if (argc > 1)
    seed = strtoull(argv[1], NULL, 0) | 1;
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_operations),
      cmocka_unit_test(test_large_system_pages),
      cmocka_unit_test(test_threads),
#ifdef GC_FAULT_INJECTION
      cmocka_unit_test(test_failing_system_calls),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
