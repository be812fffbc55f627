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



/* Roots, and marking by functions of the user.  */

#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <verify.h>

#include "fluids.h"
#include "dynstack.h"
#include "threads.h"
#include "vm.h"

#include "gc-whippet.h"
#include "whippet/api/gc-moving.h"



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
scm_i_pthread_mutex_t scm_i_gc_roots_lock = SCM_I_PTHREAD_MUTEX_INITIALIZER;

void
scm_i_gc_add_roots (void *start, void *end)
{
  struct root_ranges *old, *new;
  size_t n;

  scm_i_pthread_mutex_lock (&scm_i_gc_roots_lock);
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
  scm_i_pthread_mutex_unlock (&scm_i_gc_roots_lock);
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
  /* Blocks that only the thread refers to, and that are not traced
     themselves.  */
  if (thread->dynamic_state)
    visit ((uintptr_t) thread->dynamic_state,
           (uintptr_t) (thread->dynamic_state + 1), 0, heap, data);
  /* C functions may unwind with the address of a part of an object.  */
  if (thread->dynstack.base)
    visit ((uintptr_t) thread->dynstack.base,
           (uintptr_t) thread->dynstack.limit, 1, heap, data);
  scm_i_vm_visit_stack (&thread->vm, visit_stack_range, &v);
}



/* Captured stacks.  Words that may be references, rather than are, keep
   what they refer to from moving: first in the preparation of a compaction,
   by fix_words, so that visit_ambiguous_words finds all where it was.  */

struct special_visit
{
  scm_t_gc_visitor visit;
  scm_t_gc_fixer fix;
  struct gc_heap *heap;
  void *data;
};

static void
visit_words (uintptr_t start, uintptr_t end, void *data)
{
  struct special_visit *v = data;

  for (; start < end; start += sizeof (scm_t_bits))
    v->visit (gc_edge ((void *) start), v->heap, v->data);
}

static void
visit_ambiguous_words (uintptr_t start, uintptr_t end, void *data)
{
  struct special_visit *v = data;

  for (; start < end; start += sizeof (scm_t_bits))
    {
      struct gc_ref ref = gc_resolve_conservative_ref
        (v->heap, gc_conservative_ref (*(uintptr_t *) start), 0);

      if (!gc_ref_is_null (ref))
        v->visit (gc_edge (&ref), v->heap, v->data);
    }
}

static void
fix_words (uintptr_t start, uintptr_t end, void *data)
{
  struct special_visit *v = data;

  for (; start < end; start += sizeof (scm_t_bits))
    v->fix (gc_ref (*(uintptr_t *) start), v->heap, v->data);
}

static scm_t_dynstack *
captured_dynstack (scm_t_bits *words)
{
  return &((struct scm_i_captured_dynstack *) words)->dynstack;
}

static void
ignore_words (uintptr_t start, uintptr_t end, void *data)
{
}

void
scm_i_gc_trace_special (scm_t_bits *words, scm_t_gc_visitor visit,
                        struct gc_heap *heap, void *visit_data)
{
  struct special_visit v = { visit, NULL, heap, visit_data };
  struct scm_vm_cont *cont;

  switch ((words[0] >> 8) & 0xff)
    {
    case SCM_I_GC_SPECIAL_VM_CONT:
      cont = (struct scm_vm_cont *) words;
      if (cont->dynstack)
        {
          struct gc_ref ref
            = gc_ref ((uintptr_t) scm_i_captured_dynstack (cont->dynstack));
          visit (gc_edge (&ref), heap, visit_data);
        }
      scm_i_vm_cont_visit (cont, visit_words, visit_ambiguous_words, &v);
      return;
    case SCM_I_GC_SPECIAL_DYNSTACK:
      scm_i_dynstack_visit (captured_dynstack (words), visit_words,
                            visit_ambiguous_words, &v);
      return;
    default:
      scm_i_gc_bad_object (words);
    }
}

void
scm_i_gc_fix_special_referents (scm_t_bits *words, scm_t_gc_fixer fix,
                                struct gc_heap *heap, void *fix_data)
{
  struct special_visit v = { NULL, fix, heap, fix_data };

  switch ((words[0] >> 8) & 0xff)
    {
    case SCM_I_GC_SPECIAL_VM_CONT:
      scm_i_vm_cont_visit ((struct scm_vm_cont *) words, ignore_words,
                           fix_words, &v);
      return;
    case SCM_I_GC_SPECIAL_DYNSTACK:
      scm_i_dynstack_visit (captured_dynstack (words), ignore_words,
                            fix_words, &v);
      return;
    }
}



/* Marking from user code.  User mark functions are not written for
   several threads at a time.

   A mark function may look at other objects than its smob.  So it is never
   called while objects move: what it marks in the preparation of a
   compaction, when all is still in its place, is recorded, and the
   compaction goes by that.  The referents do not move then.  */

static pthread_mutex_t mark_lock = PTHREAD_MUTEX_INITIALIZER;

