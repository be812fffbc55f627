/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Tracing: from edges to shaded objects, from grey items to edges, from roots
   to edges.

   An edge to a nearby object is traced as soon as a grey object reports it: the
   referent's metadata byte is then most likely in the same cache line as others
   that were just used, or in the next one.  A far edge waits in the worker's
   queue of pending edges while the metadata byte and the first line of its
   referent are prefetched.  A grey item that is popped waits in a short ring
   while its object is prefetched.  So graphs that lie in memory in the order of
   the trace are traced in that order, which the processor's own prefetching
   recognises, and scattered graphs with many misses under way at once.

   What moves goes through neither queue nor ring: the order of the trace is then the
   order of the copies, and must be depth first for later traces, and the program,
   to find the objects of a structure next to each other.  */

#ifndef MMC_TRACE_H
#define MMC_TRACE_H

#include "mmc-ambiguous.h"
#include "mmc-own.h"

/* Grey items.  */

static void GC_NEVER_INLINE trace_next_slice(struct trace_worker *worker,
                                             uintptr_t item) {
  struct trace_sliced *sliced = &worker->tracer->sliced[item >> 3];
  size_t offset =
      gc_atomic_fetch_add_relaxed(&sliced->cursor, TRACER_SLICE_SIZE);
  if (offset >= sliced->size)
    return;
  size_t limit = offset + TRACER_SLICE_SIZE;
  if (limit < sliced->size) {
    struct gc_tracer *tracer = worker->tracer;
    trace_push(worker, item);
    /* A second permit, for somebody who is hungry, or whom this wakes, as the one
       permit does not look like much work.  */
    if (gc_atomic_load_relaxed(&tracer->hungry)) {
      trace_push(worker, item);
    } else if (sliced->size - limit >=
                   TRACER_WAKE_SURPLUS * TRACER_SLICE_SIZE &&
               worker->parallel && gc_atomic_load_relaxed(&tracer->parked)) {
      trace_push(worker, item);
      trace_wake_another(worker);
    }
  } else {
    limit = sliced->size;
  }
  if (sliced->conservative) {
    trace_ambiguous_range(worker, sliced->addr + offset, sliced->addr + limit,
                          0);
    return;
  }
#if MMC_TRACES_SLICES
  gc_trace_object_slice(gc_ref(sliced->addr), offset, limit, trace_visit,
                        worker->heap, worker);
#else
  GC_CRASH();
#endif
}

static inline size_t heap_object_size(struct gc_heap *heap, uintptr_t addr) {
  if (nofl_space_contains(&heap->space, addr))
    return nofl_object_size(addr);
  return large_space_size_in_bytes(
      &heap->large, large_object_size(&heap->large, gc_ref(addr)));
}

/* How to trace the object at ADDR, in either space: NOFL_KIND_PRECISE,
   NOFL_KIND_NONE or NOFL_KIND_PINNED_OR_CONSERVATIVE, for "conservatively".  */
static inline uint8_t heap_object_trace_kind(struct gc_heap *heap,
                                             uintptr_t addr) {
  if (nofl_space_contains(&heap->space, addr))
    return nofl_object_trace_kind(addr);
  uint8_t kind = large_object_trace_kind(&heap->large, gc_ref(addr));
  return kind & NOFL_KIND_NONE ? NOFL_KIND_NONE : kind;
}

/* The embedder says that the object of SIZE bytes at ADDR has BYTES: is that
   right?  It cannot know the size of an object that is not initialised yet, if it
   tells sizes by tags.  */
static inline int trace_size_is_right(uintptr_t addr, size_t size,
                                      size_t bytes) {
  return trace_size_in_heap(bytes) == trace_size_in_heap(size) ||
         object_is_blank(addr, size);
}

static void trace_header(uintptr_t lo, uintptr_t hi, struct gc_heap *heap,
                         void *data) {
  (void)heap;
  trace_ambiguous_range(data, lo, hi, 0);
}

/* Trace the object at ADDR precisely; returns its size in the heap, or less if
   it is not initialised yet.  */
