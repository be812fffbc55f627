/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Stopping the world and restarting it.

   Protocol.  The collecting thread holds heap->lock, sets the stop flag, then
   waits until no other mutator's status is RUNNING.  A mutator that becomes
   RUNNING stores its status, then reads the flag; if the flag is set, it takes
   the status back and waits for the flag to clear.  Flag and statuses are
   accessed with sequentially consistent order, so that of the two store-then-
   load sequences at least one sees the other's store: no mutator runs once the
   collector has seen all of them not running.

   The mutator's stack capture is ordered before its status by the same store,
   and read by the collector after it has loaded the status.

   Second step (gc-preempt.h).  A mutator that is still RUNNING after the grace
   period gets a signal.  Its handler parks it, unless the library or the
   embedder's predicate objects, by the same protocol: status SIGNALLED, wait for
   the flag.  The argument that this is safe is in doc/two-step-stop.md.

   For a fork the flag then becomes "cooperative", and signalled mutators go on
   until they come into the library: mmc-fork.h.  */

#ifndef MMC_STOP_H
#define MMC_STOP_H

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "gc-tracepoint.h"
#include "mmc-heap.h"

static __thread struct gc_mutator *current_mutator;

enum mmc_stop { STOP_NONE, STOP_ALL, STOP_COOPERATIVE };

static inline int heap_should_stop(struct gc_heap *heap) {
  return __atomic_load_n(&heap->stop_flag, __ATOMIC_SEQ_CST);
}

/* The stop flag, or zero if it does not hold a mutator with STATUS.  */
static inline int heap_holds(struct gc_heap *heap, enum mutator_status status) {
  int flag = heap_should_stop(heap);
  return flag == STOP_COOPERATIVE && status == MUTATOR_SIGNALLED ? 0 : flag;
}

/* Tell a collector that may be waiting for this mutator.  */
static void mutator_set_not_running(struct gc_mutator *mut,
                                    enum mutator_status status) {
  __atomic_store_n(&mut->status, (uint32_t)status, __ATOMIC_SEQ_CST);
  if (heap_should_stop(mut->heap))
    gc_platform_futex_wake(&mut->status, 1);
}

/* Become RUNNING, waiting until no collection is in progress.  Async-signal-
   safe.  */
static void mutator_set_running(struct gc_mutator *mut,
                                enum mutator_status status) {
  struct gc_heap *heap = mut->heap;
  for (;;) {
    int flag;
    while ((flag = heap_holds(heap, status)))
      gc_platform_futex_wait((uint32_t *)&heap->stop_flag, (uint32_t)flag);
    __atomic_store_n(&mut->status, (uint32_t)MUTATOR_RUNNING, __ATOMIC_SEQ_CST);
    if (GC_LIKELY(!heap_holds(heap, status)))
      return;
    mutator_set_not_running(mut, status);
  }
}

#if GC_CONSERVATIVE_ROOTS
#define MUTATOR_CAPTURE_STACK(mut) gc_stack_capture(&(mut)->stack)
#else
#define MUTATOR_CAPTURE_STACK(mut) ((void)0)
#endif

/* For mutator_may_be_in_signal_handler.  By the mutator's thread, which calls the
   library and hence is in no handler.  The signal of the second step is unblocked:
   a thread inherits its mask from one that may know nothing of the library.  */
static void mutator_note_blocked_signals(struct gc_mutator *mut) {
  sigset_t ours, set;
  uint64_t blocked;
  sigemptyset(&ours);
  if (mut->heap->preemption.signal_number)
    sigaddset(&ours, mut->heap->preemption.signal_number);
  if (!GC_CONSERVATIVE_ROOTS || pthread_sigmask(SIG_UNBLOCK, &ours, &set) != 0)
    return;
  memcpy(&blocked, &set, sizeof(blocked));
  mut->blocked_signals = blocked;
}

/* Park at a safepoint until the collection that asked for it is over.  */
static void GC_NEVER_INLINE mutator_park(struct gc_mutator *mut) {
  MUTATOR_EVENT(mut, mutator_stopping);
  heap_random_delay(mut->heap);
  if (mut->heap->preemption.signal_number)
    mutator_note_blocked_signals(mut);
  MUTATOR_CAPTURE_STACK(mut);
  MUTATOR_EVENT(mut, mutator_stopped);
  mutator_set_not_running(mut, MUTATOR_STOPPED);
  mutator_set_running(mut, MUTATOR_STOPPED);
  MUTATOR_EVENT(mut, mutator_restarted);
}

/* Acquire heap->lock in a running mutator.  Nobody else stops the world while
   the lock is held.  Returns with the mutator running.  */
static void GC_NEVER_INLINE mutator_lock_heap(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  if (pthread_mutex_trylock(&heap->lock) == 0)
    return;
  MUTATOR_CAPTURE_STACK(mut);
  mutator_set_not_running(mut, MUTATOR_STOPPED);
  pthread_mutex_lock(&heap->lock);
  /* The flag is only set with the lock held: no need to test it.  */
  GC_ASSERT(!heap->stop_flag);
  __atomic_store_n(&mut->status, (uint32_t)MUTATOR_RUNNING, __ATOMIC_SEQ_CST);
}

