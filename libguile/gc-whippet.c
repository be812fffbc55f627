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



/* The embedder layer: libguile's side of the collector library.  What
   the library asks of Guile while it traces is in whippet-embedder.h.  */

#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "async.h"
#include "boolean.h"
#include "gc.h"
#include "pairs.h"
#include "threads.h"

#include "gc-internal.h"
#include "whippet-embedder.h"

#include "whippet/api/gc-heap-stats.h"
#include "whippet/api/gc-inhibit.h"
#include "whippet/api/gc-limits.h"
#include "whippet/api/gc-preempt.h"



static struct gc_heap *the_heap;

/* The mutator of this thread, if it is attached.  */
static __thread struct gc_mutator *current_mutator;

/* Initial size of the heap, in bytes.  */
#define DEFAULT_HEAP_SIZE ((size_t) 16 * 1024 * 1024)



/* A lock for short sections, all of whose code is in libguile: a thread
   that holds it is never parked by the collector's signal, so that the
   collecting thread may take it too.  */

struct spin_lock
{
  int held;
};

static void
spin_lock (struct spin_lock *lock)
{
  while (__atomic_exchange_n (&lock->held, 1, __ATOMIC_ACQUIRE))
    sched_yield ();
}

static void
spin_unlock (struct spin_lock *lock)
{
  __atomic_store_n (&lock->held, 0, __ATOMIC_RELEASE);
}



/* Attached threads, so that the collector can tell them to stop.  */

struct mutator_record
{
  struct mutator_record *prev, *next;
  pthread_t pthread;
  scm_thread *thread;           /* NULL before it is set up */
};

static struct mutator_record mutator_records =
  { &mutator_records, &mutator_records };
static struct spin_lock mutator_records_lock;
static __thread struct mutator_record *current_record;



/* Events.  */

static unsigned long gc_count;
static size_t heap_size;
static uint64_t allocated_at_gc;

/* A collection has happened and what follows from it is not yet done.  */
static int after_collection_pending;

/* The collector has finalizers for us.  */
static int finalizers_fired;

static void
on_init (void *data, size_t size)
{
  heap_size = size;
}

static void
on_requesting_stop (void *data)
{
  scm_i_gc_before_collection ();
}

static void
on_waiting_for_stop (void *data)
{
  /* The stop flag is up.  A thread that clears its bit looks at the flag
     afterwards, so that none is lost.  */
  spin_lock (&mutator_records_lock);
  for (struct mutator_record *rec = mutator_records.next;
       rec != &mutator_records;
       rec = rec->next)
    if (rec->thread)
      __atomic_fetch_or (&rec->thread->poll, SCM_I_POLL_STOP,
                         __ATOMIC_RELAXED);
  spin_unlock (&mutator_records_lock);
}

static void
on_restarting_mutators (void *data)
{
  __atomic_fetch_add (&gc_count, 1, __ATOMIC_RELAXED);
  __atomic_store_n (&after_collection_pending, 1, __ATOMIC_RELEASE);
}

static void *
on_mutator_added (void *data)
{
  struct mutator_record *rec = malloc (sizeof *rec);

  if (!rec)
    abort ();
  rec->pthread = pthread_self ();
  rec->thread = NULL;

  spin_lock (&mutator_records_lock);
  rec->next = &mutator_records;
  rec->prev = mutator_records.prev;
  rec->prev->next = rec;
  rec->next->prev = rec;
  spin_unlock (&mutator_records_lock);

  current_record = rec;
  return rec;
}

static void
on_mutator_removed (void *mutator_data)
{
  struct mutator_record *rec = mutator_data;

  spin_lock (&mutator_records_lock);
  rec->prev->next = rec->next;
  rec->next->prev = rec->prev;
  spin_unlock (&mutator_records_lock);

  if (current_record == rec)
    current_record = NULL;
  free (rec);
}

static void
on_heap_resized (void *data, size_t size)
{
  __atomic_store_n (&heap_size, size, __ATOMIC_RELAXED);
}

static void
on_prepare_gc (void *data, enum gc_collection_kind kind, uint64_t allocated)
{
  __atomic_store_n (&allocated_at_gc, allocated, __ATOMIC_RELAXED);
}

static void ignore_event (void *data) { }
static void ignore_size (void *data, size_t size) { }

static void
on_finalizers (struct gc_heap *heap, size_t count)
{
  __atomic_store_n (&finalizers_fired, 1, __ATOMIC_RELAXED);
}

