/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the operating system interface, with injected faults.  */
/* Collectors: mmc */

#define _GNU_SOURCE
#include "pages.h"
#include "unit.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "../src/gc-platform.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static size_t page;

static int setup(void **state) {
  (void)state;
  gc_platform_init();
  gc_platform_init();
  page = gc_platform_page_size();
  return 0;
}

/* ---- The process ---- */

static void test_process(void **state) {
  (void)state;
  assert_int_equal(page, sysconf(_SC_PAGESIZE));
  assert_int_equal(page & (page - 1), 0);
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    assert_int_equal(gc_platform_processor_count(), CPU_COUNT(&set));
  /* More than any first-level cache; less than a machine's memory.  */
  assert_in_range(gc_platform_cache_size(), 64 * 1024, 1024 * 1024 * 1024);

  uint64_t t0 = gc_platform_monotonic_nanoseconds();
  usleep(2000);
  uint64_t t1 = gc_platform_monotonic_nanoseconds();
  assert_true(t1 - t0 >= 2000000);

  size_t memory = gc_platform_physical_memory();
  assert_true(memory >= 16 * MIB);
  assert_true(memory <= (size_t)sysconf(_SC_PHYS_PAGES) * page);
}

static void limit_processors(void *data) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(*(int *)data, &set);
  if (sched_setaffinity(0, sizeof set, &set) == 0 &&
      gc_platform_processor_count() != 1)
    _exit(1);
}

static void test_affinity(void **state) {
  (void)state;
  int cpu = sched_getcpu();
  assert_int_equal(unit_run_in_child(limit_processors, &cpu), 0);
}

static void *check_thread_stack(void *data) {
  uintptr_t low, high;
  int local;
  gc_platform_current_thread_stack(&low, &high);
  assert_true(low < (uintptr_t)&local && (uintptr_t)&local < high);
  assert_int_equal(gc_platform_current_thread_stack_base(), high);
  assert_int_equal(high % sizeof(uintptr_t), 0);
  return data;
}

static void test_stack_base(void **state) {
  (void)state;
  check_thread_stack(NULL);
  extern char **environ;
  /* On the main thread, above all frames.  */
  assert_true(gc_platform_current_thread_stack_base() > (uintptr_t)&state);
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, check_thread_stack, NULL), 0);
  pthread_join(thread, NULL);
}

/* ---- Memory ---- */

static void assert_all(const unsigned char *p, size_t size,
                       unsigned char value) {
  for (size_t i = 0; i < size; i++)
    assert_int_equal(p[i], value);
}

static void touch(void *p) {
  *(volatile char *)p = 1;
}

static void test_reserve(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 3, 64, 1024};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    for (size_t alignment = 1; alignment <= 256 * MIB; alignment *= 4) {
      size_t size = sizes[i] * page;
      void *p = gc_platform_reserve(size, alignment);
      assert_non_null(p);
      assert_int_equal((uintptr_t)p % alignment, 0);
      assert_int_equal((uintptr_t)p % page, 0);
      assert_true(gc_platform_commit(p, size));
      assert_all(p, size, 0);
      gc_platform_release(p, size);
    }
  }
  assert_null(gc_platform_reserve(0, page));
  assert_null(gc_platform_reserve((size_t)1 << 62, page));
  assert_null(gc_platform_reserve(SIZE_MAX - page + 1, 4 * MIB));
}

static void test_reserved_is_inaccessible(void **state) {
  (void)state;
  char *p = gc_platform_reserve(4 * page, page);
  unit_assert_traps(touch, p);
  assert_true(gc_platform_commit(p + page, page));
  touch(p + page);
  unit_assert_traps(touch, p);
  unit_assert_traps(touch, p + 2 * page);
  gc_platform_release(p, 4 * page);
}

/* Reserving costs no memory.  */
static void test_reserve_much(void **state) {
  (void)state;
  size_t size = (size_t)64 * 1024 * MIB;
  char *p = gc_platform_reserve(size, 4 * MIB);
  assert_non_null(p);
  assert_true(gc_platform_commit(p + size / 2, MIB));
  assert_all((unsigned char *)p + size / 2, MIB, 0);
  gc_platform_release(p, size);
}

static void test_discard(void **state) {
  (void)state;
  unsigned char *p = gc_platform_map(4 * page);
  assert_non_null(p);
  assert_all(p, 4 * page, 0);
  memset(p, 0xff, 4 * page);
  gc_platform_discard(p + page, 2 * page);
  assert_all(p, page, 0xff);
  assert_all(p + page, 2 * page, 0);
  assert_all(p + 3 * page, page, 0xff);
  memset(p, 0xff, 4 * page);
  gc_platform_release(p, 4 * page);
}

