/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the ready-made statistics: what they count, and the report to
   the byte.  */
/* Collectors: mmc */

#include "unit.h"

#include "gc-basic-stats.h"

static void collect(struct gc_event_listener l, void *data,
                    enum gc_collection_kind kind, size_t live) {
  l.requesting_stop(data);
  l.waiting_for_stop(data);
  l.mutators_stopped(data);
  l.prepare_gc(data, kind, 1234);
  l.live_data_size(data, live);
  l.roots_traced(data);
  l.heap_traced(data);
  l.ephemerons_traced(data);
  l.finalizers_traced(data);
  l.restarting_mutators(data);
}

static void test_counts(void **state) {
  (void)state;
  struct gc_event_listener l = GC_BASIC_STATS;
  struct gc_basic_stats stats;
  memset(&stats, 0xa5, sizeof stats);
  l.init(&stats, 1000);
  assert_int_equal(stats.heap_size, 1000);
  assert_int_equal(stats.max_heap_size, 1000);
  assert_int_equal(gc_latency_count(&stats.pause_times), 0);

  void *mut = l.mutator_added(&stats);
  collect(l, &stats, GC_COLLECTION_MAJOR, 700);
  collect(l, &stats, GC_COLLECTION_MINOR, 500);
  collect(l, &stats, GC_COLLECTION_COMPACTING, 600);
  l.mutator_cause_gc(mut);
  l.mutator_stopping(mut);
  l.mutator_stopped(mut);
  l.mutator_restarted(mut);
  l.mutator_removed(mut);
  assert_int_equal(stats.major_collection_count, 2);
  assert_int_equal(stats.minor_collection_count, 1);
  assert_int_equal(stats.live_data_size, 600);
  assert_int_equal(stats.max_live_data_size, 700);
  assert_int_equal(stats.allocation_counter_at_last_gc, 1234);
  assert_int_equal(gc_latency_count(&stats.pause_times), 3);

  l.heap_resized(&stats, 3000);
  l.heap_resized(&stats, 2000);
  assert_int_equal(stats.heap_size, 2000);
  assert_int_equal(stats.max_heap_size, 3000);
}

static void test_times(void **state) {
  (void)state;
  struct gc_event_listener l = GC_BASIC_STATS;
  struct gc_basic_stats stats;
  uint64_t start = gc_basic_stats_now();
  l.init(&stats, 1);
  usleep(20000);
  l.requesting_stop(&stats);
  usleep(10000);
  l.restarting_mutators(&stats);
  usleep(20000);
  gc_basic_stats_finish(&stats);
  uint64_t elapsed = gc_basic_stats_now() - start;
  assert_true(stats.elapsed_mutator_usec >= 40000);
  assert_true(stats.elapsed_collector_usec >= 10000);
  assert_true(stats.elapsed_mutator_usec + stats.elapsed_collector_usec <=
              elapsed);
  assert_int_equal(gc_latency_count(&stats.pause_times), 1);
  assert_true(gc_latency_max(&stats.pause_times) >= 10000);
  /* Sleeping uses hardly any.  */
  assert_true(stats.cpu_mutator_usec < 20000);
  assert_true(stats.cpu_collector_usec < 10000);
}

static void check_report(struct gc_basic_stats *stats, const char *expected) {
  char *report = NULL;
  size_t size;
  FILE *f = open_memstream(&report, &size);
  gc_basic_stats_print(stats, f);
  fclose(f);
  assert_string_equal(report, expected);
  free(report);
}

static void test_report(void **state) {
  (void)state;
  struct gc_basic_stats stats;
  memset(&stats, 0, sizeof stats);
  stats.major_collection_count = 12;
  stats.minor_collection_count = 345;
  stats.elapsed_mutator_usec = 1000000;
  stats.elapsed_collector_usec = 234567;
  stats.cpu_mutator_usec = 2000;
  stats.cpu_collector_usec = 5;
  stats.heap_size = 6291456;
  stats.max_heap_size = 123456789012;
  stats.max_live_data_size = 499;
  for (int i = 0; i < 9; i++)
    gc_latency_record(&stats.pause_times, 3);
  gc_latency_record(&stats.pause_times, 1000);
  check_report(
      &stats,
      "Completed 12 major collections (345 minor).\n"
      "1234.567 ms total time (234.567 stopped); "
      "2.005 ms CPU time (0.005 stopped).\n"
      "0.004 ms median pause time, 0.004 p95, 1.024 max.\n"
      "Heap size is 6.291 MB (max 123456.789 MB); peak live data 0.000 MB.\n");
}

static void test_report_of_nothing(void **state) {
  (void)state;
  struct gc_basic_stats stats;
  memset(&stats, 0, sizeof stats);
  check_report(&stats,
               "Completed 0 major collections (0 minor).\n"
               "0.000 ms total time (0.000 stopped); "
               "0.000 ms CPU time (0.000 stopped).\n"
               "0.001 ms median pause time, 0.001 p95, 0.000 max.\n"
               "Heap size is 0.000 MB (max 0.000 MB); peak live data 0.000 "
               "MB.\n");
}

/* The order of the members of the table is the interface.  */
static void test_order(void **state) {
  (void)state;
#define AT(member, n)                                          \
  assert_int_equal(offsetof(struct gc_event_listener, member), \
                   ((n)-1) * sizeof(void (*)(void)))
  AT(init, 1);
  AT(requesting_stop, 2);
  AT(waiting_for_stop, 3);
  AT(mutators_stopped, 4);
  AT(prepare_gc, 5);
  AT(roots_traced, 6);
  AT(heap_traced, 7);
  AT(ephemerons_traced, 8);
  AT(finalizers_traced, 9);
  AT(restarting_mutators, 10);
  AT(mutator_added, 11);
  AT(mutator_cause_gc, 12);
  AT(mutator_stopping, 13);
  AT(mutator_stopped, 14);
  AT(mutator_restarted, 15);
  AT(mutator_removed, 16);
  AT(heap_resized, 17);
  AT(live_data_size, 18);
  assert_int_equal(sizeof(struct gc_event_listener), 18 * sizeof(void *));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_counts), cmocka_unit_test(test_times),
      cmocka_unit_test(test_report), cmocka_unit_test(test_report_of_nothing),
      cmocka_unit_test(test_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
