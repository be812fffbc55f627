/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of large-object-space.h and gc-edge-set.h: single behaviours.  Random
   ones: test-large-space-model.c.  */
/* Collectors: mmc generational-mmc */

#include "large-space-fixture.h"

static void test_attributes(void **state) {
  (void)state;
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  size_t page = large_page_size(s);
  for (unsigned kind = 0; kind < 32; kind += 8) {
    size_t bytes = 8193 + 4000 * kind;
    char *p = allocate_filled(s, bytes, kind);
    assert_int_equal((uintptr_t)p % page, 0);
    assert_int_equal(large_object_size(s, as_ref(p)), bytes);
    assert_int_equal(large_object_rounded_size(s, as_ref(p)),
                     (bytes + page - 1) / page * page);
    assert_int_equal(large_object_trace_kind(s, as_ref(p)), kind);
    assert_false(large_object_is_old(s, as_ref(p)));
  }
  assert_int_equal(large_space_size_in_bytes(s, 1), page);
  assert_int_equal(large_space_size_in_bytes(s, SIZE_MAX - 5), SIZE_MAX);
  assert_null(allocate(s, SIZE_MAX - 5, 0, 1));
  assert_null(allocate(s, 64 * MIB + 1, 0, 1));
  assert_int_equal(large_space_verify(s), 4);
  free_fixture(f);
}

static void test_membership(void **state) {
  (void)state;
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  assert_false(large_space_contains(s, f->res.limit));
  assert_false(large_space_contains(s, f->res.limit - 1));
  uintptr_t p = (uintptr_t)allocate_filled(s, 10000, 0);
  assert_true(large_space_contains(s, p));
  assert_true(large_space_contains(s, p + 9999));
  assert_false(large_space_contains(s, f->res.limit));
  assert_false(large_space_contains(s, f->res.base));
  assert_false(large_space_contains(s, 0));
  assert_false(large_space_contains(s, UINTPTR_MAX));
  free_fixture(f);
}

static void test_conservative_resolution(void **state) {
  (void)state;
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  size_t page = large_page_size(s);
  uintptr_t p = (uintptr_t)allocate_filled(s, 5 * page - 7, 0);
  assert_int_equal(resolve(s, p, 0), p);
  /* Embedders are asked where roots are ambiguous.  */
  int asked = GC_CONSERVATIVE_ROOTS || GC_CONSERVATIVE_TRACE;
  assert_int_equal(resolve(s, p + 3, 0), asked ? p : 0);
  assert_int_equal(resolve(s, p + 1, 0), 0);
  assert_int_equal(resolve(s, p + page, 0), 0);
  assert_int_equal(resolve(s, p + page + 3, 0), 0);
  for (size_t i = 0; i < 5 * page; i += 61)
    assert_int_equal(resolve(s, p + i, 1), p);
  /* Rest of the range that was committed with it.  */
  assert_int_equal(resolve(s, p - 1, 1), 0);
  assert_int_equal(resolve(s, f->res.limit, 1), 0);
  /* Dead.  */
  large_space_start_gc(s, 0);
  assert_int_equal(large_space_finish_gc(s, 0), 5 * page);
  for (size_t i = 0; i < 5 * page; i += 61)
    assert_int_equal(resolve(s, p + i, 1), 0);
  assert_int_equal(resolve(s, p, 0), 0);
  free_fixture(f);
}

static void test_marking(void **state) {
  (void)state;
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  struct gc_ref a = as_ref(allocate_filled(s, 10000, 8));
  struct gc_ref b = as_ref(allocate_filled(s, 20000, 16));
  struct gc_ref c = as_ref(allocate_filled(s, 30000, 24));
  for (int i = 0; i < 3; i++) {
    large_space_start_gc(s, 0);
    assert_false(large_object_is_live(s, a));
    assert_int_equal(large_object_try_mark_atomic(s, a), 1);
    assert_int_equal(large_object_try_mark_atomic(s, a), 0);
    assert_int_equal(large_object_try_mark_nonatomic(s, a), 0);
    assert_int_equal(large_object_try_mark_nonatomic(s, b), 1);
    assert_int_equal(large_object_try_mark_nonatomic(s, b), 0);
    assert_int_equal(large_object_try_mark_atomic(s, b), 0);
    assert_true(large_object_is_live(s, a));
    size_t freed = large_space_finish_gc(s, 0);
    assert_int_equal(freed, i ? 0 : large_space_size_in_bytes(s, 30000));
    assert_int_equal(large_space_verify(s), 2);
  }
  assert_true(large_object_is_old(s, a));
  assert_int_equal(large_object_trace_kind(s, a), 8);
  assert_int_equal(large_object_trace_kind(s, b), 16);
  assert_int_equal(large_object_size(s, b), 20000);
  assert_int_equal(resolve(s, gc_ref_value(c), 1), 0);
  free_fixture(f);
}

