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



/* What follows from a collection, and finalizers.  */

#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include "boolean.h"
#include "dynwind.h"
#include "finalizers.h"
#include "threads.h"

#include "gc-whippet.h"



/* The collector has finalizers for us.  */
static int finalizers_fired;

/* How many have fired so far, and how many of them have been taken to be
   run.  Relaxed atomics, as all in this section: counts, which order nothing.
   But what has fired is only looked at while the world is stopped.  */
static unsigned long n_fired, n_taken;

/* Finalizers are behind if, at a collection in which some fire, many wait
   that fired in the last such one: the heap has been filled since.  Or any
   that fired before that: with one collection soon after the other, the
   thread that runs them may have been slow to wake up.  */
#define MANY_FINALIZERS 1000
static unsigned long n_fired_before;

/* What N_TAKEN is to reach, if they are.  */
static unsigned long pace;

int scm_i_gc_finalizers_behind;

void
scm_i_gc_on_finalizers (struct gc_heap *heap, size_t count)
{
  unsigned long taken = __atomic_load_n (&n_taken, __ATOMIC_RELAXED);
  int behind = n_fired - taken >= MANY_FINALIZERS
    || (long) (n_fired_before - taken) > 0;

  __atomic_store_n (&finalizers_fired, 1, __ATOMIC_RELAXED);
  n_fired_before = n_fired;
  n_fired += count;
  if (behind)
    {
      __atomic_store_n (&pace, n_fired, __ATOMIC_RELAXED);
      __atomic_store_n (&scm_i_gc_finalizers_behind, 1, __ATOMIC_RELAXED);
    }
}



/* What follows from a collection, done by whichever thread comes first.  */

int scm_i_gc_after_collection_pending;

static int (*finalizer_notifier) (void);

#define MAX_CALLBACKS 16
static void (*callbacks[MAX_CALLBACKS]) (void);
static int n_callbacks;
static int callbacks_pending;

void
scm_i_gc_set_finalizer_notifier (int (*notifier) (void))
{
  __atomic_store_n (&finalizer_notifier, notifier, __ATOMIC_RELEASE);
}

void
scm_i_gc_add_callback (void (*callback) (void))
{
  if (n_callbacks == MAX_CALLBACKS)
    abort ();
  callbacks[n_callbacks++] = callback;
}

void
scm_i_gc_after_collection (scm_thread *thread)
{
  int (*notifier) (void);

  if (!thread || !thread->guile_mode
      || !__atomic_exchange_n (&scm_i_gc_after_collection_pending, 0,
                               __ATOMIC_ACQUIRE))
    return;

  if (n_callbacks)
    __atomic_store_n (&callbacks_pending, 1, __ATOMIC_RELAXED);
  notifier = __atomic_load_n (&finalizer_notifier, __ATOMIC_ACQUIRE);
  if (notifier
      && (__atomic_load_n (&callbacks_pending, __ATOMIC_RELAXED)
          || __atomic_load_n (&finalizers_fired, __ATOMIC_RELAXED))
      && !notifier ())
    /* Release, as when a collection ends: pairs with the exchange above.  */
    __atomic_store_n (&scm_i_gc_after_collection_pending, 1, __ATOMIC_RELEASE);
}



/* Finalizers.  */

/* The part of struct gc_finalizer that is ours.  */
struct finalizer
{
  GC_EMBEDDER_FINALIZER_HEADER
};

static scm_t_bits finalizer_serial;

