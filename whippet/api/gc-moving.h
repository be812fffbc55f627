/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: heaps whose objects stay where they are.  */
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

#endif /* GC_MOVING_H */