static const struct gc_event_listener event_listener =
  {
    .init = on_init,
    .requesting_stop = on_requesting_stop,
    .waiting_for_stop = on_waiting_for_stop,
    .mutators_stopped = ignore_event,
    .prepare_gc = on_prepare_gc,
    .roots_traced = ignore_event,
    .heap_traced = ignore_event,
    .ephemerons_traced = ignore_event,
    .finalizers_traced = ignore_event,
    .restarting_mutators = on_restarting_mutators,
    .mutator_added = on_mutator_added,
    .mutator_cause_gc = ignore_event,
    .mutator_stopping = ignore_event,
    .mutator_stopped = ignore_event,
    .mutator_restarted = ignore_event,
    .mutator_removed = on_mutator_removed,
    .heap_resized = on_heap_resized,
    .live_data_size = ignore_size,
  };



/* Options.  */

static void
set_size_option (struct gc_options *options, int option, const char *name)
{
  const char *value = getenv (name);

  if (value && *value && !gc_options_parse_and_set (options, option, value))
    fprintf (stderr, "guile: warning: %s: invalid value '%s' ignored\n",
             name, value);
}

static struct gc_options *
make_options (void)
{
  struct gc_options *options = gc_allocate_options ();
  const char *str;

  if (!options)
    return NULL;

  gc_options_set_int (options, GC_OPTION_HEAP_SIZE_POLICY,
                      GC_HEAP_SIZE_GROWABLE);
  gc_options_set_size (options, GC_OPTION_HEAP_SIZE, DEFAULT_HEAP_SIZE);

  set_size_option (options, GC_OPTION_HEAP_SIZE, "GC_INITIAL_HEAP_SIZE");
  set_size_option (options, GC_OPTION_MAXIMUM_HEAP_SIZE,
                   "GC_MAXIMUM_HEAP_SIZE");
  str = getenv ("GC_MARKERS");
  if (str && *str
      && !gc_options_parse_and_set (options, GC_OPTION_PARALLELISM, str))
    fprintf (stderr, "guile: warning: GC_MARKERS: invalid value '%s' ignored\n",
             str);

  /* One option at a time, so that a warning can name it.  */
  str = getenv ("GUILE_GC_OPTIONS");
  if (str && *str)
    {
      char *copy = strdup (str), *state = NULL;

      for (char *item = copy ? strtok_r (copy, ",", &state) : NULL;
           item;
           item = strtok_r (NULL, ",", &state))
        if (!gc_options_parse_and_set_many (options, item))
          fprintf (stderr,
                   "guile: warning: GUILE_GC_OPTIONS: invalid option '%s' "
                   "ignored\n", item);
      free (copy);
    }

  return options;
}



/* Machine code in which a thread may be in the middle of an inline
   allocation, or of something else that the collector must not see half
   done: the text of libguile, where the library is compiled in, and the
   output of the just-in-time compiler.  Read by a signal handler.  */

struct code_range
{
  struct code_range *next;
  uintptr_t start;
  uintptr_t end;                /* 0 if not in use */
};

static struct code_range *code_ranges;

void
scm_i_gc_register_code (void *start, void *end)
{
  struct code_range *range = malloc (sizeof *range);

  if (!range)
    abort ();
  range->start = (uintptr_t) start;
  range->end = (uintptr_t) end;
  range->next = __atomic_load_n (&code_ranges, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n (&code_ranges, &range->next, range, 0,
                                       __ATOMIC_RELEASE, __ATOMIC_RELAXED))
    ;
}

void
scm_i_gc_unregister_code (void *start)
{
  struct code_range *range = __atomic_load_n (&code_ranges, __ATOMIC_ACQUIRE);

  for (; range; range = range->next)
    if (range->start == (uintptr_t) start)
      __atomic_store_n (&range->end, 0, __ATOMIC_RELAXED);
}