void
scm_i_gc_add_finalizer (void *obj, scm_t_gc_finalizer_proc proc, void *data,
                        enum scm_gc_finalizer_priority priority)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;
  struct gc_finalizer *ret;
  struct finalizer *header;

  if (!scm_i_gc_is_heap_pointer (obj))
    return;

  do
    ret = gc_allocate_finalizer (thread->mutator);
  while (SCM_UNLIKELY (!ret));
  header = (struct finalizer *) ret;
  header->tag = scm_tc7_gc_finalizer;
  header->proc = proc;
  header->serial = __atomic_fetch_add (&finalizer_serial, 1,
                                       __ATOMIC_RELAXED);
  gc_finalizer_attach (thread->mutator, ret, priority,
                       gc_ref_from_heap_object (obj),
                       gc_ref (data ? (uintptr_t) data
                               : SCM_UNPACK (SCM_BOOL_F)));
  scm_i_gc_maybe_after_collection (thread);
  scm_i_gc_maybe_keep_pace (thread);
}

void
scm_i_gc_trace_finalizer (struct gc_finalizer *finalizer,
                          scm_t_gc_visitor visit, struct gc_heap *heap,
                          void *visit_data)
{
  struct finalizer *header = (struct finalizer *) finalizer;

  visit (gc_edge (&header->next_to_run), heap, visit_data);
  gc_trace_finalizer (finalizer, visit, heap, visit_data);
}

/* How many have run.  Relaxed atomic: a sign of progress, which orders
   nothing.  */
static unsigned long finalizers_run;

/* Fired finalizers, newest first.  A finalizer may leave by a non-local
   exit; the others stay here for the next time.  */
static struct gc_finalizer *finalizers_to_run;
scm_i_pthread_mutex_t scm_i_gc_finalizers_lock
  = SCM_I_PTHREAD_MUTEX_INITIALIZER;

static struct gc_finalizer **
next_to_run (struct gc_finalizer *finalizer)
{
  return &((struct finalizer *) finalizer)->next_to_run;
}

/* Sorting many finalizers takes long: in each round the world may stop.  What
   follows from a collection is left to the next safepoint, since the lock is
   held.  */
static void
stop_in_loop (scm_thread *thread, unsigned int *n)
{
  if (SCM_UNLIKELY ((++*n & 1023) == 0))
    scm_i_gc_stop_if_asked (thread);
}

static struct gc_finalizer *
merge_finalizers (scm_thread *thread, struct gc_finalizer *a,
                  struct gc_finalizer *b)
{
  struct gc_finalizer *ret = NULL, **tail = &ret;
  unsigned int rounds = 0;

  while (a && b)
    {
      struct gc_finalizer **from
        = ((struct finalizer *) a)->serial > ((struct finalizer *) b)->serial
        ? &a : &b;

      stop_in_loop (thread, &rounds);
      *tail = *from;
      *from = *next_to_run (*from);
      tail = next_to_run (*tail);
    }
  *tail = a ? a : b;
  return ret;
}

static struct gc_finalizer *
sort_finalizers (scm_thread *thread, struct gc_finalizer *list, size_t n)
{
  struct gc_finalizer *mid = list;
  unsigned int rounds = 0;

  if (n < 2)
    return list;
  for (size_t i = 1; i < n / 2; i++)
    {
      stop_in_loop (thread, &rounds);
      mid = *next_to_run (mid);
    }
  struct gc_finalizer *rest = *next_to_run (mid);
  *next_to_run (mid) = NULL;
  return merge_finalizers (thread,
                           sort_finalizers (thread, list, n / 2),
                           sort_finalizers (thread, rest, n - n / 2));
}

/* Finalizers that are running, on the stacks of their threads; OBJ is null
   if none is, and then this is not in the list.  An object's
   finalizers run one after the other, although several threads may run
   finalizers: else an older one could overtake a newer one.  Protected by
   the lock.  */
struct running_finalizer
{
  scm_thread *thread;
  void *obj;
  struct running_finalizer *next;
};

static struct running_finalizer *running_finalizers;

static int
runs_elsewhere (void *obj, scm_thread *thread)
{
  for (struct running_finalizer *r = running_finalizers; r; r = r->next)
    if (r->obj == obj && r->thread != thread)
      return 1;
  return 0;
}

