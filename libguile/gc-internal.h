#ifndef SCM_GC_INTERNAL_H
#define SCM_GC_INTERNAL_H

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



/* The boundary between libguile and its garbage collector.

   Everything that libguile asks of the collector is in this file;
   outside of it, of gc-whippet*.c and of whippet-embedder.h, nothing in
   libguile names a function of the collector library.

   Unless stated otherwise, functions are to be called by a thread in
   Guile mode, and those that allocate are safepoints.  */

#include "libguile/scm.h"
#include "libguile/gc.h"
#include "libguile/threads.h"

#include "whippet/api/gc-api.h"
#include "whippet/api/gc-allocate.h"
#include "whippet/api/gc-ephemeron.h"
#include "whippet/api/gc-safepoint.h"



/* Private type codes, for heap objects that are never seen by Scheme.
   They use values of tc7 that scm.h leaves free.  */

#define scm_tc7_gc_ephemeron    0x4f /* hash of the key << 8 */
#define scm_tc7_gc_finalizer    0x65
#define scm_tc7_gc_smob_marker  0x67
#define scm_tc7_gc_weak_buckets 0x6d /* number of buckets << 8 */
#define scm_tc7_gc_record       0x6f /* references << 8 | words << 32 */



/* First words of objects of BYTES bytes that a function traces, with
   pointers into themselves: they are pinned.  */
#define scm_tc7_gc_special      0x7f /* enum << 8 | words << 16 */

enum scm_i_gc_special
  {
    SCM_I_GC_SPECIAL_VM_CONT,   /* struct scm_vm_cont, and a stack */
    SCM_I_GC_SPECIAL_DYNSTACK   /* struct scm_i_captured_dynstack */
  };

#define SCM_I_GC_SPECIAL_TAG(special, bytes)                            \
  (scm_tc7_gc_special | ((scm_t_bits) (special) << 8)                   \
   | ((scm_t_bits) (bytes) / sizeof (scm_t_bits) << 16))



/* Allocation by kind.

   Memory is aligned to 16 bytes and all zero.  Sizes are in bytes and
   not zero.  The caller of scm_i_gc_alloc_tagged writes the first word,
   one that scm_i_trace_object knows, before the next safepoint.  */

SCM_INTERNAL void *scm_i_gc_alloc_slow (scm_thread *thread, size_t bytes,
                                        enum gc_allocation_kind kind);

static inline void *
scm_i_gc_alloc (scm_thread *thread, size_t bytes,
                enum gc_allocation_kind kind)
{
  void *ret = gc_allocate_fast (thread->mutator, bytes, kind);
  if (SCM_LIKELY (ret != NULL))
    return ret;
  return scm_i_gc_alloc_slow (thread, bytes, kind);
}

/* An object that is traced by what its first word says.  */
static inline void *
scm_i_gc_alloc_tagged (scm_thread *thread, size_t bytes)
{
  return scm_i_gc_alloc (thread, bytes, GC_ALLOCATION_TAGGED);
}

/* An object with a first word like the above, without references.  */
static inline void *
scm_i_gc_alloc_tagged_pointerless (scm_thread *thread, size_t bytes)
{
  return scm_i_gc_alloc (thread, bytes, GC_ALLOCATION_TAGGED_POINTERLESS);
}

/* A struct of C, of type TYPE, whose first word is
   SCM_I_GC_RECORD_TAG (TYPE, N_REFS).  The next N_REFS words are
   references, each to the start of an object, or immediate, null or
   outside the heap; the rest is not traced.  */
#define SCM_I_GC_RECORD_TAG_OF_SIZE(bytes, n_refs)                      \
  (scm_tc7_gc_record | ((scm_t_bits) (n_refs) << 8)                     \
   | (((scm_t_bits) (bytes) + sizeof (scm_t_bits) - 1)                  \
      / sizeof (scm_t_bits) << 32))
#define SCM_I_GC_RECORD_TAG(type, n_refs)                               \
  SCM_I_GC_RECORD_TAG_OF_SIZE (sizeof (type), n_refs)

