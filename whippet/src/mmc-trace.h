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

   While objects move, neither queue nor ring is used: the order of the trace is
   then the order of the copies, and must be depth first for later traces, and
   the program, to find the objects of a structure next to each other.  */

#ifndef MMC_TRACE_H
#define MMC_TRACE_H

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

/* Ambiguous references.  */

static uintptr_t trace_resolve_large(struct gc_heap *heap, uintptr_t word,
                                     int interior) {
  struct gc_ref ref =
      large_space_resolve_conservative(&heap->large, word, interior, 1);
  return gc_ref_value(ref);
}

/* WORD may denote an object: if so, mark it where it is.  */
static inline void trace_ambiguous_word(struct trace_worker *worker,
                                        uintptr_t word, int interior) {
  struct gc_heap *heap = worker->heap;
  if (nofl_space_contains(&heap->space, word)) {
    uintptr_t addr = nofl_resolve_conservative(&heap->space, word, interior);
    if (!addr)
      return;
    if (GC_UNLIKELY(worker->log != NULL))
      walk_set_add(&worker->log->ambiguous, addr);
    trace_mark_nofl(worker, addr);
  } else if (large_space_contains(&heap->large, word)) {
    uintptr_t addr = trace_resolve_large(heap, word, interior);
    if (!addr)
      return;
    if (GC_UNLIKELY(worker->log != NULL))
      walk_set_add(&worker->log->ambiguous, addr);
    trace_mark_large(worker, addr);
  }
}

/* Ranges include memory that a sanitizer regards as off limits, and words that
   running threads write, such as statistics.  */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MMC_NO_SANITIZE \
  __attribute__((no_sanitize("address"), no_sanitize("thread")))
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MMC_NO_SANITIZE \
  __attribute__((no_sanitize("address"), no_sanitize("thread")))
#endif
#endif
#ifndef MMC_NO_SANITIZE
#define MMC_NO_SANITIZE
#endif

static inline MMC_NO_SANITIZE uintptr_t trace_load_ambiguous(uintptr_t addr) {
  return *(volatile uintptr_t *)addr;
}

/* How many words are looked at before those among them that may be references
   are traced.  */
#define TRACE_AMBIGUOUS_BATCH 256

/* Store to CANDIDATES those of the COUNT words at ADDR that lie in the
   reservation of EXTENT bytes at BASE, and return their number.  About one word
   in eight does, of the static data of a program, at no place that a branch
   predictor could learn: hence no branch.  */
static inline MMC_NO_SANITIZE size_t
trace_filter_ambiguous(uintptr_t addr, size_t count, uintptr_t base,
                       uintptr_t extent, uintptr_t *candidates) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    uintptr_t word = trace_load_ambiguous(addr + i * sizeof(uintptr_t));
    candidates[found] = word;
    found += word - base < extent;
  }
  return found;
}

static void trace_ambiguous_range(struct trace_worker *worker, uintptr_t lo,
                                  uintptr_t hi, int interior) {
  const struct gc_reservation *res = &worker->heap->reservation;
  uintptr_t candidates[TRACE_AMBIGUOUS_BATCH];
  lo = (lo + sizeof(uintptr_t) - 1) & ~(sizeof(uintptr_t) - 1);
  hi &= ~(sizeof(uintptr_t) - 1);
  while (lo < hi) {
    size_t count = (hi - lo) / sizeof(uintptr_t);
    if (count > TRACE_AMBIGUOUS_BATCH)
      count = TRACE_AMBIGUOUS_BATCH;
    size_t found = trace_filter_ambiguous(lo, count, res->base,
                                          res->limit - res->base, candidates);
    for (size_t i = 0; i < found; i++) {
      uintptr_t word = candidates[i];
      if (interior || gc_accepts_displacement(word & (sizeof(uintptr_t) - 1)))
        trace_ambiguous_word(worker, word, interior);
    }
    lo += count * sizeof(uintptr_t);
  }
}

static void trace_ambiguous_root(uintptr_t lo, uintptr_t hi,
                                 int possibly_interior, struct gc_heap *heap,
                                 void *data) {
  struct trace_worker *worker = data;
  worker->log = heap->walk_log;
  trace_ambiguous_range(worker, lo, hi, possibly_interior);
  worker->log = NULL;
}

static void trace_interior_range(uintptr_t lo, uintptr_t hi,
                                 struct gc_heap *heap, void *data) {
  trace_ambiguous_root(lo, hi, 1, heap, data);
}

static void trace_pinned_root(struct gc_ref ref, struct gc_heap *heap,
                              void *data) {
  struct trace_worker *worker = data;
  if (gc_ref_is_null(ref) || gc_ref_is_immediate(ref))
    return;
  uintptr_t addr = gc_ref_value(ref);
  if (nofl_space_contains(&heap->space, addr))
    trace_mark_nofl(worker, addr);
  else
    trace_visit_foreign(worker, gc_edge(&ref), addr);
}

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

/* Is the object of SIZE bytes at ADDR zero all over, as it was allocated?  */
static GC_NEVER_INLINE int trace_object_is_blank(uintptr_t addr, size_t size) {
  for (size_t i = 0; i < size; i += sizeof(uintptr_t))
    if (*(const uintptr_t *)(addr + i))
      return 0;
  return 1;
}

/* The embedder says that the object of SIZE bytes at ADDR has BYTES: is that
   right?  It cannot know the size of an object that is not initialised yet, if it
   tells sizes by tags.  */
static inline int trace_size_is_right(uintptr_t addr, size_t size,
                                      size_t bytes) {
  return trace_size_in_heap(bytes) == trace_size_in_heap(size) ||
         trace_object_is_blank(addr, size);
}

/* Trace the object at ADDR precisely; returns its size in the heap, or less if
   it is not initialised yet.  */
static inline size_t GC_ALWAYS_INLINE
trace_precise_object(struct trace_worker *worker, uintptr_t addr);
static inline size_t trace_precise_object(struct trace_worker *worker,
                                          uintptr_t addr) {
  size_t bytes =
      gc_trace_object(gc_ref(addr), trace_visit, worker->heap, worker);
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

static void trace_remembered_edges(struct trace_worker *worker,
                                   struct edge_buffer *buf) {
  for (; buf; buf = buf->next)
    for (size_t i = 0; i < buf->count; i++)
      trace_visit_root(buf->edges[i], worker->heap, worker);
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
  case TRACE_ROOT_REMEMBERED_LARGE:
    large_space_visit_remembered_edges(&heap->large, trace_visit_root, heap,
                                       worker);
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
    gc_platform_visit_global_conservative_roots(trace_interior_range, heap,
                                                worker);
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
    nofl_visit_blocks(&heap->space, retrace_block, worker);
    large_space_visit_objects(&heap->large, retrace_large_object, worker);
  } while (tracer->overflowed);
  heap_recount(heap);
}

#endif // MMC_TRACE_H