/* Enter the library to change what a collection goes by.  Not while some other thread
   forks: in the child, where this one is gone, the change might be half done for
   ever.  This is no safepoint: there is no collection meanwhile.  The thread that
   forks is in the library already, and goes on.  */
static inline void mutator_enter_barrier(struct gc_mutator *mut) {
  mutator_enter_library(mut);
  while (GC_UNLIKELY(heap_should_stop(mut->heap) == STOP_COOPERATIVE) &&
         mut->in_library == 1)
    gc_platform_futex_wait((uint32_t *)&mut->heap->stop_flag,
                           (uint32_t)STOP_COOPERATIVE);
}

static inline void heap_unlock(struct gc_heap *heap) {
  pthread_mutex_unlock(&heap->lock);
}

/* A stop of the world: when the grace period ends, and whether who was running then
   has been signalled.  */
struct mmc_stop_progress {
  uint64_t deadline;
  int has_signalled;
};

/* How long a signalled mutator may take before it is signalled again.  */
#define MMC_SIGNAL_RETRY_NSEC ((uint64_t)500 * 1000)
#define MMC_MAX_SIGNAL_RETRY_NSEC ((uint64_t)4 * 1000 * 1000)

/* The second step, for MUT and those after it in the list: many threads handle the
   signal at the same time.  Relaxed: who stops meanwhile is signalled in vain.  */
static void heap_signal_running(struct gc_heap *heap, struct gc_mutator *mut,
                                struct gc_mutator *caller) {
  for (struct gc_mutator *m = mut; m; m = m->next)
    if (m != caller && gc_atomic_load_relaxed(&m->status) == MUTATOR_RUNNING)
      pthread_kill(m->thread, heap->preemption.signal_number);
}

/* Wait until MUT is not running; those before it in the list are not, but for CALLER.  */
static void heap_await_mutator(struct gc_heap *heap, struct gc_mutator *mut,
                               struct gc_mutator *caller,
                               struct mmc_stop_progress *progress) {
  uint64_t deadline = progress->deadline, retry = MMC_SIGNAL_RETRY_NSEC;
  while (__atomic_load_n(&mut->status, __ATOMIC_SEQ_CST) == MUTATOR_RUNNING) {
    if (!heap->preemption.signal_number) {
      gc_platform_futex_wait(&mut->status, MUTATOR_RUNNING);
      continue;
    }
    uint64_t now = gc_platform_monotonic_nanoseconds();
    if (now >= deadline) {
      if (!progress->has_signalled) {
        heap_signal_running(heap, mut, caller);
        progress->has_signalled = 1;
        progress->deadline = now + retry;
      } else {
        pthread_kill(mut->thread, heap->preemption.signal_number);
      }
      deadline = now + retry;
      if (retry < MMC_MAX_SIGNAL_RETRY_NSEC)
        retry *= 2;
    }
    gc_platform_futex_wait_timed(&mut->status, MUTATOR_RUNNING, deadline - now);
  }
}

/* A mutator that had to be signalled last time is probably still in the same
   system call: do not wait for it to arrive by itself.  */
static void heap_signal_sleepers(struct gc_heap *heap, struct gc_mutator *mut) {
  for (struct gc_mutator *m = heap->mutators; m; m = m->next)
    if (m != mut && m->signalled_before &&
        gc_atomic_load_relaxed(&m->status) == MUTATOR_RUNNING)
      pthread_kill(m->thread, heap->preemption.signal_number);
}

/* If collections follow each other at once, other mutators must come forward between
   them: they get as much time as the world was stopped for the last one, but no more
   than this, in nanoseconds.  */
#define MMC_TIME_BETWEEN_STOPS ((uint64_t)2 * 1000 * 1000)

/* Before a collection that MUT, the calling thread's, or NULL, has asked for.  With
   heap->lock held: nobody else stops the world meanwhile.  */
static void heap_let_others_run(struct gc_heap *heap, struct gc_mutator *mut) {
  uint64_t end = heap->sizing.last_nsec;
  uint64_t time = end > heap->stopped_nsec ? end - heap->stopped_nsec : 0;
  if (time > MMC_TIME_BETWEEN_STOPS)
    time = MMC_TIME_BETWEEN_STOPS;
  struct gc_mutator *m = heap->mutators;
  while (m && (m == mut || !m->was_stopped))
    m = m->next;
  if (!m)
    return;
  uint64_t now;
  while ((now = gc_platform_monotonic_nanoseconds()) < end + time)
    gc_platform_futex_wait_timed((uint32_t *)&heap->stop_flag,
                                 (uint32_t)STOP_NONE, end + time - now);
}

/* Stop all mutators but MUT, the calling thread's, which may be NULL.  With
   heap->lock held.  The listener learns that it may have to tell mutators; the
   other events of a collection are the caller's business.  */
