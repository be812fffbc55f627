/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The operating system interface on GNU/Linux.  The search for global roots is
   in gc-platform-global-roots.h.  */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gc-platform.h"

#include "gc-align.h"
#include "gc-assert.h"
#include "gc-atomics.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Tracing threads do not recurse; address space is reserved, not used.  */
#define THREAD_STACK_SIZE ((size_t)512 * 1024)

/* Of Linux 5.14; the headers may be older than the kernel.  */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* ---- Fault injection ---- */

#ifdef GC_FAULT_INJECTION

uint64_t gc_platform_fault_counter[GC_PLATFORM_FAULT_KINDS];
uint64_t gc_platform_fault_at[GC_PLATFORM_FAULT_KINDS];
uint64_t gc_platform_fault_from[GC_PLATFORM_FAULT_KINDS];

/* All accesses are relaxed: the counters order nothing.  */
static int fault_injected(enum gc_platform_fault_kind kind) {
  uint64_t n =
      __atomic_add_fetch(&gc_platform_fault_counter[kind], 1, __ATOMIC_RELAXED);
  uint64_t at = __atomic_load_n(&gc_platform_fault_at[kind], __ATOMIC_RELAXED);
  uint64_t from =
      __atomic_load_n(&gc_platform_fault_from[kind], __ATOMIC_RELAXED);
  return n == at || (from && n >= from);
}

static void set_fault(enum gc_platform_fault_kind kind, uint64_t at,
                      uint64_t from) {
  __atomic_store_n(&gc_platform_fault_at[kind], 0, __ATOMIC_RELAXED);
  __atomic_store_n(&gc_platform_fault_from[kind], 0, __ATOMIC_RELAXED);
  __atomic_store_n(&gc_platform_fault_counter[kind], 0, __ATOMIC_RELAXED);
  __atomic_store_n(&gc_platform_fault_at[kind], at, __ATOMIC_RELAXED);
  __atomic_store_n(&gc_platform_fault_from[kind], from, __ATOMIC_RELAXED);
}

void gc_platform_fault_inject(enum gc_platform_fault_kind kind, uint64_t nth) {
  set_fault(kind, nth, 0);
}

void gc_platform_fault_inject_from(enum gc_platform_fault_kind kind,
                                   uint64_t nth) {
  set_fault(kind, 0, nth);
}

uint64_t gc_platform_fault_count(enum gc_platform_fault_kind kind) {
  return __atomic_load_n(&gc_platform_fault_counter[kind], __ATOMIC_RELAXED);
}

static void init_faults(void) {
  static const char *const names[GC_PLATFORM_FAULT_KINDS] = {
      [GC_PLATFORM_FAULT_MAP] = "GC_FAULT_MAP",
      [GC_PLATFORM_FAULT_PROTECT] = "GC_FAULT_PROTECT",
      [GC_PLATFORM_FAULT_THREAD] = "GC_FAULT_THREAD",
  };
  for (int kind = 0; kind < GC_PLATFORM_FAULT_KINDS; kind++) {
    const char *value = getenv(names[kind]);
    if (value)
      gc_platform_fault_inject((enum gc_platform_fault_kind)kind,
                               strtoull(value, NULL, 10));
  }
}

#else

static int fault_injected(enum gc_platform_fault_kind kind) {
  (void)kind;
  return 0;
}

static void init_faults(void) {
}

#endif

/* ---- The process and its limits ---- */

/* 0 = not yet known.  Relaxed: whoever computes it gets the same value.  */
static size_t page_size;

size_t gc_platform_page_size(void) {
  size_t size = __atomic_load_n(&page_size, __ATOMIC_RELAXED);
  if (!size) {
    size = (size_t)sysconf(_SC_PAGESIZE);
    __atomic_store_n(&page_size, size, __ATOMIC_RELAXED);
  }
  return size;
}

/* Processors, up to 8192 of them.  */
struct processors {
  int known;
  cpu_set_t sets[8];
};

static void get_processors(struct processors *processors) {
  memset(processors, 0, sizeof *processors);
  processors->known =
      sched_getaffinity(0, sizeof processors->sets, processors->sets) == 0;
}

