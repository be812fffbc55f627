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



/* Threads of Guile as mutators of the collector: how they are attached
   and stopped.  */

#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "async.h"
#include "dynstack.h"
#include "fork-locks.h"
#include "frames.h"
#include "pairs.h"
#include "threads.h"

#include "gc-whippet.h"

#include "whippet/api/gc-preempt.h"



/* The mutator of this thread, if it is attached.  */
static __thread struct gc_mutator *current_mutator;



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
/* For the next mutator of this thread, so that none fails for want of it.  */
static __thread struct mutator_record *spare_record;

void
scm_i_gc_on_waiting_for_stop (void *data)
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

void *
scm_i_gc_on_mutator_added (void *data)
{
  struct mutator_record *rec = spare_record;

  spare_record = NULL;
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

void
scm_i_gc_on_mutator_removed (void *mutator_data)
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

/* Where the stack of the main thread begins, about; the collector uses it
   too.  */
extern void *__libc_stack_end __attribute__ ((weak));

/* So much address space below the beginning of the main thread's stack is of
   no other use, even if the stack has no limit.  */
#define MAX_MAIN_STACK_SIZE ((size_t) 128 << 20)

/* Find the bounds of the stack of the calling thread; return true on success.
   For the main thread the C library looks at /proc; what it knows without
   that will do.  */
static int
get_thread_stack (char **low, char **high)
{
  pthread_attr_t attr;
  void *addr;
  size_t size;
  int ret;

  if (pthread_getattr_np (pthread_self (), &attr) == 0)
    {
      ret = !pthread_attr_getstack (&attr, &addr, &size);
      pthread_attr_destroy (&attr);
      if (ret)
        {
          *low = addr;
          *high = *low + size;
        }
      return ret;
    }

  if (&__libc_stack_end && getpid () == syscall (SYS_gettid))
    {
      struct rlimit limit;

      if (getrlimit (RLIMIT_STACK, &limit)
          || limit.rlim_cur > MAX_MAIN_STACK_SIZE)
        limit.rlim_cur = MAX_MAIN_STACK_SIZE;
      *high = __libc_stack_end;
      *low = *high - limit.rlim_cur;
      return 1;
    }
  return 0;
}

int
scm_i_gc_get_stack_base (struct scm_gc_stack_base *base)
{
  char *low, *high;

  if (!get_thread_stack (&low, &high))
    return 0;
  base->mem_base = high;
  return 1;
}

static int
is_on_thread_stack (void *ptr)
{
  char *low, *high;

  return get_thread_stack (&low, &high)
    && low <= (char *) ptr && (char *) ptr <= high;
}

/* What to tell the collector about the stack of the calling thread, when
   it enters Guile at BASE.  It may leave and enter again nearer to the
   base of its stack, hence the whole stack, unless the thread has
   switched to some other stack.  Then scm_i_gc_extend_stack tells that it
   has.  */
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



/* Attaching and detaching.  */

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

/* Before the collector registers its own fork handlers, so that ours take
   the lock when the world is stopped: stopping it takes the lock too.  */
void
scm_i_gc_prepare_threads (void)
{
  pthread_atfork (before_fork, after_fork_in_parent, after_fork_in_child);
}

int
scm_i_gc_init_threads (struct scm_gc_stack_base *base, struct gc_heap **heap,
                       struct gc_options *options,
                       struct gc_event_listener listener)
{
  spare_record = malloc (sizeof *spare_record);
  if (!spare_record
      || !gc_init (options, stack_addr_for_base (base), heap, &current_mutator,
                   listener, NULL))
    return 0;
  scm_i_init_fork_locks ();
  dl_iterate_phdr (register_text, (void *) &scm_i_gc_init);
  gc_heap_enable_preemption (*heap, 0, 0, may_park, NULL);
  return 1;
}

struct gc_mutator *
scm_i_gc_attach_thread (struct scm_gc_stack_base *base)
{
  if (current_mutator)
    return current_mutator;
  spare_record = malloc (sizeof *spare_record);
  if (!spare_record)
    return NULL;
  current_mutator = gc_init_for_thread (stack_addr_for_base (base),
                                        scm_i_gc_heap);
  if (!current_mutator)
    {
      free (spare_record);
      spare_record = NULL;
    }
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

struct call
{
  void *(*func) (void *);
  void *data;
};

static void *
do_call (struct gc_mutator *mutator, void *data)
{
  struct call *call = data;

  return call->func (call->data);
}

void *
scm_i_gc_call_inactive (scm_thread *thread, void *(*func) (void *),
                        void *data)
{
  struct call call = { func, data };

  return gc_deactivate_for_call (thread->mutator, do_call, &call);
}

void *
scm_i_gc_call_active (scm_thread *thread, void *(*func) (void *), void *data)
{
  struct call call = { func, data };

  return gc_reactivate_for_call (thread->mutator, do_call, &call);
}

void
scm_i_gc_extend_stack (scm_thread *thread, struct scm_gc_stack_base *base)
{
  if (base->mem_base)
    gc_mutator_extend_stack (thread->mutator,
                             gc_stack_addr ((uintptr_t) base->mem_base));
}

int
scm_i_gc_signal_number (void)
{
  return gc_preemption_signal (scm_i_gc_heap);
}



/* Safepoints.  */

int
scm_i_gc_stop_if_asked (scm_thread *thread)
{
  if (!(__atomic_load_n (&thread->poll, __ATOMIC_ACQUIRE) & SCM_I_POLL_STOP))
    return 0;
  __atomic_fetch_and (&thread->poll, ~SCM_I_POLL_STOP, __ATOMIC_SEQ_CST);
  gc_safepoint (thread->mutator);
  return 1;
}

uintptr_t
scm_i_poll_slow (scm_thread *thread)
{
  scm_t_bits poll = __atomic_load_n (&thread->poll, __ATOMIC_ACQUIRE);

  if (scm_i_gc_stop_if_asked (thread))
    scm_i_gc_maybe_after_collection (thread);

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

  /* An interrupt may abort to a prompt, and the continuation must have the
     body: let it be called first.  */
  return thread->block_asyncs == 0
    && !scm_dynstack_is_outside_prompt_body (&thread->dynstack,
                                             thread->vm.stack_top
                                             - thread->vm.fp);
}
