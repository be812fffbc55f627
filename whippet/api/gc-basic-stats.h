/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* An event listener that measures pauses, times and sizes, and prints a
   report.  Pass GC_BASIC_STATS and a pointer to a struct gc_basic_stats, which
   need not be initialised, to gc_init.  */
#ifndef GC_BASIC_STATS_H
#define GC_BASIC_STATS_H

#include "gc-event-listener.h"
#include "gc-histogram.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

GC_DEFINE_HISTOGRAM(gc_latency, 25, 4);

struct gc_basic_stats {
  uint64_t major_collection_count;
  uint64_t minor_collection_count;
  /* When the current interval, of mutator or of collector time, began.  */
  uint64_t last_time_usec;
  uint64_t last_cpu_time_usec;
  uint64_t elapsed_mutator_usec;
  uint64_t elapsed_collector_usec;
  uint64_t cpu_mutator_usec;
  uint64_t cpu_collector_usec;
  size_t heap_size; /* bytes, as the following three */
  size_t max_heap_size;
  size_t live_data_size;
  size_t max_live_data_size;
  uint64_t allocation_counter_at_last_gc; /* bytes */
  struct gc_latency pause_times;          /* microseconds */
};

/* Elapsed time since some fixed point, in microseconds; not set back when the
   system's clock is.  */
