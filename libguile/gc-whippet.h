#ifndef SCM_GC_WHIPPET_H
#define SCM_GC_WHIPPET_H

/* Copyright 2026 the guile-whippet developers

   This file is part of Guile.

   Guile is free software: you can redistribute it and/or modify it
   under the terms of the GNU Lesser General Public License as published
   by the Free Software Foundation, either version 3 of the License, or
   (at your option) any later version.

   Guile is distributed in the hope that it will be useful, but WITHOUT
   ANY WARRANTY; without even the implied warranty of MERCHANTABILITY or
   FITNESS FOR A PARTICULAR PURPOSE.  See the GNU Lesser General Public
   License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with Guile.  If not, see
   <https://www.gnu.org/licenses/>.  */



/* What the parts of the embedder layer share.  */

#include "gc-internal.h"
#include "whippet-embedder.h"

/* The heap of this process.  */
SCM_INTERNAL struct gc_heap *scm_i_gc_heap;

/* Part of the collector's start, with the handlers and functions of
   gc-whippet-threads.c.  The first is to be called first; the second
   attaches the calling thread and returns false if there is no memory.  */
SCM_INTERNAL void scm_i_gc_prepare_threads (void);
SCM_INTERNAL int scm_i_gc_init_threads (struct scm_gc_stack_base *base,
                                        struct gc_heap **heap,
                                        struct gc_options *options,
                                        struct gc_event_listener listener);

/* A collection may happen here, and nothing else: what follows from it is left
   to the next safepoint of Guile.  Return true if the collector had asked for
   it.  */
SCM_INTERNAL int scm_i_gc_stop_if_asked (scm_thread *thread);

/* Locks that a child process has to find free.  */
SCM_INTERNAL scm_i_pthread_mutex_t scm_i_gc_roots_lock;
SCM_INTERNAL scm_i_pthread_mutex_t scm_i_gc_finalizers_lock;

/* Forget the finalizers that other threads were running.  With the lock
   held, in the child.  */
SCM_INTERNAL void scm_i_gc_finalizers_in_child (void);

/* Event handlers.  */
SCM_INTERNAL void scm_i_gc_on_waiting_for_stop (void *data);
SCM_INTERNAL void *scm_i_gc_on_mutator_added (void *data);
SCM_INTERNAL void scm_i_gc_on_mutator_removed (void *mutator_data);
SCM_INTERNAL void scm_i_gc_on_finalizers (struct gc_heap *heap,
                                          size_t count);

/* Memory is short: wait for finalizers, whose objects can then be collected.
   Return false if none has run.  */
SCM_INTERNAL int scm_i_gc_wait_for_finalizers (scm_thread *thread);

/* Sleep, without keeping collections waiting; in Guile mode.  */
SCM_INTERNAL void scm_i_gc_sleep (scm_thread *thread, unsigned int usec);

/* A collection has happened and what follows from it is not yet done.  */
SCM_INTERNAL int scm_i_gc_after_collection_pending;

SCM_INTERNAL void scm_i_gc_after_collection (scm_thread *thread);

/* Called by a thread in Guile mode that may just have collected or waited
   for a collection.  */
static inline void
scm_i_gc_maybe_after_collection (scm_thread *thread)
{
  if (SCM_UNLIKELY (__atomic_load_n (&scm_i_gc_after_collection_pending,
                                     __ATOMIC_RELAXED)))
    scm_i_gc_after_collection (thread);
}

/* A collection has found too many finalizers that earlier ones had made
   known.  A relaxed atomic: advice, which orders nothing.  */
SCM_INTERNAL int scm_i_gc_finalizers_behind;

/* Let them run, a tenth of a second at most, and not if none ends: else what
   they keep alive makes the heap grow, and the larger it is, the more of them
   fire at a time.  */
SCM_INTERNAL void scm_i_gc_let_finalizers_keep_pace (scm_thread *thread);

/* Called by a thread in Guile mode that is about to fetch more memory, or has
   just added a finalizer.  */
static inline void
scm_i_gc_maybe_keep_pace (scm_thread *thread)
{
  if (SCM_UNLIKELY (__atomic_load_n (&scm_i_gc_finalizers_behind,
                                     __ATOMIC_RELAXED)))
    scm_i_gc_let_finalizers_keep_pace (thread);
}

#endif  /* SCM_GC_WHIPPET_H */
