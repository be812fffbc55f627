#ifndef SCM_WHIPPET_EMBEDDER_H
#define SCM_WHIPPET_EMBEDDER_H

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



/* What the collector library knows of Guile.  This header is compiled
   into the library's own translation units; it must not include
   anything of libguile that defines functions out of line.

   An object says what it is by its first word (scm.h describes the
   codes):

     even                      pair
     tc3 001                   struct, the rest is its vtable
     tc3 101, 111              tc7 in the low seven bits
     0                         not yet initialised: treated as a pair, both
                               of whose fields are null

   Only objects of the kinds TAGGED get here.  Allocated conservatively,
   because what their words are is not known, are: smobs of types without
   layout (smob.c), ports of types of extensions (ports.c), pointer objects
   with an address in the heap (foreign.c), structs other than vtables with
   unboxed fields (struct.c), captured C stacks (continuations.c), threads
   (threads.c), entries of C hooks, and what scm_gc_malloc returns.  A
   reference to the first word of one of them is an edge like any other.  */

#include "libguile/scm.h"

#define GC_EMBEDDER_EPHEMERON_HEADER scm_t_bits tag;
#define GC_EMBEDDER_FINALIZER_HEADER            \
  scm_t_bits tag;                               \
  void (*proc) (void *obj, void *data);         \
  scm_t_bits serial;                            \
  struct gc_finalizer *next_to_run;

/* Weak links are cut before finalizers run.  */
#define GC_EMBEDDER_EPHEMERONS_PRECEDE_FINALIZERS 1

/* Vectors may be huge: they are traced piece by piece, so that they neither
   fill the mark stack nor keep one worker busy while others wait.  */
#define GC_EMBEDDER_TRACE_OBJECT_SLICES 1

/* Of a smaller heap, what huge pages take in memory is more than they give in
   time.  */
#define GC_EMBEDDER_HUGE_PAGE_HEAP_SIZE ((size_t) 128 << 20)

/* Programs that allocate fast would get five times their live data.  Most of
   them are hardly slower with half of that.  */
#define GC_EMBEDDER_HEAP_MULTIPLE_MAX 2.5
/* By the square-root rule large heaps would get no more than a tenth; BDW-GC
   gives them a third.  */
#define GC_EMBEDDER_HEAP_MULTIPLE_MIN 1.33

/* Mark functions of smobs mark what memory of malloc refers to.  */
#define GC_EMBEDDER_FIXES_REFERENTS 1

/* The heap verifier: whippet-verify.h.  */
#define GC_EMBEDDER_CHECKS_REFERENTS 1

/* Records and what is tagged like them have two counts in the upper half.  */
_Static_assert (sizeof (scm_t_bits) == 8, "Guile's objects need 64-bit words");

#include "whippet/api/gc-config.h"
#if GC_GENERATIONAL
#error "Guile has no write barrier: choose a collector that is not generational"
#endif
#include "whippet/api/gc-embedder-api.h"
#include "whippet/api/gc-ephemeron.h"
#include "whippet/api/gc-finalizer.h"

typedef void (*scm_t_gc_visitor) (struct gc_edge edge, struct gc_heap *heap,
                                  void *visit_data);
typedef void (*scm_t_gc_fixer) (struct gc_ref ref, struct gc_heap *heap,
                                void *data);
typedef void (*scm_t_gc_ambiguous_visitor) (uintptr_t start, uintptr_t end,
                                            int possibly_interior,
                                            struct gc_heap *heap,
                                            void *data);

/* Defined in gc-whippet-finalizers.c and gc-whippet-roots.c.  */
SCM_INTERNAL void scm_i_gc_trace_smob_marker (void *marker,
                                              scm_t_gc_visitor visit,
                                              struct gc_heap *heap,
                                              void *visit_data);
#define SCM_I_GC_SMOB_MARKER_SIZE (4 * sizeof (scm_t_bits))
SCM_INTERNAL void scm_i_gc_fix_smob_referents (void *marker,
                                               scm_t_gc_fixer fix,
                                               struct gc_heap *heap,
                                               void *fix_data);
SCM_INTERNAL void scm_i_gc_trace_special (scm_t_bits *words,
                                          scm_t_gc_visitor visit,
                                          struct gc_heap *heap,
                                          void *visit_data);
SCM_INTERNAL void scm_i_gc_fix_special_referents (scm_t_bits *words,
                                                  scm_t_gc_fixer fix,
                                                  struct gc_heap *heap,
                                                  void *fix_data);
SCM_INTERNAL void scm_i_gc_trace_finalizer (struct gc_finalizer *finalizer,
                                            scm_t_gc_visitor visit,
                                            struct gc_heap *heap,
                                            void *visit_data);