static int
register_text (struct dl_phdr_info *info, size_t size, void *data)
{
  uintptr_t self = (uintptr_t) data;
  int found = 0;

  for (int i = 0; i < info->dlpi_phnum; i++)
    {
      uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
      if (info->dlpi_phdr[i].p_type == PT_LOAD
          && self - start < info->dlpi_phdr[i].p_memsz)
        found = 1;
    }
  if (!found)
    return 0;

  for (int i = 0; i < info->dlpi_phnum; i++)
    if (info->dlpi_phdr[i].p_type == PT_LOAD
        && (info->dlpi_phdr[i].p_flags & PF_X))
      {
        char *start = (char *) (info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        scm_i_gc_register_code (start, start + info->dlpi_phdr[i].p_memsz);
      }
  return 1;
}

/* Runs in a signal handler.  */
static int
may_park (uintptr_t pc, void *ucontext, void *data)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;
  int ret = !(thread && thread->gc_critical);

  for (struct code_range *range
         = __atomic_load_n (&code_ranges, __ATOMIC_ACQUIRE);
       ret && range;
       range = range->next)
    if (range->start <= pc
        && pc < __atomic_load_n (&range->end, __ATOMIC_RELAXED))
      ret = 0;

  if (!ret && thread)
    __atomic_fetch_or (&thread->poll, SCM_I_POLL_STOP, __ATOMIC_RELAXED);
  return ret;
}



/* Stack bases.  */

int
scm_i_gc_get_stack_base (struct scm_gc_stack_base *base)
{
  pthread_attr_t attr;
  void *addr;
  size_t size;
  int ret;

  if (pthread_getattr_np (pthread_self (), &attr))
    return 0;
  ret = !pthread_attr_getstack (&attr, &addr, &size);
  pthread_attr_destroy (&attr);
  if (ret)
    base->mem_base = (char *) addr + size;
  return ret;
}

static int
is_on_thread_stack (void *ptr)
{
  pthread_attr_t attr;
  void *addr;
  size_t size;
  int ret;

  if (pthread_getattr_np (pthread_self (), &attr))
    return 0;
  ret = (!pthread_attr_getstack (&attr, &addr, &size)
         && (uintptr_t) ptr - (uintptr_t) addr <= size);
  pthread_attr_destroy (&attr);
  return ret;
}

/* What to tell the collector about the stack of the calling thread, when
   it enters Guile at BASE.  It may leave and enter again nearer to the
   base of its stack, hence the whole stack, unless the thread has
   switched to some other stack.  */
static struct gc_stack_addr
stack_addr_for_base (struct scm_gc_stack_base *base)
{
  if (!base->mem_base || is_on_thread_stack (base->mem_base))
    return gc_empty_stack_addr ();
  return gc_stack_addr ((uintptr_t) base->mem_base);
}

struct call_with_base
{
  void *(*func) (struct scm_gc_stack_base *, void *);
  void *data;
};

static void *
call_with_base (struct gc_stack_addr addr, void *data)
{
  struct call_with_base *call = data;
  struct scm_gc_stack_base base;

  base.mem_base = gc_stack_addr_as_pointer (addr);
  return call->func (&base, call->data);
}

void *
scm_i_gc_call_with_stack_base (void *(*func) (struct scm_gc_stack_base *,
                                              void *),
                               void *data)
{
  struct call_with_base call = { func, data };

  return gc_call_with_stack_addr (call_with_base, &call);
}



/* Threads.  */

static void *
allocation_failed (struct gc_heap *heap, size_t size)
{
  scm_i_gc_out_of_memory (size);
  return NULL;
}

static void
before_fork (void)
{
  spin_lock (&mutator_records_lock);
}

static void
after_fork_in_parent (void)
{
  spin_unlock (&mutator_records_lock);
}

/* The other threads are gone.  */
static void
after_fork_in_child (void)
{
  for (struct mutator_record *rec = mutator_records.next;
       rec != &mutator_records;
       rec = rec->next)
    if (rec != current_record)
      rec->thread = NULL;
  spin_unlock (&mutator_records_lock);
}

void
scm_i_gc_init (struct scm_gc_stack_base *base)
{
  struct gc_options *options = make_options ();

  /* Before the collector registers its own handlers, so that ours take
     the lock when the world is stopped: stopping it takes the lock too.  */
  pthread_atfork (before_fork, after_fork_in_parent, after_fork_in_child);

  if (!gc_init (options, stack_addr_for_base (base), &the_heap,
                &current_mutator, event_listener, NULL))
    {
      fprintf (stderr, "guile: cannot allocate the heap\n");
      exit (EXIT_FAILURE);
    }

  gc_heap_set_roots (the_heap, (struct gc_heap_roots *) &the_heap);
  gc_heap_set_allocation_failure_handler (the_heap, allocation_failed);
  gc_set_finalizer_callback (the_heap, on_finalizers);

  dl_iterate_phdr (register_text, (void *) &scm_i_gc_init);
  gc_heap_enable_preemption (the_heap, 0, 0, may_park, NULL);

}

