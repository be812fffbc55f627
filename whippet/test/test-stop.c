/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Stopping: mutators that are blocked in the system, spin or sleep in foreign
   code do not keep a collection waiting when the two-step stop is enabled, and
   lose nothing.  The states of a mutator's life, in pairs.

   The argument of the program is the number of stops; default 600.  */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "await-byte.h"
#include "gc-preempt.h"
#include "test-heap.h"

static unsigned long stops = 600;

static __thread volatile sig_atomic_t in_foreign_code;

static int may_park(uintptr_t pc, void *ucontext, void *data) {
  (void)pc;
  (void)ucontext;
  (void)data;
  return in_foreign_code;
}

enum { SLOW_THREADS = 3, LIST_LENGTH = 200 };

struct slow_thread {
  struct gc_heap *heap;
  void (*foreign)(struct slow_thread *self);
  int pipe[2];
  int ready, stop;
  uint64_t laps, bad;
};

static void read_forever(struct slow_thread *self) {
  await_byte(self->pipe[0]);
}

static void spin_for_long(struct slow_thread *self) {
  for (volatile int i = 0;
       i < 20000000 && !__atomic_load_n(&self->stop, __ATOMIC_RELAXED); i++)
    continue;
}

static void sleep_for_long(struct slow_thread *self) {
  struct timespec pause = {0, 30 * 1000 * 1000};
  (void)self;
  while (nanosleep(&pause, &pause) < 0 && errno == EINTR)
    continue;
}

/* One lap: a fresh list, held by a local variable only, must be whole after a
   stay in foreign code.  */
static void slow_lap(struct slow_thread *self, struct gc_mutator *mut) {
  struct test_box *list = NULL;
  for (int i = 0; i < LIST_LENGTH; i++) {
    struct test_box *box = test_make_box(mut, i);
    box->edge = list;
    list = box;
  }
  in_foreign_code = 1;
  __atomic_store_n(&self->ready, 1, __ATOMIC_RELEASE);
  self->foreign(self);
  in_foreign_code = 0;
  int length = 0;
  for (; list; list = list->edge, length++)
    if (list->tag != TEST_TAG(TEST_BOX, LIST_LENGTH - 1 - length))
      self->bad++;
  if (length != LIST_LENGTH)
    self->bad++;
  /* Relaxed: a counter.  */
  __atomic_fetch_add(&self->laps, 1, __ATOMIC_RELAXED);
  gc_safepoint(mut);
}

static void *slow_attached(struct gc_stack_addr base, void *data) {
  struct slow_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE))
    slow_lap(self, mut);
  gc_finish_for_thread(mut);
  return NULL;
}

static void *slow_main(void *data) {
  return gc_call_with_stack_addr(slow_attached, data);
}

static uint64_t nanoseconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* From the request to stop until all have stopped.  */
static uint64_t stop_requested, longest_stop, total_stop;

static void record_request(void *data) {
  (void)data;
  stop_requested = nanoseconds();
}

/* In microseconds.  */
static unsigned time_to_stay_stopped;

static void record_stopped(void *data) {
  (void)data;
  if (time_to_stay_stopped)
    usleep(time_to_stay_stopped);
  uint64_t elapsed = nanoseconds() - stop_requested;
  total_stop += elapsed;
  if (elapsed > longest_stop)
    longest_stop = elapsed;
}

static struct test_heap *make_preemptible_heap(uint64_t grace_usec) {
  struct test_heap *t = calloc(1, sizeof(*t));
  struct gc_options *options = gc_allocate_options();
  struct gc_event_listener listener = GC_NULL_EVENT_LISTENER;
  listener.requesting_stop = record_request;
  listener.mutators_stopped = record_stopped;
  gc_options_parse_and_set_many(options, "heap-size=32m");
  assert_true(gc_init(options, gc_empty_stack_addr(), &t->heap, &t->mut,
                      listener, NULL));
  t->roots.handles = &t->root;
  gc_mutator_set_roots(t->mut, &t->roots);
  assert_int_equal(
      gc_heap_enable_preemption(t->heap, 0, grace_usec, may_park, NULL),
      GC_CONSERVATIVE_ROOTS);
  assert_int_equal(gc_preemption_signal(t->heap) != 0, GC_CONSERVATIVE_ROOTS);
  return t;
}

static void finish_slow_threads(struct slow_thread *slow, pthread_t *threads) {
  for (int i = 0; i < SLOW_THREADS; i++)
    __atomic_store_n(&slow[i].stop, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < SLOW_THREADS; i++) {
    assert_int_equal(write(slow[i].pipe[1], "x", 1), 1);
    pthread_join(threads[i], NULL);
  }
}

