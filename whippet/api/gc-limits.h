/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: limits that change while the program runs.  */
#ifndef GC_LIMITS_H
#define GC_LIMITS_H

#include "gc-visibility.h"

struct gc_heap;

/* Look at the limits of the address space (RLIMIT_AS, RLIMIT_DATA) again.  If less
   than an eighth of what they leave to HEAP and the rest of the program together is
   free for the latter, give back so much of the range reserved for HEAP that a quarter
   is.  HEAP takes back of that what it comes to need, unless something else has been
   mapped there.

   The collector does so by itself when it makes the heap and before it grows it;
   a program that has just lowered a limit calls this function so that its own
   next mapping succeeds.  Any thread; not in an event callback.  */
GC_API_ void gc_heap_respect_limits(struct gc_heap *heap);

#endif /* GC_LIMITS_H */