struct gc_mutator *
scm_i_gc_attach_thread (struct scm_gc_stack_base *base)
{
  if (!current_mutator)
    current_mutator = gc_init_for_thread (stack_addr_for_base (base),
                                          the_heap);
  return current_mutator;
}

void
scm_i_gc_set_thread_roots (struct gc_mutator *mutator, scm_thread *thread)
{
  gc_mutator_set_roots (mutator, (struct gc_mutator_roots *) thread);
  if (current_record)
    {
      spin_lock (&mutator_records_lock);
      current_record->thread = thread;
      spin_unlock (&mutator_records_lock);
    }
}

void
scm_i_gc_detach_thread (struct gc_mutator *mutator)
{
  current_mutator = NULL;
  gc_finish_for_thread (mutator);
}

void
scm_i_gc_deactivate (scm_thread *thread)
{
  gc_deactivate (thread->mutator);
}

void
scm_i_gc_reactivate (scm_thread *thread)
{
  gc_reactivate (thread->mutator);
}

struct call_inactive
{
  void *(*func) (void *);
  void *data;
};

static void *
call_inactive (struct gc_mutator *mutator, void *data)
{
  struct call_inactive *call = data;

  return call->func (call->data);
}

void *
scm_i_gc_call_inactive (scm_thread *thread, void *(*func) (void *),
                        void *data)
{
  struct call_inactive call = { func, data };

  return gc_deactivate_for_call (thread->mutator, call_inactive, &call);
}

int
scm_i_gc_signal_number (void)
{
  return gc_preemption_signal (the_heap);
}



/* What follows from a collection, done by whichever thread comes first.  */

static void (*finalizer_notifier) (void);

#define MAX_CALLBACKS 16
static void (*callbacks[MAX_CALLBACKS]) (void);
static int n_callbacks;
static int callbacks_pending;

void
scm_i_gc_set_finalizer_notifier (void (*notifier) (void))
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

static void
after_collection (scm_thread *thread)
{
  void (*notifier) (void);

  if (!thread || !thread->guile_mode
      || !__atomic_exchange_n (&after_collection_pending, 0,
                               __ATOMIC_ACQUIRE))
    return;

  if (n_callbacks)
    __atomic_store_n (&callbacks_pending, 1, __ATOMIC_RELAXED);
  notifier = __atomic_load_n (&finalizer_notifier, __ATOMIC_ACQUIRE);
  if (notifier
      && (__atomic_load_n (&callbacks_pending, __ATOMIC_RELAXED)
          || __atomic_load_n (&finalizers_fired, __ATOMIC_RELAXED)))
    notifier ();
}

static inline void
maybe_after_collection (scm_thread *thread)
{
  if (SCM_UNLIKELY (__atomic_load_n (&after_collection_pending,
                                     __ATOMIC_RELAXED)))
    after_collection (thread);
}



/* Allocation.  */

void *
scm_i_gc_alloc_slow (scm_thread *thread, size_t bytes,
                     enum gc_allocation_kind kind)
{
  void *ret = gc_allocate_slow (thread->mutator, bytes, kind);

  maybe_after_collection (thread);
  return ret;
}

void *
scm_i_gc_malloc_tagged (size_t size)
{
  return scm_i_gc_alloc_tagged (SCM_I_CURRENT_THREAD, size);
}

void *
scm_i_gc_malloc_tagged_pointerless (size_t size)
{
  return scm_i_gc_alloc_tagged_pointerless (SCM_I_CURRENT_THREAD, size);
}

void *
scm_i_gc_malloc_pointerless (size_t size)
{
  return scm_i_gc_alloc_pointerless (SCM_I_CURRENT_THREAD, size);
}

void *
scm_i_gc_malloc_conservative (size_t size)
{
  return scm_i_gc_alloc_conservative (SCM_I_CURRENT_THREAD, size);
}

void *
scm_i_gc_realloc_pointerless (void *mem, size_t old_size, size_t new_size)
{
  void *ret;

  if (mem && new_size <= old_size && new_size >= old_size / 2)
    return mem;

  ret = scm_i_gc_malloc_pointerless (new_size ? new_size : 1);
  if (mem)
    memcpy (ret, mem, old_size < new_size ? old_size : new_size);
  return ret;
}

