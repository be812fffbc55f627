/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Visiting precise edges: marking the object that an edge references, or moving it, and
   the queue in which far edges wait for what is fetched.  */

#ifndef MMC_VISIT_H
#define MMC_VISIT_H

#include "mmc-heap.h"

#define GC_MIN_OBJECT_ADDRESS 4096

#if defined(GC_EMBEDDER_TRACE_OBJECT_SLICES) && GC_EMBEDDER_TRACE_OBJECT_SLICES
#define MMC_TRACES_SLICES 1
#else
#define MMC_TRACES_SLICES 0
#endif

static inline void trace_visit(struct gc_edge edge, struct gc_heap *heap,
                               void *data);
static void trace_visit_root(struct gc_edge edge, struct gc_heap *heap,
                             void *data);

static inline void trace_count(struct trace_worker *worker, size_t bytes) {
  worker->objects_traced++;
  worker->bytes_traced += bytes;
}

/* Is ADDR in the nofl space?  While slabs are added, which only evacuation does,
   the worker's copy of the extent lags behind.  */
static inline int trace_nofl_contains(struct trace_worker *worker,
                                      uintptr_t addr) {
  return addr - worker->space_base < worker->space_extent;
}

/* An object in the nofl space is newly marked, which has other things to trace
   than precise edges.  */
static void GC_NEVER_INLINE trace_push_unusual(struct trace_worker *worker,
                                               uintptr_t addr) {
  switch (nofl_object_trace_kind(addr)) {
  case NOFL_KIND_PRECISE:
    trace_push(worker, addr | TRACE_PRECISE);
    break;
  case NOFL_KIND_NONE:
    trace_count(worker, nofl_object_size(addr));
    break;
  default:
    trace_push(worker, addr | TRACE_CONSERVATIVE);
    break;
  }
}

/* ADDR in the nofl space, whose metadata byte was BYTE, is newly marked.  */
static inline void trace_push_nofl(struct trace_worker *worker, uintptr_t addr,
                                   uint8_t byte) {
  if (GC_LIKELY(!(byte & NOFL_KIND_MASK)))
    trace_push(worker, addr | TRACE_PRECISE);
  else if ((byte & NOFL_KIND_NONE) && (byte & NOFL_END))
    /* One granule of raw bytes, as boxed numbers are: there is no more to do.  */
    trace_count(worker, NOFL_GRANULE_SIZE);
  else
    trace_push_unusual(worker, addr);
}

static inline size_t trace_size_in_heap(size_t bytes) {
  return nofl_size_to_granules(bytes) << NOFL_GRANULE_SIZE_LOG_2;
}

static void trace_push_large(struct trace_worker *worker, uintptr_t addr) {
  struct gc_heap *heap = worker->heap;
  struct gc_ref ref = gc_ref(addr);
  uint8_t kind = large_object_trace_kind(&heap->large, ref);
  size_t size = large_object_size(&heap->large, ref);
  size_t pages = large_object_rounded_size(&heap->large, ref);
  if (kind & NOFL_KIND_NONE) {
    trace_count(worker, pages);
    return;
  }
  int conservative = (kind & NOFL_PINNED) != 0;
  uintptr_t item = addr | (conservative ? TRACE_CONSERVATIVE : TRACE_PRECISE);
  if ((conservative || MMC_TRACES_SLICES) &&
      tracer_add_sliced(worker->tracer, addr, size, conservative, &item))
    trace_count(worker, pages);
  else if (!conservative)
    /* The rest of its last page; for the object itself see
       trace_precise_object.  */
    worker->bytes_traced += pages - trace_size_in_heap(size);
  trace_push(worker, item);
}

static inline void trace_resolve_ephemerons(struct trace_worker *worker,
                                            uintptr_t addr) {
  if (GC_UNLIKELY(worker->eager_ephemerons))
    gc_resolve_pending_ephemerons(worker->heap, gc_ref(addr), trace_visit_root,
                                  worker);
}

static inline void trace_mark_large(struct trace_worker *worker,
                                    uintptr_t addr) {
  struct large_space *large = &worker->heap->large;
  int marked = worker->parallel
                   ? large_object_try_mark_atomic(large, gc_ref(addr))
                   : large_object_try_mark_nonatomic(large, gc_ref(addr));
  if (!marked)
    return;
  trace_push_large(worker, addr);
  trace_resolve_ephemerons(worker, addr);
}

/* Edges to objects that move do not wait in the queue: that would separate what the
   copies should have side by side.  But what is close in memory, which comes from
   the time when it was allocated, is often visited soon: fetch both sides of ADDR.
   A distance of four lines was the best of 128 to 1024 bytes.  */
#define TRACE_NEIGHBOUR_DISTANCE 256
static inline void trace_prefetch_neighbours(uintptr_t addr) {
  __builtin_prefetch((void *)(addr - TRACE_NEIGHBOUR_DISTANCE));
  __builtin_prefetch((void *)(addr + TRACE_NEIGHBOUR_DISTANCE));
}

