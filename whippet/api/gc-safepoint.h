/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Safepoints: where a mutator lets a collection happen.  All its roots must be
   enumerable there, and objects may move.  An active mutator that neither
   allocates nor passes a safepoint keeps everybody waiting.  */
#ifndef GC_SAFEPOINT_H
#define GC_SAFEPOINT_H

#include "gc-api.h"
#include "gc-atomics.h"

/* Park until the collection that asked for a stop has ended.  Own thread.  */
GC_API_ void gc_safepoint_slow(struct gc_mutator *mut) GC_NEVER_INLINE;

/* The word that is nonzero when MUT should stop.  Its address is constant for
   the life of the mutator, so that compiled code may poll it inline.  */
GC_API_ int *gc_safepoint_flag_loc(struct gc_mutator *mut);

/* For the mechanism SIGNAL only; they trap otherwise.  The number of the signal
   that stops threads; the begin and end of a section in which the thread of
   MUT, which must be the calling one, will not be stopped.  */
GC_API_ int gc_safepoint_signal_number(void);
GC_API_ void gc_safepoint_signal_inhibit(struct gc_mutator *mut);
GC_API_ void gc_safepoint_signal_reallow(struct gc_mutator *mut);

/* Begin and end a section in which no signal stops this mutator.  Nothing to
   do where stopping is cooperative.  */
static inline void
gc_inhibit_preemption(struct gc_mutator *mut) GC_ALWAYS_INLINE;
static inline void gc_inhibit_preemption(struct gc_mutator *mut) {
  if (gc_safepoint_mechanism() == GC_SAFEPOINT_MECHANISM_SIGNAL)
    gc_safepoint_signal_inhibit(mut);
}

static inline void
gc_reallow_preemption(struct gc_mutator *mut) GC_ALWAYS_INLINE;
static inline void gc_reallow_preemption(struct gc_mutator *mut) {
  if (gc_safepoint_mechanism() == GC_SAFEPOINT_MECHANISM_SIGNAL)
    gc_safepoint_signal_reallow(mut);
}

/* Nonzero if MUT is asked to stop.  */
static inline int
gc_should_stop_for_safepoint(struct gc_mutator *mut) GC_ALWAYS_INLINE;
static inline int gc_should_stop_for_safepoint(struct gc_mutator *mut) {
  switch (gc_cooperative_safepoint_kind()) {
  case GC_COOPERATIVE_SAFEPOINT_NONE:
    return 0;
  case GC_COOPERATIVE_SAFEPOINT_MUTATOR_FLAG:
  case GC_COOPERATIVE_SAFEPOINT_HEAP_FLAG:
    /* Relaxed: the slow path looks again under the heap lock.  */
    return gc_atomic_load_relaxed(gc_safepoint_flag_loc(mut));
  }
  GC_CRASH();
}

/* Stop here if a collection asks for it.  Active mutator, own thread.  */
static inline void gc_safepoint(struct gc_mutator *mut) GC_ALWAYS_INLINE;
static inline void gc_safepoint(struct gc_mutator *mut) {
  if (GC_UNLIKELY(gc_should_stop_for_safepoint(mut)))
    gc_safepoint_slow(mut);
}

#endif /* GC_SAFEPOINT_H */