SCM_INTERNAL void scm_i_gc_trace_thread_roots (struct gc_mutator_roots *roots,
                                               scm_t_gc_ambiguous_visitor,
                                               struct gc_heap *heap,
                                               void *data);
SCM_INTERNAL void scm_i_gc_trace_image_roots (struct gc_heap_roots *roots,
                                              scm_t_gc_ambiguous_visitor,
                                              struct gc_heap *heap,
                                              void *data);
SCM_INTERNAL void scm_i_gc_bad_object (scm_t_bits *words);

/* See smob.c.  */
SCM_INTERNAL uint8_t scm_i_smob_layouts[];

/* The same as in numbers.h.  */
#define SCM_I_GC_TC16_REAL (scm_tc7_number + 2 * 256L)
#define SCM_I_GC_TC16_COMPLEX (scm_tc7_number + 3 * 256L)
#define SCM_I_GC_TC16_FRACTION (scm_tc7_number + 4 * 256L)

/* Indices in a vtable of the slots that tell the layout of its
   instances; the same as in struct.h.  */
#define SCM_I_GC_VTABLE_FLAGS 1
#define SCM_I_GC_VTABLE_FLAG_VTABLE 2
#define SCM_I_GC_VTABLE_SIZE 5
#define SCM_I_GC_VTABLE_UNBOXED 6



/* Bit patterns that denote the object at the address less the
   displacement: pointers to heap objects, and the vtable words of
   structs.  */
static inline int
gc_is_valid_conservative_ref_displacement (uintptr_t displacement)
{
  return displacement == scm_tc3_cons || displacement == scm_tc3_struct;
}

static inline size_t
gc_finalizer_priority_count (void)
{
  return 3;                     /* SCM_GC_FINALIZER_PRIORITY_COUNT */
}

/* Objects outside the heap are constants of C or of compiled Scheme
   files; the mutable ones of the latter are roots.  */
static inline int
gc_extern_space_visit (struct gc_extern_space *space, struct gc_ref ref)
{
  return 0;
}

static inline void
gc_extern_space_start_gc (struct gc_extern_space *space, int is_minor_gc)
{
}

static inline void
gc_extern_space_finish_gc (struct gc_extern_space *space, int is_minor_gc)
{
}



static inline void
scm_i_gc_visit_words (scm_t_bits *words, size_t begin, size_t end,
                      scm_t_gc_visitor visit, struct gc_heap *heap,
                      void *visit_data)
{
  for (size_t i = begin; i < end; i++)
    visit (gc_edge (&words[i]), heap, visit_data);
}

/* Visit the fields from BEGIN to END of the object at WORDS, and return
   the size of the object.  VISIT may be null, and is a constant after
   inlining.  */
static inline size_t
scm_i_gc_trace_fields (scm_t_bits *words, size_t n_words, size_t begin,
                       size_t end, scm_t_gc_visitor visit,
                       struct gc_heap *heap, void *visit_data)
{
  if (visit)
    scm_i_gc_visit_words (words, begin, end, visit, heap, visit_data);
  return n_words * sizeof (scm_t_bits);
}

/* Visit those of the boxed fields from FIRST on, 32 at most, that UNBOXED has
   no bit for.  */
static inline void
scm_i_gc_visit_boxed_fields (scm_t_bits *words, size_t first, size_t n_fields,
                             uint32_t unboxed, scm_t_gc_visitor visit,
                             struct gc_heap *heap, void *visit_data)
{
  size_t end = n_fields - first < 32 ? n_fields : first + 32;

  if (!unboxed)
    scm_i_gc_visit_words (words, 1 + first, 1 + end, visit, heap, visit_data);
  else
    for (size_t i = first; i < end; i++)
      if (!(unboxed & (1U << (i % 32U))))
        visit (gc_edge (&words[1 + i]), heap, visit_data);
}

static inline size_t
scm_i_gc_trace_struct (scm_t_bits *words, scm_t_gc_visitor visit,
                       struct gc_heap *heap, void *visit_data)
{
  /* Vtables never move.  */
  scm_t_bits *vtable = (scm_t_bits *) (words[0] - scm_tc3_struct);
  size_t n_fields = vtable[1 + SCM_I_GC_VTABLE_SIZE];
  const uint32_t *unboxed =
    (const uint32_t *) vtable[1 + SCM_I_GC_VTABLE_UNBOXED];

