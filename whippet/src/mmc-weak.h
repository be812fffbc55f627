/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ephemerons and finalizers: what the collector provides for their sources, and
   the mutators' side of them.  */

#ifndef MMC_WEAK_H
#define MMC_WEAK_H

#include "gc-allocate.h"
#include "gc-ephemeron-internal.h"
#include "gc-finalizer-internal.h"
#include "mmc-barrier.h"
#include "mmc-heap.h"
#include "mmc-own.h"
#include "mmc-stop.h"

static int heap_edge_is_live(struct gc_heap *heap, struct gc_edge edge) {
  struct gc_ref ref = gc_edge_ref(edge);
  if (gc_ref_is_null(ref) || gc_ref_is_immediate(ref))
    return 1;
  uintptr_t addr = gc_ref_value(ref);
  if (nofl_space_contains(&heap->space, addr))
    return nofl_edge_is_live(&heap->space, edge, addr);
  if (large_space_contains(&heap->large, addr))
    return large_object_is_live(&heap->large, ref);
  return 1;
}

int gc_visit_ephemeron_key(struct gc_edge edge, struct gc_heap *heap) {
  return heap_edge_is_live(heap, edge);
}

int gc_visit_finalizer_object(struct gc_edge edge, struct gc_heap *heap) {
  return heap_edge_is_live(heap, edge);
}

void gc_note_waiting_finalizer(struct gc_heap *heap) {
  /* Relaxed: a count, read when the trace has ended.  */
  gc_atomic_fetch_add_relaxed(&heap->waiting_finalizers, 1);
}

struct gc_pending_ephemerons *gc_heap_pending_ephemerons(struct gc_heap *heap) {
  return heap->pending_ephemerons;
}

unsigned gc_heap_ephemeron_trace_epoch(struct gc_heap *heap) {
  return heap->epoch;
}

/* Before the store: if the thread is stopped in between, what it stores is old
   when it goes on.  */
void gc_ephemeron_chain_barrier(struct gc_ephemeron *e, struct gc_edge link,
                                struct gc_ref tail) {
  struct gc_mutator *mut = current_mutator;
  if (!GC_GENERATIONAL || !mut)
    return;
  mutator_enter_barrier(mut);
  mutator_write_barrier(mut, gc_ref_from_heap_object(e), link, tail);
  mutator_leave_library(mut);
}

/* An inline allocation must not be interrupted; in programs, their hook sees to
   that.  The slow one may not return, if there is no memory.  */
static inline void *mutator_allocate_own(struct gc_mutator *mut, size_t bytes,
                                         enum own_type type) {
  mutator_enter_library(mut);
  void *ret = gc_allocate_fast(mut, bytes, OWN_OBJECT_KIND);
  if (GC_UNLIKELY(!ret)) {
    mutator_leave_library(mut);
    ret = gc_allocate_slow(mut, bytes, OWN_OBJECT_KIND);
    mutator_enter_library(mut);
  }
  own_object_set_type(mut->heap, (uintptr_t)ret, type);
  mutator_leave_library(mut);
  return ret;
}

struct gc_ephemeron *gc_allocate_ephemeron(struct gc_mutator *mut) {
  return mutator_allocate_own(mut, gc_ephemeron_size(), OWN_EPHEMERON);
}

void gc_ephemeron_init(struct gc_mutator *mut, struct gc_ephemeron *ephemeron,
                       struct gc_ref key, struct gc_ref value) {
  mutator_enter_barrier(mut);
  gc_ephemeron_init_internal(mut->heap, ephemeron, key, value);
#if GC_GENERATIONAL
  /* A thread that was parked since the allocation may hold an ephemeron that
     is old by now.  */
  struct gc_ref ref = gc_ref_from_heap_object(ephemeron);
  mutator_write_barrier(mut, ref, gc_ephemeron_key_edge(ephemeron), key);
  mutator_write_barrier(mut, ref, gc_ephemeron_value_edge(ephemeron), value);
#endif
  mutator_leave_library(mut);
}

struct gc_finalizer *gc_allocate_finalizer(struct gc_mutator *mut) {
  return mutator_allocate_own(mut, gc_finalizer_size(), OWN_FINALIZER);
}

void gc_finalizer_attach(struct gc_mutator *mut, struct gc_finalizer *finalizer,
                         unsigned priority, struct gc_ref object,
                         struct gc_ref closure) {
  mutator_enter_library(mut);
  gc_finalizer_attach_internal(mut->heap->finalizers, finalizer, priority,
                               object, closure);
  mutator_leave_library(mut);
}

struct gc_finalizer *gc_pop_finalizable(struct gc_mutator *mut) {
  mutator_enter_library(mut);
  struct gc_finalizer *ret = gc_finalizer_state_pop(mut->heap->finalizers);
  mutator_leave_library(mut);
  return ret;
}

void gc_set_finalizer_callback(struct gc_heap *heap,
                               gc_finalizer_callback callback) {
  gc_finalizer_state_set_callback(heap->finalizers, callback);
}

#endif // MMC_WEAK_H
