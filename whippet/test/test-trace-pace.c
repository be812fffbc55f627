/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the choice whether to prefetch: a heap is two costs.  */
/* Collectors: mmc */

#include "unit.h"

#include "../src/trace-pace.h"

struct simulation {
  struct trace_pace pace;
  uint64_t nsec;
  size_t work;
};

static void init(struct simulation *s) {
  *s = (struct simulation){.nsec = 12345};
  trace_pace_init(&s->pace);
  trace_pace_start(&s->pace, s->nsec, s->work);
}

/* Trace SAMPLES samples, at PLAIN or PREFETCHING nanoseconds per object.
   Returns how many of them prefetched.  */
static int simulate(struct simulation *s, int samples, unsigned plain,
                    unsigned prefetching) {
  int prefetched = 0;
  for (int i = 0; i < samples; i++) {
    prefetched += s->pace.prefetch;
    size_t objects = TRACE_PACE_SAMPLE + 64 * (size_t)(i % 3);
    s->nsec += objects * (s->pace.prefetch ? prefetching : plain);
    s->work += objects;
    trace_pace_sample(&s->pace, s->nsec, s->work);
    trace_pace_start(&s->pace, s->nsec, s->work);
  }
  return prefetched;
}

static void test_prefetches_at_first(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  assert_true(s.pace.prefetch);
}

static void test_finds_the_better(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  assert_in_range(simulate(&s, 1000, 20, 10), 980, 999);
  init(&s);
  assert_in_range(simulate(&s, 1000, 10, 20), 1, 20);
}

/* What is of equal cost does not change the choice.  */
static void test_stays_when_in_doubt(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  assert_in_range(simulate(&s, 1000, 10, 10), 980, 999);
  simulate(&s, 1000, 10, 20);
  assert_in_range(simulate(&s, 1000, 10, 10), 1, 20);
}

static void test_notices_a_change(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  simulate(&s, 5000, 20, 10);
  assert_in_range(simulate(&s, 1000, 10, 20), 1, 4 * TRACE_PACE_INTERVAL_MAX);
  assert_in_range(simulate(&s, 1000, 10, 20), 1, 50);
  assert_in_range(simulate(&s, 1000, 40, 10), 1000 - 50, 999);
}

/* A sample during which the thread did not run.  */
static void test_forgives_an_outlier(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  simulate(&s, 100, 30, 10);
  assert_true(s.pace.prefetch);
  s.nsec += 50 * 1000 * 1000;
  assert_in_range(simulate(&s, 100, 30, 10), 90, 100);
}

/* Trials become rare, but never cease.  */
static void test_interval_is_bounded(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  simulate(&s, 10000, 100, 10);
  int trials = 1000 - simulate(&s, 1000, 100, 10);
  assert_in_range(trials, 1000 / TRACE_PACE_INTERVAL_MAX - 1,
                  1000 / TRACE_PACE_INTERVAL_MAX + 1);
}

/* Time that stands still, as a coarse clock's may.  */
static void test_coarse_clock(void **state) {
  (void)state;
  struct simulation s;
  init(&s);
  simulate(&s, 100, 0, 0);
  assert_true(s.pace.cost[0] && s.pace.cost[1]);
}

int main(void) {
  static const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_prefetches_at_first),
      cmocka_unit_test(test_finds_the_better),
      cmocka_unit_test(test_stays_when_in_doubt),
      cmocka_unit_test(test_notices_a_change),
      cmocka_unit_test(test_forgives_an_outlier),
      cmocka_unit_test(test_interval_is_bounded),
      cmocka_unit_test(test_coarse_clock),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
