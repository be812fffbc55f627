/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of gc-reservation.h.  */
/* Collectors: mmc */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "../src/gc-reservation.h"

#define UNIT GC_RESERVATION_UNIT

static void check_zero_and_fill(void *mem, size_t bytes) {
  unsigned char *p = mem;
  for (size_t i = 0; i < bytes; i++)
    assert_int_equal(p[i], 0);
  memset(p, 0xff, bytes);
}

/* Nonzero if the page at ADDR is mapped, with whatever rights: a new mapping is
   put elsewhere.  */
static int is_mapped(uintptr_t addr) {
  size_t page = gc_platform_page_size();
  void *wanted = (void *)(addr & -page);
  void *got = mmap(wanted, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(got != MAP_FAILED);
  munmap(got, page);
  return got != wanted;
}

static void test_geometry(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 10 * UNIT + 1, UNIT));
  assert_int_equal(gc_reservation_size(&res), 11 * UNIT);
  assert_int_equal(res.base % UNIT, 0);
  assert_int_equal(gc_reservation_low_top(&res), res.base);
  assert_int_equal(gc_reservation_high_bottom(&res), res.limit);
  gc_reservation_destroy(&res);
  assert_int_equal(res.base, 0);
}

static void test_ends_grow_until_they_meet(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 4 * UNIT, UNIT));
  void *low = gc_reservation_extend_low(&res, UNIT);
  assert_ptr_equal(low, (void *)res.base);
  check_zero_and_fill(low, UNIT);
  void *high = gc_reservation_extend_high(&res, 8192);
  assert_ptr_equal(high, (void *)(res.limit - 8192));
  check_zero_and_fill(high, 8192);
  assert_ptr_equal(gc_reservation_extend_low(&res, UNIT),
                   (void *)(res.base + UNIT));
  assert_non_null(gc_reservation_extend_low(&res, UNIT));
  /* 8192 bytes are missing from the last unit.  */
  assert_null(gc_reservation_extend_low(&res, UNIT));
  assert_null(gc_reservation_extend_high(&res, UNIT));
  assert_null(gc_reservation_extend_high(&res, SIZE_MAX));
  assert_null(gc_reservation_extend_low(&res, SIZE_MAX));
  assert_non_null(gc_reservation_extend_high(&res, UNIT - 8192));
  assert_int_equal(gc_reservation_low_top(&res),
                   gc_reservation_high_bottom(&res));
  assert_null(gc_reservation_extend_high(&res, 4096));
  gc_reservation_destroy(&res);
}

static void test_impossible_size(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_false(gc_reservation_init(&res, SIZE_MAX, SIZE_MAX / 4));
  assert_int_equal(res.base, 0);
  gc_reservation_destroy(&res);
}

static void test_trim(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 64 * UNIT, UNIT));
  assert_non_null(gc_reservation_extend_low(&res, UNIT));
  assert_non_null(gc_reservation_extend_high(&res, UNIT));
  assert_int_equal(gc_reservation_trim(&res, 8 * UNIT, 8 * UNIT), 46 * UNIT);
  assert_true(is_mapped(res.base + 9 * UNIT - 1));
  assert_false(is_mapped(res.base + 9 * UNIT));
  assert_false(is_mapped(res.limit - 9 * UNIT - 1));
  assert_true(is_mapped(res.limit - 9 * UNIT));
  /* Nothing left to give back.  */
  assert_int_equal(gc_reservation_trim(&res, 8 * UNIT, 8 * UNIT), 0);

  /* The program maps something in the hole; trimming again leaves it.  */
  void *other =
      mmap((void *)(res.base + 20 * UNIT), UNIT, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(other != MAP_FAILED);
  memset(other, 1, UNIT);
  assert_int_equal(gc_reservation_trim(&res, 2 * UNIT, 2 * UNIT), 12 * UNIT);
  assert_int_equal(((char *)other)[UNIT - 1], 1);

  /* Growth goes on in the hole, up to what others have there.  */
  char *low = gc_reservation_extend_low(&res, 2 * UNIT);
  assert_non_null(low);
  assert_int_equal(res.low_top, res.gap_low);
  low = gc_reservation_extend_low(&res, 17 * UNIT - 4096);
  assert_non_null(low);
  low[17 * UNIT - 4097] = 1;
  assert_null(gc_reservation_extend_low(&res, 8192));
  assert_non_null(gc_reservation_extend_low(&res, 4096));
  assert_null(gc_reservation_extend_low(&res, 4096));
  assert_int_equal(res.gap_low, res.base + 20 * UNIT);
  assert_non_null(gc_reservation_extend_high(&res, 2 * UNIT));
  assert_int_equal(res.high_bottom, res.gap_high);
  char *high = gc_reservation_extend_high(&res, 40 * UNIT);
  assert_non_null(high);
  high[0] = 1;
  assert_int_equal(res.gap_high, res.base + 21 * UNIT);
  assert_null(gc_reservation_extend_high(&res, 4096));
  assert_int_equal(((char *)other)[UNIT - 1], 1);

  /* When they are gone, both ends can meet.  */
  munmap(other, UNIT);
  assert_non_null(gc_reservation_extend_high(&res, 4096));
  assert_int_equal(res.gap_low, res.limit);
  assert_non_null(gc_reservation_extend_low(&res, UNIT - 4096));
  assert_null(gc_reservation_extend_low(&res, 4096));
  gc_reservation_destroy(&res);
}

