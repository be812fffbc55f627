/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: limits that change while the program runs.  */
#ifndef GC_LIMITS_H
#define GC_LIMITS_H

#include "gc-visibility.h"

struct gc_heap;

/* Look at the limits of the address space (RLIMIT_AS, RLIMIT_DATA) again, and if
   there are any, give back so much of the range reserved for HEAP that at least
   half of what the limit leaves is free for the rest of the program.  What was
   given back is lost for the heap, also if the limit is raised later.

   The collector does so by itself when it makes the heap and before it grows it;
   a program that has just lowered a limit calls this function so that its own
   next mapping succeeds.  Any thread; not in an event callback.  */
GC_API_ void gc_heap_respect_limits(struct gc_heap *heap);

#endif /* GC_LIMITS_H */
