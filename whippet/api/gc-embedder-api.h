/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the embedder header defines: how the library learns of the program's
   objects and roots.

   The embedder header includes this file and defines each of these functions,
   as `static inline'.  It also defines two macros:

     GC_EMBEDDER_EPHEMERON_HEADER   member declarations, each with its
     GC_EMBEDDER_FINALIZER_HEADER   semicolon, that start struct gc_ephemeron
                                    and struct gc_finalizer

   The library sources include the embedder header; programs need not.  The
   hooks are called with the world stopped, on any tracing thread, unless
   stated; they must not call the collector.

   Most collections are one trace of the heap.  Two are made, in the same pause and
   after one another, by a compacting collection that only marks before it moves
   objects, and by a major one that turns out to leave the heap so sparse that it
   compacts it.  Each trace begins with the roots, and finds live objects anew.  The
   heap verifier, if it is on, enumerates roots and objects again after each trace.  */
#ifndef GC_EMBEDDER_API_H
#define GC_EMBEDDER_API_H

#include "gc-config.h"
#include "gc-edge.h"
#include "gc-forwarding.h"
#include "gc-inline.h"

#include <stddef.h>
#include <stdint.h>

#ifndef GC_EMBEDDER_API
#define GC_EMBEDDER_API static
#endif

struct gc_heap;
struct gc_mutator;
struct gc_mutator_roots;
struct gc_heap_roots;
struct gc_extern_space;
struct gc_ephemeron;
struct gc_finalizer;

/* Given what is left when a conservative reference is aligned down (to the
   granule, the page, or the word), may it denote the object?  Zero should
   qualify; programs with tagged pointers also accept their tags.  Conservative
   configurations only; also called by mutators.  */
GC_EMBEDDER_API inline int
gc_is_valid_conservative_ref_displacement(uintptr_t displacement);

/* The number of priorities of finalizers: constant, at least 1.  Also called by
   gc_init.  */
GC_EMBEDDER_API inline size_t gc_finalizer_priority_count(void);

/* REF denotes an object outside the collector's memory.  Nonzero if this is
   the first visit since gc_extern_space_start_gc, that is, in this trace: the object
   is then traced by gc_trace_object.  Not called for words that only may be
   references.  Concurrent on several threads.  */
GC_EMBEDDER_API inline int
gc_extern_space_visit(struct gc_extern_space *space,
                      struct gc_ref ref) GC_ALWAYS_INLINE;

/* At the start and at the end of each trace, on one thread: twice each in a collection
   that traces twice.  SPACE may be NULL.  */
GC_EMBEDDER_API inline void
gc_extern_space_start_gc(struct gc_extern_space *space, int is_minor_gc);
GC_EMBEDDER_API inline void
gc_extern_space_finish_gc(struct gc_extern_space *space, int is_minor_gc);

/* Call VISIT (edge, HEAP, TRACE_DATA) once for each field of the TAGGED object
   REF that holds a reference; null and immediates are allowed.  Return the
   object's size in bytes, as at allocation; for one that is still zero all over,
   because it is not initialised yet, any size will do.  If VISIT is NULL, HEAP and
   TRACE_DATA are NULL too: only return the size.  Called once for each live object in
   each trace; more often if two threads reach an object that stays where it is at the
   same moment, which then may trace it concurrently, and for objects that are traced
   again because there was no memory for the mark stack.  Threads trace different
   objects concurrently, and other objects may be on the move: read no memory
   but the object's own.  VISIT may update the field, then or until the end of
   the collection.  An edge may also be a local variable, for a field that holds
   the reference in another form: it is up to date on return from VISIT, and not
   used any more.  Must not allocate.  In heap-conservative builds only called for
   objects of GC_ALLOCATION_TAGGED_PINNED and outside of the heap: other objects are
   traced word by word, and ephemerons and finalizers by the collector itself, with
   the embedder's part of their headers word by word.  */
GC_EMBEDDER_API inline size_t gc_trace_object(
    struct gc_ref ref,
    void (*visit)(struct gc_edge edge, struct gc_heap *heap, void *visit_data),
    struct gc_heap *heap, void *trace_data) GC_ALWAYS_INLINE;

/* Call TRACE_EDGE (edge, HEAP, TRACE_DATA) for each precise root.  Called once
   per trace and registered ROOTS, never NULL: twice in a collection that traces
   twice.  The edges may be rewritten.  */
GC_EMBEDDER_API inline void gc_trace_mutator_roots(
    struct gc_mutator_roots *roots,
    void (*trace_edge)(struct gc_edge edge, struct gc_heap *heap,
                       void *trace_data),
    struct gc_heap *heap, void *trace_data);
GC_EMBEDDER_API inline void
gc_trace_heap_roots(struct gc_heap_roots *roots,
                    void (*trace_edge)(struct gc_edge edge,
                                       struct gc_heap *heap, void *trace_data),
                    struct gc_heap *heap, void *trace_data);

/* Call TRACE_PINNED (ref, HEAP, DATA) for each root whose referent must not
   move in this collection, and TRACE_AMBIGUOUS (start, end, possibly_interior,
   HEAP, DATA) for each range of words to scan conservatively; START is
   included, END is not.  Only in configurations with conservative roots,
   before anything moves.  Memory of a range must remain until the mutators are
   restarted, unless it is in the frame of the function itself: the ranges of
   the heap's roots are scanned later, in pieces, perhaps by other threads.  */
GC_EMBEDDER_API inline void gc_trace_mutator_pinned_roots(
    struct gc_mutator_roots *roots,
    void (*trace_pinned)(struct gc_ref ref, struct gc_heap *heap, void *data),
    void (*trace_ambiguous)(uintptr_t start, uintptr_t end,
                            int possibly_interior, struct gc_heap *heap,
                            void *data),
    struct gc_heap *heap, void *data);
GC_EMBEDDER_API inline void gc_trace_heap_pinned_roots(
    struct gc_heap_roots *roots,
    void (*trace_pinned)(struct gc_ref ref, struct gc_heap *heap, void *data),
    void (*trace_ambiguous)(uintptr_t start, uintptr_t end,
                            int possibly_interior, struct gc_heap *heap,
                            void *data),
    struct gc_heap *heap, void *data);

/* Forwarding in the object itself, for copying collectors.  The mostly-marking
   collector keeps this state in its own metadata and overwrites the first word
   of the old copy: the tag there must not be relied on after a move.

   The address to which REF was forwarded by one thread, or 0; and to forward
   it.  */
GC_EMBEDDER_API inline uintptr_t
gc_object_forwarded_nonatomic(struct gc_ref ref);
GC_EMBEDDER_API inline void gc_object_forward_nonatomic(struct gc_ref ref,
                                                        struct gc_ref new_ref);

/* With several threads, a state machine:

     call         state before    state after
     begin        -               NOT_FORWARDED, FORWARDED or BUSY
     acquire      NOT_FORWARDED   ACQUIRED, else BUSY or FORWARDED
     retry_busy   BUSY            BUSY (returns 0); FORWARDED or NOT_FORWARDED
     object_size  ACQUIRED        ACQUIRED
     commit       ACQUIRED        FORWARDED; the contents were copied already
     abort        ACQUIRED        NOT_FORWARDED
     address      FORWARDED       FORWARDED  */
GC_EMBEDDER_API inline struct gc_atomic_forward
gc_atomic_forward_begin(struct gc_ref ref);
GC_EMBEDDER_API inline void
gc_atomic_forward_acquire(struct gc_atomic_forward *fwd);
GC_EMBEDDER_API inline int
gc_atomic_forward_retry_busy(struct gc_atomic_forward *fwd);
GC_EMBEDDER_API inline void
gc_atomic_forward_abort(struct gc_atomic_forward *fwd);
GC_EMBEDDER_API inline size_t
gc_atomic_forward_object_size(struct gc_atomic_forward *fwd);
GC_EMBEDDER_API inline void
gc_atomic_forward_commit(struct gc_atomic_forward *fwd, struct gc_ref new_ref);
GC_EMBEDDER_API inline uintptr_t
gc_atomic_forward_address(struct gc_atomic_forward *fwd);

/* Optional extension: tracing a large object in slices, so that several
   threads share the work.  The embedder header defines
   GC_EMBEDDER_TRACE_OBJECT_SLICES to 1, before it includes this file, and the
   function below: visit only the edges whose byte offset in the object is at
   least OFFSET and less than LIMIT, and return the size of the object in bytes.
   OFFSET and LIMIT are multiples of the word; together the slices of one
   trace cover the object once.  VISIT is never NULL.  Several threads may
   trace different slices of one object at the same time.  Objects that are not
   worth slicing may do all their work in the slice whose OFFSET is 0.  */
#if defined(GC_EMBEDDER_TRACE_OBJECT_SLICES) && GC_EMBEDDER_TRACE_OBJECT_SLICES
GC_EMBEDDER_API inline size_t gc_trace_object_slice(
    struct gc_ref ref, size_t offset, size_t limit,
    void (*visit)(struct gc_edge edge, struct gc_heap *heap, void *visit_data),
    struct gc_heap *heap, void *trace_data);
#endif

/* Optional extension: if the embedder header defines
   GC_EMBEDDER_EPHEMERONS_PRECEDE_FINALIZERS to 1, ephemerons whose keys are not
   strongly reachable die before finalizable objects are resurrected, so that no
   ephemeron finds a key whose finalizer has fired.  What finalizers of a priority
   resurrect counts as reachable for those of later priorities.  (An ephemeron that
   is only found in an object of a finalizer does find keys whose finalizers fire
   together with that.)  By default an ephemeron keeps its value if its key is
   resurrected.  */

/* Optional extension: references that memory outside the heap holds on behalf of
   an object.  If the embedder header defines GC_EMBEDDER_FIXES_REFERENTS to 1, it
   also defines this function.  It is called before a compaction, with the world
   stopped, on one thread, for each TAGGED object REF that a conservatively traced
   object refers to: call FIX (ref, HEAP, DATA) for each object that must not move
   in this collection if REF is live.  REF may not be live, unless
   gc_heap_mark_before_moving has been called, but it and what it
   references are intact, and nothing has moved yet.  FIX keeps nothing alive, and
   ignores what is no object.  Must not allocate.  */
#if defined(GC_EMBEDDER_FIXES_REFERENTS) && GC_EMBEDDER_FIXES_REFERENTS
GC_EMBEDDER_API inline void gc_fix_referents(struct gc_ref ref,
                                             void (*fix)(struct gc_ref ref,
                                                         struct gc_heap *heap,
                                                         void *data),
                                             struct gc_heap *heap, void *data);
#endif

/* Optional extension for the heap verifier: does a referent look like an object?
   If the embedder header defines GC_EMBEDDER_CHECKS_REFERENTS to 1, it also
   defines this function.  It is called with the world stopped, after the trace,
   for edges that lead to the start of a live TAGGED object REF; POINTERLESS tells
   how REF was allocated.  Return NULL if all is well, else a constant string that
   says what is wrong.  */
#if defined(GC_EMBEDDER_CHECKS_REFERENTS) && GC_EMBEDDER_CHECKS_REFERENTS
GC_EMBEDDER_API inline const char *gc_check_referent(struct gc_ref ref,
                                                     int pointerless);
#endif

/* A library source need not use, nor an embedder header under construction
   define, all of these.  GCC looks at the state of this option at the end of
   the translation unit, so it is not restored; programs do not include this
   file.  */
#pragma GCC diagnostic ignored "-Wunused-function"

#endif /* GC_EMBEDDER_API_H */