static inline uint64_t gc_basic_stats_now(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* CPU time of all threads of the process, in microseconds.  */
static inline uint64_t gc_basic_stats_cpu_time(void) {
  struct timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline void gc_basic_stats_init(void *data, size_t size) {
  struct gc_basic_stats *stats = (struct gc_basic_stats *)data;
  memset(stats, 0, sizeof(*stats));
  stats->last_time_usec = gc_basic_stats_now();
  stats->last_cpu_time_usec = gc_basic_stats_cpu_time();
  stats->heap_size = stats->max_heap_size = size;
}

static inline void gc_basic_stats_requesting_stop(void *data) {
  struct gc_basic_stats *stats = (struct gc_basic_stats *)data;
  uint64_t now = gc_basic_stats_now();
  uint64_t cpu_time = gc_basic_stats_cpu_time();
  stats->elapsed_mutator_usec += now - stats->last_time_usec;
  stats->cpu_mutator_usec += cpu_time - stats->last_cpu_time_usec;
  stats->last_time_usec = now;
  stats->last_cpu_time_usec = cpu_time;
}

static inline void gc_basic_stats_waiting_for_stop(void *data) {
  (void)data;
}

static inline void gc_basic_stats_mutators_stopped(void *data) {
  (void)data;
}

static inline void gc_basic_stats_prepare_gc(void *data,
                                             enum gc_collection_kind kind,
                                             uint64_t allocation_counter) {
  struct gc_basic_stats *stats = (struct gc_basic_stats *)data;
  if (kind == GC_COLLECTION_MINOR)
    stats->minor_collection_count++;
  else
    stats->major_collection_count++;
  stats->allocation_counter_at_last_gc = allocation_counter;
}

static inline void gc_basic_stats_roots_traced(void *data) {
  (void)data;
}

static inline void gc_basic_stats_heap_traced(void *data) {
  (void)data;
}

static inline void gc_basic_stats_ephemerons_traced(void *data) {
  (void)data;
}

static inline void gc_basic_stats_finalizers_traced(void *data) {
  (void)data;
}

static inline void gc_basic_stats_restarting_mutators(void *data) {
  struct gc_basic_stats *stats = (struct gc_basic_stats *)data;
  uint64_t now = gc_basic_stats_now();
  uint64_t cpu_time = gc_basic_stats_cpu_time();
  uint64_t pause_time = now - stats->last_time_usec;
  stats->elapsed_collector_usec += pause_time;
  stats->cpu_collector_usec += cpu_time - stats->last_cpu_time_usec;
  gc_latency_record(&stats->pause_times, pause_time);
  stats->last_time_usec = now;
  stats->last_cpu_time_usec = cpu_time;
}

static inline void *gc_basic_stats_mutator_added(void *data) {
  return data;
}

static inline void gc_basic_stats_mutator_cause_gc(void *mutator_data) {
  (void)mutator_data;
}

static inline void gc_basic_stats_mutator_stopping(void *mutator_data) {
  (void)mutator_data;
}

static inline void gc_basic_stats_mutator_stopped(void *mutator_data) {
  (void)mutator_data;
}

static inline void gc_basic_stats_mutator_restarted(void *mutator_data) {
  (void)mutator_data;
}

static inline void gc_basic_stats_mutator_removed(void *mutator_data) {
  (void)mutator_data;
}

static inline void gc_basic_stats_heap_resized(void *data, size_t size) {
  struct gc_basic_stats *stats = (struct gc_basic_stats *)data;
  stats->heap_size = size;
  if (size > stats->max_heap_size)
    stats->max_heap_size = size;
}

static inline void gc_basic_stats_live_data_size(void *data, size_t size) {
  struct gc_basic_stats *stats = (struct gc_basic_stats *)data;
  stats->live_data_size = size;
  if (size > stats->max_live_data_size)
    stats->max_live_data_size = size;
}

/* An expression of type struct gc_event_listener.  */
#define GC_BASIC_STATS                                           \
  ((struct gc_event_listener){                                   \
      .init = gc_basic_stats_init,                               \
      .requesting_stop = gc_basic_stats_requesting_stop,         \
      .waiting_for_stop = gc_basic_stats_waiting_for_stop,       \
      .mutators_stopped = gc_basic_stats_mutators_stopped,       \
      .prepare_gc = gc_basic_stats_prepare_gc,                   \
      .roots_traced = gc_basic_stats_roots_traced,               \
      .heap_traced = gc_basic_stats_heap_traced,                 \
      .ephemerons_traced = gc_basic_stats_ephemerons_traced,     \
      .finalizers_traced = gc_basic_stats_finalizers_traced,     \
      .restarting_mutators = gc_basic_stats_restarting_mutators, \
      .mutator_added = gc_basic_stats_mutator_added,             \
      .mutator_cause_gc = gc_basic_stats_mutator_cause_gc,       \
      .mutator_stopping = gc_basic_stats_mutator_stopping,       \
      .mutator_stopped = gc_basic_stats_mutator_stopped,         \
      .mutator_restarted = gc_basic_stats_mutator_restarted,     \
      .mutator_removed = gc_basic_stats_mutator_removed,         \
      .heap_resized = gc_basic_stats_heap_resized,               \
      .live_data_size = gc_basic_stats_live_data_size,           \
  })

/* End the last interval of mutator time.  To be called once, before printing,
   with no collection running.  */
static inline void gc_basic_stats_finish(struct gc_basic_stats *stats) {
  gc_basic_stats_requesting_stop(stats);
}

/* Print the report, four lines, to F.  Programs parse it: the wording is part
   of the interface.  Times are in milliseconds, sizes in 10^6 bytes.  */
static inline void gc_basic_stats_print(struct gc_basic_stats *stats, FILE *f) {
#define GC_BASIC_STATS_MS "%" PRIu64 ".%.3" PRIu64
#define GC_BASIC_STATS_MS_ARGS(usec) (usec) / 1000, (usec) % 1000
  fprintf(f, "Completed %" PRIu64 " major collections (%" PRIu64 " minor).\n",
          stats->major_collection_count, stats->minor_collection_count);

  uint64_t stopped = stats->elapsed_collector_usec;
  uint64_t elapsed = stats->elapsed_mutator_usec + stopped;
  uint64_t cpu_stopped = stats->cpu_collector_usec;
  uint64_t cpu_total = stats->cpu_mutator_usec + cpu_stopped;
  fprintf(f,
          GC_BASIC_STATS_MS " ms total time (" GC_BASIC_STATS_MS
                            " stopped); " GC_BASIC_STATS_MS
                            " ms CPU time (" GC_BASIC_STATS_MS " stopped).\n",
          GC_BASIC_STATS_MS_ARGS(elapsed), GC_BASIC_STATS_MS_ARGS(stopped),
          GC_BASIC_STATS_MS_ARGS(cpu_total),
          GC_BASIC_STATS_MS_ARGS(cpu_stopped));

  uint64_t median = gc_latency_median(&stats->pause_times);
  uint64_t p95 = gc_latency_percentile(&stats->pause_times, 0.95);
  uint64_t max = gc_latency_max(&stats->pause_times);
  fprintf(f,
          GC_BASIC_STATS_MS " ms median pause time, " GC_BASIC_STATS_MS
                            " p95, " GC_BASIC_STATS_MS " max.\n",
          GC_BASIC_STATS_MS_ARGS(median), GC_BASIC_STATS_MS_ARGS(p95),
          GC_BASIC_STATS_MS_ARGS(max));

  fprintf(f, "Heap size is %.3f MB (max %.3f MB); peak live data %.3f MB.\n",
          (double)stats->heap_size / 1e6, (double)stats->max_heap_size / 1e6,
          (double)stats->max_live_data_size / 1e6);
#undef GC_BASIC_STATS_MS
#undef GC_BASIC_STATS_MS_ARGS
}

#endif /* GC_BASIC_STATS_H */
