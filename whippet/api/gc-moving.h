/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: when objects move.  */
#ifndef GC_MOVING_H
#define GC_MOVING_H

#include "gc-visibility.h"

struct gc_heap;

/* From now on no object of HEAP moves: where a collection would compact, it only
   marks.  This cannot be undone.  For programs with code that keeps addresses where
   the collector does not look; the heap then stays as fragmented as it is.  A collection that another thread has begun is over when this returns.  Any
   thread, but not from an event listener.  No effect on collectors that never move
   objects.  */
GC_API_ void gc_heap_forbid_moving(struct gc_heap *heap);

/* From now on each compaction of HEAP is preceded by a cycle that only marks, so that
   gc_fix_referents (gc-embedder-api.h) is called for live objects only; without, it is
   also for such as have died since the last collection.  This cannot be undone, and
   makes compactions take about half as long again.  A running mutator of HEAP may call
   it at any time, and at once has what it wants.  */
GC_API_ void gc_heap_mark_before_moving(struct gc_heap *heap);

#endif /* GC_MOVING_H */