/* Make one, all of whose other words are null.  */
static inline void *
scm_i_gc_alloc_record (scm_thread *thread, size_t bytes, size_t n_refs)
{
  scm_t_bits *ret = scm_i_gc_alloc_tagged (thread, bytes);
  ret[0] = SCM_I_GC_RECORD_TAG_OF_SIZE (bytes, n_refs);
  return ret;
}

/* The same for the current thread.  */
SCM_INTERNAL void *scm_i_gc_malloc_record (size_t bytes, size_t n_refs);

/* An object that is traced by what its first word says, and never
   moves.  */
static inline void *
scm_i_gc_alloc_pinned (scm_thread *thread, size_t bytes)
{
  return scm_i_gc_alloc (thread, bytes, GC_ALLOCATION_TAGGED_PINNED);
}

/* A record that never moves: it has a mutex or the like, or memory that
   the collector does not know of refers to it.  */
SCM_INTERNAL void *scm_i_gc_alloc_pinned_record (scm_thread *thread,
                                                 size_t bytes,
                                                 size_t n_refs);

/* Raw bytes that never move.  */
static inline void *
scm_i_gc_alloc_pointerless (scm_thread *thread, size_t bytes)
{
  return scm_i_gc_alloc (thread, bytes, GC_ALLOCATION_UNTAGGED_POINTERLESS);
}