static void test_discard_locked(void **state) {
  (void)state;
  unsigned char *p = gc_platform_map(page);
  if (mlock(p, page) != 0)
    skip();
  memset(p, 0xff, page);
  gc_platform_discard(p, page);
  assert_all(p, page, 0);
  munlock(p, page);
  gc_platform_release(p, page);
}

static void test_populate(void **state) {
  (void)state;
  pages_forbid_huge(1);
  unsigned char *p = gc_platform_map(8 * page);
  assert_int_equal(pages_resident(p, 8 * page), 0);
  errno = ENOENT;
  gc_platform_populate(p + page, 6 * page);
  assert_int_equal(errno, ENOENT);
  assert_int_equal(pages_resident(p, 8 * page),
                   pages_can_be_populated() ? 6 : 0);
  memset(p + 2 * page, 0x5a, page);
  gc_platform_populate(p, 8 * page);
  assert_int_equal(errno, ENOENT);
  assert_all(p, 2 * page, 0);
  assert_all(p + 2 * page, page, 0x5a);
  assert_all(p + 3 * page, 5 * page, 0);
  gc_platform_release(p, 8 * page);
  pages_forbid_huge(0);
}

static void test_decommit(void **state) {
  (void)state;
  unsigned char *p = gc_platform_reserve(2 * page, page);
  assert_true(gc_platform_commit(p, 2 * page));
  memset(p, 0xff, 2 * page);
  gc_platform_decommit(p, page);
  unit_assert_traps(touch, p);
  assert_all(p + page, page, 0xff);
  assert_true(gc_platform_commit(p, page));
  assert_all(p, page, 0);
  gc_platform_release(p, 2 * page);
}

static void test_protect(void **state) {
  (void)state;
  unsigned char *p = gc_platform_map(page);
  memset(p, 0x5a, page);
  assert_true(gc_platform_protect(p, page, 0));
  unit_assert_traps(touch, p);
  assert_true(gc_platform_protect(p, page, 1));
  assert_all(p, page, 0x5a);
  gc_platform_advise_huge(p, page, 1);
  gc_platform_advise_huge(p, page, 0);
  assert_all(p, page, 0x5a);
  gc_platform_release(p, page);
}

static void test_map_rounds_up(void **state) {
  (void)state;
  unsigned char *p = gc_platform_map(1);
  assert_all(p, page, 0);
  gc_platform_release(p, 1);
  unit_assert_traps(touch, p);
  assert_null(gc_platform_map(0));
  assert_null(gc_platform_map((size_t)1 << 62));
}

/* ---- Limits ---- */

static void check_address_space_limit(void *data) {
  (void)data;
  struct rlimit limit = {.rlim_cur = 1024 * MIB, .rlim_max = 1024 * MIB};
  if (setrlimit(RLIMIT_AS, &limit) != 0)
    _exit(0);
  size_t available = gc_platform_address_space_available();
  if (available >= 1024 * MIB || available < 512 * MIB)
    _exit(1);
  available &= -page;
  if (gc_platform_reserve(available + MIB, page))
    _exit(2);
  char *p = gc_platform_reserve(available / 2 & -page, 4 * MIB);
  if (!p)
    _exit(3);
  size_t less = gc_platform_address_space_available();
  if (less > available - available / 2 + 8 * MIB)
    _exit(4);
  /* Alignment must not make the reservation fail that just fits.  */
  if (!gc_platform_reserve(page, page))
    _exit(5);
}

static void check_data_limit(void *data) {
  (void)data;
  struct rlimit limit = {.rlim_cur = 256 * MIB, .rlim_max = 256 * MIB};
  if (setrlimit(RLIMIT_DATA, &limit) != 0)
    _exit(0);
  size_t available = gc_platform_address_space_available();
  if (available > 256 * MIB || available < 128 * MIB)
    _exit(1);
  /* The kernel counts memory once it is writable.  */
  char *p = gc_platform_reserve(512 * MIB, page);
  if (p && gc_platform_commit(p, 512 * MIB))
    _exit(2);
  if (p && !gc_platform_commit(p, 64 * MIB))
    _exit(3);
}

