/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the choice of huge pages: a system is two costs.  */
/* Collectors: mmc */

#include "unit.h"

#include "../src/nofl-huge-pages.h"

enum { US = 1000, MS = 1000 * US };

/* Add SLABS slabs, where the first use of huge or small pages takes so many
   nanoseconds.  Returns how many of them asked for huge pages.  */
static int add_slabs(struct nofl_huge_pages *pages, int slabs, uint64_t huge_ns,
                     uint64_t small_ns) {
  int count = 0;
  for (int i = 0; i < slabs; i++) {
    int huge = nofl_huge_pages_wanted(pages);
    count += huge;
    nofl_huge_pages_measured(pages, huge, huge ? huge_ns : small_ns);
  }
  return count;
}

static void test_cheap(void **state) {
  (void)state;
  struct nofl_huge_pages pages;
  nofl_huge_pages_init(&pages, 0, 0);
  assert_int_equal(add_slabs(&pages, 1000, 170 * US, 700 * US), 1000);
}

static void test_dear(void **state) {
  (void)state;
  struct nofl_huge_pages pages;
  nofl_huge_pages_init(&pages, 0, 0);
  assert_int_equal(add_slabs(&pages, 1, 8 * MS, 700 * US), 1);
  assert_int_equal(
      add_slabs(&pages, NOFL_HUGE_PAGE_RETRY_MIN, 8 * MS, 700 * US), 0);
  assert_int_equal(add_slabs(&pages, 1, 8 * MS, 700 * US), 1);
  assert_int_equal(
      add_slabs(&pages, 2 * NOFL_HUGE_PAGE_RETRY_MIN, 8 * MS, 700 * US), 0);
  add_slabs(&pages, 1000, 8 * MS, 700 * US);
  assert_in_range(
      add_slabs(&pages, 10 * NOFL_HUGE_PAGE_RETRY_MAX, 8 * MS, 700 * US), 9,
      10);
}

/* Huge pages that cost more than usual are still right if small ones do,
   too.  */
static void test_both_dear(void **state) {
  (void)state;
  struct nofl_huge_pages pages;
  nofl_huge_pages_init(&pages, 0, 0);
  add_slabs(&pages, 2, 8 * MS, 7 * MS);
  assert_int_equal(add_slabs(&pages, 1000, 8 * MS, 7 * MS), 1000);
}

static void test_becomes_cheap(void **state) {
  (void)state;
  struct nofl_huge_pages pages;
  nofl_huge_pages_init(&pages, 0, 0);
  add_slabs(&pages, 1000, 8 * MS, 700 * US);
  add_slabs(&pages, NOFL_HUGE_PAGE_RETRY_MAX + 1, 170 * US, 700 * US);
  assert_int_equal(add_slabs(&pages, 100, 170 * US, 700 * US), 100);
  /* The next time the wait is short again.  */
  assert_int_equal(
      add_slabs(&pages, NOFL_HUGE_PAGE_RETRY_MIN + 2, 8 * MS, 700 * US), 2);
}

static void test_small_heap(void **state) {
  (void)state;
  struct nofl_huge_pages pages;
  nofl_huge_pages_init(&pages, 100, 0);
  assert_false(nofl_huge_pages_considered(&pages, 99));
  assert_true(nofl_huge_pages_considered(&pages, 100));
  nofl_huge_pages_init(&pages, SIZE_MAX, 1);
  assert_false(nofl_huge_pages_considered(&pages, SIZE_MAX - 1));
}

static void test_always(void **state) {
  (void)state;
  struct nofl_huge_pages pages;
  nofl_huge_pages_init(&pages, 0, 1);
  assert_int_equal(add_slabs(&pages, 100, 8 * MS, 700 * US), 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cheap),      cmocka_unit_test(test_dear),
      cmocka_unit_test(test_both_dear),  cmocka_unit_test(test_becomes_cheap),
      cmocka_unit_test(test_small_heap), cmocka_unit_test(test_always),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
