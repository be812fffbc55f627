/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The trace as a whole, and its recovery when mark stacks have overflowed.  */

#ifndef MMC_RETRACE_H
#define MMC_RETRACE_H

#include "mmc-trace.h"

/* Recovery from overflow of a mark stack: trace every marked object again.  A
   repeated trace shades only what is not marked yet.  */

static void retrace_object(struct trace_worker *worker, uintptr_t item) {
  trace_push(worker, item);
  trace_worker_drain(worker);
}

static void retrace_nofl_object(uintptr_t addr, uint8_t state, void *data) {
  struct trace_worker *worker = data;
  if (state != worker->heap->space.current_mark)
    return;
  uint8_t kind = nofl_object_trace_kind(addr);
  if (kind != NOFL_KIND_NONE)
    retrace_object(worker,
                   addr | (kind == NOFL_KIND_PRECISE ? TRACE_PRECISE
                                                     : TRACE_CONSERVATIVE));
}

static inline void retrace_block(struct nofl_space *space,
                                 struct nofl_block *block, void *data) {
  (void)space;
  if (!nofl_block_is_empty(block))
    nofl_visit_objects(block, retrace_nofl_object, data);
}

static void retrace_large_object(uintptr_t start, size_t bytes, uint8_t kind,
                                 int live, void *data) {
  (void)bytes;
  if (live && !(kind & NOFL_KIND_NONE))
    retrace_object(data, start | (kind & NOFL_PINNED ? TRACE_CONSERVATIVE
                                                     : TRACE_PRECISE));
}

/* Counts of a trace that overflowed are wrong: count what is marked.  In a minor
   collection that includes what was before.  */

static void recount_nofl_object(uintptr_t addr, uint8_t state, void *data) {
  struct trace_worker *worker = data;
  if (state == worker->heap->space.current_mark)
    trace_count(worker, nofl_object_size(addr));
}

static inline void recount_block(struct nofl_space *space,
                                 struct nofl_block *block, void *data) {
  (void)space;
  if (!nofl_block_is_empty(block))
    nofl_visit_objects(block, recount_nofl_object, data);
}

static void recount_large_object(uintptr_t start, size_t bytes, uint8_t kind,
                                 int live, void *data) {
  (void)start;
  (void)kind;
  struct trace_worker *worker = data;
  if (live)
    trace_count(worker, large_space_size_in_bytes(&worker->heap->large, bytes));
}

static void heap_recount(struct gc_heap *heap) {
  struct gc_tracer *tracer = &heap->tracer;
  for (unsigned i = 0; i < tracer->parallelism; i++)
    tracer->workers[i].objects_traced = tracer->workers[i].bytes_traced = 0;
  tracer->recounted = 1;
  nofl_visit_blocks(&heap->space, recount_block, &tracer->workers[0]);
  large_space_visit_objects(&heap->large, recount_large_object,
                            &tracer->workers[0]);
}

static void heap_trace(struct gc_heap *heap) {
  struct gc_tracer *tracer = &heap->tracer;
  tracer_trace(tracer);
  if (GC_LIKELY(!gc_atomic_load_relaxed(&tracer->overflowed)))
    return;
  struct trace_worker *worker = &tracer->workers[0];
  worker->parallel = 0;
  do {
    tracer->overflowed = 0;
    heap->waiting_finalizers = 0;
    nofl_visit_blocks(&heap->space, retrace_block, worker);
    large_space_visit_objects(&heap->large, retrace_large_object, worker);
  } while (tracer->overflowed);
  heap_recount(heap);
}

#endif // MMC_RETRACE_H
