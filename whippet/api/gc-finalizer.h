/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Finalizers: when a collection finds that only finalizers hold an object, the
   finalizer is put on a queue, with the object and all it reaches kept alive,
   for the program to take off the queue.

   A finalizer fires once.  Finalizers of priority 0 are looked at first; an
   object that a fired finalizer keeps alive is no longer dead for greater
   priorities.  An object may have several finalizers.  */
#ifndef GC_FINALIZER_H
#define GC_FINALIZER_H

#include "gc-edge.h"
#include "gc-ref.h"
#include "gc-visibility.h"

#include <stddef.h>

struct gc_heap;
struct gc_mutator;
struct gc_finalizer;

/* Bytes in a finalizer, including the embedder's header.  */
GC_API_ size_t gc_finalizer_size(void);

/* Allocate as by gc_allocate of GC_ALLOCATION_TAGGED.  The program then writes
   its header and calls gc_finalizer_attach, before the next safepoint.  */
GC_API_ struct gc_finalizer *gc_allocate_finalizer(struct gc_mutator *mut);

/* Attach FINALIZER, freshly allocated, to OBJECT, which must not be null; to
   be called once.  PRIORITY is less than the embedder's
   gc_finalizer_priority_count.  The collector holds the finalizer, the
   finalizer holds CLOSURE, and OBJECT only once fired.  Active mutator, own
   thread.  */
GC_API_ void gc_finalizer_attach(struct gc_mutator *mut,
                                 struct gc_finalizer *finalizer,
                                 unsigned priority, struct gc_ref object,
                                 struct gc_ref closure);

/* What was given to gc_finalizer_attach.  Any active mutator.  */
GC_API_ struct gc_ref gc_finalizer_object(struct gc_finalizer *finalizer);
GC_API_ struct gc_ref gc_finalizer_closure(struct gc_finalizer *finalizer);

/* Take a fired finalizer off the queue, in no particular order, or return
   NULL.  Any active mutator.  */
GC_API_ struct gc_finalizer *gc_pop_finalizable(struct gc_mutator *mut);

/* Called after finalizers are resolved, on the collecting thread with the
   world stopped, with the number that were fired since the last call.  It must
   only signal.  */
typedef void (*gc_finalizer_callback)(struct gc_heap *heap, size_t count);

/* Set the callback; NULL for none.  Not synchronised.  */
GC_API_ void gc_set_finalizer_callback(struct gc_heap *heap,
                                       gc_finalizer_callback callback);

/* To be called by the embedder's gc_trace_object for a finalizer, with the
   arguments that it was given; VISIT must not be NULL.  */
GC_API_ void gc_trace_finalizer(struct gc_finalizer *finalizer,
                                void (*visit)(struct gc_edge edge,
                                              struct gc_heap *heap,
                                              void *visit_data),
                                struct gc_heap *heap, void *trace_data);

#endif /* GC_FINALIZER_H */