static void *finish_slow_threads_inactive(struct gc_mutator *mut, void *data) {
  (void)mut;
  void **args = data;
  finish_slow_threads(args[0], args[1]);
  return NULL;
}

static int all_made_a_lap(struct slow_thread *slow) {
  for (int i = 0; i < SLOW_THREADS; i++)
    if (!__atomic_load_n(&slow[i].laps, __ATOMIC_RELAXED))
      return 0;
  return 1;
}

static void slow_mutators_are_stopped(void **state) {
  (void)state;
  struct test_heap *t = make_preemptible_heap(200);
  if (!GC_CONSERVATIVE_ROOTS) {
    test_heap_finish(t);
    return;
  }
  void (*const foreign[])(struct slow_thread *) = {read_forever, spin_for_long,
                                                   sleep_for_long};
  static struct slow_thread slow[SLOW_THREADS];
  pthread_t threads[SLOW_THREADS];
  for (int i = 0; i < SLOW_THREADS; i++) {
    slow[i].heap = t->heap;
    slow[i].foreign = foreign[i];
    assert_int_equal(pipe(slow[i].pipe), 0);
    assert_int_equal(pthread_create(&threads[i], NULL, slow_main, &slow[i]), 0);
  }
  test_make_table(t->mut, &t->root, 2000);
  /* On a busy machine a thread may need more stops for its first lap.  */
  for (unsigned long i = 0; i < stops || (!all_made_a_lap(slow) && i < 1000000);
       i++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR + i % 3);
    if (i % 16 == 15)
      assert_int_equal(write(slow[0].pipe[1], "x", 1), 1);
    test_make_garbage(t->mut, 10000);
  }
  test_check_table(&t->root);
  void *args[] = {slow, threads};
  gc_deactivate_for_call(t->mut, finish_slow_threads_inactive, args);
  for (int i = 0; i < SLOW_THREADS; i++) {
    assert_int_equal(slow[i].bad, 0);
    assert_true(slow[i].laps > 0);
  }
  print_message("# %lu stops: mean %.2f ms, longest %.2f ms\n", stops,
                total_stop / 1e6 / stops, longest_stop / 1e6);
  /* The bound of 20 ms is for a machine that has nothing else to do.  */
  assert_true(total_stop / stops < UINT64_C(1000000000));
  test_heap_finish(t);
}

static void wait_for(int *flag) {
  while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE))
    sched_yield();
}

/* Threads that do not come by themselves are signalled at the same time: none is let
   park before each has been asked to.  */

enum { ASKED_THREADS = 3 };

static int asked[ASKED_THREADS], is_spinning[ASKED_THREADS], may_end;
static __thread int asked_number;

static int park_when_all_are_asked(uintptr_t pc, void *ucontext, void *data) {
  (void)pc;
  (void)ucontext;
  (void)data;
  if (!in_foreign_code)
    return 0;
  __atomic_store_n(&asked[asked_number], 1, __ATOMIC_RELEASE);
  for (int i = 0; i < ASKED_THREADS; i++)
    if (!__atomic_load_n(&asked[i], __ATOMIC_ACQUIRE))
      return 0;
  return 1;
}

struct asked_thread {
  struct gc_heap *heap;
  int number;
};

static void *asked_attached(struct gc_stack_addr base, void *data) {
  struct asked_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  asked_number = self->number;
  in_foreign_code = 1;
  __atomic_store_n(&is_spinning[self->number], 1, __ATOMIC_RELEASE);
  wait_for(&may_end);
  in_foreign_code = 0;
  gc_finish_for_thread(mut);
  return NULL;
}

static void *asked_main(void *data) {
  return gc_call_with_stack_addr(asked_attached, data);
}

static void all_are_signalled_together(void **state) {
  (void)state;
  struct test_heap *t = make_preemptible_heap(200);
  if (!gc_heap_enable_preemption(t->heap, 0, 200, park_when_all_are_asked,
                                 NULL)) {
    test_heap_finish(t);
    skip();
  }
  struct asked_thread selves[ASKED_THREADS];
  pthread_t threads[ASKED_THREADS];
  for (int i = 0; i < ASKED_THREADS; i++) {
    selves[i] = (struct asked_thread){t->heap, i};
    assert_int_equal(pthread_create(&threads[i], NULL, asked_main, &selves[i]),
                     0);
    wait_for(&is_spinning[i]);
  }
  /* Else for ever.  */
  alarm(60);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  alarm(0);
  __atomic_store_n(&may_end, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < ASKED_THREADS; i++)
    gc_deactivate_for_call(t->mut, test_join, &threads[i]);
  test_heap_finish(t);
}

