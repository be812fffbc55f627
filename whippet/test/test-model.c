/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A model-checked mutator: random operations on the heap, compared with a
   shadow graph.  After each forced full collection, what is reachable in the
   shadow must be there, whole, and pinned objects where they were; with
   precise roots, what is not must be gone, as far as one can see: its
   ephemerons broken, its finalizers fired.  With conservative roots only the
   first half can be checked.

   usage: test-model [OPTION NUMBER]...

     --seed      of the first run (default: printed)
     --runs      how many, each in a process of its own
     --ops       operations of each thread in a run
     --threads   in a run; with one, a run is reproduced by its seed
     --seconds   stop after so many, whatever --runs says
     --stress    value of GC_MMC_STRESS instead of a number; otherwise chosen
                 at random for each run
     --no-fork   run in this process, for debuggers

   Without options: a number of runs with one thread, then with four.  The
   environment variable GC_TEST_QUICK makes them fewer.  */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gc-api.h"
#include "gc-null-event-listener.h"
#include "gc-options.h"
#include "model-shared.h"

struct settings {
  uint64_t seed;
  unsigned runs, ops, threads, seconds;
  const char *stress;
  int no_fork;
};

/* One run.  */

static struct gc_extern_space extern_space;

struct operation {
  void (*f)(struct world *w);
  unsigned weight;
};

static const struct operation operations[] = {{op_allocate, 300},
                                              {op_allocate_list, 10},
                                              {op_allocate_garbage, 12},
                                              {op_link, 200},
                                              {op_unlink, 40},
                                              {op_set_root, 60},
                                              {op_pin, 10},
                                              {op_resolve, 30},
                                              {op_ephemeron, 50},
                                              {op_ephemeron_cascade, 4},
                                              {op_use_ephemeron, 40},
                                              {op_finalizer, 25},
                                              {op_pop_finalizers, 8},
                                              {op_check, 3},
                                              {op_full_check, 5},
                                              {op_collect, 12},
                                              {op_deactivate, 4},
                                              {op_reattach, 3},
                                              {op_visitor, 1},
                                              {op_shared, 40},
                                              {op_foreign, 2}};

static void world_step(struct world *w) {
  unsigned total = 0;
  const size_t count = sizeof(operations) / sizeof(operations[0]);
  for (size_t i = 0; i < count; i++)
    total += operations[i].weight;
  unsigned choice = model_below(w, total);
  for (size_t i = 0; i < count; i++) {
    if (choice < operations[i].weight) {
      operations[i].f(w);
      break;
    }
    choice -= operations[i].weight;
  }
  w->ops++;
  gc_safepoint(w->mut);
  if (w->allocated_bytes > w->byte_limit)
    op_check(w);
}

static void *allocation_failed(struct gc_heap *heap, size_t size) {
  (void)heap;
  (void)size;
  return NULL;
}

static void world_init(struct world *w, struct gc_heap *heap, uint32_t index,
                       uint64_t seed) {
  memset(w, 0, sizeof(*w));
  w->heap = heap;
  w->index = index;
  w->seed = seed;
  w->random = model_mix(seed * 977 + index);
  w->exact = !GC_CONSERVATIVE_ROOTS;
  w->next_id = 1;
  struct world_slots *slots = w->slots = calloc(1, sizeof(*slots));
  if (!slots)
    abort();
  w->roots.precise.slots = slots->precise;
  w->roots.precise.count = slots->pinned - slots->precise;
  w->roots.pinned.slots = slots->pinned;
  w->roots.pinned.count = MODEL_PINNED_SLOTS;
  w->roots.ambiguous.slots = slots->ambiguous;
  w->roots.ambiguous.count = MODEL_AMBIGUOUS_SLOTS;
  for (int i = 0; i < MODEL_EXTERNS; i++) {
    struct shadow *s = shadow_make(w, MODEL_EXTERN, sizeof(struct test_extern),
                                   TEST_EXTERN_EDGES);
    w->externs[i].tag = model_tag(s);
    w->shadow_externs[i] = s;
    slots->externs[i] = &w->externs[i];
  }
}

static void add_switch(struct world *w, char *buf, size_t size,
                       const char *name, unsigned one_in, unsigned max) {
  if (!model_one_in(w, one_in))
    return;
  size_t length = strlen(buf);
  snprintf(buf + length, size - length, ",%s=%u", name,
           1 + (unsigned)model_below(w, max));
}

