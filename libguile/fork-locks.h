#ifndef SCM_FORK_LOCKS_H
#define SCM_FORK_LOCKS_H

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





/* Locks and fork.

   The child of a fork has one thread and the locks of all.  A thread that
   it does not have was stopped at a safepoint: that may be an allocation, a
   call of Scheme code or one of another library, with locks held.  */

#include "libguile/scm.h"
#include "libguile/threads.h"

/* Hold MUTEX while the process forks: the child finds it free, and what it
   guards whole.  For short sections in which no Scheme code runs, and none
   of these mutexes is taken.  To be called while Guile starts; MUTEX stays
   for ever.  */
SCM_INTERNAL void scm_i_lock_for_fork (scm_i_pthread_mutex_t *mutex);

/* Called by the collector when it starts, after its own fork handlers are
   registered.  */
SCM_INTERNAL void scm_i_init_fork_locks (void);

/* How many forks lie between the start of Guile and this process.  Does not
   change while the process has other threads in Guile mode.  */
SCM_INTERNAL unsigned long scm_i_fork_count;

/* A mutex of which there may be many, or that is held while Scheme code
   runs.  In a child it is made new when it is first needed; so what it
   guards has to be whole at each safepoint.  A thread that forks while it
   holds one does not exclude other threads of the child.  */
struct scm_fork_mutex
{
  scm_i_pthread_mutex_t mutex;
  unsigned long fork_count;     /* of the process that made it */
};

SCM_INTERNAL void scm_i_fork_mutex_init (struct scm_fork_mutex *m);
SCM_INTERNAL void scm_i_renew_fork_mutex (struct scm_fork_mutex *m);

/* The mutex to lock.  Any thread.  */
static inline scm_i_pthread_mutex_t *
scm_i_fork_mutex (struct scm_fork_mutex *m)
{
  if (SCM_UNLIKELY (__atomic_load_n (&m->fork_count, __ATOMIC_ACQUIRE)
                    != scm_i_fork_count))
    scm_i_renew_fork_mutex (m);
  return &m->mutex;
}

#endif  /* SCM_FORK_LOCKS_H */