/* A thread in a handler of another signal is not parked, whatever the predicate
   says: the handler may have interrupted an inline allocation.  */

static int handler_entered, handler_may_return, thread_may_return;

static void linger(int signal_number) {
  (void)signal_number;
  __atomic_store_n(&handler_entered, 1, __ATOMIC_RELEASE);
  wait_for(&handler_may_return);
}

static void *interrupted_attached(struct gc_stack_addr base, void *data) {
  struct test_heap *t = data;
  struct gc_mutator *mut = gc_init_for_thread(base, t->heap);
  in_foreign_code = 1;
  pthread_kill(pthread_self(), SIGUSR1);
  wait_for(&thread_may_return);
  in_foreign_code = 0;
  gc_finish_for_thread(mut);
  return NULL;
}

static void *interrupted_main(void *data) {
  return gc_call_with_stack_addr(interrupted_attached, data);
}

/* By a thread that is no mutator: let the handler return after a while, in which
   the collection must not get through.  */
static uint64_t handler_returned;

static void *release_handler(void *data) {
  (void)data;
  struct timespec pause = {0, 50 * 1000 * 1000};
  wait_for(&handler_entered);
  nanosleep(&pause, NULL);
  handler_returned = nanoseconds();
  __atomic_store_n(&handler_may_return, 1, __ATOMIC_RELEASE);
  return NULL;
}

static void handlers_are_not_interrupted(void **state) {
  (void)state;
  struct test_heap *t = make_preemptible_heap(200);
  if (!GC_CONSERVATIVE_ROOTS) {
    test_heap_finish(t);
    return;
  }
  struct sigaction action = {.sa_handler = linger}, before;
  sigaction(SIGUSR1, &action, &before);
  pthread_t thread, releaser;
  assert_int_equal(pthread_create(&thread, NULL, interrupted_main, t), 0);
  assert_int_equal(pthread_create(&releaser, NULL, release_handler, NULL), 0);
  wait_for(&handler_entered);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_true(__atomic_load_n(&handler_may_return, __ATOMIC_ACQUIRE));
  assert_true(nanoseconds() > handler_returned);
  /* Out of the handler it is parked.  */
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  __atomic_store_n(&thread_may_return, 1, __ATOMIC_RELEASE);
  gc_deactivate_for_call(t->mut, test_join, &thread);
  gc_deactivate_for_call(t->mut, test_join, &releaser);
  sigaction(SIGUSR1, &before, NULL);
  test_heap_finish(t);
}

/* A thread that blocks a signal without handler is parked: system() blocks SIGCHLD
   while the command runs.  */

static int thread_blocks_signal, collected;

static void *blocking_attached(struct gc_stack_addr base, void *data) {
  struct test_heap *t = data;
  struct gc_mutator *mut = gc_init_for_thread(base, t->heap);
  sigset_t set, before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR2);
  pthread_sigmask(SIG_BLOCK, &set, &before);
  in_foreign_code = 1;
  __atomic_store_n(&thread_blocks_signal, 1, __ATOMIC_RELEASE);
  /* Not for ever.  */
  struct timespec pause = {0, 1000 * 1000};
  for (int i = 0; i < 10000 && !__atomic_load_n(&collected, __ATOMIC_ACQUIRE);
       i++)
    nanosleep(&pause, NULL);
  int in_time = __atomic_load_n(&collected, __ATOMIC_ACQUIRE);
  in_foreign_code = 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  gc_finish_for_thread(mut);
  return in_time ? data : NULL;
}

static int blocked_at_start;

static void *blocking_main(void *data) {
  if (blocked_at_start) {
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
  }
  return gc_call_with_stack_addr(blocking_attached, data);
}

static void *join_blocking(struct gc_mutator *mut, void *data) {
  (void)mut;
  void *result;
  pthread_join(*(pthread_t *)data, &result);
  return result;
}

static void stop_blocking_thread(void) {
  thread_blocks_signal = collected = 0;
  struct test_heap *t = make_preemptible_heap(200);
  if (!GC_CONSERVATIVE_ROOTS) {
    test_heap_finish(t);
    return;
  }
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, blocking_main, t), 0);
  wait_for(&thread_blocks_signal);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  __atomic_store_n(&collected, 1, __ATOMIC_RELEASE);
  assert_non_null(gc_deactivate_for_call(t->mut, join_blocking, &thread));
  test_heap_finish(t);
}

static void blocked_signals_are_no_handlers(void **state) {
  (void)state;
  blocked_at_start = 0;
  stop_blocking_thread();
}

/* A thread that is attached with all signals blocked, as it inherited them, is
   stopped by the signal all the same.  */
static void signal_is_unblocked(void **state) {
  (void)state;
  blocked_at_start = 1;
  stop_blocking_thread();
}