/* A limit of the nursery in half of the runs.  */
static void choose_nursery(struct world *w) {
  char buf[32];
  unsetenv("GC_MMC_NURSERY");
  if (!GC_GENERATIONAL || model_one_in(w, 2))
    return;
  snprintf(buf, sizeof(buf), "%u", 65536 * (1 + (unsigned)model_below(w, 16)));
  setenv("GC_MMC_NURSERY", buf, 1);
}

static void choose_stress(struct world *w, const struct settings *settings) {
  char buf[256] = "verify";
  if (settings->stress) {
    setenv("GC_MMC_STRESS", settings->stress, 1);
    return;
  }
  add_switch(w, buf, sizeof(buf), "collect-every", 2, 300);
  add_switch(w, buf, sizeof(buf), "compact", 2, 1);
  add_switch(w, buf, sizeof(buf), "random-kind", 2, 1);
  add_switch(w, buf, sizeof(buf), "poison", 2, 1);
  add_switch(w, buf, sizeof(buf), "refuse", 4, 1000);
  add_switch(w, buf, sizeof(buf), "mark-stack", 6, 64);
  add_switch(w, buf, sizeof(buf), "delay", 6, 100);
  setenv("GC_MMC_STRESS", buf, 1);
}

static struct gc_options *choose_options(struct world *w,
                                         const struct settings *settings,
                                         size_t *heap_size) {
  static const char *const policies[] = {"fixed", "growable", "adaptive"};
  struct gc_options *options = gc_allocate_options();
  *heap_size = (6 + model_below(w, 20)) * 1024 * 1024;
  char buf[128];
  int fixed = model_one_in(w, 2);
  snprintf(buf, sizeof(buf),
           "heap-size-policy=%s,heap-size=%zu,"
           "maximum-heap-size=%zu,parallelism=%u",
           policies[fixed ? 0 : 1 + model_below(w, 2)], *heap_size,
           fixed ? 0 : 2 * *heap_size, 1 + (unsigned)model_below(w, 4));
  if (!gc_options_parse_and_set_many(options, buf))
    abort();
  *heap_size /= settings->threads;
  return options;
}

struct run {
  const struct settings *settings;
  struct world *world;
};

/* When to stop in the middle of a run; 0: never.  */
static time_t deadline;

static void world_run(struct run *run) {
  struct world *w = run->world;
  while (w->ops < run->settings->ops &&
         !(deadline && w->ops % 16 == 0 && time(NULL) >= deadline))
    world_step(w);
  op_full_check(w);
}

static void *leave_world(struct gc_mutator *mut, void *data) {
  (void)mut;
  pthread_join(*(pthread_t *)data, NULL);
  return NULL;
}

static void *attach_and_run(struct gc_stack_addr base, void *data) {
  struct run *run = data;
  world_attach_again(base, run->world);
  world_run(run);
  struct gc_mutator_roots *next = run->world->heap_view.next;
  run->world->heap_view = run->world->roots;
  run->world->heap_view.next = next;
  gc_finish_for_thread(run->world->mut);
  return NULL;
}

static void *thread_run(void *data) {
  gc_call_with_stack_addr(attach_and_run, data);
  return NULL;
}

static void run_worlds(const struct settings *settings, struct world *worlds) {
  unsigned n = settings->threads;
  pthread_t threads[n];
  struct run runs[n];
  for (unsigned i = 0; i < n; i++)
    runs[i] = (struct run){settings, &worlds[i]};
  for (unsigned i = 1; i < n; i++)
    if (pthread_create(&threads[i], NULL, thread_run, &runs[i]))
      abort();
  world_run(&runs[0]);
  for (unsigned i = 1; i < n; i++)
    gc_deactivate_for_call(worlds[0].mut, leave_world, &threads[i]);
  op_full_check(&worlds[0]);
}

static void run_once(const struct settings *settings, uint64_t seed) {
  struct world *worlds = calloc(settings->threads, sizeof(*worlds));
  struct world setup = {.random = seed};
  struct gc_heap *heap;
  struct gc_mutator *mut;
  size_t heap_size;
  if (!worlds)
    abort();
  choose_nursery(&setup);
  choose_stress(&setup, settings);
  struct gc_options *options = choose_options(&setup, settings, &heap_size);
  if (!gc_init(options, gc_empty_stack_addr(), &heap, &mut,
               GC_NULL_EVENT_LISTENER, NULL))
    abort();
  gc_heap_set_allocation_failure_handler(heap, allocation_failed);
  gc_heap_set_extern_space(heap, &extern_space);
  memset(&model_heap_roots, 0, sizeof(model_heap_roots));
  model_worlds = worlds;
  model_world_count = settings->threads;
  for (unsigned i = 0; i < settings->threads; i++) {
    world_init(&worlds[i], heap, i, seed);
    worlds[i].threads = settings->threads;
    worlds[i].byte_limit = heap_size / 4;
    worlds[i].heap_view.next = model_heap_roots.first;
    model_heap_roots.first = &worlds[i].heap_view;
  }
  worlds[0].mut = mut;
  gc_mutator_set_roots(mut, &worlds[0].roots);
  gc_heap_set_roots(heap, &model_heap_roots);
  if (settings->threads > 1)
    gc_heap_enable_preemption(heap, 0, 200, model_may_park, NULL);
  if (!shared_make_tables(mut))
    abort();
  run_worlds(settings, worlds);
}