static void GC_NEVER_INLINE trace_evacuate(struct trace_worker *worker,
                                           struct gc_edge edge,
                                           uintptr_t addr) {
  size_t moved = 0;
  if (nofl_is_in_evacuated_block(addr))
    trace_prefetch_neighbours(addr);
  uintptr_t shaded = nofl_evacuate_edge(&worker->heap->space, edge, addr,
                                        &worker->target, &moved);
  if (!shaded)
    return;
  worker->objects_moved += moved != 0;
  worker->granules_moved += moved;
  trace_push_nofl(worker, shaded,
                  gc_atomic_load_relaxed(nofl_metadata_byte(shaded)));
  trace_resolve_ephemerons(worker, addr);
}

static void GC_NEVER_INLINE trace_visit_foreign(struct trace_worker *worker,
                                                struct gc_edge edge,
                                                uintptr_t addr) {
  struct gc_heap *heap = worker->heap;
  /* Pairs with the release store of an edge that another worker has redirected, which
     may be to a slab that it has added.  */
  if (NOFL_MOVES && worker->evacuating)
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
  if (NOFL_MOVES && GC_UNLIKELY(nofl_space_contains(&heap->space, addr)))
    /* In a slab that this collection added.  */
    trace_evacuate(worker, edge, addr);
  else if (large_space_contains(&heap->large, addr))
    trace_mark_large(worker, addr);
  else if (gc_extern_space_visit(heap->extern_space, gc_ref(addr))) {
    if (GC_UNLIKELY(heap->walk_log != NULL))
      walk_log_extern(heap->walk_log, addr);
    trace_push(worker, addr | TRACE_EXTERN);
  }
}

/* Mark the object at ADDR in the nofl space where it is.  While nothing moves,
   marking is a plain store, also with several workers: two that reach an object
   at the same time store the same byte, and both trace it, which does no
   harm.  */
static inline void GC_ALWAYS_INLINE trace_mark_nofl(struct trace_worker *worker,
                                                    uintptr_t addr);
static inline void trace_mark_nofl(struct trace_worker *worker,
                                   uintptr_t addr) {
  uint8_t byte = gc_atomic_load_relaxed(nofl_metadata_byte(addr));
  if ((byte & NOFL_STATE_MASK) == worker->current_mark)
    return;
  struct nofl_space *space = &worker->heap->space;
  if (!(NOFL_MOVES && worker->evacuating ? nofl_mark_in_place(space, addr, 1)
                                         : nofl_mark_in_place(space, addr, 0)))
    return;
  trace_push_nofl(worker, addr, byte);
  trace_resolve_ephemerons(worker, addr);
}

/* EDGE holds a reference to the object at ADDR, somewhere.  */
static inline void GC_ALWAYS_INLINE trace_edge(struct trace_worker *worker,
                                               struct gc_edge edge,
                                               uintptr_t addr);
static inline void trace_edge(struct trace_worker *worker, struct gc_edge edge,
                              uintptr_t addr) {
  if (GC_UNLIKELY(!trace_nofl_contains(worker, addr)))
    trace_visit_foreign(worker, edge, addr);
  else if (NOFL_MOVES && GC_UNLIKELY(worker->evacuating))
    trace_evacuate(worker, edge, addr);
  else
    trace_mark_nofl(worker, addr);
}

/* The same for an edge that does not wait in the queue.  */
static void GC_NEVER_INLINE trace_edge_now(struct trace_worker *worker,
                                           struct gc_edge edge,
                                           uintptr_t addr) {
  trace_edge(worker, edge, addr);
}

static inline struct trace_pending_edge
trace_take_pending_edge(struct trace_worker *worker) {
  struct trace_pending_edge pending = worker->fifo[worker->fifo_head];
  worker->fifo_head = (worker->fifo_head + 1) & (TRACER_FIFO_SIZE - 1);
  worker->fifo_count--;
  return pending;
}

static inline void trace_oldest_pending_edge(struct trace_worker *worker) {
  struct trace_pending_edge pending = trace_take_pending_edge(worker);
  trace_edge(worker, pending.edge, pending.addr);
}

static void GC_NEVER_INLINE trace_make_room(struct trace_worker *worker) {
  trace_oldest_pending_edge(worker);
}

/* Fetch the first three granules of the object at ADDR, which is the most that
   common objects have, and which may be in two cache lines.  */
static inline void trace_prefetch_object(uintptr_t addr) {
  __builtin_prefetch((void *)addr);
  __builtin_prefetch((void *)(addr + 3 * NOFL_GRANULE_SIZE - 1));
}

/* Fetch the metadata of the object at ADDR, and the line below: what an object
   references is mostly older, hence at a lower address if it is near, and near
   edges do not wait for metadata to be fetched.  */
static inline void trace_prefetch_metadata(uintptr_t addr) {
  uint8_t *loc = nofl_metadata_byte(addr);
  __builtin_prefetch(loc, 1);
  __builtin_prefetch(loc - 64, 1);
}