int
scm_i_gc_is_heap_pointer (void *obj)
{
  return gc_heap_contains (the_heap, gc_ref_from_heap_object (obj));
}

void
scm_i_gc_pin (SCM obj)
{
  if (gc_can_move_objects () && SCM_HEAP_OBJECT_P (obj)
      && scm_i_gc_is_heap_pointer (SCM_UNPACK_POINTER (obj)))
    gc_pin_object (SCM_I_CURRENT_THREAD->mutator, gc_ref (SCM_UNPACK (obj)));
}



/* Ephemerons.  */

scm_t_ephemeron *
scm_i_make_ephemeron (scm_thread *thread, SCM key, SCM value,
                      unsigned long hash)
{
  struct gc_ephemeron *ret = gc_allocate_ephemeron (thread->mutator);

  *(scm_t_bits *) ret = scm_tc7_gc_ephemeron | ((scm_t_bits) hash << 8);
  gc_ephemeron_init (thread->mutator, ret, gc_ref (SCM_UNPACK (key)),
                     gc_ref (SCM_UNPACK (value)));
  maybe_after_collection (thread);
  scm_remember_upto_here_2 (key, value);
  return ret;
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

  ret = gc_allocate_finalizer (thread->mutator);
  header = (struct finalizer *) ret;
  header->tag = scm_tc7_gc_finalizer;
  header->proc = proc;
  header->serial = __atomic_fetch_add (&finalizer_serial, 1,
                                       __ATOMIC_RELAXED);
  gc_finalizer_attach (thread->mutator, ret, priority,
                       gc_ref_from_heap_object (obj),
                       gc_ref (data ? (uintptr_t) data
                               : SCM_UNPACK (SCM_BOOL_F)));
  maybe_after_collection (thread);
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

/* Fired finalizers, newest first.  A finalizer may leave by a non-local
   exit; the others stay here for the next time.  */
static struct gc_finalizer *finalizers_to_run;
static scm_i_pthread_mutex_t finalizers_lock = SCM_I_PTHREAD_MUTEX_INITIALIZER;

static struct gc_finalizer **
next_to_run (struct gc_finalizer *finalizer)
{
  return &((struct finalizer *) finalizer)->next_to_run;
}

static struct gc_finalizer *
merge_finalizers (struct gc_finalizer *a, struct gc_finalizer *b)
{
  struct gc_finalizer *ret = NULL, **tail = &ret;

  while (a && b)
    {
      struct gc_finalizer **from
        = ((struct finalizer *) a)->serial > ((struct finalizer *) b)->serial
        ? &a : &b;
      *tail = *from;
      *from = *next_to_run (*from);
      tail = next_to_run (*tail);
    }
  *tail = a ? a : b;
  return ret;
}

static struct gc_finalizer *
sort_finalizers (struct gc_finalizer *list, size_t n)
{
  struct gc_finalizer *mid = list;

  if (n < 2)
    return list;
  for (size_t i = 1; i < n / 2; i++)
    mid = *next_to_run (mid);
  struct gc_finalizer *rest = *next_to_run (mid);
  *next_to_run (mid) = NULL;
  return merge_finalizers (sort_finalizers (list, n / 2),
                           sort_finalizers (rest, n - n / 2));
}

static struct gc_finalizer *
next_finalizer (scm_thread *thread)
{
  struct gc_finalizer *ret, *fired = NULL, *f;
  size_t n = 0;

  scm_i_pthread_mutex_lock (&finalizers_lock);
  if (__atomic_exchange_n (&finalizers_fired, 0, __ATOMIC_ACQ_REL)
      || !finalizers_to_run)
    {
      while ((f = gc_pop_finalizable (thread->mutator)))
        {
          *next_to_run (f) = fired;
          fired = f;
          n++;
        }
      finalizers_to_run = merge_finalizers (sort_finalizers (fired, n),
                                            finalizers_to_run);
    }
  ret = finalizers_to_run;
  if (ret)
    {
      finalizers_to_run = *next_to_run (ret);
      *next_to_run (ret) = NULL;
    }
  scm_i_pthread_mutex_unlock (&finalizers_lock);
  return ret;
}

int
scm_i_gc_run_finalizers (void)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;
  struct gc_finalizer *f;
  int count = 0;

  if (__atomic_exchange_n (&callbacks_pending, 0, __ATOMIC_ACQ_REL))
    for (int i = 0; i < n_callbacks; i++)
      callbacks[i] ();

  while ((f = next_finalizer (thread)))
    {
      void *data = (void *) gc_ref_value (gc_finalizer_closure (f));

      if (data == (void *) SCM_UNPACK (SCM_BOOL_F))
        data = NULL;
      ((struct finalizer *) f)->proc
        (gc_ref_heap_object (gc_finalizer_object (f)), data);
      count++;
    }
  return count;
}