/* Young objects in memory that was just mapped are freed by minor collections,
   and so are those in memory used again.  */
static void test_minor_collections(void **state) {
  (void)state;
  if (!GC_GENERATIONAL)
    skip();
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  struct gc_ref old = as_ref(allocate_filled(s, 50000, 0));
  large_space_start_gc(s, 1);
  assert_int_equal(large_object_try_mark_atomic(s, old), 1);
  large_space_finish_gc(s, 1);
  assert_true(large_object_is_old(s, old));
  for (int i = 0; i < 4; i++) {
    struct gc_ref dead = as_ref(allocate_filled(s, 3 * MIB, 0));
    struct gc_ref kept = as_ref(allocate_filled(s, 30000, 0));
    assert_false(large_object_is_old(s, dead));
    large_space_start_gc(s, 1);
    assert_true(large_object_is_live(s, old));
    assert_int_equal(large_object_try_mark_atomic(s, old), 0);
    assert_int_equal(large_object_try_mark_atomic(s, kept), 1);
    assert_int_equal(large_space_finish_gc(s, 1), 3 * MIB);
    assert_int_equal(large_space_verify(s), 2 + i);
    assert_int_equal(resolve(s, gc_ref_value(dead), 0), 0);
  }
  free_fixture(f);
}

static void test_quarantine(void **state) {
  (void)state;
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  void *p = allocate_filled(s, 5 * MIB, 0);
  large_space_start_gc(s, 0);
  large_space_finish_gc(s, 0);
  assert_int_equal(large_space_quarantined_bytes(s), 5 * MIB);
  /* Used again at once, from its end.  */
  void *q = allocate_filled(s, 5 * MIB, 0);
  assert_ptr_equal(p, q);
  assert_int_equal(large_space_quarantined_bytes(s), 0);
  large_space_start_gc(s, 0);
  large_space_finish_gc(s, 0);
  large_space_age(s);
  assert_int_equal(large_space_quarantined_bytes(s), 5 * MIB);
  large_space_verify(s);
  /* The second tick returns it: it reads as zero.  */
  large_space_age(s);
  assert_int_equal(large_space_quarantined_bytes(s), 0);
  assert_true(is_zero(p, 5 * MIB));
  large_space_verify(s);

  allocate_filled(s, 5 * MIB, 0);
  large_space_start_gc(s, 0);
  large_space_finish_gc(s, 0);
  large_space_release_all(s);
  assert_int_equal(large_space_quarantined_bytes(s), 0);
  assert_true(is_zero(p, 5 * MIB));
  large_space_verify(s);
  free_fixture(f);
}

/* Neighbours become one run, whatever the order in which they are freed.  */
static void test_coalescing(void **state) {
  (void)state;
  static const int orders[][3] = {{0, 1, 2}, {2, 1, 0}, {0, 2, 1}, {1, 0, 2}};
  for (size_t i = 0; i < 4; i++) {
    /* The objects fill the range.  */
    struct fixture *f = make_fixture(12 * MIB);
    struct large_space *s = &f->space;
    struct gc_ref refs[3];
    for (int j = 0; j < 3; j++)
      refs[j] = as_ref(allocate_filled(s, 4 * MIB, 0));
    assert_null(allocate(s, 10000, 0, 1));
    int dead[3] = {0, 0, 0};
    for (int j = 0; j < 3; j++) {
      dead[orders[i][j]] = 1;
      large_space_start_gc(s, 0);
      for (int k = 0; k < 3; k++)
        if (!dead[k])
          large_object_try_mark_atomic(s, refs[k]);
      assert_int_equal(large_space_finish_gc(s, 0), 4 * MIB);
      large_space_verify(s);
    }
    assert_int_equal(large_space_live_bytes(s), 0);
    assert_non_null(allocate_filled(s, 12 * MIB, 0));
    free_fixture(f);
  }
}