  if (visit)
    {
      struct gc_ref vtable_ref = gc_ref ((uintptr_t) vtable);
      visit (gc_edge (&vtable_ref), heap, visit_data);

      for (size_t i = 0; i < n_fields; i += 32)
        scm_i_gc_visit_boxed_fields (words, i, n_fields, unboxed[i / 32U],
                                     visit, heap, visit_data);

      /* The only unboxed field of a vtable that refers to an object, a block
         of bits.  */
      if (SCM_UNLIKELY (vtable[1 + SCM_I_GC_VTABLE_FLAGS]
                        & SCM_I_GC_VTABLE_FLAG_VTABLE)
          && n_fields > SCM_I_GC_VTABLE_UNBOXED)
        visit (gc_edge (&words[1 + SCM_I_GC_VTABLE_UNBOXED]), heap,
               visit_data);
    }
  return (1 + n_fields) * sizeof (scm_t_bits);
}

static inline size_t
gc_trace_object (struct gc_ref ref, scm_t_gc_visitor visit,
                 struct gc_heap *heap, void *visit_data)
{
  scm_t_bits *words = gc_ref_heap_object (ref);
  scm_t_bits tag = words[0];

#define FIELDS(n_words, begin, end)                             \
  scm_i_gc_trace_fields (words, (n_words), (begin), (end),      \
                         visit, heap, visit_data)

  if (!(tag & 1))
    return FIELDS (2, 0, 2);

  if ((tag & 7) == scm_tc3_struct)
    return scm_i_gc_trace_struct (words, visit, heap, visit_data);

  switch (tag & 0x7f)
    {
    case scm_tc7_symbol:
      return FIELDS (3, 1, 2);

    case scm_tc7_variable:
    case scm_tc7_keyword:
    case scm_tc7_atomic_box:
    case scm_tc7_fluid:
    case scm_tc7_dynamic_state:
    case scm_tc7_frame:
    case scm_tc7_vm_cont:
    case scm_tc7_weak_set:
    case scm_tc7_weak_table:
      return FIELDS (2, 1, 2);

    case scm_tc7_string:
      return FIELDS (4, 1, 2);

    case scm_tc7_hashtable:
      return FIELDS (4, 1, 3);

    case scm_tc7_bitvector:
      /* The bits are in a block of their own.  */
      return FIELDS (4, 2, 3);

    case scm_tc7_vector:
    case scm_tc7_wvect:
    case scm_tc7_values:
      return FIELDS ((tag >> 8) + 1, 1, (tag >> 8) + 1);

    case scm_tc7_bytevector:
      /* The bytes of one that is traced are elsewhere; without parent, in a
         block of their own if in the heap.  */
      return words[3] == SCM_UNPACK (SCM_BOOL_F)
        ? FIELDS (4, 2, 3) : FIELDS (4, 3, 4);

    case scm_tc7_array:
      return FIELDS (3 + 3 * (tag >> 17), 1, 2);

    case scm_tc7_program:
      return FIELDS (2 + (tag >> 16), 2, 2 + (tag >> 16));

    case scm_tc7_syntax:
      return FIELDS (5, 1, 5);

    case scm_tc7_port:
      return FIELDS (4, 1, 4);

    case scm_tc7_smob:
      {
        uint8_t layout = scm_i_smob_layouts[(tag >> 8) & 0xff];

        if (visit)
          for (size_t i = 1; layout >> (3 + i); i++)
            if (layout & (8 << i))
              visit (gc_edge (&words[i]), heap, visit_data);
        return (layout & 15) * sizeof (scm_t_bits);
      }

    case scm_tc7_number:
      switch (tag & 0xffff)
        {
        case SCM_I_GC_TC16_FRACTION:
          return FIELDS (4, 1, 3);
        case SCM_I_GC_TC16_REAL:
          return 2 * sizeof (scm_t_bits);
        case SCM_I_GC_TC16_COMPLEX:
          return 3 * sizeof (scm_t_bits);
        }
      break;

    case 0x4f:                  /* scm_tc7_gc_ephemeron */
      if (visit)
        gc_trace_ephemeron (gc_ref_heap_object (ref), visit, heap, visit_data);
      return gc_ephemeron_size ();

    case 0x65:                  /* scm_tc7_gc_finalizer */
      if (visit)
        scm_i_gc_trace_finalizer (gc_ref_heap_object (ref), visit, heap,
                                  visit_data);
      return gc_finalizer_size ();

    case 0x67:                  /* scm_tc7_gc_smob_marker */
      if (visit)
        scm_i_gc_trace_smob_marker (words, visit, heap, visit_data);
      return SCM_I_GC_SMOB_MARKER_SIZE;

    case 0x6d:                  /* scm_tc7_gc_weak_buckets */
      return FIELDS ((tag >> 8) + 1, 1, (tag >> 8) + 1);

    case 0x6f:                  /* scm_tc7_gc_record */
      return FIELDS (tag >> 32, 1, 1 + ((tag >> 8) & 0xffffff));

    case 0x7f:                  /* scm_tc7_gc_special */
      if (visit)
        scm_i_gc_trace_special (words, visit, heap, visit_data);
      return (tag >> 16) * sizeof (scm_t_bits);
    }
#undef FIELDS

