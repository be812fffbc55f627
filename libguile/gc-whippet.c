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
   the library asks of Guile while it traces is in whippet-embedder.h;
   threads, finalizers and roots are in files of their own.  */

#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fluids.h"
#include "gc.h"
#include "pairs.h"
#include "threads.h"

#include "gc-whippet.h"

#include "whippet/api/gc-heap-stats.h"
#include "whippet/api/gc-inhibit.h"
#include "whippet/api/gc-limits.h"
#include "whippet/api/gc-moving.h"



struct gc_heap *scm_i_gc_heap;

void
scm_i_gc_sleep (scm_thread *thread, unsigned int usec)
{
  gc_deactivate (thread->mutator);
  usleep (usec);
  gc_reactivate (thread->mutator);
}

/* Initial size of the heap, in bytes.  */
#define DEFAULT_HEAP_SIZE ((size_t) 4 * 1024 * 1024)



/* Events.  */

static unsigned long gc_count;
static size_t heap_size;
static uint64_t allocated_at_gc;

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
on_restarting_mutators (void *data)
{
  scm_i_gc_forget_marked ();
  __atomic_fetch_add (&gc_count, 1, __ATOMIC_RELAXED);
  __atomic_store_n (&scm_i_gc_after_collection_pending, 1, __ATOMIC_RELEASE);
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

static const struct gc_event_listener event_listener =
  {
    .init = on_init,
    .requesting_stop = on_requesting_stop,
    .waiting_for_stop = scm_i_gc_on_waiting_for_stop,
    .mutators_stopped = ignore_event,
    .prepare_gc = on_prepare_gc,
    .roots_traced = ignore_event,
    .heap_traced = ignore_event,
    .ephemerons_traced = ignore_event,
    .finalizers_traced = ignore_event,
    .restarting_mutators = on_restarting_mutators,
    .mutator_added = scm_i_gc_on_mutator_added,
    .mutator_cause_gc = ignore_event,
    .mutator_stopping = ignore_event,
    .mutator_stopped = ignore_event,
    .mutator_restarted = ignore_event,
    .mutator_removed = scm_i_gc_on_mutator_removed,
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

/* As GC_MARKERS: STR threads, or as many as the collector can use.  */
static void
set_parallelism (struct gc_options *options, const char *str)
{
  char *end;
  long n;

  if (gc_options_parse_and_set (options, GC_OPTION_PARALLELISM, str))
    return;
  n = strtol (str, &end, 0);
  if (*end || n < 1)
    fprintf (stderr, "guile: warning: GC_MARKERS: invalid value '%s' ignored\n",
             str);
  else
    for (int max = 1024; !gc_options_set_int (options, GC_OPTION_PARALLELISM,
                                              max);
         max--)
      ;
}

static struct gc_options *
make_options (void)
{
  struct gc_options *options = gc_allocate_options ();
  const char *str;

  if (!options)
    return NULL;

  /* The size follows the live data, down as well as up; a little more
     generously than BDW-GC's.  */
  gc_options_set_int (options, GC_OPTION_HEAP_SIZE_POLICY,
                      GC_HEAP_SIZE_ADAPTIVE);
  gc_options_set_double (options, GC_OPTION_HEAP_EXPANSIVENESS, 2.0);
  gc_options_set_size (options, GC_OPTION_HEAP_SIZE, DEFAULT_HEAP_SIZE);

  set_size_option (options, GC_OPTION_HEAP_SIZE, "GC_INITIAL_HEAP_SIZE");
  set_size_option (options, GC_OPTION_MAXIMUM_HEAP_SIZE,
                   "GC_MAXIMUM_HEAP_SIZE");
  str = getenv ("GC_MARKERS");
  if (str && *str)
    set_parallelism (options, str);

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



/* Start.  */

/* A thread that is starting has nothing yet with which to raise an
   exception.  The values of its fluids are what it needs for that and gets
   last, after its dynamic stack.  */
static int
is_starting (scm_thread *thread)
{
  return !thread || !thread->dynstack.base || !thread->dynamic_state
    || !SCM_UNPACK (thread->dynamic_state->values);
}

/* How often a request waits for finalizers.  */
#define MAX_WAITS 60

/* How often the last request of this thread has waited.  */
static SCM_THREAD_LOCAL int waits;

/* Raise an exception, or return null: then it is worth to try again.
   Objects that wait for their finalizers occupy memory.  */
static void *
allocation_failed (struct gc_heap *heap, size_t size)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;

  if (is_starting (thread))
    return NULL;
  if (size >= scm_i_gc_heap_size () || ++waits > MAX_WAITS
      || !scm_i_gc_wait_for_finalizers (thread))
    {
      waits = 0;
      fprintf (stderr, "guile: warning: out of memory: "
               "no room for %zu bytes in a heap of %.1f MiB\n",
               size, scm_i_gc_heap_size () / 1048576.0);
      scm_i_gc_out_of_memory (size);
    }
  return NULL;
}

/* For extensions that keep addresses where the collector does not look.  */
static int
moving_is_forbidden (void)
{
  const char *str = getenv ("GUILE_GC_MOVING");

  if (!str || !*str || !strcmp (str, "1"))
    return 0;
  if (strcmp (str, "0"))
    fprintf (stderr, "guile: warning: GUILE_GC_MOVING: invalid value '%s' "
             "ignored\n", str);
  return !strcmp (str, "0");
}

void
scm_i_gc_init (struct scm_gc_stack_base *base)
{
  struct gc_options *options = make_options ();

  scm_i_gc_prepare_threads ();
  if (!scm_i_gc_init_threads (base, &scm_i_gc_heap, options, event_listener))
    {
      fprintf (stderr, "guile: cannot allocate the heap\n");
      exit (EXIT_FAILURE);
    }

  gc_heap_set_roots (scm_i_gc_heap, (struct gc_heap_roots *) &scm_i_gc_heap);
  gc_heap_set_allocation_failure_handler (scm_i_gc_heap, allocation_failed);
  gc_set_finalizer_callback (scm_i_gc_heap, scm_i_gc_on_finalizers);
  if (moving_is_forbidden ())
    gc_heap_forbid_moving (scm_i_gc_heap);
}



/* Allocation.  */

/* THREAD, which is starting, finds no memory.  Another thread that is just
   filling the heap will get an exception, and let go of what it has.  So
   wait for that, some seconds.  */
static void *
wait_for_memory (scm_thread *thread, size_t bytes,
                 enum gc_allocation_kind kind)
{
  void *ret = NULL;

  for (int i = 0; !ret && i < 18; i++)
    {
      scm_i_gc_sleep (thread, i < 9 ? 1000 << i : 500000);
      ret = gc_allocate_slow (thread->mutator, bytes, kind);
    }
  if (!ret)
    {
      fprintf (stderr, "guile: out of memory at the start of a thread\n");
      abort ();
    }
  return ret;
}

static void *
alloc_slow (scm_thread *thread, size_t bytes, enum gc_allocation_kind kind)
{
  if (kind == GC_ALLOCATION_TAGGED_POINTERLESS
      || kind == GC_ALLOCATION_UNTAGGED_POINTERLESS)
    return gc_allocate_uncleared_slow (thread->mutator, bytes, kind);
  return gc_allocate_slow (thread->mutator, bytes, kind);
}

/* What follows from a collection must not happen between the allocation
   of an object and its initialisation: it makes system calls, in which the
   thread may be stopped, and may itself allocate.  Hence it is left to the
   next safepoint, or to the next call of this function.  */
void *
scm_i_gc_alloc_slow (scm_thread *thread, size_t bytes,
                     enum gc_allocation_kind kind)
{
  void *ret;

  scm_i_gc_maybe_after_collection (thread);
  scm_i_gc_maybe_keep_pace (thread);
  while (SCM_UNLIKELY (!(ret = alloc_slow (thread, bytes, kind))))
    if (is_starting (thread))
      {
        ret = wait_for_memory (thread, bytes, kind);
        break;
      }
  waits = 0;
  if (__atomic_load_n (&scm_i_gc_after_collection_pending, __ATOMIC_RELAXED))
    __atomic_fetch_or (&thread->poll, SCM_I_POLL_STOP, __ATOMIC_RELAXED);
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

void *
scm_i_gc_malloc_record (size_t size, size_t n_refs)
{
  return scm_i_gc_alloc_record (SCM_I_CURRENT_THREAD, size, n_refs);
}

void *
scm_i_gc_alloc_pinned_record (scm_thread *thread, size_t bytes, size_t n_refs)
{
  scm_t_bits *ret = scm_i_gc_alloc_pinned (thread, bytes);

  ret[0] = SCM_I_GC_RECORD_TAG_OF_SIZE (bytes, n_refs);
  return ret;
}

int
scm_i_gc_is_heap_pointer (void *obj)
{
  return gc_heap_contains (scm_i_gc_heap, gc_ref_from_heap_object_or_null (obj));
}

size_t
scm_i_gc_block_size (void *mem)
{
  return gc_object_size (scm_i_gc_heap, gc_ref ((uintptr_t) mem));
}

void
scm_i_gc_pin (SCM obj)
{
  if (gc_can_move_objects () && SCM_HEAP_OBJECT_P (obj))
    gc_pin_object (SCM_I_CURRENT_THREAD->mutator, gc_ref (SCM_UNPACK (obj)));
}



/* Ephemerons.  */

scm_t_ephemeron *
scm_i_make_ephemeron (scm_thread *thread, SCM key, SCM value,
                      unsigned long hash)
{
  struct gc_ephemeron *ret;

  do
    ret = gc_allocate_ephemeron (thread->mutator);
  while (SCM_UNLIKELY (!ret));
  *(scm_t_bits *) ret = scm_tc7_gc_ephemeron | ((scm_t_bits) hash << 8);
  gc_ephemeron_init (thread->mutator, ret, gc_ref (SCM_UNPACK (key)),
                     gc_ref (SCM_UNPACK (value)));
  scm_i_gc_maybe_after_collection (thread);
  scm_remember_upto_here_2 (key, value);
  return ret;
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
  scm_i_gc_maybe_after_collection (thread);
}

unsigned long
scm_i_gc_count (void)
{
  return __atomic_load_n (&gc_count, __ATOMIC_RELAXED);
}

uint64_t
scm_i_gc_ephemerons_died (void)
{
  struct gc_heap_statistics s;

  gc_heap_statistics (scm_i_gc_heap, &s);
  return s.ephemerons_died;
}

void
scm_i_gc_inhibit (int inhibit)
{
  static int count;

  /* Like a counter that does not go below zero.  */
  if (inhibit)
    {
      __atomic_fetch_add (&count, 1, __ATOMIC_RELAXED);
      gc_heap_inhibit_collection (scm_i_gc_heap);
    }
  else if (__atomic_fetch_sub (&count, 1, __ATOMIC_RELAXED) > 0)
    gc_heap_allow_collection (scm_i_gc_heap);
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
  gc_heap_respect_limits (scm_i_gc_heap);
}

void
scm_i_gc_get_statistics (struct scm_gc_statistics *stats)
{
  struct gc_heap_statistics s;

  gc_heap_statistics (scm_i_gc_heap, &s);

  memset (stats, 0, sizeof (*stats));
  stats->count = scm_i_gc_count ();
  stats->count_minor = s.collections_minor;
  stats->count_compacting = s.collections_compacting;
  stats->pause_total_nsec = s.pause_total_nsec;
  stats->pause_max_nsec = s.pause_max_nsec;
  stats->allocated = s.allocated_bytes;
  stats->bytes_evacuated = s.bytes_evacuated;
  stats->blocks_chosen = s.blocks_evacuation_candidates;
  stats->blocks_emptied = s.blocks_evacuated_empty;
  stats->heap_size = s.heap_size;
  stats->live_size = s.live_size;
  stats->allocated_since_gc
    = s.allocated_bytes - __atomic_load_n (&allocated_at_gc, __ATOMIC_RELAXED);
  if (s.live_size + stats->allocated_since_gc < s.heap_size)
    stats->free_size
      = s.heap_size - s.live_size - stats->allocated_since_gc;
  stats->fragmentation = s.fragmentation_bytes;
}
