/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of histograms.  */
/* Collectors: mmc */

#include "unit.h"

#include "gc-histogram.h"

GC_DEFINE_HISTOGRAM(small, 4, 1);
GC_DEFINE_HISTOGRAM(linear, 3, 0);
GC_DEFINE_HISTOGRAM(latency, 25, 4);

static void test_buckets_of_small_values(void **state) {
  (void)state;
  for (uint64_t p = 0; p < 6; p++)
    for (uint64_t v = 0; v < UINT64_C(1) << p; v++)
      assert_int_equal(gc_histogram_bucket(30, p, v), v);
}

/* By the definition, for precision 2: 4..7 in steps of 1, 8..15 of 2, ...  */
static void test_buckets_by_hand(void **state) {
  (void)state;
  static const struct {
    uint64_t value;
    size_t bucket;
  } cases[] = {{3, 3},   {4, 4},   {5, 5},   {7, 7},    {8, 8},   {9, 8},
               {10, 9},  {15, 11}, {16, 12}, {19, 12},  {20, 13}, {31, 15},
               {32, 16}, {63, 19}, {64, 20}, {127, 23}, {128, 24}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    assert_int_equal(gc_histogram_bucket(20, 2, cases[i].value),
                     cases[i].bucket);
}

/* Each value lies between the bounds of its bucket, and buckets are in order
   and without gaps.  */
static void check_consistency(uint64_t bits, uint64_t precision) {
  size_t overflow = bits << precision;
  uint64_t expected_min = 0;
  for (size_t i = 0; i < overflow; i++) {
    uint64_t min = gc_histogram_bucket_min_val(precision, i);
    uint64_t next = gc_histogram_bucket_min_val(precision, i + 1);
    assert_int_equal(min, expected_min);
    assert_true(min < next);
    assert_int_equal(gc_histogram_bucket(bits, precision, min), i);
    assert_int_equal(gc_histogram_bucket(bits, precision, next - 1), i);
    expected_min = next;
  }
  uint64_t too_large = gc_histogram_bucket_min_val(precision, overflow);
  assert_int_equal(gc_histogram_bucket(bits, precision, too_large), overflow);
  assert_int_equal(gc_histogram_bucket(bits, precision, UINT64_MAX), overflow);
}

static void test_consistency(void **state) {
  (void)state;
  for (uint64_t bits = 1; bits < 40; bits++)
    for (uint64_t precision = 0; precision < 7; precision++)
      check_consistency(bits, precision);
}

static void test_empty(void **state) {
  (void)state;
  struct latency h = make_latency();
  assert_int_equal(latency_size(), (25 << 4) + 1);
  assert_int_equal(latency_count(&h), 0);
  assert_int_equal(latency_min(&h), UINT64_MAX);
  assert_int_equal(latency_max(&h), 0);
  for (size_t i = 0; i < latency_size(); i++)
    assert_int_equal(latency_ref(&h, i), 0);
  /* A running count of 0 reaches 0 at once.  */
  assert_int_equal(latency_median(&h), 1);
}

static void test_recording(void **state) {
  (void)state;
  struct small h = make_small();
  assert_int_equal(small_size(), 9);
  assert_int_equal(sizeof h.buckets / sizeof h.buckets[0], 9);
  small_record(&h, 1);
  small_record(&h, 1);
  small_record(&h, 6);
  assert_int_equal(small_count(&h), 3);
  assert_int_equal(small_ref(&h, 1), 2);
  assert_int_equal(small_bucket_min_val(5), 6);
  assert_int_equal(small_ref(&h, 5), 1);
  assert_int_equal(small_min(&h), 1);
  assert_int_equal(small_max(&h), 8);
  assert_int_equal(small_percentile(&h, 0.0), 1);
  assert_int_equal(small_median(&h), 2);
  assert_int_equal(small_percentile(&h, 0.7), 2);
  assert_int_equal(small_percentile(&h, 1.0), 8);
}

static void test_overflow(void **state) {
  (void)state;
  struct linear h = make_linear();
  linear_record(&h, 1 << 20);
  assert_int_equal(linear_ref(&h, linear_size() - 1), 1);
  assert_int_equal(linear_min(&h), 4);
  assert_int_equal(linear_max(&h), UINT64_MAX);
  assert_int_equal(linear_percentile(&h, 1.0), UINT64_MAX);
  linear_record(&h, 0);
  assert_int_equal(linear_min(&h), 0);
  assert_int_equal(linear_median(&h), 1);
}

static int compare(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

/* Percentiles agree with sorting, to the precision.  */
static void test_percentiles(void **state) {
  (void)state;
  enum { N = 1000 };
  static uint64_t values[N];
  struct latency h = make_latency();
  uint64_t rng = 42;
  for (size_t i = 0; i < N; i++) {
    rng = rng * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    values[i] = (rng >> 40) >> (rng % 20);
    latency_record(&h, values[i]);
  }
  qsort(values, N, sizeof values[0], compare);
  for (int percent = 1; percent <= 100; percent++) {
    double p = percent / 100.0;
    uint64_t exact = values[(size_t)(N * p) - 1];
    uint64_t bound = latency_percentile(&h, p);
    assert_true(exact < bound);
    assert_true(bound <= exact + exact / 16 + 1);
  }
  assert_true(latency_min(&h) <= values[0]);
  assert_true(latency_max(&h) > values[N - 1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_buckets_of_small_values),
      cmocka_unit_test(test_buckets_by_hand),
      cmocka_unit_test(test_consistency),
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_recording),
      cmocka_unit_test(test_overflow),
      cmocka_unit_test(test_percentiles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