/* A request that only fits if resident and returned neighbours merge.  */
static void test_dirty_and_zero_neighbours(void **state) {
  (void)state;
  struct fixture *f = make_fixture(16 * MIB);
  struct large_space *s = &f->space;
  allocate_filled(s, 8 * MIB, 0);
  large_space_start_gc(s, 0);
  large_space_finish_gc(s, 0);
  large_space_release_all(s);
  allocate_filled(s, 6 * MIB, 0);
  large_space_start_gc(s, 0);
  large_space_finish_gc(s, 0);
  assert_int_equal(large_space_quarantined_bytes(s), 6 * MIB);
  assert_non_null(allocate_filled(s, 16 * MIB, 0));
  assert_null(allocate(s, 10000, 0, 1));
  large_space_verify(s);
  free_fixture(f);
}

static void test_both_ends_of_the_reservation(void **state) {
  (void)state;
  struct fixture *f = make_fixture(16 * MIB);
  struct large_space *s = &f->space;
  assert_non_null(gc_reservation_extend_low(&f->res, 12 * MIB));
  assert_null(allocate(s, 4 * MIB + 1, 0, 1));
  assert_non_null(allocate_filled(s, 4 * MIB - 5, 0));
  assert_null(allocate(s, 8193, 0, 1));
  large_space_verify(s);
  free_fixture(f);
}

static void test_poison(void **state) {
  (void)state;
  struct fixture *f = make_fixture(16 * MIB);
  f->space.poison = 1;
  unsigned char *p = (unsigned char *)allocate_filled(&f->space, 20000, 0);
  large_space_start_gc(&f->space, 0);
  large_space_finish_gc(&f->space, 0);
  assert_int_equal(p[0], LARGE_POISON);
  assert_int_equal(p[19999], LARGE_POISON);
  free_fixture(f);
}

/* Nothing but the first granule of an object that need not be clear is
   written; one that must be is all zero.  */
static void test_uncleared(void **state) {
  (void)state;
  struct fixture *f = make_fixture(16 * MIB);
  f->space.poison = 1;
  for (int clear = 0; clear < 2; clear++) {
    char *freed = allocate_filled(&f->space, 20000, 0);
    large_space_start_gc(&f->space, 0);
    large_space_finish_gc(&f->space, 0);
    int dirty;
    char *p = large_space_allocate(&f->space, 20000, 0, &dirty);
    assert_ptr_equal(p, freed);
    /* What may happen in a pause does not touch the object.  */
    assert_true(dirty);
    for (size_t i = 0; i < 20000; i++)
      assert_int_equal((unsigned char)p[i], LARGE_POISON);
    large_space_prepare(&f->space, p, 20000, dirty, clear);
    assert_true(is_zero(p, 16));
    assert_int_equal((unsigned char)p[16], clear ? 0 : LARGE_POISON);
    assert_int_equal((unsigned char)p[19999], clear ? 0 : LARGE_POISON);
    large_space_start_gc(&f->space, 0);
    large_space_finish_gc(&f->space, 0);
  }
  free_fixture(f);
}

struct edge_log {
  uintptr_t first;
  size_t count;
  uint8_t seen[20000];
};

static void log_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  struct edge_log *log = data;
  (void)heap;
  size_t i = (gc_edge_address(edge) - log->first) / sizeof(uintptr_t);
  assert_in_range(i, 0, 19999);
  assert_false(log->seen[i]);
  log->seen[i] = 1;
  log->count++;
}

/* Fields are logged, their chunks reported once, and visited; then forgotten.  */
static void test_log(void **state) {
  (void)state;
  if (!GC_GENERATIONAL)
    skip();
  struct fixture *f = make_fixture(16 * MIB);
  struct large_space *s = &f->space;
  static struct edge_log log;
  static uintptr_t chunks[20000];
  uintptr_t *p = (uintptr_t *)allocate_filled(s, sizeof(uintptr_t) * 20000, 0);
  static const size_t counts[] = {0, 1, 100, 20000, 3, 0, 5000};
  for (size_t i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
    size_t chunk_count = 0;
    for (size_t pass = 0; pass < 2; pass++)
      for (size_t j = 0; j < counts[i]; j++) {
        uintptr_t addr = (uintptr_t)&p[j * 7919 % 20000];
        assert_int_equal(large_field_is_logged(s, addr), pass);
        if (large_log_field(s, addr))
          chunks[chunk_count++] = large_chunk(addr);
      }
    memset(&log, 0, sizeof(log));
    log.first = (uintptr_t)p;
    for (size_t j = 0; j < chunk_count; j++)
      large_chunk_visit_logged_fields(s, chunks[j], log_edge, NULL, &log);
    assert_int_equal(log.count, counts[i]);
    for (size_t j = 0; j < counts[i]; j++)
      assert_true(log.seen[j * 7919 % 20000]);
    if (i % 2)
      large_space_clear_logs(s);
    else
      for (size_t j = 0; j < chunk_count; j++)
        large_chunk_clear_log(s, chunks[j]);
    for (size_t j = 0; j < 20000; j++)
      assert_false(large_field_is_logged(s, (uintptr_t)&p[j]));
  }
  free_fixture(f);
}