static inline size_t GC_ALWAYS_INLINE
trace_precise_object(struct trace_worker *worker, uintptr_t addr);
static inline size_t trace_precise_object(struct trace_worker *worker,
                                          uintptr_t addr) {
  size_t bytes = object_trace_precisely(worker->heap, addr, trace_visit,
                                        trace_header, worker);
  GC_ASSERT(!nofl_space_contains(&worker->heap->space, addr) ||
            trace_size_is_right(addr, nofl_object_size(addr), bytes));
  return trace_size_in_heap(bytes);
}

/* After about so many objects, or bytes, a worker looks around.  */
#define TRACE_TALLY_LIMIT 64
#define TRACE_TALLY_BYTES ((size_t)TRACE_TALLY_LIMIT * 256)

/* Trace a grey item that is not precise.  Returns how many objects that was
   worth, by the time it took.  */
static size_t GC_NEVER_INLINE trace_unusual_item(struct trace_worker *worker,
                                                 uintptr_t item) {
  uintptr_t addr = item & ~(uintptr_t)TRACE_TAG_MASK;
  struct gc_heap *heap = worker->heap;
  switch (item & TRACE_TAG_MASK) {
  case TRACE_CONSERVATIVE: {
    size_t bytes = heap_object_size(heap, addr);
    trace_count(worker, bytes);
    trace_ambiguous_range(worker, addr, addr + bytes, 0);
    return 1 + bytes / 256;
  }
  case TRACE_EXTERN:
    gc_trace_object(gc_ref(addr), trace_visit, heap, worker);
    return 1;
  case TRACE_SLICES:
    trace_next_slice(worker, item);
    return TRACE_TALLY_LIMIT;
  default:
    GC_CRASH();
  }
}

static void trace_item_now(struct trace_worker *worker, uintptr_t item) {
  if ((item & TRACE_TAG_MASK) == TRACE_PRECISE)
    trace_count(worker, trace_precise_object(worker, item));
  else
    trace_unusual_item(worker, item);
}

/* Roots.  */

/* May the old object in the heap that has a field at ADDR hold there what is no
   reference?  */
static int trace_field_is_ambiguous(struct gc_heap *heap, uintptr_t addr) {
  /* Of those which are traced precisely then, only the embedder's part of ephemerons
     and finalizers may; for others both ways do the same.  */
  if (GC_CONSERVATIVE_TRACE)
    return 1;
  uintptr_t holder;
  if (large_space_contains(&heap->large, addr)) {
    holder = gc_ref_value(large_find_object(&heap->large, addr));
  } else {
    const struct nofl_block *block = nofl_block_of(addr);
    if (block->class != NOFL_CLASS_AMBIGUOUS)
      return 0;
    size_t g = (addr & (NOFL_BLOCK_SIZE - 1)) >> NOFL_GRANULE_SIZE_LOG_2;
    ptrdiff_t start = nofl_object_start(nofl_block_metadata(block), g);
    GC_ASSERT(start >= 0);
    holder = nofl_block_start(block) + start * NOFL_GRANULE_SIZE;
  }
  return heap_object_trace_kind(heap, holder) != NOFL_KIND_PRECISE;
}

/* EDGE is a field of an object in the heap that was logged.  It need not hold any more
   what it got then.  */
static void trace_remembered_field(struct gc_edge edge, struct gc_heap *heap,
                                   void *data) {
  uintptr_t addr = gc_edge_address(edge);
  if (trace_field_is_ambiguous(heap, addr))
    trace_ambiguous_range(data, addr, addr + sizeof(uintptr_t), 0);
  else
    trace_visit_root(edge, heap, data);
}

static void trace_remembered_edges(struct trace_worker *worker,
                                   struct edge_buffer *buf) {
  struct gc_heap *heap = worker->heap;
  for (; buf; buf = buf->next)
    for (size_t i = 0; i < buf->count; i++) {
      struct gc_edge edge = buf->edges[i];
      uintptr_t addr = gc_edge_address(edge);
      if (large_space_contains(&heap->large, addr))
        large_chunk_visit_logged_fields(&heap->large, addr,
                                        trace_remembered_field, heap, worker);
      else
        trace_remembered_field(edge, heap, worker);
    }
}