/* Each pair of what may happen to two mutators at the same time.  */

enum life {
  LIFE_ALLOCATE,
  LIFE_SAFEPOINT,
  LIFE_INACTIVE,
  LIFE_EXIT,
  LIFE_EXIT_INACTIVE,
  LIFE_REACTIVATE,
  LIFE_COLLECT,
  LIVES
};

struct liver {
  struct gc_heap *heap;
  enum life life;
};

static void *allocate_some(struct gc_mutator *mut, void *data) {
  test_make_garbage(mut, 20000);
  return data;
}

static void *reactivate_some(struct gc_mutator *mut, void *data) {
  return gc_reactivate_for_call(mut, allocate_some, data);
}

static void *live_attached(struct gc_stack_addr base, void *data) {
  struct liver *liver = data;
  for (int i = 0; i < 20; i++) {
    struct gc_mutator *mut = gc_init_for_thread(base, liver->heap);
    switch (liver->life) {
    case LIFE_ALLOCATE:
      test_make_garbage(mut, 50000);
      break;
    case LIFE_SAFEPOINT:
      for (int j = 0; j < 1000; j++)
        gc_safepoint(mut);
      break;
    case LIFE_INACTIVE:
      gc_deactivate(mut);
      gc_reactivate(mut);
      test_make_garbage(mut, 1000);
      break;
    case LIFE_EXIT_INACTIVE:
      test_make_garbage(mut, 1000);
      gc_deactivate(mut);
      break;
    case LIFE_REACTIVATE:
      if (gc_deactivate_for_call(mut, reactivate_some, data) != data)
        abort();
      break;
    case LIFE_COLLECT:
      gc_collect(mut, GC_COLLECTION_ANY);
      break;
    default:
      break;
    }
    gc_finish_for_thread(mut);
  }
  return NULL;
}

static void *live(void *data) {
  return gc_call_with_stack_addr(live_attached, data);
}

static void *join_both(struct gc_mutator *mut, void *data) {
  (void)mut;
  pthread_t *threads = data;
  pthread_join(threads[0], NULL);
  pthread_join(threads[1], NULL);
  return NULL;
}

static void all_pairs_of_states(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=4m", "verify");
  test_make_table(t->mut, &t->root, 100);
  for (int a = 0; a < LIVES; a++)
    for (int b = a; b < LIVES; b++) {
      struct liver livers[2] = {{t->heap, a}, {t->heap, b}};
      pthread_t threads[2];
      for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, live, &livers[i]),
                         0);
      for (int i = 0; i < 3; i++)
        gc_collect(t->mut, GC_COLLECTION_MAJOR);
      gc_deactivate_for_call(t->mut, join_both, threads);
      test_check_table(&t->root);
    }
  test_heap_finish(t);
}

/* A thread that comes to many safepoints gets on while another does nothing but
   collect.  */

enum { STEPS = 20000 };

static void *stepping_attached(struct gc_stack_addr base, void *data) {
  struct slow_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  __atomic_store_n(&self->ready, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < STEPS; i++) {
    for (volatile int j = 0; j < 1000; j++)
      continue;
    gc_safepoint(mut);
  }
  __atomic_store_n(&self->stop, 1, __ATOMIC_RELEASE);
  gc_finish_for_thread(mut);
  return NULL;
}

static void *stepping_main(void *data) {
  return gc_call_with_stack_addr(stepping_attached, data);
}

static void no_thread_starves_between_collections(void **state) {
  (void)state;
  struct test_heap *t = make_preemptible_heap(2000);
  struct slow_thread self = {.heap = t->heap};
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, stepping_main, &self), 0);
  while (!__atomic_load_n(&self.ready, __ATOMIC_ACQUIRE))
    usleep(1000);
  time_to_stay_stopped = 5000;
  int collections = 0;
  for (; !__atomic_load_n(&self.stop, __ATOMIC_ACQUIRE); collections++) {
    assert_in_range(collections, 0, 200);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
  }
  time_to_stay_stopped = 0;
  gc_deactivate(t->mut);
  pthread_join(thread, NULL);
  gc_reactivate(t->mut);

  test_heap_finish(t);
}

int main(int argc, char **argv) {
  if (argc > 1)
    stops = strtoul(argv[1], NULL, 0);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slow_mutators_are_stopped),
      cmocka_unit_test(all_are_signalled_together),
      cmocka_unit_test(handlers_are_not_interrupted),
      cmocka_unit_test(blocked_signals_are_no_handlers),
      cmocka_unit_test(signal_is_unblocked),
      cmocka_unit_test(no_thread_starves_between_collections),
      cmocka_unit_test(all_pairs_of_states),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