/* The log of freed pages goes back with them, but not that of what lives next to
   them.  */
static void test_log_of_freed_pages(void **state) {
  (void)state;
  if (!GC_GENERATIONAL)
    skip();
  struct fixture *f = make_fixture(64 * MIB);
  struct large_space *s = &f->space;
  pages_forbid_huge(1);
  size_t size = 9 * MIB, page = gc_platform_page_size();
  uintptr_t above = (uintptr_t)allocate(s, 3 * page, 0, 1);
  uintptr_t dead = (uintptr_t)allocate(s, size, 0, 1);
  uintptr_t below = (uintptr_t)allocate(s, 3 * page, 0, 1);
  assert_int_equal(above, dead + size);
  assert_int_equal(below, dead - 3 * page);
  for (uintptr_t addr = below; addr < above + 3 * page;
       addr += sizeof(uintptr_t))
    large_log_field(s, addr);
  large_space_start_gc(s, 0);
  large_object_try_mark_atomic(s, gc_ref(above));
  large_object_try_mark_atomic(s, gc_ref(below));
  large_space_finish_gc(s, 0);
  for (uintptr_t addr = dead; addr < above; addr += LARGE_CHUNK_SIZE)
    large_chunk_clear_log(s, addr);
  uintptr_t first = ((uintptr_t)large_log_word(s, dead) + page - 1) & -page;
  uintptr_t last = (uintptr_t)large_log_word(s, above) & -page;
  assert_int_equal(pages_resident((void *)first, last - first),
                   (last - first) / page);
  large_space_release_all(s);
  assert_int_equal(pages_resident((void *)first, last - first), 0);
  for (uintptr_t addr = below; addr < above + 3 * page;
       addr += sizeof(uintptr_t))
    assert_int_equal(large_field_is_logged(s, addr),
                     addr < dead || addr >= above);
  pages_forbid_huge(0);
  free_fixture(f);
}

/* ---- Fault injection ---- */

#ifdef GC_FAULT_INJECTION
/* An edge set that cannot grow takes what it can, then says no.  */
static void test_edge_set_without_memory(void **state) {
  (void)state;
  struct gc_edge_set set;
  assert_true(gc_edge_set_init(&set));
  gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, 1);
  assert_false(gc_edge_set_add(&set, gc_edge((void *)8)));
  gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, 2);
  size_t added = 0;
  for (uintptr_t i = 1; i < 4 * GC_EDGE_SET_MIN_CAPACITY; i++)
    added += gc_edge_set_add(&set, gc_edge((void *)(i * 8)));
  assert_int_equal(added, GC_EDGE_SET_MIN_CAPACITY / 8 * 7);
  assert_int_equal(set.count, added);
  assert_true(gc_edge_set_add(&set, gc_edge((void *)8)));
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
  gc_edge_set_destroy(&set);
}
#endif

int main(void) {
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_attributes),
      cmocka_unit_test(test_membership),
      cmocka_unit_test(test_conservative_resolution),
      cmocka_unit_test(test_marking),
      cmocka_unit_test(test_minor_collections),
      cmocka_unit_test(test_quarantine),
      cmocka_unit_test(test_coalescing),
      cmocka_unit_test(test_dirty_and_zero_neighbours),
      cmocka_unit_test(test_both_ends_of_the_reservation),
      cmocka_unit_test(test_poison),
      cmocka_unit_test(test_uncleared),
      cmocka_unit_test(test_log),
      cmocka_unit_test(test_log_of_freed_pages),
#ifdef GC_FAULT_INJECTION
      cmocka_unit_test(test_edge_set_without_memory),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
