/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Start-up, threads and report of a benchmark program.

   A program fills in a struct bench_program and calls bench_main, which parses
   the options, makes a heap of fixed size, calls set-up on the main thread, run
   on every thread and verification on the main thread, and reports.  */

#ifndef BENCH_MAIN_H
#define BENCH_MAIN_H

#include "bench-options.h"
#include "bench-report.h"
#include "bench-roots.h"
#include "bench-types.h"

#include "gc-api.h"
#include "gc-basic-stats.h"
#include "gc-event-listener-chain.h"
#include "gc-heap-stats.h"

#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

struct bench;
struct bench_thread;

struct bench_program {
  const char *name;
  const char *summary;
  const struct bench_option *options; /* besides the common ones */
  /* Bytes of live data at its peak, all threads together: what a heap
     multiplier refers to.  Called after the options were parsed.  */
  size_t (*live_bytes)(const struct bench *bench);
  void (*setup)(struct bench_thread *main_thread); /* may be NULL */
  void (*run)(struct bench_thread *thread);
  void (*verify)(struct bench_thread *main_thread); /* may be NULL */
  /* Add results of the program's own; may be NULL.  */
  void (*report)(struct bench *bench, struct bench_results *results);
};

#define BENCH_MAX_THREADS 256

struct bench_thread {
  struct bench *bench;
  struct gc_mutator *mut;
  struct gc_mutator_roots roots;
  int index; /* the main thread is 0 */
  uint64_t random_state;
  pthread_t pthread;
};

typedef BENCH_HANDLE(void) bench_shared_handle;

struct bench {
  const struct bench_program *program;
  struct gc_heap *heap;

  /* Data that threads share, or that set-up leaves for the run.  The handle is
     in a stack frame of the main thread: the outermost one.  */
  bench_shared_handle *shared;

  /* Common options.  */
  int thread_count;
  double scale;
  size_t heap_size;
  double heap_multiplier;
  const char *gc_options;
  size_t seed;
  int json;

  size_t live_bytes;
  struct bench_thread threads[BENCH_MAX_THREADS];

  struct bench_pauses pauses;
  struct gc_basic_stats basic_stats;
  struct gc_event_listener_chain listeners;

  uint64_t setup_nsec, run_nsec, verify_nsec, cpu_nsec;
};

/* Pseudo-random numbers: splitmix64.  */