/* Neither end can take all.  */
static void test_least_share(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 16 * UNIT, UNIT));
  res.least_share = 2 * UNIT;
  assert_null(gc_reservation_extend_low(&res, 15 * UNIT));
  assert_non_null(gc_reservation_extend_low(&res, 14 * UNIT));
  assert_null(gc_reservation_extend_low(&res, 4096));
  assert_non_null(gc_reservation_extend_high(&res, 2 * UNIT));
  assert_null(gc_reservation_extend_high(&res, 4096));
  gc_reservation_destroy(&res);

  assert_true(gc_reservation_init(&res, 16 * UNIT, UNIT));
  res.least_share = 2 * UNIT;
  assert_null(gc_reservation_extend_high(&res, 14 * UNIT + 4096));
  assert_non_null(gc_reservation_extend_high(&res, 14 * UNIT));
  assert_null(gc_reservation_extend_high(&res, 4096));
  assert_non_null(gc_reservation_extend_low(&res, UNIT));
  assert_non_null(gc_reservation_extend_low(&res, UNIT));
  assert_null(gc_reservation_extend_low(&res, 4096));
  gc_reservation_destroy(&res);
}

/* Each end keeps its own share.  */
static void test_trim_by_side(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 16 * UNIT, UNIT));
  assert_int_equal(gc_reservation_trim(&res, 9 * UNIT, 3 * UNIT), 4 * UNIT);
  assert_int_equal(res.gap_low, res.base + 9 * UNIT);
  assert_int_equal(res.gap_high, res.limit - 3 * UNIT);
  gc_reservation_destroy(&res);
}

/* A part of the hole that is taken back is taken in steps of some size.  */
static void test_reclaim_in_steps(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 64 * UNIT, UNIT));
  assert_int_equal(gc_reservation_trim(&res, 0, 0), 64 * UNIT);
  assert_non_null(gc_reservation_extend_low(&res, 4096));
  assert_int_equal(res.gap_low, res.base + UNIT + GC_RESERVATION_RECLAIM);
  assert_true(is_mapped(res.gap_low - 1));
  assert_false(is_mapped(res.gap_low));
  assert_non_null(gc_reservation_extend_high(&res, 4096));
  assert_int_equal(res.gap_high, res.limit - UNIT - GC_RESERVATION_RECLAIM);
  assert_null(gc_reservation_extend_high(&res, 64 * UNIT));
  assert_null(gc_reservation_extend_low(&res, SIZE_MAX - 4095));
  gc_reservation_destroy(&res);
}

static void test_trim_keeps_all_of_a_small_range(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 4 * UNIT, UNIT));
  assert_int_equal(gc_reservation_trim(&res, 2 * UNIT, 2 * UNIT), 0);
  assert_int_equal(gc_reservation_trim(&res, SIZE_MAX / 2, SIZE_MAX / 2), 0);
  assert_non_null(gc_reservation_extend_low(&res, 4 * UNIT));
  assert_int_equal(gc_reservation_trim(&res, 0, 0), 0);
  gc_reservation_destroy(&res);
}

