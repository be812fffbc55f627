/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Finalizers: what the collector provides, and what it calls.

   gc-finalizer.c may be compiled without the macros that configure the
   collector, so that this interface must not depend on them.

   A collection visits the roots at its start, and when trace and ephemerons
   have come to an end, resolves the priorities in order from 0; if some fired,
   it traces (and does ephemerons) before the next priority.  At the end it
   notifies.

   The finalizers that were attached since the last collection are in lists of
   their own.  The object of a finalizer that was there in the last collection
   survived it: both are old, and a minor collection looks only at the young
   lists.  */

#ifndef GC_FINALIZER_INTERNAL_H
#define GC_FINALIZER_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "gc-edge.h"
#include "gc-finalizer.h"
#include "gc-ref.h"
#include "gc-visibility.h"

struct gc_heap;
struct gc_finalizer_state;

typedef void (*gc_finalizer_visitor)(struct gc_edge edge, struct gc_heap *heap,
                                     void *trace_data);

/* Provided by the collector: nonzero if the object at EDGE, which is not null,
   is live in this collection; EDGE is then redirected if the object moved.
   Objects outside the heap and immediates are live.  */
GC_INTERNAL int gc_visit_finalizer_object(struct gc_edge edge,
                                          struct gc_heap *heap);

/* Provided by the collector: the trace has reached a finalizer that an earlier one
   found to have fired.  Any tracing thread.  */
GC_INTERNAL void gc_note_waiting_finalizer(struct gc_heap *heap);

/* Provided to the collector.  */

/* Bytes before our fields.  */
GC_INTERNAL size_t gc_finalizer_header_size(void);

/* NULL if there is no memory.  PRIORITIES is at least 1.  */
GC_INTERNAL struct gc_finalizer_state *
gc_make_finalizer_state(size_t priorities);
GC_INTERNAL void gc_free_finalizer_state(struct gc_finalizer_state *state);

/* Any mutator, concurrently; cannot fail.  Traps if F was attached before, if
   OBJECT is null, and if PRIORITY is too great.  */
GC_INTERNAL void gc_finalizer_attach_internal(struct gc_finalizer_state *state,
                                              struct gc_finalizer *f,
                                              unsigned priority,
                                              struct gc_ref object,
                                              struct gc_ref closure);

/* A fired finalizer, or NULL.  Any mutator, concurrently; lock-free.  */
GC_INTERNAL struct gc_finalizer *
gc_finalizer_state_pop(struct gc_finalizer_state *state);

/* Visit the strong edges: registered finalizers and the queue of fired ones.
   World stopped, one thread.  */
GC_INTERNAL void gc_visit_finalizer_roots(struct gc_finalizer_state *state,
                                          int is_minor,
                                          gc_finalizer_visitor visit,
                                          struct gc_heap *heap,
                                          void *trace_data);

/* All that is strongly reachable is marked.  Decide which finalizers of
   PRIORITY fire, then visit their objects and put them on the queue.  Return
   how many fired; if not 0, the caller traces again.  World stopped, one
   thread.  */
GC_INTERNAL size_t gc_resolve_finalizers(struct gc_finalizer_state *state,
                                         size_t priority, int is_minor,
                                         gc_finalizer_visitor visit,
                                         struct gc_heap *heap,
                                         void *trace_data);

/* Not synchronised.  */
GC_INTERNAL void
gc_finalizer_state_set_callback(struct gc_finalizer_state *state,
                                gc_finalizer_callback callback);

/* If some finalizers were fired since the last notification, call the callback,
   if there is one, with their number, and return it.  */
GC_INTERNAL size_t gc_notify_finalizers(struct gc_finalizer_state *state,
                                        struct gc_heap *heap);

/* World stopped, no collection running: trap if the lists are inconsistent.
   Return the number of registered finalizers.  */
GC_INTERNAL size_t
gc_finalizer_state_verify(const struct gc_finalizer_state *state);

#endif // GC_FINALIZER_INTERNAL_H
