/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ephemerons: an ephemeron keeps its value alive for as long as the ephemeron
   and its key are alive.  When the key dies the association is broken for
   ever.

   Ephemerons can be linked in chains, as for the buckets of a weak table.  A
   link is a strong reference to the next ephemeron.  Operations on chains are
   thread-safe and do not block.  All functions are for active mutators.  */
#ifndef GC_EPHEMERON_H
#define GC_EPHEMERON_H

#include "gc-edge.h"
#include "gc-ref.h"
#include "gc-visibility.h"

#include <stddef.h>

struct gc_heap;
struct gc_mutator;
struct gc_ephemeron;

/* Bytes in an ephemeron, including the embedder's header.  */
GC_API_ size_t gc_ephemeron_size(void);

/* Allocate as by gc_allocate of GC_ALLOCATION_TAGGED.  The program then writes
   its header and calls gc_ephemeron_init once, before the next safepoint.  */
GC_API_ struct gc_ephemeron *gc_allocate_ephemeron(struct gc_mutator *mut);

/* Set the association of E, freshly allocated.  KEY and VALUE must not be null,
   and be at least as old as E; immediates are always alive.  */
GC_API_ void gc_ephemeron_init(struct gc_mutator *mut,
                               struct gc_ephemeron *ephemeron,
                               struct gc_ref key, struct gc_ref value);

/* The key or value, null if the association is broken.  Between two calls it
   may break.  */
GC_API_ struct gc_ref gc_ephemeron_key(struct gc_ephemeron *ephemeron);
GC_API_ struct gc_ref gc_ephemeron_value(struct gc_ephemeron *ephemeron);

/* Atomically replace the value by REF, which must not be null, with the write
   barrier.  Return the old value, or null if the association is broken; then
   nothing is stored.  */
GC_API_ struct gc_ref gc_ephemeron_swap_value(struct gc_mutator *mut,
                                              struct gc_ephemeron *ephemeron,
                                              struct gc_ref ref);

/* The first ephemeron of the chain at LOC whose association holds, or NULL.
   Cuts those before it out of the chain.  If LOC is in a heap object, no
   ephemeron of the chain may be younger than those that were pushed after it.  */
GC_API_ struct gc_ephemeron *gc_ephemeron_chain_head(struct gc_ephemeron **loc);

/* Prepend EPHEMERON, which is in no chain, to the chain at LOC.  If LOC is in
   a heap object, its write barrier is the caller's business.  By a mutator's
   thread.  EPHEMERON may be in another chain as long as nobody but the caller
   uses either chain; then it leaves that one, with all that come after it.  */
GC_API_ void gc_ephemeron_chain_push(struct gc_ephemeron **loc,
                                     struct gc_ephemeron *ephemeron);

/* Prepend EPHEMERON if the head of the chain at LOC is *TAIL.  Return 1, or 0
   and set *TAIL to the head.  */
GC_API_ int gc_ephemeron_chain_try_push(struct gc_ephemeron **loc,
                                        struct gc_ephemeron *ephemeron,
                                        struct gc_ephemeron **tail);

/* The first ephemeron after EPHEMERON whose association holds, or NULL.  Cuts
   those between out of the chain, with the write barrier.  */
GC_API_ struct gc_ephemeron *
gc_ephemeron_chain_next(struct gc_ephemeron *ephemeron);

/* Break the association now.  */
GC_API_ void gc_ephemeron_mark_dead(struct gc_ephemeron *ephemeron);

/* To be called by the embedder's gc_trace_object for an ephemeron, with the
   arguments that it was given; VISIT must not be NULL.  */
GC_API_ void gc_trace_ephemeron(struct gc_ephemeron *ephemeron,
                                void (*visit)(struct gc_edge edge,
                                              struct gc_heap *heap,
                                              void *visit_data),
                                struct gc_heap *heap, void *trace_data);

#endif /* GC_EPHEMERON_H */