static __thread struct
{
  scm_t_gc_visitor visit;       /* these two are not both set */
  scm_t_gc_fixer fix;
  struct gc_heap *heap;
  void *data;
  int recorded;                 /* all that was marked, by the latter */
} mark_context;

/* What smobs have marked in this pause: a number, then so many references,
   for each.  PAUSE is never 0.  No malloc, as the world is stopped.  */
static struct
{
  scm_t_bits *words;
  size_t count, size;
  scm_t_bits pause;
} marked = { NULL, 0, 0, 1 };

struct smob_marker
{
  scm_t_bits tag;
  scm_t_bits smob;
  scm_t_bits pause;             /* in which the following holds */
  scm_t_bits first;             /* index in marked.words */
};
verify (sizeof (struct smob_marker) == SCM_I_GC_SMOB_MARKER_SIZE);

static int
record_marked (scm_t_bits word)
{
  if (marked.count == marked.size)
    {
      size_t size = marked.size ? 2 * marked.size : 8192;
      size_t bytes = size * sizeof (scm_t_bits);
      void *words
        = marked.size
        ? mremap (marked.words, marked.size * sizeof (scm_t_bits), bytes,
                  MREMAP_MAYMOVE)
        : mmap (NULL, bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

      if (words == MAP_FAILED)
        return 0;
      marked.words = words;
      marked.size = size;
    }
  marked.words[marked.count++] = word;
  return 1;
}

/* At the end of each pause.  */
void
scm_i_gc_forget_marked (void)
{
  if (!marked.size)
    return;
  munmap (marked.words, marked.size * sizeof (scm_t_bits));
  marked.words = NULL;
  marked.count = marked.size = 0;
  marked.pause++;
}

void *
scm_i_gc_make_smob_marker (scm_thread *thread, SCM smob)
{
  /* Pinned objects are traced by their tags in all configurations.  */
  struct smob_marker *ret = scm_i_gc_alloc_pinned (thread, sizeof (*ret));

  /* A mark function may look at what the program has released since it
     dropped the smob.  So it must not be called for one that is dead.  */
  gc_heap_mark_before_moving (scm_i_gc_heap);

  ret->smob = SCM_UNPACK (smob);
  ret->tag = scm_tc7_gc_smob_marker;
  return ret;
}

void
scm_i_gc_trace_smob_marker (void *object, scm_t_gc_visitor visit,
                            struct gc_heap *heap, void *visit_data)
{
  struct smob_marker *marker = object;

  visit (gc_edge (&marker->smob), heap, visit_data);

  if (marker->pause == marked.pause)
    {
      scm_t_bits *refs = marked.words + marker->first;

      for (scm_t_bits i = 1; i <= refs[0]; i++)
        visit (gc_edge (&refs[i]), heap, visit_data);
      return;
    }

  pthread_mutex_lock (&mark_lock);
  mark_context.visit = visit;
  mark_context.heap = heap;
  mark_context.data = visit_data;
  scm_i_smob_mark (SCM_PACK (marker->smob));
  mark_context.visit = NULL;
  pthread_mutex_unlock (&mark_lock);
}

/* What a mark function marks may be known by its address to memory of
   malloc, where the collector cannot update it.  */
void
scm_i_gc_fix_smob_referents (void *object, scm_t_gc_fixer fix,
                             struct gc_heap *heap, void *fix_data)
{
  struct smob_marker *marker = object;
  size_t first = marked.count;

  mark_context.fix = fix;
  mark_context.heap = heap;
  mark_context.data = fix_data;
  mark_context.recorded = record_marked (0);
  scm_i_smob_mark (SCM_PACK (marker->smob));
  mark_context.fix = NULL;
  marker->pause = 0;
  if (mark_context.recorded)
    {
      marked.words[first] = marked.count - first - 1;
      marker->first = first;
      marker->pause = marked.pause;
    }
}

/* Mark functions may mark what is no object any more: those of an extension
   whose smob's constructor allocates while only memory of malloc refers to
   what the function marks.  So OBJ is an ambiguous reference.  */
int
scm_i_gc_mark_from_smob (SCM obj)
{
  struct gc_ref ref;

  if (!mark_context.visit && !mark_context.fix)
    return 0;
  if (!SCM_HEAP_OBJECT_P (obj))
    return 1;
  ref = gc_resolve_conservative_ref (mark_context.heap,
                                     gc_conservative_ref (SCM_UNPACK (obj)),
                                     0);
  if (gc_ref_is_null (ref))
    return 1;
  if (mark_context.fix)
    {
      mark_context.fix (ref, mark_context.heap, mark_context.data);
      mark_context.recorded
        = mark_context.recorded && record_marked (gc_ref_value (ref));
    }
  else
    mark_context.visit (gc_edge (&ref), mark_context.heap, mark_context.data);
  return 1;
}

void
scm_i_gc_bad_object (scm_t_bits *words)
{
  fprintf (stderr, "guile: garbage collector: bad object %p: %lx %lx\n",
           words, (unsigned long) words[0], (unsigned long) words[1]);
  abort ();
}
