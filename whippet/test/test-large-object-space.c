/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of large-object-space.h and gc-edge-set.h: single behaviours, then
   random operations against a shadow of all objects.

   The seed of a random run is printed; the argument of the program sets it.
   The environment variable GC_TEST_QUICK makes the runs fewer.  */
/* Collectors: mmc generational-mmc */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The hook of the embedder: two low bits are a tag.  */
static inline int
gc_is_valid_conservative_ref_displacement(uintptr_t displacement) {
  return displacement == 0 || displacement == 3;
}

#include "../src/gc-edge-set.h"
#include "../src/large-object-space.h"
#include "pages.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

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

struct fixture {
  struct gc_reservation res;
  struct large_space space;
};

/* If it is not to be what it is.  */
static size_t system_page_size;

static struct fixture *make_fixture(size_t size) {
  /* More aligned than what test_calloc returns.  */
  struct fixture *f = aligned_alloc(_Alignof(struct fixture), sizeof(*f));
  assert_non_null(f);
  memset(f, 0, sizeof(*f));
  assert_true(gc_reservation_init(&f->res, size, size));
  assert_true(large_space_init(&f->space, &f->res));
  if (system_page_size)
    f->space.system_page_size = system_page_size;
  return f;
}

static void free_fixture(struct fixture *f) {
  large_space_destroy(&f->space);
  gc_reservation_destroy(&f->res);
  free(f);
}

static struct gc_ref as_ref(void *p) {
  return gc_ref((uintptr_t)p);
}

static int is_zero(const void *mem, size_t bytes) {
  const uint64_t *p = mem;
  for (size_t i = 0; i < bytes / 8; i++)
    if (p[i])
      return 0;
  const char *tail = (const char *)mem + bytes / 8 * 8;
  for (size_t i = 0; i < bytes % 8; i++)
    if (tail[i])
      return 0;
  return 1;
}

static void *allocate(struct large_space *space, size_t bytes, uint8_t kind,
                      int clear) {
  int dirty;
  void *mem = large_space_allocate(space, bytes, kind, &dirty);
  if (mem)
    large_space_prepare(space, mem, bytes, dirty, clear);
  return mem;
}

/* An object, zero to the end of its last page, then filled.  */
static char *allocate_filled(struct large_space *space, size_t bytes,
                             uint8_t kind) {
  char *p = allocate(space, bytes, kind, 1);
  if (p) {
    assert_true(is_zero(p, large_space_size_in_bytes(space, bytes)));
    memset(p, 0x77, large_space_size_in_bytes(space, bytes));
  }
  return p;
}

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

static uintptr_t resolve(struct large_space *s, uintptr_t addr, int interior) {
  uintptr_t a =
      gc_ref_value(large_space_resolve_conservative(s, addr, interior, 0));
  uintptr_t b =
      gc_ref_value(large_space_resolve_conservative(s, addr, interior, 1));
  assert_int_equal(a, b);
  return a;
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

/* ---- Random operations against a shadow ---- */

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

int main(int argc, char **argv) {
  if (argc > 1)
    seed = strtoull(argv[1], NULL, 0) | 1;
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
      cmocka_unit_test(test_random_operations),
      cmocka_unit_test(test_large_system_pages),
      cmocka_unit_test(test_threads),
#ifdef GC_FAULT_INJECTION
      cmocka_unit_test(test_failing_system_calls),
      cmocka_unit_test(test_edge_set_without_memory),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