static void test_limits(void **state) {
  (void)state;
  struct rlimit limit;
  getrlimit(RLIMIT_AS, &limit);
  /* Emulators and sanitizers map much for themselves.  */
  const char *emulator = getenv("RUN");
  if (SANITIZED || limit.rlim_cur != RLIM_INFINITY || (emulator && *emulator))
    skip();
  assert_int_equal(gc_platform_address_space_available(), SIZE_MAX);
  assert_int_equal(unit_run_in_child(check_address_space_limit, NULL), 0);
  assert_int_equal(unit_run_in_child(check_data_limit, NULL), 0);
}

/* ---- Threads ---- */

static void *inspect_signal_mask(void *data) {
  sigset_t *mask = data;
  pthread_sigmask(SIG_BLOCK, NULL, mask);
  return mask;
}

static void test_thread_create(void **state) {
  (void)state;
  sigset_t before, after, mask;
  pthread_t thread;
  void *result;
  pthread_sigmask(SIG_BLOCK, NULL, &before);
  assert_true(gc_platform_thread_create(&thread, inspect_signal_mask, &mask));
  pthread_sigmask(SIG_BLOCK, NULL, &after);
  pthread_join(thread, &result);
  assert_ptr_equal(result, &mask);
  static const int blocked[] = {SIGINT,  SIGTERM, SIGUSR1, SIGPROF,
                                SIGCHLD, SIGALRM, SIGIO,   SIGWINCH};
  static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
  for (size_t i = 0; i < sizeof blocked / sizeof blocked[0]; i++) {
    assert_true(sigismember(&mask, blocked[i]));
    assert_int_equal(sigismember(&before, blocked[i]),
                     sigismember(&after, blocked[i]));
  }
  for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
    assert_false(sigismember(&mask, open[i]));
}

static void *count_processors(void *data) {
  *(int *)data = gc_platform_processor_count();
  return data;
}

static int created_on(void) {
  pthread_t thread;
  int count;
  assert_true(gc_platform_thread_create(&thread, count_processors, &count));
  pthread_join(thread, NULL);
  return count;
}

/* A thread that has bound itself to one processor does not bind others.  */
static void test_thread_affinity(void **state) {
  (void)state;
  int all = gc_platform_processor_count();
  cpu_set_t saved[8], one[8];
  memset(saved, 0, sizeof saved);
  memset(one, 0, sizeof one);
  if (all == 1 || sched_getaffinity(0, sizeof saved, saved) != 0)
    skip();
  size_t first = 0;
  while (!CPU_ISSET_S(first, sizeof saved, saved))
    first++;
  CPU_SET_S(first, sizeof one, one);
  if (sched_setaffinity(0, sizeof one, one) != 0)
    skip();
  assert_int_equal(gc_platform_processor_count(), 1);
  int count = created_on();
  assert_int_equal(sched_setaffinity(0, sizeof saved, saved), 0);
  assert_int_equal(count, all);
}

static uint32_t futex_word;
static uint32_t sleepers;

static void *sleep_on_futex(void *data) {
  __atomic_add_fetch(&sleepers, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&futex_word, __ATOMIC_ACQUIRE) == 0)
    gc_platform_futex_wait(&futex_word, 0);
  return data;
}

static void test_futex(void **state) {
  (void)state;
  /* Returns at once if the value is another.  */
  uint32_t word = 1;
  gc_platform_futex_wait(&word, 0);
  assert_true(gc_platform_futex_wait_timed(&word, 0, UINT64_C(1) << 40));

  uint64_t t0 = gc_platform_monotonic_nanoseconds();
  while (gc_platform_futex_wait_timed(&word, 1, 5000000)) {
  }
  assert_true(gc_platform_monotonic_nanoseconds() - t0 >= 5000000);

  pthread_t threads[4];
  for (int i = 0; i < 4; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, sleep_on_futex, NULL),
                     0);
  while (__atomic_load_n(&sleepers, __ATOMIC_SEQ_CST) < 4)
    gc_platform_spin_hint();
  usleep(1000);
  gc_platform_futex_wake(&futex_word, 4);
  usleep(1000);
  __atomic_store_n(&futex_word, 1, __ATOMIC_RELEASE);
  gc_platform_futex_wake(&futex_word, INT32_MAX);
  for (int i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
}

/* ---- Faults ---- */

static void *do_nothing(void *data) {
  return data;
}