static void trace_root(struct trace_worker *worker, struct trace_root root) {
  struct gc_heap *heap = worker->heap;
  struct gc_mutator *mut = root.data;
  switch (root.kind) {
  case TRACE_ROOT_MUTATOR:
    gc_trace_mutator_roots(mut->roots, trace_visit_root, heap, worker);
    return;
  case TRACE_ROOT_HEAP:
    gc_trace_heap_roots(heap->roots, trace_visit_root, heap, worker);
    return;
  case TRACE_ROOT_FINALIZERS:
    gc_visit_finalizer_roots(heap->finalizers,
                             heap->last_kind == GC_COLLECTION_MINOR,
                             trace_visit_root, heap, worker);
    return;
  case TRACE_ROOT_REMEMBERED:
    trace_remembered_edges(worker, root.data);
    return;
  case TRACE_ROOT_SWEEP:
    nofl_space_finish_sweeping(&heap->space);
    return;
  case TRACE_ROOT_REMEMBERED_FOREIGN:
    gc_edge_set_visit(&heap->foreign_edges, trace_visit_root, heap, worker);
    return;
#if GC_CONSERVATIVE_ROOTS
  case TRACE_ROOT_MUTATOR_PINNED:
    gc_trace_mutator_pinned_roots(mut->roots, trace_pinned_root,
                                  trace_ambiguous_root, heap, worker);
    return;
  case TRACE_ROOT_RANGE:
  case TRACE_ROOT_INTERIOR_RANGE:
    trace_ambiguous_root((uintptr_t)root.data, root.end,
                         root.kind == TRACE_ROOT_INTERIOR_RANGE, heap, worker);
    return;
  case TRACE_ROOT_GLOBALS:
    gc_platform_visit_global_conservative_roots(
        heap->global_roots, trace_interior_range, heap, worker);
    return;
#endif
  default:
    GC_CRASH();
  }
}

static void trace_all_roots(struct trace_worker *worker) {
  struct trace_root *root;
  while ((root = tracer_take_root(worker->tracer))) {
    trace_root(worker, *root);
    if (GC_PARALLEL && worker->parallel)
      trace_consider_sharing(worker);
  }
}

static inline int trace_has_stack_item(struct trace_worker *worker) {
  return worker->top != worker->bottom;
}

static inline uintptr_t trace_pop(struct trace_worker *worker) {
  uintptr_t item = worker->stack[--worker->top];
  if (worker->top == worker->bottom)
    worker->top = worker->bottom = 0;
  return item;
}

/* Exchange the popped ITEM for the oldest one in the ring, which may be 0.  */
static inline uintptr_t trace_through_ring(struct trace_worker *worker,
                                           uintptr_t item) {
  uint32_t head = worker->ring_head;
  uintptr_t oldest = worker->ring[head];
  trace_prefetch_object(item & ~(uintptr_t)TRACE_TAG_MASK);
  worker->ring[head] = item;
  worker->ring_head = (head + 1) & (TRACER_RING_SIZE - 1);
  return oldest;
}

/* The oldest item in the ring, which becomes empty there, or 0.  */
static uintptr_t trace_take_from_ring(struct trace_worker *worker) {
  for (unsigned i = 0; i < TRACER_RING_SIZE; i++) {
    uint32_t head = worker->ring_head;
    uintptr_t item = worker->ring[head];
    worker->ring[head] = 0;
    worker->ring_head = (head + 1) & (TRACER_RING_SIZE - 1);
    if (item)
      return item;
  }
  return 0;
}

/* Was ITEM copied just now?  Then it is in the cache, and what it references is to
   come next to it.  */
static inline int trace_is_new_copy(struct trace_worker *worker,
                                    uintptr_t item) {
  return worker->evacuating &&
         (item ^ worker->target.alloc) >> NOFL_BLOCK_SIZE_LOG_2 == 0;
}

/* The next item to trace, or 0 if there is none.  */
static inline uintptr_t trace_next_item(struct trace_worker *worker) {
  while (GC_LIKELY(trace_has_stack_item(worker))) {
    uintptr_t item = trace_pop(worker);
    if (worker->prefetch && !trace_is_new_copy(worker, item))
      item = trace_through_ring(worker, item);
    if (GC_LIKELY(item))
      return item;
  }
  return trace_take_from_ring(worker);
}

/* Shade the object of the edge that has waited longest.  Returns the object as an
   item if it is to be traced now, since its first line was fetched along with
   its metadata byte, else 0.  */