static void
finalizer_done (void *data)
{
  struct running_finalizer *running = data;
  struct running_finalizer **loc = &running_finalizers;

  if (!running->obj)
    return;
  scm_i_pthread_mutex_lock (&scm_i_gc_finalizers_lock);
  while (*loc != running)
    loc = &(*loc)->next;
  *loc = running->next;
  running->obj = NULL;
  scm_i_pthread_mutex_unlock (&scm_i_gc_finalizers_lock);
}

void
scm_i_gc_finalizers_in_child (void)
{
  struct running_finalizer **loc = &running_finalizers;

  while (*loc)
    if ((*loc)->thread == SCM_I_CURRENT_THREAD)
      loc = &(*loc)->next;
    else
      *loc = (*loc)->next;
}

/* Take the newest finalizer that may run on THREAD off the list, and fill in
   RUNNING.  What is passed over is for the thread that runs another
   finalizer of the same object: it asks again when that is done.  */
static struct gc_finalizer *
next_finalizer (scm_thread *thread, struct running_finalizer *running)
{
  struct gc_finalizer *ret, **loc, *fired = NULL, *f;
  size_t n = 0;
  unsigned int rounds = 0;

  scm_i_pthread_mutex_lock (&scm_i_gc_finalizers_lock);
  if (__atomic_exchange_n (&finalizers_fired, 0, __ATOMIC_ACQ_REL)
      || !finalizers_to_run)
    {
      while ((f = gc_pop_finalizable (thread->mutator)))
        {
          *next_to_run (f) = fired;
          fired = f;
          n++;
          stop_in_loop (thread, &rounds);
        }
      fired = sort_finalizers (thread, fired, n);
      finalizers_to_run = merge_finalizers (thread, fired, finalizers_to_run);
    }
  loc = &finalizers_to_run;
  while (*loc
         && runs_elsewhere (gc_ref_heap_object (gc_finalizer_object (*loc)),
                            thread))
    loc = next_to_run (*loc);
  ret = *loc;
  if (ret)
    {
      *loc = *next_to_run (ret);
      *next_to_run (ret) = NULL;
      __atomic_fetch_add (&n_taken, 1, __ATOMIC_RELAXED);
      running->thread = thread;
      running->obj = gc_ref_heap_object (gc_finalizer_object (ret));
      running->next = running_finalizers;
      running_finalizers = running;
    }
  scm_i_pthread_mutex_unlock (&scm_i_gc_finalizers_lock);
  return ret;
}

int
scm_i_gc_run_finalizers (void)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;
  struct running_finalizer running = { NULL, NULL, NULL };
  struct gc_finalizer *f;
  int count = 0;

  if (__atomic_exchange_n (&callbacks_pending, 0, __ATOMIC_ACQ_REL))
    for (int i = 0; i < n_callbacks; i++)
      callbacks[i] ();

  /* Before the first finalizer, as this may find no memory.  */
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (finalizer_done, &running,
                              SCM_F_WIND_EXPLICITLY);
  while ((f = next_finalizer (thread, &running)))
    {
      void *data = (void *) gc_ref_value (gc_finalizer_closure (f));

      if (data == (void *) SCM_UNPACK (SCM_BOOL_F))
        data = NULL;
      ((struct finalizer *) f)->proc (running.obj, data);
      finalizer_done (&running);
      __atomic_fetch_add (&finalizers_run, 1, __ATOMIC_RELAXED);
      count++;
    }
  scm_dynwind_end ();
  return count;
}

/* How long to wait for finalizers at most, in milliseconds: if memory is
   needed; or so that they keep pace.  */
#define MAX_WAIT 500
#define MAX_WAIT_FOR_PACE 100

/* How long to wait for one of them to end, if the memory that they release
   is not needed at once.  */
#define PATIENCE 10

/* Does a finalizer wait for another thread than THREAD, or run there?  The
   lock is a leaf, and nothing is allocated with it held, so that a failed
   allocation may take it.  */