/* Runs.  */

static const char *program_name;

static void print_reproduction(const struct settings *settings, uint64_t seed) {
  printf("# to reproduce: %s --no-fork 1 --runs 1 --seed %llu --ops %u "
         "--threads %u%s%s\n",
         program_name, (unsigned long long)seed, settings->ops,
         settings->threads, settings->stress ? " --stress " : "",
         settings->stress ? settings->stress : "");
}

/* Returns 0 if the run failed.  */
static int run_in_child(const struct settings *settings, uint64_t seed) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid < 0)
    return 0;
  if (pid == 0) {
    run_once(settings, seed);
    _exit(0);
  }
  int status;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
    continue;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return 1;
  if (WIFSIGNALED(status))
    printf("# run with seed %llu: signal %d\n", (unsigned long long)seed,
           WTERMSIG(status));
  else
    printf("# run with seed %llu: status %d\n", (unsigned long long)seed,
           WEXITSTATUS(status));
  print_reproduction(settings, seed);
  return 0;
}

/* Returns the number of runs that failed.  */
static unsigned run_all(const struct settings *settings) {
  unsigned done = 0, failed = 0;
  printf("# seed %llu, %u thread(s), %u operations\n",
         (unsigned long long)settings->seed, settings->threads, settings->ops);
  deadline = settings->seconds ? time(NULL) + settings->seconds : 0;
  for (; done < settings->runs && failed < 3; done++) {
    if (deadline && time(NULL) >= deadline)
      break;
    uint64_t seed = settings->seed + done;
    if (settings->no_fork)
      run_once(settings, seed);
    else
      failed += !run_in_child(settings, seed);
  }
  printf("# %u runs, %u failed\n", done, failed);
  return failed;
}

static int run_standard(void) {
  int quick = getenv("GC_TEST_QUICK") != NULL;
  struct settings settings = {.ops = 3000, .threads = 1};
  settings.seed = (uint64_t)time(NULL) * 1000;
  settings.runs = quick ? 20 : 60;
  settings.seconds = quick ? 2 : 5;
  printf("1..2\n");
  int failed = run_all(&settings) != 0;
  printf("%s 1 - one thread\n", failed ? "not ok" : "ok");
  settings.threads = 4;
  settings.runs = quick ? 10 : 30;
  settings.ops = 1500;
  int failed_threads = run_all(&settings) != 0;
  printf("%s 2 - four threads\n", failed_threads ? "not ok" : "ok");
  return failed || failed_threads;
}

static int parse_option(struct settings *settings, const char *name,
                        const char *value) {
  unsigned long long n = strtoull(value, NULL, 0);
  if (!strcmp(name, "--seed"))
    settings->seed = n;
  else if (!strcmp(name, "--runs"))
    settings->runs = n;
  else if (!strcmp(name, "--ops"))
    settings->ops = n;
  else if (!strcmp(name, "--threads"))
    settings->threads = n;
  else if (!strcmp(name, "--seconds"))
    settings->seconds = n;
  else if (!strcmp(name, "--stress"))
    settings->stress = value;
  else if (!strcmp(name, "--no-fork"))
    settings->no_fork = n;
  else
    return 0;
  return 1;
}

int main(int argc, char **argv) {
  program_name = argv[0];
  setvbuf(stdout, NULL, _IOLBF, 0);
  if (argc == 1)
    return run_standard();
  struct settings settings = {.ops = 3000, .threads = 1};
  settings.seed = (uint64_t)time(NULL) * 1000;
  for (int i = 1; i < argc; i += 2)
    if (i + 1 == argc || !parse_option(&settings, argv[i], argv[i + 1])) {
      fprintf(stderr, "%s: unknown option %s\n", argv[0], argv[i]);
      return 2;
    }
  if (!settings.runs)
    settings.runs = settings.seconds ? ~0u : 1;
  if (!settings.threads || settings.threads > 64)
    settings.threads = 1;
  return run_all(&settings) != 0;
}
