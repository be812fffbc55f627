/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the choice whether to limit the nursery: a program is two
   costs.  */
/* Collectors: mmc */

#include "unit.h"

#include "../src/nursery-limit.h"

#define SMALL 1e6 /* bytes of a nursery with limit */
#define LARGE 20e6

/* Allocate BYTES, at FREE or LIMITED nanoseconds per byte; the first collections
   with the limit after others cost COLD times as much.  Returns the part that was
   allocated with the limit.  */
static double simulate(struct nursery_limit *nursery, double bytes, double free,
                       double limited, double cold) {
  double total = 0, with_limit = 0;
  int warm = 0;
  while (total < bytes) {
    double size = nursery->limiting ? SMALL : LARGE;
    double cost = nursery->limiting ? limited : free;
    if (nursery->limiting && warm < NURSERY_WARM_UP)
      cost *= cold;
    warm = nursery->limiting ? warm + 1 : 0;
    with_limit += nursery->limiting ? size : 0;
    total += size;
    nursery_learn(nursery, size, size * cost);
  }
  return with_limit / total;
}

static void assert_between(double x, double low, double high) {
  if (x < low || x > high)
    fail_msg("%g is not between %g and %g", x, low, high);
}

static void test_has_no_limit_at_first(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  assert_false(nursery.limiting);
}

static void test_finds_the_better(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  assert_between(simulate(&nursery, 10e9, 0.5, 0.4, 1), 0.9, 0.99);
  nursery_init(&nursery);
  assert_between(simulate(&nursery, 10e9, 0.4, 0.8, 1), 0.001, 0.1);
}

/* Else it would never last long enough to become fast.  */
static void test_cold_start_does_not_count(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  assert_between(simulate(&nursery, 10e9, 0.5, 0.4, 5), 0.9, 0.99);
}

/* Nor a start that is merely slow, if it becomes fast.  */
static void test_trial_lasts_while_in_doubt(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  nursery_learn(&nursery, LARGE, LARGE * 0.5);
  assert_true(nursery.limiting);
  int collections = 0;
  for (; nursery.limiting && !nursery.better; collections++)
    nursery_learn(&nursery, SMALL, SMALL * (0.54 - 0.002 * collections));
  assert_true(nursery.better);
  assert_in_range(collections, NURSERY_WARM_UP + 2 * NURSERY_WINDOW,
                  NURSERY_WARM_UP + NURSERY_TRIAL_WINDOWS * NURSERY_WINDOW);
}

/* What is much slower is not tried longer than needed.  */
static void test_trial_ends_when_clear(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  nursery_learn(&nursery, LARGE, LARGE * 0.5);
  int collections = 0;
  for (; nursery.limiting; collections++)
    nursery_learn(&nursery, SMALL, SMALL * 0.6);
  assert_int_equal(collections, NURSERY_WARM_UP + NURSERY_WINDOW);
  assert_false(nursery.better);
}

static void test_stays_when_in_doubt(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  assert_between(simulate(&nursery, 10e9, 0.5, 0.51, 1), 0.001, 0.4);
  assert_false(nursery.better);
  simulate(&nursery, 10e9, 0.5, 0.3, 1);
  assert_true(nursery.better);
  assert_between(simulate(&nursery, 10e9, 0.5, 0.51, 1), 0.8, 0.99);
}

/* Shorter pauses cost nothing then.  */
static void test_limits_if_that_is_not_slower(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  assert_between(simulate(&nursery, 10e9, 0.5, 0.49, 1), 0.7, 0.99);
}

static void test_notices_a_change(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  simulate(&nursery, 20e9, 0.5, 0.3, 1);
  assert_true(nursery.better);
  /* The limit has become expensive: soon.  */
  assert_between(simulate(&nursery, 1e9, 0.5, 1, 1), 0.01, 0.3);
  assert_false(nursery.better);
  /* It has become cheap: when the next trial is due.  */
  simulate(&nursery, NURSERY_INTERVAL_MAX * LARGE + 1e9, 0.5, 0.3, 1);
  assert_true(nursery.better);
}

/* Trials become rare, but never cease.  */
static void test_interval_is_bounded(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  simulate(&nursery, 100e9, 0.3, 0.9, 1);
  assert_between(simulate(&nursery, 100e9, 0.3, 0.9, 1), 0.01, 0.1);
  simulate(&nursery, 100e9, 0.9, 0.3, 1);
  assert_between(simulate(&nursery, 100e9, 0.9, 0.3, 1), 0.9, 0.999);
}

/* A clock that stands still.  */
static void test_coarse_clock(void **state) {
  (void)state;
  struct nursery_limit nursery;
  nursery_init(&nursery);
  assert_between(simulate(&nursery, 10e9, 0, 0, 1), 0, 1);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_has_no_limit_at_first),
      cmocka_unit_test(test_finds_the_better),
      cmocka_unit_test(test_cold_start_does_not_count),
      cmocka_unit_test(test_trial_lasts_while_in_doubt),
      cmocka_unit_test(test_trial_ends_when_clear),
      cmocka_unit_test(test_stays_when_in_doubt),
      cmocka_unit_test(test_limits_if_that_is_not_slower),
      cmocka_unit_test(test_notices_a_change),
      cmocka_unit_test(test_interval_is_bounded),
      cmocka_unit_test(test_coarse_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