/* Memory that never moves, and any word of which may be a reference.  */
static inline void *
scm_i_gc_alloc_conservative (scm_thread *thread, size_t bytes)
{
  return scm_i_gc_alloc (thread, bytes, GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
}

/* The same for the current thread, and a realloc for pointerless memory,
   are in gc.h.  */



/* Properties of objects.  */

/* True if OBJ is in memory of the collector, so that it can die, rather
   than a constant of C or of a compiled Scheme file.  Any thread.  */
SCM_INTERNAL int scm_i_gc_is_heap_pointer (void *obj);

/* Bytes of the block of memory that starts at MEM, at least as many as
   were asked for; 0 if the collector has no block that starts there.  */
SCM_INTERNAL size_t scm_i_gc_block_size (void *mem);

/* Make sure that OBJ never moves, because its address becomes known to
   somebody that the collector does not know of.  This does not keep it
   alive.  Immediates and objects outside the heap are fine.  */
SCM_INTERNAL void scm_i_gc_pin (SCM obj);

/* To be called next to each store of VAL in the field at LOC of the heap
   object OBJ, of SIZE bytes, unless no collection can have happened
   since OBJ was allocated.  */
static inline void
scm_i_gc_write_hook (scm_thread *thread, void *obj, size_t size,
                     SCM *loc, SCM val)
{
  /* Only needed by generational configurations; see gc-barrier.h.  */
}



/* Ephemerons: VALUE is kept alive by KEY, for as long as the ephemeron
   itself is alive.  When KEY is found to be unreachable, the association
   is broken before any finalizer or guardian sees KEY.

   The hash of an ephemeron is a number of 56 bits for the use of weak
   tables.  Keys and values that are immediate, or outside the heap, are
   always alive; a null pointer is not allowed.  */

typedef struct gc_ephemeron scm_t_ephemeron;

#define SCM_I_EPHEMERON_HASH_MASK ((~(scm_t_bits) 0) >> 8)

SCM_INTERNAL scm_t_ephemeron *
scm_i_make_ephemeron (scm_thread *thread, SCM key, SCM value,
                      unsigned long hash);

static inline scm_t_bits
scm_i_ephemeron_hash (scm_t_ephemeron *ephemeron)
{
  return *(scm_t_bits *) ephemeron >> 8;
}

/* These return a null SCM if the association is broken.  */
static inline SCM
scm_i_ephemeron_key (scm_t_ephemeron *ephemeron)
{
  return SCM_PACK (gc_ref_value (gc_ephemeron_key (ephemeron)));
}

static inline SCM
scm_i_ephemeron_value (scm_t_ephemeron *ephemeron)
{
  return SCM_PACK (gc_ref_value (gc_ephemeron_value (ephemeron)));
}

static inline void
scm_i_ephemeron_set_value (scm_thread *thread, scm_t_ephemeron *ephemeron,
                           SCM value)
{
  gc_ephemeron_swap_value (thread->mutator, ephemeron,
                           gc_ref (SCM_UNPACK (value)));
}

static inline void
scm_i_ephemeron_break (scm_t_ephemeron *ephemeron)
{
  gc_ephemeron_mark_dead (ephemeron);
}

/* Chains of ephemerons; broken ones are skipped and cut out.  */
static inline scm_t_ephemeron *
scm_i_ephemeron_chain_head (scm_t_ephemeron **loc)
{
  return gc_ephemeron_chain_head (loc);
}

static inline scm_t_ephemeron *
scm_i_ephemeron_chain_next (scm_t_ephemeron *ephemeron)
{
  return gc_ephemeron_chain_next (ephemeron);
}

static inline void
scm_i_ephemeron_chain_push (scm_t_ephemeron **loc, scm_t_ephemeron *ephemeron)
{
  gc_ephemeron_chain_push (loc, ephemeron);
}



/* Finalizers.  */

typedef void (*scm_t_gc_finalizer_proc) (void *obj, void *data);

/* In the order in which they are looked at.  An object that is given to
   a guardian is reachable again, and its other finalizers wait.  */
enum scm_gc_finalizer_priority
  {
    SCM_GC_FINALIZER_GUARDIAN,
    SCM_GC_FINALIZER_RESUSCITATOR,
    SCM_GC_FINALIZER_PLAIN,
    SCM_GC_FINALIZER_PRIORITY_COUNT
  };

/* Arrange for scm_i_gc_run_finalizers to call PROC (OBJ, DATA), once,
   when OBJ has become unreachable.  DATA may be anything but a pointer
   into the middle of a heap object, and is kept alive.  An object may
   have several; the newest goes first.  Objects outside the heap are
   ignored.  */
SCM_INTERNAL void
scm_i_gc_add_finalizer (void *obj, scm_t_gc_finalizer_proc proc, void *data,
                        enum scm_gc_finalizer_priority priority);

/* Run the finalizers of the objects that were found unreachable, on this
   thread; return how many.  Runs Scheme code.  */
SCM_INTERNAL int scm_i_gc_run_finalizers (void);

/* NOTIFIER, or nothing if NULL, is called after each collection that
   found something to finalize, or that has to be told to the callbacks
   below, by some thread, in Guile mode.  If it returns 0 it is called again
   soon.  */
SCM_INTERNAL void scm_i_gc_set_finalizer_notifier (int (*notifier) (void));

/* Have scm_i_gc_run_finalizers call CALLBACK once after collections.  */
SCM_INTERNAL void scm_i_gc_add_callback (void (*callback) (void));



/* Smobs of type TC, to be made after this, have N_WORDS words, and those in
   REFERENCES, a union of SCM_I_SMOB_REF (word), are references.  Smobs of
   other types are traced conservatively.  */
#define SCM_I_SMOB_REF(word) (1U << ((word) - 1))

SCM_INTERNAL void scm_i_set_smob_layout (scm_t_bits tc, size_t n_words,
                                         unsigned int references);

/* Marking from user code; see smob.c.  */

/* The object that makes the tracer call scm_i_smob_mark for SMOB.  */
SCM_INTERNAL void *scm_i_gc_make_smob_marker (scm_thread *thread, SCM smob);

/* Only while the tracer is in scm_i_smob_mark; false otherwise.  */
SCM_INTERNAL int scm_i_gc_mark_from_smob (SCM obj);

/* Forget what smobs have marked in this pause.  At its end, world stopped.  */
SCM_INTERNAL void scm_i_gc_forget_marked (void);

/* Call the mark function of SMOB, if there is one.  Called by tracing
   threads, one at a time.  */
SCM_INTERNAL void scm_i_smob_mark (SCM smob);



/* Roots.  */

/* The words from START to END, which stay mapped, may hold references.  */
SCM_INTERNAL void scm_i_gc_add_roots (void *start, void *end);

/* Call VISIT (start, end, data) for each part of the VM stack of THREAD
   that may hold references; clear dead slots.  World stopped.  */
SCM_INTERNAL void
scm_i_vm_visit_stack (struct scm_vm *vp,
                      void (*visit) (uintptr_t start, uintptr_t end,
                                     void *data),
                      void *data);



/* Threads.

   A thread is attached to the collector from its first entry into Guile
   mode until it exits, and active while in Guile mode.  */

struct scm_gc_stack_base
{
  void *mem_base;
};

/* Make the heap, and attach the calling thread.  */
SCM_INTERNAL void scm_i_gc_init (struct scm_gc_stack_base *base);

/* Attach the calling thread, whose stack begins at BASE, and return its
   mutator, or NULL without memory for it.  Active afterwards.  For the
   thread that called scm_i_gc_init, only return the mutator.  */
SCM_INTERNAL struct gc_mutator *
scm_i_gc_attach_thread (struct scm_gc_stack_base *base);

/* Publish or, with NULL, withdraw the calling thread's own roots.  */
SCM_INTERNAL void scm_i_gc_set_thread_roots (struct gc_mutator *mutator,
                                             scm_thread *thread);

/* Detach the calling thread, in Guile mode or not.  */
SCM_INTERNAL void scm_i_gc_detach_thread (struct gc_mutator *mutator);

SCM_INTERNAL void scm_i_gc_deactivate (scm_thread *thread);
SCM_INTERNAL void scm_i_gc_reactivate (scm_thread *thread);

/* Call FUNC (DATA) while the calling thread is not active.  */
SCM_INTERNAL void *scm_i_gc_call_inactive (scm_thread *thread,
                                           void *(*func) (void *),
                                           void *data);

/* Call FUNC (DATA) while the calling thread is active; then it is inactive
   as before, with the registers that were captured when it became so.  */
SCM_INTERNAL void *scm_i_gc_call_active (scm_thread *thread,
                                         void *(*func) (void *),
                                         void *data);

/* Call FUNC (BASE, DATA), BASE being nearer to the base of the stack
   than all frames of FUNC.  Any thread.  */
SCM_INTERNAL void *
scm_i_gc_call_with_stack_base (void *(*func) (struct scm_gc_stack_base *,
                                              void *),
                               void *data);

/* The calling thread, which is active, has frames as near to the base of its
   stack as BASE.  Until the scm_i_gc_call_active that made it active
   returns.  */
SCM_INTERNAL void scm_i_gc_extend_stack (scm_thread *thread,
                                         struct scm_gc_stack_base *base);

/* Find the base of the stack of the calling thread; return true on
   success.  Any thread.  */
SCM_INTERNAL int scm_i_gc_get_stack_base (struct scm_gc_stack_base *base);

/* The signal that threads in Guile mode must not block, or 0.  */
SCM_INTERNAL int scm_i_gc_signal_number (void);



/* Safepoints.

   thread->poll is what the handle-interrupts instruction polls.  It is
   nonzero if there may be something to do.  */

#define SCM_I_POLL_ASYNC ((scm_t_bits) 1) /* pending_asyncs not empty */
#define SCM_I_POLL_STOP  ((scm_t_bits) 2) /* the collector waits */

/* Tell that an async was added to THREAD.  Any thread.  */
static inline void
scm_i_poll_set_async (scm_thread *thread)
{
  __atomic_fetch_or (&thread->poll, SCM_I_POLL_ASYNC, __ATOMIC_SEQ_CST);
}

/* Do what thread->poll asks for.  Return true if there are asyncs and
   they may run.  */
SCM_INTERNAL uintptr_t scm_i_poll_slow (scm_thread *thread);

/* A collection may happen here.  */
static inline void
scm_i_gc_safepoint (scm_thread *thread)
{
  if (SCM_UNLIKELY (__atomic_load_n (&thread->poll, __ATOMIC_RELAXED)
                    & SCM_I_POLL_STOP))
    scm_i_poll_slow (thread);
}

/* The same in each round of a loop that may be long and does not allocate.
   *N is 0 at the beginning.  */
static inline void
scm_i_gc_safepoint_in_loop (unsigned int *n)
{
  if (SCM_UNLIKELY ((++*n & 1023) == 0))
    scm_i_gc_safepoint (SCM_I_CURRENT_THREAD);
}

/* Between these two, the thread stops only at safepoints proper, not
   anywhere in library functions or system calls.  For changes of what
   scm_i_vm_visit_stack and the like look at.  They nest.  */
static inline void
scm_i_gc_begin_critical (scm_thread *thread)
{
  thread->gc_critical++;
  __atomic_signal_fence (__ATOMIC_SEQ_CST);
}

static inline void
scm_i_gc_end_critical (scm_thread *thread)
{
  __atomic_signal_fence (__ATOMIC_SEQ_CST);
  thread->gc_critical--;
}

/* Machine code that allocates inline is from START to END, or is so no
   more.  */
SCM_INTERNAL void scm_i_gc_register_code (void *start, void *end);
SCM_INTERNAL void scm_i_gc_unregister_code (void *start);



/* Collections.  */

enum scm_gc_kind { SCM_GC_ANY, SCM_GC_MINOR, SCM_GC_MAJOR, SCM_GC_COMPACT };

SCM_INTERNAL void scm_i_gc_collect (enum scm_gc_kind kind);

/* Finalizers release memory of malloc.  If they are behind, so that more of
   it waits than a collection made known last, give them time: half a second
   at most, and not where none ends.  To be called before a collection for
   such memory.  Any thread.  */
SCM_INTERNAL void scm_i_gc_let_finalizers_catch_up (void);

/* Number of collections so far.  Any thread.  */
SCM_INTERNAL unsigned long scm_i_gc_count (void);

/* Number of ephemerons that collections have found dead so far.  Any
   thread.  */
SCM_INTERNAL uint64_t scm_i_gc_ephemerons_died (void);

/* No collections, other than those asked for, until as many calls with
   a false argument.  */
SCM_INTERNAL void scm_i_gc_inhibit (int inhibit);

struct scm_gc_statistics
{
  uint64_t count, count_minor, count_compacting;
  uint64_t pause_total_nsec, pause_max_nsec;
  uint64_t allocated;           /* since the start, bytes */
  uint64_t allocated_since_gc;
  uint64_t bytes_evacuated;     /* since the start */
  uint64_t blocks_chosen;       /* to be emptied, since the start */
  uint64_t blocks_emptied;      /* of these */
  size_t heap_size, live_size, free_size, fragmentation;
};

SCM_INTERNAL void scm_i_gc_get_statistics (struct scm_gc_statistics *stats);

/* Size of the heap, without what is outside of it.  */
SCM_INTERNAL size_t scm_i_gc_heap_size (void);

/* Limits of the address space may have been lowered: keep less of it
   reserved for the heap.  Any thread.  */
SCM_INTERNAL void scm_i_gc_respect_limits (void);

/* Called when memory is exhausted; to be defined by gc.c.  Does not
   return.  */
SCM_INTERNAL void scm_i_gc_out_of_memory (size_t bytes);

/* Called by the thread that triggers a collection, before it; to be
   defined by gc.c.  May not allocate.  */
SCM_INTERNAL void scm_i_gc_before_collection (void);

/* That function queues the after-gc-hook for the thread, in a pair of its own,
   which this one makes for the current THREAD.  To be defined by gc.c.  */
SCM_INTERNAL void scm_i_gc_make_hook_cell (scm_thread *thread);

#endif  /* SCM_GC_INTERNAL_H */
