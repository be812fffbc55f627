/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: the two-step stop.

   By default mutators stop cooperatively, and one that runs foreign code for
   long keeps all others waiting.  When an embedder enables preemption, an
   active mutator that has not arrived within a grace period is sent a signal.
   The signal handler parks it on the spot if its code was interrupted where
   both the library, by its own state of that mutator, and the embedder's
   predicate allow it; else the mutator goes on to its next safepoint, and is
   asked again after a further grace period.  A mutator parked so is traced
   conservatively: its saved registers and its stack, red zone included, are
   ambiguous roots.  The mutator's precise roots are enumerated as always, so
   they must be consistent wherever the predicate agrees.

   Only for configurations with GC_CONSERVATIVE_ROOTS, since what the thread
   holds in registers must be found.  */
#ifndef GC_PREEMPT_H
#define GC_PREEMPT_H

#include "gc-api.h"

/* May a thread interrupted at the instruction PC be parked there?  UCONTEXT is
   the third argument of the signal handler (a ucontext_t pointer), DATA what
   was given to gc_heap_enable_preemption.

   Runs in a signal handler on the interrupted thread: only async-signal-safe
   functions, no allocation, no lock.  Zero is always a safe answer.  It is not
   asked while the handler of some other signal runs on the thread, as far as that
   can be told: not if the handler was installed with SA_NODEFER and blocks no
   signal, if the signal's handler has been removed meanwhile, as by SA_RESETHAND, or
   if the thread has unblocked the signal since it was last attached, reactivated,
   collecting or stopped at a safepoint.  */
typedef int (*gc_may_park_predicate)(uintptr_t pc, void *ucontext, void *data);

/* Enable the two-step stop for HEAP.

   SIGNAL_NUMBER is the signal to use, 0 for the default; it must be of no
   other use to the program.  GRACE_USEC is how long, in microseconds, to wait
   before signalling, 0 for the default of 2000.  MAY_PARK is the predicate,
   called with DATA; it must not be NULL.

   Return 1, or 0 if the signal handler cannot be installed or the
   configuration does not support it; stops are then cooperative, as before.
   To be called once, before other threads are attached.  */
GC_API_ int gc_heap_enable_preemption(struct gc_heap *heap, int signal_number,
                                      uint64_t grace_usec,
                                      gc_may_park_predicate may_park,
                                      void *data);

/* The signal used for the two-step stop of HEAP, or 0 if it is not enabled.  It is
   unblocked in a thread that is attached, that is reactivated, or that enables the
   two-step stop.  If a mutator blocks it afterwards, collections wait for its next
   safepoint.  Any thread.  */
GC_API_ int gc_preemption_signal(struct gc_heap *heap);

#endif /* GC_PREEMPT_H */
