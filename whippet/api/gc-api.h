/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Heaps and mutators.

   There is one struct gc_heap, and one struct gc_mutator per thread that
   touches it.  A mutator is active when its thread may read, write and
   allocate heap objects.  Collections stop the world: active mutators stop in
   the slow path of an allocation or at a safepoint; inactive ones count as
   stopped.  A thread with mutators of several heaps has at most one active mutator at
   a time, also when it makes another heap or mutator: else a fork, which stops all
   heaps, may wait for ever.  Misuse traps, in some cases only when GC_DEBUG is
   nonzero.  */
#ifndef GC_API_H
#define GC_API_H

#include "gc-allocation-kind.h"
#include "gc-assert.h"
#include "gc-attrs.h"
#include "gc-collection-kind.h"
#include "gc-config.h"
#include "gc-conservative-ref.h"
#include "gc-edge.h"
#include "gc-event-listener.h"
#include "gc-inline.h"
#include "gc-options.h"
#include "gc-ref.h"
#include "gc-stack-addr.h"
#include "gc-visibility.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct gc_heap;
struct gc_mutator;
struct gc_options;

/* Defined by the embedder; the collector keeps pointers only.  */
struct gc_mutator_roots;
struct gc_heap_roots;
struct gc_extern_space;

/* Make a heap, and an active mutator for the calling thread.

   OPTIONS are read and may be discarded afterwards; NULL means the defaults.
   BASE is the cold end of the thread's stack, empty to ask the platform.
   EVENT_LISTENER is copied, EVENT_LISTENER_DATA is kept.  Return 1, or 0 and
   set *HEAP to NULL if memory cannot be obtained.  */
GC_API_ int gc_init(const struct gc_options *options, struct gc_stack_addr base,
                    struct gc_heap **heap, struct gc_mutator **mutator,
                    struct gc_event_listener event_listener,
                    void *event_listener_data);

/* The heap of MUT.  Any thread.  */
GC_API_ struct gc_heap *gc_mutator_heap(struct gc_mutator *mut);

/* The bounds of the nursery for small objects, fixed for the life of the heap.
   Trap unless the old-generation check is SMALL_OBJECT_NURSERY.  */
GC_API_ uintptr_t gc_small_object_nursery_low_address(struct gc_heap *heap);
GC_API_ uintptr_t gc_small_object_nursery_high_address(struct gc_heap *heap);

/* Attach the calling thread, whose stack has its cold end at BASE, as an active
   mutator without roots.  Waits while a collection is running.  Returns NULL,
   and changes nothing, if there is no memory for the mutator, or if BASE is empty
   and the system does not tell where the thread's stack is.  */
GC_API_ struct gc_mutator *gc_init_for_thread(struct gc_stack_addr base,
                                              struct gc_heap *heap);

/* Detach and free MUT, active or not.  Its own thread only.  */
GC_API_ void gc_finish_for_thread(struct gc_mutator *mut);

/* Set the value, initially NULL, that is handed to the embedder's hook for
   this mutator's roots, the heap's roots, objects outside the heap.  To be set
   before the first safepoint that needs it, and for the heap before other
   threads start: not synchronised.  */
GC_API_ void gc_mutator_set_roots(struct gc_mutator *mut,
                                  struct gc_mutator_roots *roots);
GC_API_ void gc_heap_set_roots(struct gc_heap *heap,
                               struct gc_heap_roots *roots);
GC_API_ void gc_heap_set_extern_space(struct gc_heap *heap,
                                      struct gc_extern_space *space);

/* Set what happens when an allocation of a number of bytes cannot be satisfied
   after all that the sizing policy permits.  HANDLER runs on the allocating
   thread with no lock held; what it returns is the result of gc_allocate.  It
   may leave by a non-local exit; the heap stays usable.  The default prints a
   line to stderr and traps.  */
GC_API_ void gc_heap_set_allocation_failure_handler(
    struct gc_heap *heap, void *(*handler)(struct gc_heap *heap, size_t size));

/* Bytes allocated since the heap was made, except perhaps those in blocks that
   mutators are allocating into.  Monotone.  Any thread; may wait for a
   collection to end.  */
GC_API_ uint64_t gc_allocation_counter(struct gc_heap *heap);

/* Nonzero if REF, neither null nor immediate, is in memory that the collector
   manages.  Any thread, any time.  */
GC_API_ int gc_heap_contains(struct gc_heap *heap, struct gc_ref ref);

/* The object that REF may denote, or null: an object that was live at the last
   collection, or is younger.  Unless POSSIBLY_INTERIOR, only the start of an
   object, displaced by what the embedder accepts, denotes it.  Any active
   mutator, also while others allocate.  */
GC_API_ struct gc_ref
gc_resolve_conservative_ref(struct gc_heap *heap,
                            struct gc_conservative_ref ref,
                            int possibly_interior);

/* Bytes of memory of the object that starts at REF, at least as many as were
   allocated for it; 0 if none that gc_resolve_conservative_ref finds starts
   there.  Any active mutator, also while others allocate.  */
GC_API_ size_t gc_object_size(struct gc_heap *heap, struct gc_ref ref);

/* Never move OBJ from now on; this does not keep it alive, and cannot be
   undone.  Test gc_can_pin_objects first.  Any active mutator, atomic with
   respect to others that pin or log fields of the same object.  But if another
   thread has just allocated OBJ, it must have passed it on by means that order
   memory accesses, a lock or a release store: where stores may be seen in another
   order, the allocation could else undo the pin.  */
GC_API_ void gc_pin_object(struct gc_mutator *mut, struct gc_ref obj);

/* Stop the world and collect.  On return, a collection of at least
   REQUESTED_KIND has started after the call and finished.  Active mutator on
   its own thread; a safepoint.  */
GC_API_ void gc_collect(struct gc_mutator *mut,
                        enum gc_collection_kind requested_kind);

/* Make the active MUT inactive: collections go on without it, its roots stay
   in force, and the conservative stack is what it is now.  Own thread.  */
GC_API_ void gc_deactivate(struct gc_mutator *mut);

/* Make the inactive MUT active, once no collection is running.  Own thread; a
   safepoint.  */
GC_API_ void gc_reactivate(struct gc_mutator *mut);

/* Call F (MUT, DATA) with MUT inactive, and return what F returns.  */
GC_API_ void *gc_deactivate_for_call(struct gc_mutator *mut,
                                     void *(*f)(struct gc_mutator *mut,
                                                void *data),
                                     void *data) GC_NEVER_INLINE;

/* Call F (MUT, DATA) with MUT active, restore its state, and return what F
   returns.  Nests with the above.  */
GC_API_ void *gc_reactivate_for_call(struct gc_mutator *mut,
                                     void *(*f)(struct gc_mutator *mut,
                                                void *data),
                                     void *data) GC_NEVER_INLINE;

/* Have the stack of the active MUT end at BASE, if that is colder than where it
   ends now; it never becomes shorter.  For a thread that was attached without
   the platform knowing its stack, as on a stack of the program's own, and is now
   in frames that are colder than the BASE it was attached with.  All between the
   stack pointer and BASE must be readable.  If MUT was made active by
   gc_reactivate_for_call, the former end holds again when that returns.  BASE
   may not be empty.  Own thread only.  */
GC_API_ void gc_mutator_extend_stack(struct gc_mutator *mut,
                                     struct gc_stack_addr base);

#endif /* GC_API_H */