static void heap_stop_world(struct gc_heap *heap, struct gc_mutator *mut) {
  __atomic_store_n(&heap->stop_flag, STOP_ALL, __ATOMIC_SEQ_CST);
  HEAP_EVENT(heap, waiting_for_stop);
  struct mmc_stop_progress progress = {0, 0};
  if (heap->preemption.signal_number) {
    progress.deadline =
        gc_platform_monotonic_nanoseconds() + heap->preemption.grace_nsec;
    heap_signal_sleepers(heap, mut);
  }
  for (struct gc_mutator *m = heap->mutators; m; m = m->next)
    if (m != mut) {
      heap_await_mutator(heap, m, mut, &progress);
      uint32_t status = gc_atomic_load_relaxed(&m->status);
      m->signalled_before = status == MUTATOR_SIGNALLED;
      m->was_stopped = status != MUTATOR_INACTIVE;
    }
  if (heap->mutator_count > 1)
    heap->stopped_nsec = gc_platform_monotonic_nanoseconds();
}

static void heap_set_stop_flag(struct gc_heap *heap, enum mmc_stop stop) {
  __atomic_store_n(&heap->stop_flag, (int)stop, __ATOMIC_SEQ_CST);
  gc_platform_futex_wake((uint32_t *)&heap->stop_flag, INT32_MAX);
}

/* MUT: the calling thread's, or NULL.  If it is the only one, nobody waits.  */
static void heap_restart_world(struct gc_heap *heap, struct gc_mutator *mut) {
  if (mut && heap->mutator_count == 1)
    __atomic_store_n(&heap->stop_flag, STOP_NONE, __ATOMIC_SEQ_CST);
  else
    heap_set_stop_flag(heap, STOP_NONE);
}

/* Has the signal a handler?  Async-signal-safe.  If it is not to be known: yes.  */
static int signal_has_handler(int signal_number) {
  struct sigaction action;
  if (sigaction(signal_number, NULL, &action) != 0)
    return 1;
  return action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
}

/* May the thread have been interrupted in a handler of some other signal?  That
   may have interrupted an inline allocation in its turn.  A handler blocks its
   own signal, unless it was installed with SA_NODEFER.  Signals without a handler
   are blocked by the thread itself: system() does that.  */
static int mutator_may_be_in_signal_handler(struct gc_mutator *mut,
                                            void *ucontext) {
  uint64_t blocked;
  /* The kernel's set has no more.  */
  memcpy(&blocked, &((ucontext_t *)ucontext)->uc_sigmask, sizeof(blocked));
  for (blocked &= ~mut->blocked_signals; blocked; blocked &= blocked - 1)
    if (signal_has_handler(__builtin_ctzll(blocked) + 1))
      return 1;
  return 0;
}

/* Second step of a stop, on the thread that is to stop.  */
static void preemption_handler(int signal_number, siginfo_t *info,
                               void *ucontext) {
  (void)signal_number;
  (void)info;
  struct gc_mutator *mut = current_mutator;
  if (!mut || mut->in_library || heap_should_stop(mut->heap) != STOP_ALL ||
      __atomic_load_n(&mut->status, __ATOMIC_SEQ_CST) != MUTATOR_RUNNING)
    return;
  struct mmc_preemption *preemption = &mut->heap->preemption;
  uintptr_t pc = gc_ucontext_program_counter(ucontext);
  int saved_errno = errno;
  if (mutator_may_be_in_signal_handler(mut, ucontext) ||
      !preemption->may_park(pc, ucontext, preemption->data)) {
    errno = saved_errno;
    return;
  }
  /* Not if the thread was on another stack, whose extent is not known.  */
  if (!gc_stack_capture_from_ucontext(&mut->stack, ucontext)) {
    errno = saved_errno;
    return;
  }
  mutator_set_not_running(mut, MUTATOR_SIGNALLED);
  mutator_set_running(mut, MUTATOR_SIGNALLED);
  errno = saved_errno;
}

static int default_preemption_signal(void) {
#ifdef SIGRTMIN
  return SIGRTMIN + 5 <= SIGRTMAX ? SIGRTMIN + 5 : SIGRTMAX;
#else
  return SIGURG;
#endif
}

int gc_heap_enable_preemption(struct gc_heap *heap, int signal_number,
                              uint64_t grace_usec,
                              gc_may_park_predicate may_park, void *data) {
  if (!GC_CONSERVATIVE_ROOTS || !may_park)
    return 0;
  if (!signal_number)
    signal_number = default_preemption_signal();
  struct sigaction action;
  memset(&action, 0, sizeof(action));
  action.sa_sigaction = preemption_handler;
  /* A parked thread must not run other handlers: they could allocate.  */
  sigfillset(&action.sa_mask);
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  if (sigaction(signal_number, &action, NULL) != 0)
    return 0;
  heap->preemption.grace_nsec = (grace_usec ? grace_usec : 2000) * 1000;
  heap->preemption.may_park = may_park;
  heap->preemption.data = data;
  heap->preemption.signal_number = signal_number;
  if (current_mutator && current_mutator->heap == heap)
    mutator_note_blocked_signals(current_mutator);
  return 1;
}

int gc_preemption_signal(struct gc_heap *heap) {
  return heap->preemption.signal_number;
}

#endif // MMC_STOP_H
