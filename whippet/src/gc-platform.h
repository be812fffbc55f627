/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Every call to the operating system goes through here.

   Functions that can fail return NULL or 0, leave no trace of the attempt and
   do not print; faults can be injected into each when GC_FAULT_INJECTION is
   defined.  Nothing here allocates with malloc, unless stated.  Addresses and sizes of memory
   are multiples of the page size.  Thread-safe unless stated.  */
#ifndef GC_PLATFORM_H
#define GC_PLATFORM_H

#include "gc-inline.h"
#include "gc-visibility.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct gc_heap;

/* Read what is constant for the process.  To be called before anything else
   here; again does no harm.  */
GC_INTERNAL void gc_platform_init(void);

/* Bytes; a power of two.  */
GC_INTERNAL size_t gc_platform_page_size(void);

/* Processors in the affinity mask of the process, at least 1.  */
GC_INTERNAL int gc_platform_processor_count(void);

/* How many processors the control groups of the process let it use on average,
   rounded up, at least 1; INT_MAX if they do not say.  Reads files.  */
GC_INTERNAL int gc_platform_processor_quota(void);

/* Bytes of a processor's own cache, the largest one.  Where the system does not
   tell, as on some machines that are not x86-64, what most have at least.  */
#define GC_PLATFORM_CACHE_SIZE_UNKNOWN ((size_t)256 * 1024)
GC_INTERNAL size_t gc_platform_cache_size(void);

GC_INTERNAL uint64_t gc_platform_monotonic_nanoseconds(void);
/* Processor time of all threads of the process.  A system call.  */
GC_INTERNAL uint64_t gc_platform_cpu_nanoseconds(void);
/* Processor time of the calling thread.  A system call.  */
GC_INTERNAL uint64_t gc_platform_thread_cpu_nanoseconds(void);

/* One past the coldest byte of the calling thread's stack.  May use malloc, as
   libc does.  */
GC_INTERNAL uintptr_t gc_platform_current_thread_stack_base(void);

/* The bounds of the calling thread's stack.  *LOW is 0 if it is not known;
   *HIGH, one past the coldest byte, is 0 if neither is.  */
GC_INTERNAL void gc_platform_current_thread_stack(uintptr_t *low,
                                                  uintptr_t *high);

/* ---- Memory ---- */

/* Reserve SIZE bytes of address space, aligned to ALIGNMENT (a power of two),
   that cannot be accessed and cost no memory.  NULL on failure.  */
GC_INTERNAL void *gc_platform_reserve(size_t size, size_t alignment);

/* Reserve the SIZE bytes at ADDR, a page, likewise.  1, or 0 on failure, also if
   something is mapped there.  */
GC_INTERNAL int gc_platform_reserve_at(void *addr, size_t size);

/* Make reserved or decommitted memory readable and writable.  It reads as
   zero.  1, or 0 on failure.  */
GC_INTERNAL int gc_platform_commit(void *addr, size_t size);

/* Give the pages of committed memory back.  It reads as zero afterwards and
   stays readable and writable.  */
GC_INTERNAL void gc_platform_discard(void *addr, size_t size);

/* Give the pages back and make the memory inaccessible, as if reserved.  */
GC_INTERNAL void gc_platform_decommit(void *addr, size_t size);

/* Give up the address range, or part of it.  */
GC_INTERNAL void gc_platform_release(void *addr, size_t size);

/* Readable and writable zero pages for the collector's own tables, to be given
   back by gc_platform_release.  SIZE is rounded up to pages.  NULL on
   failure.  */
GC_INTERNAL void *gc_platform_map(size_t size);

/* Make committed memory readable and writable, or inaccessible with its
   contents kept.  1, or 0 on failure.  */
GC_INTERNAL int gc_platform_protect(void *addr, size_t size,
                                    int readable_writable);

/* Ask for huge pages in the range, or for none.  A hint.  */
GC_INTERNAL void gc_platform_advise_huge(void *addr, size_t size, int enable);

/* The pages of the range, which is readable and writable, are about to be
   written: get them at once, which costs less than a fault for each.  A hint;
   errno stays.  */
GC_INTERNAL void gc_platform_populate(void *addr, size_t size);

/* How many more bytes the process may map, by RLIMIT_AS and RLIMIT_DATA;
   SIZE_MAX if there is no limit.  */
GC_INTERNAL size_t gc_platform_address_space_available(void);

/* Bytes of memory that the process can hope to use: what the machine has, or
   its control group allows if that is less.  */
GC_INTERNAL size_t gc_platform_physical_memory(void);

/* ---- Threads ---- */