/* Those of the thread that made the first heap.  */
static struct processors initial_processors;

static void init_once(void) {
  init_faults();
  get_processors(&initial_processors);
}

void gc_platform_init(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  gc_platform_page_size();
  pthread_once(&once, init_once);
}

int gc_platform_processor_count(void) {
  struct processors processors;
  get_processors(&processors);
  int count = processors.known
                  ? CPU_COUNT_S(sizeof processors.sets, processors.sets)
                  : 0;
  if (count < 1)
    count = (int)sysconf(_SC_NPROCESSORS_ONLN);
  return count < 1 ? 1 : count;
}

size_t gc_platform_cache_size(void) {
#ifdef _SC_LEVEL2_CACHE_SIZE
  long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
#else
  long size = 0;
#endif
  return size > 0 ? (size_t)size : GC_PLATFORM_CACHE_SIZE_UNKNOWN;
}

uint64_t gc_platform_monotonic_nanoseconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t gc_platform_cpu_nanoseconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t gc_platform_thread_cpu_nanoseconds(void) {
  struct timespec ts;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
  return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Where the kernel put the arguments of the process; a fallback for the main
   thread, and only for that, when /proc is not mounted.  */
extern void *__libc_stack_end __attribute__((weak));

void gc_platform_current_thread_stack(uintptr_t *low, uintptr_t *high) {
  pthread_attr_t attr;
  *low = *high = 0;
  if (pthread_getattr_np(pthread_self(), &attr) == 0) {
    void *addr;
    size_t size;
    if (pthread_attr_getstack(&attr, &addr, &size) == 0) {
      *low = (uintptr_t)addr;
      *high = (uintptr_t)addr + size;
    }
    pthread_attr_destroy(&attr);
  } else if (&__libc_stack_end && getpid() == syscall(SYS_gettid)) {
    *high = align_up((uintptr_t)__libc_stack_end, sizeof(void *));
  }
}

uintptr_t gc_platform_current_thread_stack_base(void) {
  uintptr_t low, high;
  gc_platform_current_thread_stack(&low, &high);
  if (!high)
    GC_CRASH();
  return high;
}

#include "gc-platform-control-group.h"

/* Pages of address space, and of private writable memory and stacks, that the
   process has mapped.  0 on failure.  */
static int pages_in_use(size_t *all, size_t *data) {
  char buf[256];
  if (!read_file("/proc/self/statm", buf, sizeof buf))
    return 0;
  /* size resident shared text lib data dirty */
  char *p = buf;
  *all = strtoull(p, &p, 10);
  for (int i = 0; i < 4; i++)
    strtoull(p, &p, 10);
  char *end;
  *data = strtoull(p, &end, 10);
  return end != p;
}

static size_t limit_minus_use(rlim_t limit, size_t use) {
  if (limit == RLIM_INFINITY || limit >= SIZE_MAX)
    return SIZE_MAX;
  return use < limit ? (size_t)limit - use : 0;
}

size_t gc_platform_address_space_available(void) {
  struct rlimit as, data;
  if (getrlimit(RLIMIT_AS, &as) != 0)
    as.rlim_cur = RLIM_INFINITY;
  if (getrlimit(RLIMIT_DATA, &data) != 0)
    data.rlim_cur = RLIM_INFINITY;
  if (as.rlim_cur == RLIM_INFINITY && data.rlim_cur == RLIM_INFINITY)
    return SIZE_MAX;

  size_t all_pages, data_pages;
  size_t page = gc_platform_page_size();
  if (!pages_in_use(&all_pages, &data_pages)) {
    /* Unknown: suppose that half of it is in use.  */
    all_pages = (size_t)as.rlim_cur / 2 / page;
    data_pages = (size_t)data.rlim_cur / 2 / page;
  }
  size_t by_as = limit_minus_use(as.rlim_cur, all_pages * page);
  size_t by_data = limit_minus_use(data.rlim_cur, data_pages * page);
  return by_as < by_data ? by_as : by_data;
}

size_t gc_platform_physical_memory(void) {
  long pages = sysconf(_SC_PHYS_PAGES);
  size_t total = SIZE_MAX;
  if (pages > 0 && (size_t)pages <= SIZE_MAX / gc_platform_page_size())
    total = (size_t)pages * gc_platform_page_size();
  size_t limit = control_group_least(&control_group_memory);
  return limit < total ? limit : total;
}

int gc_platform_processor_quota(void) {
  size_t quota = control_group_least(&control_group_processors);
  return quota < INT_MAX ? (int)quota : INT_MAX;
}

/* ---- Memory ---- */

/* For assertions.  */
__attribute__((unused)) static int is_page_aligned(const void *addr,
                                                   size_t size) {
  return is_aligned((uintptr_t)addr | size, gc_platform_page_size());
}

static void unmap(uintptr_t low, uintptr_t high) {
  if (low < high && munmap((void *)low, high - low) != 0) {
    /* Splitting a mapping can fail for lack of kernel memory.  At least give
       the pages back; the address range is lost.  */
    madvise((void *)low, high - low, MADV_DONTNEED);
  }
}

static void *map_anonymous_at(void *where, size_t size, int protection,
                              int flags) {
  if (fault_injected(GC_PLATFORM_FAULT_MAP))
    return NULL;
  void *addr =
      mmap(where, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  return addr == MAP_FAILED ? NULL : addr;
}

static void *map_anonymous(size_t size, int protection, int flags) {
  return map_anonymous_at(NULL, size, protection, flags);
}

void *gc_platform_reserve(size_t size, size_t alignment) {
  GC_ASSERT(is_power_of_two(alignment));
  GC_ASSERT(is_page_aligned(NULL, size));
  if (size == 0)
    return NULL;
  if (alignment < gc_platform_page_size())
    alignment = gc_platform_page_size();

  /* Often the first attempt is aligned, and then needs no more than SIZE,
     which matters when address space is short.  */
  void *addr = map_anonymous(size, PROT_NONE, MAP_NORESERVE);
  if (!addr || is_aligned((uintptr_t)addr, alignment))
    return addr;
  unmap((uintptr_t)addr, (uintptr_t)addr + size);

  size_t padded = size + alignment - gc_platform_page_size();
  if (padded < size)
    return NULL;
  addr = map_anonymous(padded, PROT_NONE, MAP_NORESERVE);
  if (!addr)
    return NULL;
  uintptr_t low = (uintptr_t)addr;
  uintptr_t aligned = align_up(low, alignment);
  unmap(low, aligned);
  unmap(aligned + size, low + padded);
  return (void *)aligned;
}

int gc_platform_reserve_at(void *addr, size_t size) {
  GC_ASSERT(is_page_aligned(addr, size));
  void *mem = map_anonymous_at(addr, size, PROT_NONE,
                               MAP_NORESERVE | MAP_FIXED_NOREPLACE);
  /* A kernel that does not know the flag takes the address for a hint.  */
  if (mem && mem != addr)
    unmap((uintptr_t)mem, (uintptr_t)mem + size);
  return mem == addr;
}

void *gc_platform_map(size_t size) {
  size = align_up(size, gc_platform_page_size());
  return size ? map_anonymous(size, PROT_READ | PROT_WRITE, 0) : NULL;
}

void gc_platform_release(void *addr, size_t size) {
  size = align_up(size, gc_platform_page_size());
  GC_ASSERT(is_page_aligned(addr, size));
  unmap((uintptr_t)addr, (uintptr_t)addr + size);
}

int gc_platform_protect(void *addr, size_t size, int readable_writable) {
  GC_ASSERT(is_page_aligned(addr, size));
  if (fault_injected(GC_PLATFORM_FAULT_PROTECT))
    return 0;
  return mprotect(addr, size,
                  readable_writable ? PROT_READ | PROT_WRITE : PROT_NONE) == 0;
}

int gc_platform_commit(void *addr, size_t size) {
  return gc_platform_protect(addr, size, 1);
}

void gc_platform_discard(void *addr, size_t size) {
  GC_ASSERT(is_page_aligned(addr, size));
  int saved_errno = errno;
  /* Fails for pages that the program has locked in memory.  */
  if (madvise(addr, size, MADV_DONTNEED) != 0)
    memset(addr, 0, size);
  errno = saved_errno;
}

void gc_platform_decommit(void *addr, size_t size) {
  gc_platform_discard(addr, size);
  /* On failure the memory stays accessible: it is zero all the same.  */
  mprotect(addr, size, PROT_NONE);
}

void gc_platform_advise_huge(void *addr, size_t size, int enable) {
  int saved_errno = errno;
  madvise(addr, size, enable ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  errno = saved_errno;
}

void gc_platform_populate(void *addr, size_t size) {
  GC_ASSERT(is_page_aligned(addr, size));
  /* Kernels before 5.14 do not know it: no need to ask them again.  Relaxed:
     nothing depends on it.  */
  static int unknown;
  if (gc_atomic_load_relaxed(&unknown))
    return;
  int saved_errno = errno;
  if (madvise(addr, size, MADV_POPULATE_WRITE) != 0 && errno == EINVAL)
    gc_atomic_store_relaxed(&unknown, 1);
  errno = saved_errno;
}

/* ---- Threads ---- */

/* With a small stack.  ANYWHERE: on any processor that the process had at first, which
   fails if none of those is left.  */
static int create_thread(pthread_t *thread, void *(*f)(void *data), void *data,
                         int anywhere) {
  pthread_attr_t attr;
  if (pthread_attr_init(&attr) != 0)
    return 0;
  /* If this is too small for the program's thread-local data, the default
     remains.  */
  pthread_attr_setstacksize(&attr, THREAD_STACK_SIZE);
  int ok = !anywhere ||
           pthread_attr_setaffinity_np(&attr, sizeof initial_processors.sets,
                                       initial_processors.sets) == 0;
  ok = ok && pthread_create(thread, &attr, f, data) == 0;
  pthread_attr_destroy(&attr);
  return ok;
}

int gc_platform_thread_create(pthread_t *thread, void *(*f)(void *data),
                              void *data) {
  if (fault_injected(GC_PLATFORM_FAULT_THREAD))
    return 0;

  /* The new thread inherits the mask, so that there is no moment in which it
     could take a signal.  */
  static const int synchronous[] = {SIGSEGV, SIGBUS,  SIGFPE, SIGILL,
                                    SIGTRAP, SIGABRT, SIGSYS};
  sigset_t mask, saved_mask;
  sigfillset(&mask);
  for (size_t i = 0; i < sizeof synchronous / sizeof synchronous[0]; i++)
    sigdelset(&mask, synchronous[i]);

  int ok = 0;
  if (pthread_sigmask(SIG_SETMASK, &mask, &saved_mask) == 0) {
    /* A thread may have bound itself to one processor, which is not to be the one
       that all others do their work on.  If it has some left, these are what the
       process is meant to have.  */
    int anywhere =
        initial_processors.known && gc_platform_processor_count() == 1;
    ok = (anywhere && create_thread(thread, f, data, 1)) ||
         create_thread(thread, f, data, 0) ||
         pthread_create(thread, NULL, f, data) == 0;
    pthread_sigmask(SIG_SETMASK, &saved_mask, NULL);
  }
  return ok;
}

/* Waits and wakes are called in signal handlers: errno is preserved.  */

static int futex_wait(uint32_t *addr, uint32_t expected,
                      const struct timespec *timeout) {
  int saved_errno = errno;
  int timed_out = syscall(SYS_futex, addr, FUTEX_WAIT_PRIVATE, expected,
                          timeout, NULL, 0) != 0 &&
                  errno == ETIMEDOUT;
  errno = saved_errno;
  return !timed_out;
}

void gc_platform_futex_wait(uint32_t *addr, uint32_t expected) {
  futex_wait(addr, expected, NULL);
}

int gc_platform_futex_wait_timed(uint32_t *addr, uint32_t expected,
                                 uint64_t nsec) {
  struct timespec timeout = {.tv_sec = (time_t)(nsec / 1000000000),
                             .tv_nsec = (long)(nsec % 1000000000)};
  return futex_wait(addr, expected, &timeout);
}

void gc_platform_futex_wake(uint32_t *addr, int count) {
  int saved_errno = errno;
  syscall(SYS_futex, addr, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
  errno = saved_errno;
}

/* ---- Global roots ---- */

#include "gc-platform-global-roots.h"
