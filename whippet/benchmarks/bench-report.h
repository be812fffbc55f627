/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What a benchmark program measures and how it reports it: clocks, an event
   listener that records pauses, and a list of results that is printed both for
   people and for scripts.  */

#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "gc-event-listener.h"
#include "gc-histogram.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline uint64_t bench_now_nsec(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* CPU time of all threads of the process.  */
static inline uint64_t bench_cpu_nsec(void) {
  struct timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t bench_peak_rss_bytes(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (uint64_t)usage.ru_maxrss * 1024;
}

/* Nanoseconds: 2^37 is more than two minutes; a bucket spans 1/32 of its
   value.  */
GC_DEFINE_HISTOGRAM(bench_histogram, 37, 5);

/* Pauses as seen by mutators, by kind of collection.  Written by collecting
   threads, one at a time; read once mutators have finished.  */
struct bench_pauses {
  uint64_t count_by_kind[GC_COLLECTION_COMPACTING + 1];
  uint64_t stop_began_nsec;
  uint64_t trace_began_nsec;
  uint64_t total_nsec;
  uint64_t max_nsec;
  uint64_t max_stopping_nsec; /* time for all mutators to arrive */
  uint64_t trace_nsec;        /* from prepare_gc to the end of finalizers */
  struct bench_histogram histogram;
};

static inline void bench_pauses_init(void *data, size_t heap_size) {
  (void)heap_size;
  memset(data, 0, sizeof(struct bench_pauses));
}

static inline void bench_pauses_requesting_stop(void *data) {
  struct bench_pauses *pauses = (struct bench_pauses *)data;
  pauses->stop_began_nsec = bench_now_nsec();
}

static inline void bench_pauses_mutators_stopped(void *data) {
  struct bench_pauses *pauses = (struct bench_pauses *)data;
  uint64_t stopping = bench_now_nsec() - pauses->stop_began_nsec;
  if (stopping > pauses->max_stopping_nsec)
    pauses->max_stopping_nsec = stopping;
}

static inline void bench_pauses_prepare_gc(void *data,
                                           enum gc_collection_kind kind,
                                           uint64_t allocation_counter) {
  struct bench_pauses *pauses = (struct bench_pauses *)data;
  (void)allocation_counter;
  pauses->count_by_kind[kind]++;
  pauses->trace_began_nsec = bench_now_nsec();
}

/* Both of these end the trace: not every backend has finalizers to trace.  */
static inline void bench_pauses_trace_step(void *data) {
  struct bench_pauses *pauses = (struct bench_pauses *)data;
  uint64_t now = bench_now_nsec();
  if (pauses->trace_began_nsec) {
    pauses->trace_nsec += now - pauses->trace_began_nsec;
    pauses->trace_began_nsec = now;
  }
}

static inline void bench_pauses_restarting_mutators(void *data) {
  struct bench_pauses *pauses = (struct bench_pauses *)data;
  uint64_t pause = bench_now_nsec() - pauses->stop_began_nsec;
  pauses->total_nsec += pause;
  pauses->trace_began_nsec = 0;
  if (pause > pauses->max_nsec)
    pauses->max_nsec = pause;
  bench_histogram_record(&pauses->histogram, pause);
}

static inline void bench_pauses_ignore(void *data) {
  (void)data;
}

static inline void *bench_pauses_mutator_added(void *data) {
  (void)data;
  return NULL;
}

static inline void bench_pauses_ignore_size(void *data, size_t size) {
  (void)data;
  (void)size;
}

#define BENCH_PAUSES                                           \
  ((struct gc_event_listener){                                 \
      .init = bench_pauses_init,                               \
      .requesting_stop = bench_pauses_requesting_stop,         \
      .waiting_for_stop = bench_pauses_ignore,                 \
      .mutators_stopped = bench_pauses_mutators_stopped,       \
      .prepare_gc = bench_pauses_prepare_gc,                   \
      .roots_traced = bench_pauses_ignore,                     \
      .heap_traced = bench_pauses_trace_step,                  \
      .ephemerons_traced = bench_pauses_trace_step,            \
      .finalizers_traced = bench_pauses_trace_step,            \
      .restarting_mutators = bench_pauses_restarting_mutators, \
      .mutator_added = bench_pauses_mutator_added,             \
      .mutator_cause_gc = bench_pauses_ignore,                 \
      .mutator_stopping = bench_pauses_ignore,                 \
      .mutator_stopped = bench_pauses_ignore,                  \
      .mutator_restarted = bench_pauses_ignore,                \
      .mutator_removed = bench_pauses_ignore,                  \
      .heap_resized = bench_pauses_ignore_size,                \
      .live_data_size = bench_pauses_ignore_size,              \
  })

static inline uint64_t bench_pauses_count(struct bench_pauses *pauses) {
  return bench_histogram_count(&pauses->histogram);
}

/* The smallest bucket bound that at least the fraction P of the pauses does not
   exceed, in nanoseconds; 0 if there was none.  Unlike
   bench_histogram_percentile, right for a handful of samples too.  */
static inline uint64_t bench_pauses_percentile(struct bench_pauses *pauses,
                                               double p) {
  uint64_t count = bench_pauses_count(pauses);
  if (!count)
    return 0;
  double exact = (double)count * p;
  uint64_t rank = (uint64_t)exact;
  if ((double)rank < exact || rank == 0)
    rank++;
  uint64_t seen = 0;
  size_t last = bench_histogram_size() - 1;
  for (size_t i = 0; i < last; i++) {
    seen += bench_histogram_ref(&pauses->histogram, i);
    if (seen >= rank) {
      uint64_t bound = bench_histogram_bucket_min_val(i + 1);
      return bound < pauses->max_nsec ? bound : pauses->max_nsec;
    }
  }
  return pauses->max_nsec;
}

/* Results, in the order of being added.  Names and string values consist of
   characters that need no quoting.  */

#define BENCH_MAX_RESULTS 64

struct bench_result {
  const char *name;
  const char *text; /* NULL for a number */
  double number;
};

struct bench_results {
  int count;
  struct bench_result entries[BENCH_MAX_RESULTS];
};

static inline void bench_add_result(struct bench_results *results,
                                    const char *name, const char *text,
                                    double number) {
  if (results->count == BENCH_MAX_RESULTS)
    abort();
  results->entries[results->count++] =
      (struct bench_result){name, text, number};
}

static inline void bench_add_number(struct bench_results *results,
                                    const char *name, double number) {
  bench_add_result(results, name, NULL, number);
}

static inline void bench_add_text(struct bench_results *results,
                                  const char *name, const char *text) {
  bench_add_result(results, name, text, 0);
}

/* Whole numbers exactly, others with three decimals.  */
static inline void bench_print_number(FILE *out, double number) {
  if (number >= 0 && number < 1e15 && number == (double)(uint64_t)number)
    fprintf(out, "%" PRIu64, (uint64_t)number);
  else
    fprintf(out, "%.3f", number);
}

static inline void bench_print_value(FILE *out, struct bench_result *result) {
  if (result->text)
    fputs(result->text, out);
  else
    bench_print_number(out, result->number);
}

/* One line: RESULT name=value ...  */
static inline void bench_print_result_line(FILE *out,
                                           struct bench_results *results) {
  fputs("RESULT", out);
  for (int i = 0; i < results->count; i++) {
    struct bench_result *r = &results->entries[i];
    fprintf(out, " %s=", r->name);
    bench_print_value(out, r);
  }
  fputc('\n', out);
}

static inline void bench_print_json(FILE *out, struct bench_results *results) {
  fputs("{", out);
  for (int i = 0; i < results->count; i++) {
    struct bench_result *r = &results->entries[i];
    fprintf(out, "%s\"%s\": ", i ? ", " : "", r->name);
    if (r->text)
      fprintf(out, "\"%s\"", r->text);
    else
      bench_print_number(out, r->number);
  }
  fputs("}\n", out);
}

#endif /* BENCH_REPORT_H */