static int
finalizers_wait (scm_thread *thread)
{
  int ret;

  scm_i_pthread_mutex_lock (&scm_i_gc_finalizers_lock);
  ret = __atomic_load_n (&finalizers_fired, __ATOMIC_RELAXED)
    || finalizers_to_run || running_finalizers;
  for (struct running_finalizer *r = running_finalizers; r; r = r->next)
    if (r->thread == thread)
      ret = 0;
  scm_i_pthread_mutex_unlock (&scm_i_gc_finalizers_lock);
  return ret;
}

/* Have so many been taken as should?  */
static int
pace_is_kept (void)
{
  return (long) (__atomic_load_n (&pace, __ATOMIC_RELAXED)
                 - __atomic_load_n (&n_taken, __ATOMIC_RELAXED)) <= 0;
}

static int
finalizers_are_behind (scm_thread *thread)
{
  return !pace_is_kept () && finalizers_wait (thread);
}

/* Can THREAD wait for finalizers of another thread?  */
static int
may_wait (scm_thread *thread)
{
  return __atomic_load_n (&finalizer_notifier, __ATOMIC_RELAXED)
    && !scm_i_is_finalizer_thread (thread);
}

/* Wait until WAITING is false of THREAD, for MOST milliseconds, or until no
   finalizer has ended for PATIENCE of them.  Return false if none has ended
   at all.  */
static int
wait_for_finalizers (scm_thread *thread, int (*waiting) (scm_thread *),
                     int most, int patience)
{
  unsigned long before = __atomic_load_n (&finalizers_run, __ATOMIC_RELAXED);
  unsigned long last = before;

  for (int i = 0, since = 0;
       i < most && since < patience && waiting (thread);
       i++)
    {
      unsigned long now;

      scm_i_gc_sleep (thread, 1000);
      now = __atomic_load_n (&finalizers_run, __ATOMIC_RELAXED);
      since = now == last ? since + 1 : 0;
      last = now;
    }
  return __atomic_load_n (&finalizers_run, __ATOMIC_RELAXED) != before;
}

int
scm_i_gc_wait_for_finalizers (scm_thread *thread)
{
  if (!may_wait (thread))
    return 0;
  /* The finalizers may have fired in the collection just now.  */
  scm_i_gc_maybe_after_collection (thread);
  return wait_for_finalizers (thread, finalizers_wait, MAX_WAIT, MAX_WAIT);
}

/* Wait as long as WAITING is true of THREAD and finalizers end, for MOST
   milliseconds.  THREAD may hold what a finalizer needs: then none ends, and
   waiting is not tried again before one has.  Relaxed atomics: advice, which
   orders nothing.  */
static void
be_patient (scm_thread *thread, int (*waiting) (scm_thread *), int most)
{
  static unsigned long in_vain_at = -1UL;

  if (!may_wait (thread)
      || __atomic_load_n (&in_vain_at, __ATOMIC_RELAXED)
      == __atomic_load_n (&finalizers_run, __ATOMIC_RELAXED))
    return;
  if (waiting (thread)
      && !wait_for_finalizers (thread, waiting, most, PATIENCE))
    __atomic_store_n (&in_vain_at,
                      __atomic_load_n (&finalizers_run, __ATOMIC_RELAXED),
                      __ATOMIC_RELAXED);
}

void
scm_i_gc_let_finalizers_catch_up (void)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;

  if (thread && thread->guile_mode)
    be_patient (thread, finalizers_wait, MAX_WAIT);
}

void
scm_i_gc_let_finalizers_keep_pace (scm_thread *thread)
{
  /* One thread waits, one that can.  */
  if (thread->guile_mode && may_wait (thread)
      && (pace_is_kept () || finalizers_wait (thread))
      && __atomic_exchange_n (&scm_i_gc_finalizers_behind, 0,
                              __ATOMIC_RELAXED))
    be_patient (thread, finalizers_are_behind, MAX_WAIT_FOR_PACE);
}
