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





#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include <pthread.h>
#include <stdlib.h>

#include "finalizers.h"
#include "gc-internal.h"
#include "gc-whippet.h"

#include "fork-locks.h"



unsigned long scm_i_fork_count;

static scm_i_pthread_mutex_t renewal_lock = SCM_I_PTHREAD_MUTEX_INITIALIZER;

/* In the order in which they are taken.

   scm_i_finalization_thread_lock may be held by a thread that waits for
   the finalization thread, which takes any other; and nobody waits for it
   who holds one of these.  Nobody who holds one of the last waits for a
   registered one.  scm_i_misc_mutex is held during allocation.  */
static scm_i_pthread_mutex_t *const first_lock
  = &scm_i_finalization_thread_lock;
static scm_i_pthread_mutex_t *registered_locks[24];
static int n_registered_locks;
static scm_i_pthread_mutex_t *const last_locks[] =
  {
    &scm_i_misc_mutex, &scm_i_gc_roots_lock, &scm_i_gc_finalizers_lock,
    &renewal_lock
  };

#define N_ELEMENTS(array) ((int) (sizeof (array) / sizeof ((array)[0])))

void
scm_i_lock_for_fork (scm_i_pthread_mutex_t *mutex)
{
  if (n_registered_locks == N_ELEMENTS (registered_locks))
    abort ();
  registered_locks[n_registered_locks++] = mutex;
}

/* Runs before the collector's handler stops the world: a stopped thread
   could not release a lock.  */
static void
lock_before_fork (void)
{
  pthread_mutex_lock (first_lock);
  for (int i = 0; i < n_registered_locks; i++)
    pthread_mutex_lock (registered_locks[i]);
  for (int i = 0; i < N_ELEMENTS (last_locks); i++)
    pthread_mutex_lock (last_locks[i]);
}

static void
unlock_after_fork (void)
{
  for (int i = N_ELEMENTS (last_locks); i-- > 0; )
    pthread_mutex_unlock (last_locks[i]);
  for (int i = n_registered_locks; i-- > 0; )
    pthread_mutex_unlock (registered_locks[i]);
  pthread_mutex_unlock (first_lock);
}

static void
unlock_in_child (void)
{
  scm_i_fork_count++;
  scm_i_gc_finalizers_in_child ();
  scm_i_finalizer_in_child ();
  unlock_after_fork ();
}

void
scm_i_init_fork_locks (void)
{
  pthread_atfork (lock_before_fork, unlock_after_fork, unlock_in_child);
}



void
scm_i_fork_mutex_init (struct scm_fork_mutex *m)
{
  scm_i_pthread_mutex_init (&m->mutex, NULL);
  m->fork_count = scm_i_fork_count;
}

/* The child may have started threads that need it too.  */
void
scm_i_renew_fork_mutex (struct scm_fork_mutex *m)
{
  scm_i_pthread_mutex_lock (&renewal_lock);
  if (m->fork_count != scm_i_fork_count)
    {
      scm_i_pthread_mutex_init (&m->mutex, NULL);
      __atomic_store_n (&m->fork_count, scm_i_fork_count, __ATOMIC_RELEASE);
    }
  scm_i_pthread_mutex_unlock (&renewal_lock);
}