static inline uintptr_t trace_shade_pending_edge(struct trace_worker *worker) {
  struct trace_pending_edge pending = trace_take_pending_edge(worker);
  uintptr_t addr = pending.addr;
  if (GC_UNLIKELY(addr - worker->space_base >= worker->plain_extent)) {
    trace_edge_now(worker, pending.edge, addr);
    return 0;
  }
  uint8_t byte;
  if (!trace_mark_plain(worker, addr, &byte))
    return 0;
  nofl_mark_block_of(addr);
  if (GC_LIKELY(!(byte & NOFL_KIND_MASK)))
    return addr | TRACE_PRECISE;
  trace_push_unusual(worker, addr);
  return 0;
}

/* What a worker has traced since it last added that to its statistics: in
   registers, because one sum in memory would wait for the other.  */
struct trace_tally {
  size_t objects, bytes;
};

static inline void trace_flush_tally(struct trace_worker *worker,
                                     struct trace_tally *tally) {
  worker->objects_traced += tally->objects;
  worker->bytes_traced += tally->bytes;
  *tally = (struct trace_tally){0, 0};
}

static inline int trace_measures_pace(struct trace_worker *worker) {
  return worker->measuring && !worker->evacuating;
}

static void trace_start_sample(struct trace_worker *worker) {
  trace_pace_start(&worker->pace, gc_platform_monotonic_nanoseconds(),
                   trace_work(worker));
}

static void GC_NEVER_INLINE trace_take_sample(struct trace_worker *worker) {
  if (worker->in_cache) {
    if (tracer_is_in_cache(worker->tracer, worker->bytes_traced))
      return;
    worker->in_cache = 0;
    worker->prefetch = worker->pace.prefetch;
    trace_start_sample(worker);
    return;
  }
  uint64_t now = gc_platform_monotonic_nanoseconds();
  size_t work = trace_work(worker);
  worker->prefetch = trace_pace_sample(&worker->pace, now, work);
  trace_pace_start(&worker->pace, now, work);
}

static inline void trace_keep_pace(struct trace_worker *worker, size_t sample) {
  if (trace_work(worker) - worker->pace.start_work >= sample &&
      trace_measures_pace(worker))
    trace_take_sample(worker);
}

static void trace_worker_drain(struct trace_worker *worker) {
  struct trace_tally tally = {0, 0};
  size_t unusual = 0;
  GC_TRACEPOINT(trace_roots_begin);
  trace_all_roots(worker);
  GC_TRACEPOINT(trace_roots_end);
  GC_TRACEPOINT(trace_objects_begin);
  if (trace_measures_pace(worker))
    trace_start_sample(worker);
  for (;;) {
    uintptr_t item;
    if (worker->fifo_count && (worker->fifo_count >= TRACER_FIFO_MIN ||
                               !trace_has_stack_item(worker))) {
      item = trace_shade_pending_edge(worker);
      if (!item)
        continue;
    } else {
      item = trace_next_item(worker);
      if (GC_UNLIKELY(!item)) {
        if (worker->fifo_count)
          continue;
        break;
      }
    }
    if (GC_LIKELY((item & TRACE_TAG_MASK) == TRACE_PRECISE)) {
      tally.bytes += trace_precise_object(worker, item);
      if (GC_LIKELY(++tally.objects < TRACE_TALLY_LIMIT &&
                    tally.bytes < TRACE_TALLY_BYTES))
        continue;
    } else {
      /* These are in the statistics already.  */
      unusual += trace_unusual_item(worker, item);
      if (GC_LIKELY(unusual < TRACE_TALLY_LIMIT))
        continue;
    }
    unusual = 0;
    trace_flush_tally(worker, &tally);
    trace_keep_pace(worker, TRACE_PACE_SAMPLE);
    if (GC_PARALLEL && worker->parallel)
      trace_consider_sharing(worker);
  }
  trace_flush_tally(worker, &tally);
  trace_keep_pace(worker, TRACE_PACE_SAMPLE_MIN);
  GC_TRACEPOINT(trace_objects_end);
}

/* Finish the pending edges without tracing further: after a roots-only
   phase.  */
static void trace_flush_pending_edges(struct trace_worker *worker) {
  while (worker->fifo_count)
    trace_oldest_pending_edge(worker);
}

#endif // MMC_TRACE_H