/* Start a thread with a small stack, in which all signals but the synchronous
   ones are blocked.  If the calling thread is bound to one processor, the new one
   may run on all that there were when gc_platform_init was called.  1, or 0 on failure.  libc may use malloc for this: never
   with the world stopped.  */
GC_INTERNAL int gc_platform_thread_create(pthread_t *thread,
                                          void *(*f)(void *data), void *data);

/* Sleep while *ADDR is EXPECTED, until woken; the wait may also end for no
   reason.  The comparison is ordered against a wake that follows a change of
   *ADDR.  */
GC_INTERNAL void gc_platform_futex_wait(uint32_t *addr, uint32_t expected);

/* The same for at most NSEC nanoseconds.  0 if that time has passed, else 1. */
GC_INTERNAL int gc_platform_futex_wait_timed(uint32_t *addr, uint32_t expected,
                                             uint64_t nsec);

/* Wake at most COUNT threads that sleep on ADDR.  The word itself is not
   read: it may be gone.  Async-signal-safe, as are the waits.  */
GC_INTERNAL void gc_platform_futex_wake(uint32_t *addr, int count);

/* To be called in the body of a loop that spins.  */
static inline void gc_platform_spin_hint(void) GC_ALWAYS_INLINE;
static inline void gc_platform_spin_hint(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("isb" ::: "memory");
#else
  __asm__ __volatile__("" ::: "memory");
#endif
}

/* ---- Global roots ---- */

/* What a heap knows of the writable data segments: nothing yet.  NULL if there is no
   memory.  */
struct gc_global_roots;
GC_INTERNAL struct gc_global_roots *gc_platform_make_global_roots(void);
GC_INTERNAL void gc_platform_free_global_roots(struct gc_global_roots *roots);

/* Bring the list of writable data segments up to date.  The collector calls it
   before it stops the world, for each heap on one thread at a time, since it may
   have to wait for a thread that loads a library.  1; or 0 if there was no memory
   for the list, which only makes visits slower.  */
GC_INTERNAL int gc_platform_prepare_global_roots(struct gc_global_roots *roots);

/* Call F (low, high, HEAP, DATA) for the writable data of the program and of
   each loaded object, without what is read-only after relocation.  World
   stopped, not concurrent with preparation of the same ROOTS.  Takes no lock, also
   if libraries were loaded or unloaded since the last preparation; that only makes
   it slower.  */
GC_INTERNAL void gc_platform_visit_global_conservative_roots(
    const struct gc_global_roots *roots,
    void (*f)(uintptr_t low, uintptr_t high, struct gc_heap *heap, void *data),
    struct gc_heap *heap, void *data);

/* Leave the range out of the data segments: a table of the library that cannot
   hold the only reference to an object.  May be called a few times, before the
   first collection; not synchronised.  */
GC_INTERNAL void gc_platform_exclude_global_root(void *addr, size_t size);

/* ---- Fault injection ---- */

enum gc_platform_fault_kind {
  GC_PLATFORM_FAULT_MAP,     /* reserve, reserve_at, map */
  GC_PLATFORM_FAULT_PROTECT, /* commit, protect */
  GC_PLATFORM_FAULT_THREAD,  /* thread_create */
  GC_PLATFORM_FAULT_KINDS
};

#ifdef GC_FAULT_INJECTION
/* Operations of each kind tried so far; the number at which one fails, or from
   which all fail (0 = never).  Modified atomically, relaxed.  */
extern GC_INTERNAL uint64_t gc_platform_fault_counter[GC_PLATFORM_FAULT_KINDS];
extern GC_INTERNAL uint64_t gc_platform_fault_at[GC_PLATFORM_FAULT_KINDS];
extern GC_INTERNAL uint64_t gc_platform_fault_from[GC_PLATFORM_FAULT_KINDS];

/* Let the NTH operation of KIND from now on fail, once (1 = the next; 0 =
   none).  The environment variables GC_FAULT_MAP, GC_FAULT_PROTECT and
   GC_FAULT_THREAD have the same effect at gc_platform_init.  */
GC_INTERNAL void gc_platform_fault_inject(enum gc_platform_fault_kind kind,
                                          uint64_t nth);

/* Let the NTH and all later operations of KIND fail, until changed.  */
GC_INTERNAL void gc_platform_fault_inject_from(enum gc_platform_fault_kind kind,
                                               uint64_t nth);

/* How many operations of KIND were tried since the last injection.  */
GC_INTERNAL uint64_t gc_platform_fault_count(enum gc_platform_fault_kind kind);
#endif

#endif /* GC_PLATFORM_H */