/* Marking from user code.  User mark functions are not written for
   several threads at a time.  */

static pthread_mutex_t mark_lock = PTHREAD_MUTEX_INITIALIZER;

static __thread struct
{
  scm_t_gc_visitor visit;
  struct gc_heap *heap;
  void *data;
} mark_context;

void *
scm_i_gc_make_smob_marker (scm_thread *thread, SCM smob)
{
  scm_t_bits *ret = scm_i_gc_alloc_tagged (thread, 2 * sizeof (scm_t_bits));

  ret[1] = SCM_UNPACK (smob);
  ret[0] = scm_tc7_gc_smob_marker;
  return ret;
}

void
scm_i_gc_trace_smob_marker (void *marker, scm_t_gc_visitor visit,
                            struct gc_heap *heap, void *visit_data)
{
  scm_t_bits *words = marker;

  visit (gc_edge (&words[1]), heap, visit_data);

  pthread_mutex_lock (&mark_lock);
  mark_context.visit = visit;
  mark_context.heap = heap;
  mark_context.data = visit_data;
  scm_i_smob_mark (SCM_PACK (words[1]));
  mark_context.visit = NULL;
  pthread_mutex_unlock (&mark_lock);
}

int
scm_i_gc_mark_from_smob (SCM obj)
{
  struct gc_ref ref;

  if (!mark_context.visit)
    return 0;
  if (SCM_HEAP_OBJECT_P (obj))
    {
      ref = gc_ref (SCM_UNPACK (obj));
      if (!gc_ref_is_null (ref) && gc_heap_contains (mark_context.heap, ref))
        mark_context.visit (gc_edge (&ref), mark_context.heap,
                            mark_context.data);
    }
  return 1;
}

void
scm_i_gc_bad_object (scm_t_bits *words)
{
  fprintf (stderr, "guile: garbage collector: bad object %p: %lx %lx\n",
           words, (unsigned long) words[0], (unsigned long) words[1]);
  abort ();
}



/* Roots.  */

struct root_ranges
{
  size_t count;
  struct { uintptr_t start, end; } ranges[];
};

/* Replaced as a whole, because the collector may stop the thread that
   adds one at any call.  */
static struct root_ranges *root_ranges;
static size_t root_ranges_allocated;
static scm_i_pthread_mutex_t root_ranges_lock
  = SCM_I_PTHREAD_MUTEX_INITIALIZER;

void
scm_i_gc_add_roots (void *start, void *end)
{
  struct root_ranges *old, *new;
  size_t n;

  scm_i_pthread_mutex_lock (&root_ranges_lock);
  old = root_ranges;
  n = old ? old->count : 0;
  if (n == root_ranges_allocated)
    {
      root_ranges_allocated = n ? 2 * n : 256;
      new = malloc (sizeof (*new)
                    + root_ranges_allocated * sizeof (new->ranges[0]));
      if (!new)
        abort ();
      new->count = n;
      if (old)
        memcpy (new->ranges, old->ranges, n * sizeof (new->ranges[0]));
      __atomic_store_n (&root_ranges, new, __ATOMIC_RELEASE);
      free (old);
    }
  /* The collector only sees ranges up to the count.  */
  root_ranges->ranges[n].start = (uintptr_t) start;
  root_ranges->ranges[n].end = (uintptr_t) end & -sizeof (void *);
  __atomic_store_n (&root_ranges->count, n + 1, __ATOMIC_RELEASE);
  scm_i_pthread_mutex_unlock (&root_ranges_lock);
}

void
scm_i_gc_trace_image_roots (struct gc_heap_roots *roots,
                            scm_t_gc_ambiguous_visitor visit,
                            struct gc_heap *heap, void *data)
{
  struct root_ranges *r = root_ranges;

  for (size_t i = 0; r && i < r->count; i++)
    visit (r->ranges[i].start, r->ranges[i].end, 0, heap, data);
}

struct stack_visit
{
  scm_t_gc_ambiguous_visitor visit;
  struct gc_heap *heap;
  void *data;
};

