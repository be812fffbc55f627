/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: periods without collections.  */
#ifndef GC_INHIBIT_H
#define GC_INHIBIT_H

#include "gc-visibility.h"

struct gc_heap;

/* Forbid collections in HEAP, until gc_heap_allow_collection has been called as
   often.  A collection that another thread has begun is over when this returns.
   Meanwhile gc_collect returns at once, and allocation that finds the heap full
   grows it, whatever the policy, up to the maximum heap size; if that does not
   suffice, the allocation failure handler is called.  Any thread, but not from an
   event listener.  */
GC_API_ void gc_heap_inhibit_collection(struct gc_heap *heap);
GC_API_ void gc_heap_allow_collection(struct gc_heap *heap);

#endif /* GC_INHIBIT_H */