  scm_i_gc_bad_object (words);
  return 2 * sizeof (scm_t_bits);
}



/* Visit what is at offsets from OFFSET to LIMIT, in bytes, of a large
   object: part of a vector's elements, or everything that another object has
   along with its beginning.  */
static inline size_t
gc_trace_object_slice (struct gc_ref ref, size_t offset, size_t limit,
                       scm_t_gc_visitor visit, struct gc_heap *heap,
                       void *visit_data)
{
  scm_t_bits *words = gc_ref_heap_object (ref);
  scm_t_bits tag = words[0];

  switch (tag & 0x7f)
    {
    case scm_tc7_vector:
    case scm_tc7_wvect:
    case 0x6d:                  /* scm_tc7_gc_weak_buckets */
      {
        size_t n_words = (tag >> 8) + 1;
        size_t begin = offset / sizeof (scm_t_bits);
        size_t end = limit / sizeof (scm_t_bits);

        return scm_i_gc_trace_fields (words, n_words, begin ? begin : 1,
                                      end < n_words ? end : n_words,
                                      visit, heap, visit_data);
      }
    }
  return gc_trace_object (ref, offset ? NULL : visit, heap, visit_data);
}

/* Called for objects that never move, and what ambiguous words refer to.  A
   smob of a type with a mark function is traced conservatively, and refers
   to its marker.  */
static inline void
gc_fix_referents (struct gc_ref ref, scm_t_gc_fixer fix,
                  struct gc_heap *heap, void *fix_data)
{
  scm_t_bits *words = gc_ref_heap_object (ref);

  if (words[0] == 0x67)         /* scm_tc7_gc_smob_marker */
    scm_i_gc_fix_smob_referents (words, fix, heap, fix_data);
  else if ((words[0] & 0x7f) == 0x7f) /* scm_tc7_gc_special */
    scm_i_gc_fix_special_referents (words, fix, heap, fix_data);
}



/* All roots are ambiguous: C and VM stacks, the data of compiled files,
   and, found by the library itself, the data of C code.  */

static inline void
gc_trace_mutator_roots (struct gc_mutator_roots *roots,
                        scm_t_gc_visitor trace_edge,
                        struct gc_heap *heap, void *trace_data)
{
}

static inline void
gc_trace_heap_roots (struct gc_heap_roots *roots, scm_t_gc_visitor trace_edge,
                     struct gc_heap *heap, void *trace_data)
{
}

static inline void
gc_trace_mutator_pinned_roots (struct gc_mutator_roots *roots,
                               void (*trace_pinned) (struct gc_ref ref,
                                                     struct gc_heap *heap,
                                                     void *data),
                               scm_t_gc_ambiguous_visitor trace_ambiguous,
                               struct gc_heap *heap, void *data)
{
  scm_i_gc_trace_thread_roots (roots, trace_ambiguous, heap, data);
}

static inline void
gc_trace_heap_pinned_roots (struct gc_heap_roots *roots,
                            void (*trace_pinned) (struct gc_ref ref,
                                                  struct gc_heap *heap,
                                                  void *data),
                            scm_t_gc_ambiguous_visitor trace_ambiguous,
                            struct gc_heap *heap, void *data)
{
  scm_i_gc_trace_image_roots (roots, trace_ambiguous, heap, data);
}



/* The collector keeps forwarding state in its own tables; these are for
   copying collectors, which Guile cannot use.  */

static inline uintptr_t
gc_object_forwarded_nonatomic (struct gc_ref ref)
{
  GC_CRASH ();
}

static inline void
gc_object_forward_nonatomic (struct gc_ref ref, struct gc_ref new_ref)
{
  GC_CRASH ();
}

static inline struct gc_atomic_forward
gc_atomic_forward_begin (struct gc_ref ref)
{
  GC_CRASH ();
}

static inline void
gc_atomic_forward_acquire (struct gc_atomic_forward *fwd)
{
  GC_CRASH ();
}

static inline int
gc_atomic_forward_retry_busy (struct gc_atomic_forward *fwd)
{
  GC_CRASH ();
}

static inline void
gc_atomic_forward_abort (struct gc_atomic_forward *fwd)
{
  GC_CRASH ();
}

static inline size_t
gc_atomic_forward_object_size (struct gc_atomic_forward *fwd)
{
  GC_CRASH ();
}

static inline void
gc_atomic_forward_commit (struct gc_atomic_forward *fwd,
                          struct gc_ref new_ref)
{
  GC_CRASH ();
}

static inline uintptr_t
gc_atomic_forward_address (struct gc_atomic_forward *fwd)
{
  GC_CRASH ();
}



#include "libguile/whippet-verify.h"

#endif  /* SCM_WHIPPET_EMBEDDER_H */