static void
visit_stack_range (uintptr_t start, uintptr_t end, void *data)
{
  struct stack_visit *v = data;

  v->visit (start, end, 0, v->heap, v->data);
}

void
scm_i_gc_trace_thread_roots (struct gc_mutator_roots *roots,
                             scm_t_gc_ambiguous_visitor visit,
                             struct gc_heap *heap, void *data)
{
  scm_thread *thread = (scm_thread *) roots;
  struct stack_visit v = { visit, heap, data };

  visit ((uintptr_t) thread, (uintptr_t) (thread + 1), 0, heap, data);
  scm_i_vm_visit_stack (&thread->vm, visit_stack_range, &v);
}



/* Safepoints.  */

uintptr_t
scm_i_poll_slow (scm_thread *thread)
{
  scm_t_bits poll = __atomic_load_n (&thread->poll, __ATOMIC_ACQUIRE);

  if (poll & SCM_I_POLL_STOP)
    {
      __atomic_fetch_and (&thread->poll, ~SCM_I_POLL_STOP, __ATOMIC_SEQ_CST);
      gc_safepoint (thread->mutator);
      maybe_after_collection (thread);
    }

  if (!(poll & SCM_I_POLL_ASYNC))
    return 0;

  if (scm_is_null (__atomic_load_n (&thread->pending_asyncs,
                                    __ATOMIC_ACQUIRE)))
    {
      /* Whoever adds an async sets the bit afterwards.  */
      __atomic_fetch_and (&thread->poll, ~SCM_I_POLL_ASYNC, __ATOMIC_SEQ_CST);
      if (scm_is_null (__atomic_load_n (&thread->pending_asyncs,
                                        __ATOMIC_SEQ_CST)))
        return 0;
      scm_i_poll_set_async (thread);
    }
  return thread->block_asyncs == 0;
}



/* Collections and statistics.  */

void
scm_i_gc_collect (enum scm_gc_kind kind)
{
  static const enum gc_collection_kind kinds[] =
    {
      [SCM_GC_ANY] = GC_COLLECTION_ANY,
      [SCM_GC_MINOR] = GC_COLLECTION_MINOR,
      [SCM_GC_MAJOR] = GC_COLLECTION_MAJOR,
      [SCM_GC_COMPACT] = GC_COLLECTION_COMPACTING,
    };
  scm_thread *thread = SCM_I_CURRENT_THREAD;

  if (!thread || !thread->guile_mode)
    return;
  gc_collect (thread->mutator, kinds[kind]);
  maybe_after_collection (thread);
}

unsigned long
scm_i_gc_count (void)
{
  return __atomic_load_n (&gc_count, __ATOMIC_RELAXED);
}

void
scm_i_gc_inhibit (int inhibit)
{
  static int count;

  /* Like a counter that does not go below zero.  */
  if (inhibit)
    {
      __atomic_fetch_add (&count, 1, __ATOMIC_RELAXED);
      gc_heap_inhibit_collection (the_heap);
    }
  else if (__atomic_fetch_sub (&count, 1, __ATOMIC_RELAXED) > 0)
    gc_heap_allow_collection (the_heap);
  else
    __atomic_fetch_add (&count, 1, __ATOMIC_RELAXED);
}

size_t
scm_i_gc_heap_size (void)
{
  return __atomic_load_n (&heap_size, __ATOMIC_RELAXED);
}

void
scm_i_gc_respect_limits (void)
{
  gc_heap_respect_limits (the_heap);
}

void
scm_i_gc_get_statistics (struct scm_gc_statistics *stats)
{
  struct gc_heap_statistics s;

  gc_heap_statistics (the_heap, &s);

  memset (stats, 0, sizeof (*stats));
  stats->count = scm_i_gc_count ();
  stats->count_minor = s.collections_minor;
  stats->count_compacting = s.collections_compacting;
  stats->pause_total_nsec = s.pause_total_nsec;
  stats->pause_max_nsec = s.pause_max_nsec;
  stats->allocated = s.allocated_bytes;
  stats->heap_size = s.heap_size;
  stats->live_size = s.live_size;
  stats->allocated_since_gc
    = s.allocated_bytes - __atomic_load_n (&allocated_at_gc, __ATOMIC_RELAXED);
  if (s.live_size + stats->allocated_since_gc < s.heap_size)
    stats->free_size
      = s.heap_size - s.live_size - stats->allocated_since_gc;
  stats->fragmentation = s.fragmentation_bytes;
}