static void GC_NEVER_INLINE trace_enqueue_edge(struct trace_worker *worker,
                                               struct gc_edge edge,
                                               uintptr_t addr) {
  if (GC_LIKELY(trace_nofl_contains(worker, addr)))
    trace_prefetch_metadata(addr);
  trace_prefetch_object(addr);
  /* Tracing an edge may resolve an ephemeron, whose value takes the slot that
     became free.  */
  while (GC_UNLIKELY(worker->fifo_count == TRACER_FIFO_SIZE))
    trace_make_room(worker);
  uint32_t tail =
      (worker->fifo_head + worker->fifo_count) & (TRACER_FIFO_SIZE - 1);
  worker->fifo[tail] = (struct trace_pending_edge){edge, addr};
  worker->fifo_count++;
}

/* Is the referent ADDR outside of the block that holds EDGE?  */
static inline int trace_is_far(struct gc_edge edge, uintptr_t addr) {
  return ((addr ^ gc_edge_address(edge)) >> NOFL_BLOCK_SIZE_LOG_2) != 0;
}

/* More than the frames of a trace, which does not recurse.  */
#define TRACE_FRAMES_SIZE ((uintptr_t)128 * 1024)

/* Will the object at ADDR stay where it is?  */
static inline int trace_object_stays(struct trace_worker *worker,
                                     uintptr_t addr) {
  return !worker->evacuating || (trace_nofl_contains(worker, addr) &&
                                 !nofl_is_in_evacuated_block(addr));
}

/* An edge that is not to the nofl space, or while objects move, or while marking
   an object may resolve an ephemeron.  An edge in the stack frames of the trace
   itself is a temporary of the embedder's, who expects it to be up to date on
   return.  */
static void GC_NEVER_INLINE trace_visit_specially(struct trace_worker *worker,
                                                  struct gc_edge edge,
                                                  uintptr_t addr) {
  int temporary =
      worker->stack_cold - gc_edge_address(edge) < TRACE_FRAMES_SIZE;
  if (worker->prefetch && !temporary && trace_is_far(edge, addr) &&
      trace_object_stays(worker, addr))
    trace_enqueue_edge(worker, edge, addr);
  else
    trace_edge_now(worker, edge, addr);
}

/* Mark the object at ADDR, in the plain part of the space, but not its block.
   Returns 1, and what its metadata byte was, if it was not marked before.  */
static inline int trace_mark_plain(struct trace_worker *worker, uintptr_t addr,
                                   uint8_t *before) {
  uint8_t *loc = nofl_metadata_byte(addr);
  uint8_t byte = gc_atomic_load_relaxed(loc);
  uint8_t current = worker->current_mark;
  if ((byte & NOFL_STATE_MASK) == current)
    return 0;
  GC_ASSERT(
      nofl_state_is_candidate(&worker->heap->space, byte & NOFL_STATE_MASK));
  /* Relaxed, as in trace_mark_nofl: every worker stores the same, the object
     does not change, and the end of the trace orders all for the sweepers.  */
  gc_atomic_store_relaxed(loc, (uint8_t)((byte & ~NOFL_STATE_MASK) | current));
  *before = byte;
  return 1;
}

static void GC_NEVER_INLINE trace_visit_far(struct trace_worker *worker,
                                            struct gc_edge edge,
                                            uintptr_t addr) {
  if (worker->prefetch)
    trace_enqueue_edge(worker, edge, addr);
  else
    trace_edge(worker, edge, addr);
}

/* EDGE references the object at ADDR.  */
static inline void trace_visit_object(struct trace_worker *worker,
                                      struct gc_edge edge, uintptr_t addr) {
  if (GC_UNLIKELY(addr - worker->space_base >= worker->plain_extent)) {
    trace_visit_specially(worker, edge, addr);
    return;
  }
  if (trace_is_far(edge, addr)) {
    trace_visit_far(worker, edge, addr);
    return;
  }
  uint8_t byte;
  if (!trace_mark_plain(worker, addr, &byte))
    return;
  /* The edge is in a marked object of the same block: who marked it has marked
     the block, and this worker knows of it.  Relaxed: others may store the same
     once more.  */
  GC_ASSERT(gc_atomic_load_relaxed(nofl_block_mark_of(addr)));
  trace_push_nofl(worker, addr, byte);
}

/* The visitor for edges of a marked object that is being traced.  */
static inline void trace_visit(struct gc_edge edge, struct gc_heap *heap,
                               void *data) {
  (void)heap;
  struct gc_ref ref = gc_edge_ref(edge);
  if (!gc_ref_is_null(ref) && !gc_ref_is_immediate(ref))
    trace_visit_object(data, edge, gc_ref_value(ref));
}

/* The visitor for other precise edges: what holds them may be in a block without
   a mark.  */
static void trace_visit_root(struct gc_edge edge, struct gc_heap *heap,
                             void *data) {
  (void)heap;
  struct trace_worker *worker = data;
  struct gc_ref ref = gc_edge_ref(edge);
  if (gc_ref_is_null(ref) || gc_ref_is_immediate(ref))
    return;
  uintptr_t addr = gc_ref_value(ref);
  if (GC_UNLIKELY(addr - worker->space_base >= worker->plain_extent))
    trace_visit_specially(worker, edge, addr);
  else
    trace_visit_far(worker, edge, addr);
}

#endif // MMC_VISIT_H