/* One operation of KIND; nonzero if it succeeds.  */
static int operate(enum gc_platform_fault_kind kind) {
  void *p;
  int ok;
  pthread_t thread;
  switch (kind) {
  case GC_PLATFORM_FAULT_MAP:
    p = gc_platform_map(page);
    if (p)
      gc_platform_release(p, page);
    return p != NULL;
  case GC_PLATFORM_FAULT_PROTECT:
    p = mmap(NULL, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ok = gc_platform_commit(p, page);
    munmap(p, page);
    return ok;
  case GC_PLATFORM_FAULT_THREAD:
    if (!gc_platform_thread_create(&thread, do_nothing, NULL))
      return 0;
    pthread_join(thread, NULL);
    return 1;
  default:
    abort();
  }
}

static void test_faults(void **state) {
  (void)state;
  for (int k = 0; k < GC_PLATFORM_FAULT_KINDS; k++) {
    enum gc_platform_fault_kind kind = (enum gc_platform_fault_kind)k;
    for (uint64_t nth = 1; nth <= 4; nth++) {
      gc_platform_fault_inject(kind, nth);
      for (uint64_t i = 1; i <= 6; i++) {
        assert_int_equal(operate(kind), i != nth);
        assert_int_equal(gc_platform_fault_count(kind), i);
      }
      gc_platform_fault_inject_from(kind, nth);
      for (uint64_t i = 1; i <= 6; i++)
        assert_int_equal(operate(kind), i < nth);
    }
    gc_platform_fault_inject(kind, 0);
    for (uint64_t i = 1; i <= 6; i++)
      assert_true(operate(kind));
  }
}

/* A reservation takes one operation if the first is aligned, else two: all
   must be tolerated, and nothing may be lost.  */
static void test_faults_in_reserve(void **state) {
  (void)state;
  for (uint64_t nth = 1; nth <= 2; nth++) {
    for (int i = 0; i < 100; i++) {
      gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, nth);
      void *p = gc_platform_reserve(page, 64 * MIB);
      uint64_t count = gc_platform_fault_count(GC_PLATFORM_FAULT_MAP);
      assert_int_equal(p == NULL, count >= nth);
      if (p)
        gc_platform_release(p, page);
    }
  }
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
}

/* The address sanitizer does not see that frames go away when a thread is cancelled,
   and takes those of its own destructors for an overflow of these.  */
static void forget_frames(void) {
#if defined(__SANITIZE_ADDRESS__)
  extern void __asan_handle_no_return(void);
  __asan_handle_no_return();
#endif
}

/* No query is a cancellation point, as it may be made with a lock held.  */
static void *query_when_cancelled(void *data) {
  int *passed = data;
  struct rlimit limit = {64 * MIB * MIB, 64 * MIB * MIB};
  pthread_cancel(pthread_self());
  gc_platform_physical_memory();
  /* Only if there is a limit is it of interest what is in use.  */
  if (setrlimit(RLIMIT_AS, &limit) != 0)
    _exit(4);
  gc_platform_address_space_available();
  uintptr_t low, high;
  gc_platform_current_thread_stack(&low, &high);
  *passed = 1;
  forget_frames();
  pthread_testcancel();
  return NULL;
}

static void run_cancelled_thread(void *data) {
  (void)data;
  pthread_t thread;
  int passed = 0;
  void *result;
  if (pthread_create(&thread, NULL, query_when_cancelled, &passed) != 0 ||
      pthread_join(thread, &result) != 0)
    _exit(3);
  /* Cancellation is enabled again afterwards.  */
  _exit(!passed ? 1 : result != PTHREAD_CANCELED ? 2 : 0);
}

static void test_cancellation(void **state) {
  (void)state;
  int status = unit_run_in_child(run_cancelled_thread, NULL);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_process),
      cmocka_unit_test(test_affinity),
      cmocka_unit_test(test_stack_base),
      cmocka_unit_test(test_reserve),
      cmocka_unit_test(test_reserved_is_inaccessible),
      cmocka_unit_test(test_reserve_much),
      cmocka_unit_test(test_discard),
      cmocka_unit_test(test_discard_locked),
      cmocka_unit_test(test_populate),
      cmocka_unit_test(test_decommit),
      cmocka_unit_test(test_protect),
      cmocka_unit_test(test_map_rounds_up),
      cmocka_unit_test(test_limits),
      cmocka_unit_test(test_cancellation),
      cmocka_unit_test(test_thread_create),
      cmocka_unit_test(test_thread_affinity),
      cmocka_unit_test(test_futex),
      cmocka_unit_test(test_faults),
      cmocka_unit_test(test_faults_in_reserve),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