static inline uint64_t bench_mix(uint64_t x) {
  x += UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static inline uint64_t bench_random(struct bench_thread *t) {
  uint64_t x = t->random_state;
  t->random_state += UINT64_C(0x9e3779b97f4a7c15);
  return bench_mix(x);
}

/* In [0, LIMIT); LIMIT is at most 2^32.  */
static inline uint64_t bench_random_below(struct bench_thread *t,
                                          uint64_t limit) {
  return ((bench_random(t) >> 32) * limit) >> 32;
}

/* COUNT repetitions of something, adjusted by --scale, at least 1.  */
static inline uint64_t bench_scaled(const struct bench *bench, double count) {
  double scaled = count * bench->scale;
  return scaled < 1 ? 1 : (uint64_t)scaled;
}

/* The program's data are not what they should be.  Other threads may be running
   and the heap may be unusable, so leave at once.  */
static inline void bench_corrupt(const char *format, ...)
    __attribute__((noreturn, format(printf, 1, 2)));
static inline void bench_corrupt(const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("CORRUPT: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  _exit(BENCH_EXIT_CORRUPT);
}

#define BENCH_CHECK(condition, ...) \
  do {                              \
    if (GC_UNLIKELY(!(condition)))  \
      bench_corrupt(__VA_ARGS__);   \
  } while (0)

static inline void *bench_out_of_memory(struct gc_heap *heap, size_t size) {
  (void)heap;
  fprintf(stderr, "OUT OF MEMORY: cannot allocate %zu bytes\n", size);
  _exit(BENCH_EXIT_OUT_OF_MEMORY);
}

/* Threads.  */

static inline void *bench_thread_attached(struct gc_stack_addr base,
                                          void *data) {
  struct bench_thread *t = data;
  t->mut = gc_init_for_thread(base, t->bench->heap);
  gc_mutator_set_roots(t->mut, &t->roots);
  t->bench->program->run(t);
  gc_finish_for_thread(t->mut);
  return NULL;
}

static inline void *bench_thread_main(void *data) {
  return gc_call_with_stack_addr(bench_thread_attached, data);
}

static inline void *bench_join_threads(struct gc_mutator *mut, void *data) {
  struct bench *bench = data;
  (void)mut;
  for (int i = 1; i < bench->thread_count; i++)
    pthread_join(bench->threads[i].pthread, NULL);
  return NULL;
}

static inline void bench_init_thread(struct bench *bench, int index) {
  struct bench_thread *t = &bench->threads[index];
  t->bench = bench;
  t->index = index;
  t->random_state = bench_mix(bench->seed + (uint64_t)index * 0x10001);
}

static inline void bench_run_threads(struct bench *bench) {
  for (int i = 1; i < bench->thread_count; i++) {
    struct bench_thread *t = &bench->threads[i];
    bench_init_thread(bench, i);
    if (pthread_create(&t->pthread, NULL, bench_thread_main, t)) {
      fputs("OUT OF MEMORY: cannot create a thread\n", stderr);
      _exit(BENCH_EXIT_OUT_OF_MEMORY);
    }
  }
  bench->program->run(&bench->threads[0]);
  if (bench->thread_count > 1)
    gc_deactivate_for_call(bench->threads[0].mut, bench_join_threads, bench);
}

/* Options.  */

struct bench_help {
  const struct bench_program *program;
  const struct bench_option *common;
};

static inline void bench_print_help(FILE *out, void *data) {
  struct bench_help *help = data;
  fprintf(out, "Usage: %s [OPTION]...\n%s\n\nOptions of this program:\n",
          help->program->name, help->program->summary);
  bench_print_options(out, help->program->options);
  fputs("\nCommon options:\n", out);
  bench_print_options(out, help->common);
  fputs("  --help                     Print this text and exit.\n\n"
        "Sizes are in bytes and accept a suffix k, m or g.\n"
        "Exit status: 0 success, 1 corrupt data, 2 usage, 3 out of memory.\n",
        out);
}

static inline void bench_parse_command_line(struct bench *bench, int argc,
                                            char **argv) {
  const struct bench_option common[] = {
      {"threads", "N", "Number of mutator threads.", BENCH_OPTION_INT,
       &bench->thread_count, 1, BENCH_MAX_THREADS},
      {"scale", "F", "Do F times the default amount of work.",
       BENCH_OPTION_REAL, &bench->scale, 1e-6, 1e6},
      {"heap-multiplier", "M", "Heap size as a multiple of live data.",
       BENCH_OPTION_REAL, &bench->heap_multiplier, 0.1, 1000},
      {"heap-size", "BYTES", "Heap size; overrides the multiplier.",
       BENCH_OPTION_SIZE, &bench->heap_size, 1, 1e15},
      {"gc-options", "STRING", "Options for the collector: key=value,...",
       BENCH_OPTION_STRING, &bench->gc_options, 0, 0},
      {"seed", "N", "Seed of the pseudo-random numbers.", BENCH_OPTION_SIZE,
       &bench->seed, 0, 1e15},
      {"json", NULL, "Print one JSON object and nothing else.",
       BENCH_OPTION_FLAG, &bench->json, 0, 0},
      BENCH_OPTIONS_END};
  struct bench_help help = {bench->program, common};
  bench_parse_options(argc, argv, bench->program->options, common,
                      bench_print_help, &help);
  bench->live_bytes = bench->program->live_bytes(bench);
  if (bench->heap_size)
    bench->heap_multiplier =
        (double)bench->heap_size / (double)bench->live_bytes;
  else
    bench->heap_size =
        (size_t)((double)bench->live_bytes * bench->heap_multiplier);
}

/* The collector options come last, so that they can override the others.  */
static inline void bench_start_heap(struct bench *bench, const char *program) {
  struct gc_options *options = gc_allocate_options();
  gc_options_set_int(options, GC_OPTION_HEAP_SIZE_POLICY, GC_HEAP_SIZE_FIXED);
  gc_options_set_size(options, GC_OPTION_HEAP_SIZE, bench->heap_size);
  if (!gc_options_parse_and_set_many(options, bench->gc_options))
    bench_usage_error(program, "bad collector options", bench->gc_options);

  bench->listeners =
      (struct gc_event_listener_chain)GC_EVENT_LISTENER_CHAIN_DATA(
          GC_BASIC_STATS, &bench->basic_stats, BENCH_PAUSES, &bench->pauses);
  struct bench_thread *main_thread = &bench->threads[0];
  bench_init_thread(bench, 0);
  if (!gc_init(options, gc_empty_stack_addr(), &bench->heap, &main_thread->mut,
               GC_EVENT_LISTENER_CHAIN, &bench->listeners)) {
    fprintf(stderr, "OUT OF MEMORY: cannot make a heap of %zu bytes\n",
            bench->heap_size);
    exit(BENCH_EXIT_OUT_OF_MEMORY);
  }
  gc_heap_set_allocation_failure_handler(bench->heap, bench_out_of_memory);
  gc_mutator_set_roots(main_thread->mut, &main_thread->roots);
  BENCH_PUSH(&main_thread->roots, *bench->shared);
}

/* The report.  */

/* What follows the last dot of the file name: programs are built as
   `program.collector'.  */
static inline const char *bench_collector_name(const char *file_name) {
  const char *base = strrchr(file_name, '/');
  base = base ? base + 1 : file_name;
  const char *dot = strrchr(base, '.');
  return dot && dot[1] ? dot + 1 : "unknown";
}

static inline double bench_per_second(double amount, uint64_t nsec) {
  return nsec ? amount * 1e9 / (double)nsec : 0;
}

static inline void bench_add_times(struct bench *bench,
                                   struct bench_results *results) {
  uint64_t elapsed = bench->setup_nsec + bench->run_nsec + bench->verify_nsec;
  bench_add_number(results, "elapsed_ms", (double)elapsed / 1e6);
  bench_add_number(results, "setup_ms", (double)bench->setup_nsec / 1e6);
  bench_add_number(results, "run_ms", (double)bench->run_nsec / 1e6);
  bench_add_number(results, "verify_ms", (double)bench->verify_nsec / 1e6);
  bench_add_number(results, "cpu_ms", (double)bench->cpu_nsec / 1e6);
}

static inline void bench_add_pauses(struct bench *bench,
                                    struct bench_results *results) {
  struct bench_pauses *pauses = &bench->pauses;
  static const struct {
    const char *name;
    double percentile;
  } columns[] = {
      {"pause_median_us", 0.5}, {"pause_p95_us", 0.95}, {"pause_p99_us", 0.99}};
  bench_add_number(results, "major",
                   (double)pauses->count_by_kind[GC_COLLECTION_MAJOR]);
  bench_add_number(results, "minor",
                   (double)pauses->count_by_kind[GC_COLLECTION_MINOR]);
  bench_add_number(results, "compacting",
                   (double)pauses->count_by_kind[GC_COLLECTION_COMPACTING]);
  for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
    bench_add_number(
        results, columns[i].name,
        (double)bench_pauses_percentile(pauses, columns[i].percentile) / 1e3);
  bench_add_number(results, "pause_max_us", (double)pauses->max_nsec / 1e3);
  bench_add_number(results, "pause_total_ms", (double)pauses->total_nsec / 1e6);
  /* Measured there already: this clock costs a system call.  */
  bench_add_number(results, "pause_cpu_ms",
                   (double)bench->basic_stats.cpu_collector_usec / 1e3);
  bench_add_number(results, "stopping_max_us",
                   (double)pauses->max_stopping_nsec / 1e3);
}

/* Rates.  A backend that does not count what it traces reports 0.  */
static inline void bench_add_rates(struct bench *bench,
                                   struct bench_results *results) {
  struct gc_heap_statistics stats;
  memset(&stats, 0, sizeof stats);
  gc_heap_statistics(bench->heap, &stats);
  uint64_t elapsed = bench->setup_nsec + bench->run_nsec + bench->verify_nsec;
  uint64_t trace =
      stats.trace_nsec ? stats.trace_nsec : bench->pauses.trace_nsec;
  double allocated = (double)gc_allocation_counter(bench->heap);
  double objects = (double)stats.objects_traced;
  double bytes = (double)stats.bytes_traced;
  bench_add_number(results, "allocated_bytes", allocated);
  bench_add_number(results, "allocated_bytes_per_s",
                   bench_per_second(allocated, elapsed));
  bench_add_number(results, "traced_objects", objects);
  bench_add_number(results, "traced_bytes", bytes);
  bench_add_number(results, "trace_ms", (double)trace / 1e6);
  bench_add_number(results, "traced_objects_per_s",
                   bench_per_second(objects, trace));
  bench_add_number(results, "traced_bytes_per_s",
                   bench_per_second(bytes, trace));
  bench_add_number(results, "evacuated_bytes", (double)stats.bytes_evacuated);
  bench_add_number(results, "peak_rss_bytes", (double)bench_peak_rss_bytes());
}

static inline double bench_number(struct bench_results *results,
                                  const char *name) {
  for (int i = 0; i < results->count; i++)
    if (strcmp(results->entries[i].name, name) == 0)
      return results->entries[i].number;
  abort();
}

static inline void bench_print_summary(struct bench *bench,
                                       struct bench_results *results,
                                       int common_count, const char *collector,
                                       FILE *out) {
#define NUMBER(name) bench_number(results, name)
  fprintf(out,
          "%s (%s), %d thread%s: heap %.1f MB, %.2f times the live %.1f MB\n",
          bench->program->name, collector, bench->thread_count,
          bench->thread_count == 1 ? "" : "s", (double)bench->heap_size / 1e6,
          bench->heap_multiplier, (double)bench->live_bytes / 1e6);
  fprintf(out,
          "Elapsed %.1f ms (set-up %.1f, run %.1f, verification %.1f); "
          "CPU %.1f ms\n",
          NUMBER("elapsed_ms"), NUMBER("setup_ms"), NUMBER("run_ms"),
          NUMBER("verify_ms"), NUMBER("cpu_ms"));
  fprintf(out, "Collections: %.0f major, %.0f minor, %.0f compacting\n",
          NUMBER("major"), NUMBER("minor"), NUMBER("compacting"));
  fprintf(out,
          "Pauses: median %.3f ms, p95 %.3f, p99 %.3f, max %.3f; "
          "total %.1f ms\n",
          NUMBER("pause_median_us") / 1e3, NUMBER("pause_p95_us") / 1e3,
          NUMBER("pause_p99_us") / 1e3, NUMBER("pause_max_us") / 1e3,
          NUMBER("pause_total_ms"));
  fprintf(out, "Allocated %.1f MB, %.1f MB/s\n",
          NUMBER("allocated_bytes") / 1e6,
          NUMBER("allocated_bytes_per_s") / 1e6);
  fprintf(out, "Traced %.2f M objects/s, %.1f MB/s in %.1f ms\n",
          NUMBER("traced_objects_per_s") / 1e6,
          NUMBER("traced_bytes_per_s") / 1e6, NUMBER("trace_ms"));
  fprintf(out, "Peak RSS %.1f MB\n", NUMBER("peak_rss_bytes") / 1e6);
#undef NUMBER
  for (int i = common_count; i < results->count; i++) {
    struct bench_result *result = &results->entries[i];
    fprintf(out, "%s: ", result->name);
    bench_print_value(out, result);
    fputc('\n', out);
  }
  gc_basic_stats_print(&bench->basic_stats, out);
}

static inline void bench_report(struct bench *bench, const char *file_name) {
  struct bench_results results = {.count = 0};
  const char *collector = bench_collector_name(file_name);
  bench_add_text(&results, "program", bench->program->name);
  bench_add_text(&results, "collector", collector);
  bench_add_number(&results, "threads", bench->thread_count);
  bench_add_number(&results, "heap_bytes", (double)bench->heap_size);
  bench_add_number(&results, "live_bytes", (double)bench->live_bytes);
  bench_add_number(&results, "multiplier", bench->heap_multiplier);
  bench_add_times(bench, &results);
  bench_add_pauses(bench, &results);
  bench_add_rates(bench, &results);
  int common_count = results.count;
  if (bench->program->report)
    bench->program->report(bench, &results);
  if (bench->json) {
    bench_print_json(stdout, &results);
  } else {
    bench_print_summary(bench, &results, common_count, collector, stdout);
    bench_print_result_line(stdout, &results);
  }
}

static inline int bench_main(const struct bench_program *program, int argc,
                             char **argv) {
  /* Static, to keep what conservative scanning has to look at small.  */
  static struct bench bench;
  bench_shared_handle shared = {.v = NULL};
  bench.program = program;
  bench.shared = &shared;
  bench.thread_count = 1;
  bench.scale = 1;
  bench.heap_multiplier = 2.5;
  bench.gc_options = "";
  bench.seed = 1;
  struct bench_thread *main_thread = &bench.threads[0];
  bench_parse_command_line(&bench, argc, argv);

  uint64_t cpu_start = bench_cpu_nsec();
  uint64_t start = bench_now_nsec();
  bench_start_heap(&bench, argv[0]);
  if (program->setup)
    program->setup(main_thread);
  uint64_t run_start = bench_now_nsec();
  bench_run_threads(&bench);
  uint64_t run_end = bench_now_nsec();
  if (program->verify)
    program->verify(main_thread);
  uint64_t end = bench_now_nsec();
  bench.cpu_nsec = bench_cpu_nsec() - cpu_start;
  bench.setup_nsec = run_start - start;
  bench.run_nsec = run_end - run_start;
  bench.verify_nsec = end - run_end;

  gc_basic_stats_finish(&bench.basic_stats);
  bench_report(&bench, argv[0]);
  return BENCH_EXIT_OK;
}

#endif /* BENCH_MAIN_H */
