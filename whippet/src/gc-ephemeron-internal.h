/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ephemerons: what the collector provides, and what it calls.

   gc-ephemeron.c may be compiled without the macros that configure the
   collector, so that this interface must not depend on them.

   A collection uses it in this order:

     prepare                              world stopped, one thread
     trace                                any number of threads; lazy
     if not empty:
       scan, then trace                   one thread, then any number; eager
     finalizers, each time then trace;
     after a trace that was still lazy,
     if not empty: scan, then trace again
     sweep                                world stopped, one thread

   After each trace, before anything else: trace what was deferred, by one thread,
   then trace again, until there is nothing of that kind.

   Lazy: an ephemeron whose key is not known to be live is published in the
   table of pending ephemerons, and nothing is looked up.  Eager: each object
   that becomes marked is looked up in the table, and the values of ephemerons
   pending on it are visited at once.  The scan goes from lazy to eager; it
   resolves what is pending on keys that the lazy trace reached.

   Lost wake-ups.  A worker that publishes an ephemeron stores it in the table,
   executes a seq_cst fence, and tests its key again.  A worker that marks an
   object changes its mark, executes a seq_cst fence, and looks the object up.
   At least one of the two sees what the other stored.  Both fences are in
   gc-ephemeron.c: the tracer only has to call gc_resolve_pending_ephemerons
   after the change of the mark, in program order.  */

#ifndef GC_EPHEMERON_INTERNAL_H
#define GC_EPHEMERON_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "gc-edge.h"
#include "gc-ephemeron.h"
#include "gc-ref.h"
#include "gc-visibility.h"

struct gc_heap;
struct gc_mutator;
struct gc_pending_ephemerons;

typedef void (*gc_ephemeron_visitor)(struct gc_edge edge, struct gc_heap *heap,
                                     void *trace_data);

/* Provided by the collector.  */

/* Nonzero if the key at EDGE, which is not null, is live in this collection;
   EDGE is then redirected if the key moved.  Any kind of key: immediates and
   objects outside the heap are live.  Waits while another thread decides
   whether the key moves.  EDGE may be in the ephemeron or on the stack.  */
GC_INTERNAL int gc_visit_ephemeron_key(struct gc_edge edge,
                                       struct gc_heap *heap);
GC_INTERNAL struct gc_pending_ephemerons *
gc_heap_pending_ephemerons(struct gc_heap *heap);
/* Number of collections completed.  Constant during a collection.  */
GC_INTERNAL unsigned gc_heap_ephemeron_trace_epoch(struct gc_heap *heap);
/* The link at LINK of E, which is to be TAIL, is about to be stored: the write
   barrier.  By a mutator's thread.  */
GC_INTERNAL void gc_ephemeron_chain_barrier(struct gc_ephemeron *e,
                                            struct gc_edge link,
                                            struct gc_ref tail);
/* As in gc-barrier.h, which cannot be included without configuration.  */
GC_API_ void gc_write_barrier_slow(struct gc_mutator *mut, struct gc_ref obj,
                                   size_t obj_size, struct gc_edge edge,
                                   struct gc_ref new_val);

/* Provided to the collector.  */

/* Bytes before our fields.  */
GC_INTERNAL size_t gc_ephemeron_header_size(void);

/* First part of gc_ephemeron_init.  KEY and VALUE are not null.  */
GC_INTERNAL void gc_ephemeron_init_internal(struct gc_heap *heap,
                                            struct gc_ephemeron *ephemeron,
                                            struct gc_ref key,
                                            struct gc_ref value);

/* Fields of EPHEMERON.  Generational builds: if a collection came between
   allocation and initialisation, the ephemeron is old and a minor collection
   would not look at it; gc_ephemeron_init then applies the write barrier to
   both.  */
GC_INTERNAL struct gc_edge gc_ephemeron_key_edge(struct gc_ephemeron *e);
GC_INTERNAL struct gc_edge gc_ephemeron_value_edge(struct gc_ephemeron *e);

/* NULL if there is no memory.  */
GC_INTERNAL struct gc_pending_ephemerons *gc_make_pending_ephemerons(void);
GC_INTERNAL void gc_free_pending_ephemerons(struct gc_pending_ephemerons *p);

/* Start of a collection: lazy, empty, of a size that suits the number of
   ephemerons of the last collection.  World stopped.  */
GC_INTERNAL void
gc_pending_ephemerons_prepare(struct gc_pending_ephemerons *pending);

/* Nonzero if no ephemeron was published since preparation.  Only while no
   worker traces.  */
GC_INTERNAL int
gc_pending_ephemerons_empty(const struct gc_pending_ephemerons *pending);

/* Nonzero if newly marked objects must be looked up.  Changes only in
   gc_scan_pending_ephemerons and gc_pending_ephemerons_prepare.  */
GC_INTERNAL int
gc_pending_ephemerons_eager(const struct gc_pending_ephemerons *pending);

/* No worker traces.  Trace the ephemerons that had to wait for that, because
   many dead ones come after them.  If this does not return 0, the caller traces,
   and calls it again.  */
GC_INTERNAL size_t gc_trace_deferred_ephemerons(struct gc_heap *heap,
                                                gc_ephemeron_visitor visit,
                                                void *trace_data);

/* No worker traces and nothing is left to trace.  Become eager, then visit the
   values of the pending ephemerons whose key is live.  Return how many there
   were; the caller then traces.  Does nothing if eager already, since then
   nothing is pending on a live key.  */
GC_INTERNAL size_t gc_scan_pending_ephemerons(struct gc_heap *heap,
                                              gc_ephemeron_visitor visit,
                                              void *trace_data);

/* Eager mode: the object whose address was OLD_KEY when the trace began is
   newly marked by the calling worker, in place or as a copy, and the outcome
   is public (not "busy").  Visit the values of the ephemerons that are pending
   on it.  VISIT may call this function again: the depth of recursion is
   bounded, whatever the length of a chain.  */
GC_INTERNAL void gc_resolve_pending_ephemerons(struct gc_heap *heap,
                                               struct gc_ref old_key,
                                               gc_ephemeron_visitor visit,
                                               void *trace_data);

/* End of a collection: what is still pending dies.  Return how many did.
   World stopped.  */
GC_INTERNAL size_t gc_sweep_pending_ephemerons(struct gc_heap *heap);

/* For verifiers that trace outside of collections: while INSPECT is nonzero,
   gc_trace_ephemeron visits chain link, key and value as strong edges and
   changes nothing.  World stopped.  */
GC_INTERNAL void
gc_pending_ephemerons_inspect(struct gc_pending_ephemerons *pending,
                              int inspect);

/* The same with the semantics of ephemerons: while F is not null,
   gc_trace_ephemeron visits the chain link, and calls F (ephemeron, TRACE_DATA) if
   the ephemeron is alive; it changes nothing.  F decides about the value.  */
GC_INTERNAL void
gc_pending_ephemerons_walk(struct gc_pending_ephemerons *pending,
                           void (*f)(struct gc_ephemeron *e, void *trace_data));

#endif // GC_EPHEMERON_INTERNAL_H