static void test_trim_everything(void **state) {
  (void)state;
  struct gc_reservation res;
  assert_true(gc_reservation_init(&res, 4 * UNIT, UNIT));
  assert_int_equal(gc_reservation_trim(&res, 0, 0), 4 * UNIT);
  /* Others take the place.  */
  void *other = mmap((void *)res.base, 4 * UNIT, PROT_READ,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  assert_true(other == (void *)res.base);
  assert_null(gc_reservation_extend_low(&res, UNIT));
  assert_null(gc_reservation_extend_high(&res, UNIT));
  munmap(other, 4 * UNIT);
  gc_reservation_destroy(&res);
}

static void *grow_low(void *data) {
  struct gc_reservation *res = data;
  for (uintptr_t n = 0;; n++) {
    void *mem = gc_reservation_extend_low(res, UNIT);
    if (!mem)
      return (void *)n;
    *(void **)mem = mem;
    assert_true(gc_reservation_low_top(res) >= (uintptr_t)mem + UNIT);
  }
}

static void *grow_high(void *data) {
  struct gc_reservation *res = data;
  for (uintptr_t n = 0;; n++) {
    void *mem = gc_reservation_extend_high(res, UNIT / 4);
    if (!mem)
      return (void *)n;
    *(void **)mem = mem;
    assert_true(gc_reservation_high_bottom(res) <= (uintptr_t)mem);
  }
}

static void test_threads_share_the_range(void **state) {
  (void)state;
  struct gc_reservation res;
  pthread_t threads[4];
  void *counts[4];
  assert_true(gc_reservation_init(&res, 64 * UNIT, UNIT));
  for (int i = 0; i < 4; i++)
    pthread_create(&threads[i], NULL, i % 2 ? grow_high : grow_low, &res);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], &counts[i]);
  size_t low = (uintptr_t)counts[0] + (uintptr_t)counts[2];
  size_t high = (uintptr_t)counts[1] + (uintptr_t)counts[3];
  assert_int_equal(gc_reservation_low_top(&res), res.base + low * UNIT);
  assert_int_equal(gc_reservation_high_bottom(&res),
                   res.limit - high * UNIT / 4);
  assert_true(gc_reservation_high_bottom(&res) - gc_reservation_low_top(&res) <
              UNIT);
  for (uintptr_t p = res.base; p < gc_reservation_low_top(&res); p += UNIT)
    assert_int_equal(*(uintptr_t *)p, p);
  gc_reservation_destroy(&res);
}

#ifdef GC_FAULT_INJECTION
static void test_failing_system_calls(void **state) {
  (void)state;
  struct gc_reservation res;
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 1);
  assert_true(gc_reservation_init(&res, 16 * UNIT, UNIT));
  assert_int_equal(gc_reservation_size(&res), 8 * UNIT);
  gc_reservation_destroy(&res);
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 1);
  assert_true(gc_reservation_init(&res, 16 * UNIT, 12 * UNIT));
  assert_int_equal(gc_reservation_size(&res), 12 * UNIT);
  gc_platform_fault_inject(GC_PLATFORM_FAULT_PROTECT, 1);
  assert_null(gc_reservation_extend_low(&res, UNIT));
  assert_int_equal(gc_reservation_low_top(&res), res.base);
  assert_ptr_equal(gc_reservation_extend_low(&res, UNIT), (void *)res.base);
  gc_platform_fault_inject(GC_PLATFORM_FAULT_PROTECT, 1);
  assert_null(gc_reservation_extend_high(&res, UNIT));
  assert_int_equal(gc_reservation_high_bottom(&res), res.limit);
  assert_non_null(gc_reservation_extend_high(&res, UNIT));
  gc_reservation_destroy(&res);

  gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, 1);
  assert_false(gc_reservation_init(&res, 16 * UNIT, UNIT));
  gc_reservation_destroy(&res);
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
}
#endif

int main(void) {
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_geometry),
      cmocka_unit_test(test_ends_grow_until_they_meet),
      cmocka_unit_test(test_impossible_size),
      cmocka_unit_test(test_trim),
      cmocka_unit_test(test_trim_keeps_all_of_a_small_range),
      cmocka_unit_test(test_trim_everything),
      cmocka_unit_test(test_least_share),
      cmocka_unit_test(test_trim_by_side),
      cmocka_unit_test(test_reclaim_in_steps),
      cmocka_unit_test(test_threads_share_the_range),
#ifdef GC_FAULT_INJECTION
      cmocka_unit_test(test_failing_system_calls),
#endif
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
