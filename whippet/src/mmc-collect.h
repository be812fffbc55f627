/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* One collection, from the request to the restart.  */

#ifndef MMC_COLLECT_H
#define MMC_COLLECT_H

#include "mmc-barrier.h"
#include "mmc-nursery.h"
#include "mmc-retrace.h"
#include "mmc-sizing.h"
#include "mmc-verify.h"
#include "mmc-walk.h"

/* A heap with less live data and ambiguous roots than this is traced by one
   thread.  */
#define MMC_PARALLEL_THRESHOLD ((size_t)4 * 1024 * 1024)

/* Ranges of ambiguous roots are traced in pieces of this size, some microseconds
   of work ...  */
#define MMC_ROOT_PIECE ((size_t)32 * 1024)
/* ... and one more worker is woken at once for each so many bytes of them, some
   hundred microseconds of work.  */
#define MMC_ROOT_BYTES_TO_WAKE ((size_t)1024 * 1024)

/* Blocks in use from which on it is worth waking threads to sweep: some hundred
   microseconds of work.  */
#define MMC_PARALLEL_SWEEP_BLOCKS 128

#if defined(GC_EMBEDDER_EPHEMERONS_PRECEDE_FINALIZERS) && \
    GC_EMBEDDER_EPHEMERONS_PRECEDE_FINALIZERS
#define MMC_EPHEMERONS_PRECEDE_FINALIZERS 1
#else
#define MMC_EPHEMERONS_PRECEDE_FINALIZERS 0
#endif

#if defined(GC_EMBEDDER_FIXES_REFERENTS) && GC_EMBEDDER_FIXES_REFERENTS
#define MMC_EMBEDDER_FIXES_REFERENTS 1
#else
#define MMC_EMBEDDER_FIXES_REFERENTS 0
#endif

static void *heap_try_allocate_large(struct gc_heap *heap,
                                     struct mmc_request *request);

static void heap_finish_allocators(struct gc_heap *heap) {
  for (struct gc_mutator *m = heap->mutators; m; m = m->next) {
    nofl_allocator_finish(&heap->space, &m->allocator);
    nofl_allocator_finish(&heap->space, &m->ambiguous_allocator);
    mutator_release_edges(m);
  }
  heap_release_bequeathed_edges(heap);
}

/* The main worker, prepared to trace something in the frames below the caller's,
   before the others may or after them.  */
static inline struct trace_worker *GC_ALWAYS_INLINE
heap_lone_worker(struct gc_heap *heap);
static inline struct trace_worker *heap_lone_worker(struct gc_heap *heap) {
  struct trace_worker *worker = &heap->tracer.workers[0];
  worker->parallel = 0;
  worker->stack_cold = (uintptr_t)__builtin_frame_address(0);
  return worker;
}

/* Without room in the table of roots, trace the root at once, by the lone
   worker.  */
static void heap_add_this_root(struct gc_heap *heap, struct trace_root root) {
  if (!tracer_add_root(&heap->tracer, root))
    trace_root(&heap->tracer.workers[0], root);
}

static void heap_add_root(struct gc_heap *heap, enum trace_root_kind kind,
                          void *data) {
  heap_add_this_root(heap, (struct trace_root){kind, data, 0});
}

#if GC_CONSERVATIVE_ROOTS
/* Long ranges are traced in pieces, perhaps by several workers, after the
   embedder's function has returned: unless they are in that function's frame.  */
static void heap_add_range(uintptr_t lo, uintptr_t hi, int possibly_interior,
                           struct gc_heap *heap, void *data) {
  struct trace_worker *worker = data;
  enum trace_root_kind kind =
      possibly_interior ? TRACE_ROOT_INTERIOR_RANGE : TRACE_ROOT_RANGE;
  lo = (lo + sizeof(uintptr_t) - 1) & ~(sizeof(uintptr_t) - 1);
  if (worker->stack_cold - lo < TRACE_FRAMES_SIZE) {
    trace_root(worker, (struct trace_root){kind, (void *)lo, hi});
    return;
  }
  while (lo < hi) {
    uintptr_t end = hi - lo > MMC_ROOT_PIECE ? lo + MMC_ROOT_PIECE : hi;
    heap->root_range_bytes += end - lo;
    heap->root_range_pieces++;
    heap_add_this_root(heap, (struct trace_root){kind, (void *)lo, end});
    lo = end;
  }
}

static void heap_add_stack_range(uintptr_t lo, uintptr_t hi,
                                 struct gc_heap *heap, void *data) {
  heap_add_range(lo, hi, 1, heap, data);
}
#endif

static void heap_add_pinned_roots(struct gc_heap *heap) {
#if GC_CONSERVATIVE_ROOTS
  heap->root_range_bytes = heap->root_range_pieces = 0;
  for (struct gc_mutator *m = heap->mutators; m; m = m->next) {
    gc_stack_visit(&m->stack, heap_add_stack_range, heap,
                   &heap->tracer.workers[0]);
    if (m->roots)
      heap_add_root(heap, TRACE_ROOT_MUTATOR_PINNED, m);
  }
  heap_add_root(heap, TRACE_ROOT_GLOBALS, NULL);
  if (heap->roots)
    gc_trace_heap_pinned_roots(heap->roots, trace_pinned_root, heap_add_range,
                               heap, &heap->tracer.workers[0]);
#else
  (void)heap;
#endif
}

static void heap_add_roots(struct gc_heap *heap, enum gc_collection_kind kind) {
  for (struct gc_mutator *m = heap->mutators; m; m = m->next)
    if (m->roots)
      heap_add_root(heap, TRACE_ROOT_MUTATOR, m);
  if (heap->roots)
    heap_add_root(heap, TRACE_ROOT_HEAP, NULL);
  heap_add_root(heap, TRACE_ROOT_FINALIZERS, NULL);
  if (GC_GENERATIONAL && kind == GC_COLLECTION_MINOR) {
    heap_add_root(heap, TRACE_ROOT_REMEMBERED, heap->full_edges);
    heap_add_root(heap, TRACE_ROOT_REMEMBERED_FOREIGN, NULL);
  }
}

/* What a conservatively traced object references, if it is live, must stay
   where it is.  Whether it is live is not known yet, so every such object of
   the last collection and since counts.  This costs one scan of those objects
   and pins what they hold for this collection only.  */

/* WORD may denote an object, which then must not move.  So does an address in
   the middle, which does not keep the object alive: a copy of a C stack may have
   nothing else of an object that is live in other ways.  Returns the object's
   address, or 0.  */
static inline uintptr_t fix_ambiguous_word(struct gc_heap *heap,
                                           uintptr_t word) {
  if (!nofl_space_contains(&heap->space, word))
    return 0;
  uintptr_t target = nofl_resolve_conservative(&heap->space, word, 1);
  if (target)
    nofl_fix_object(&heap->space, target);
  return target;
}

#if MMC_EMBEDDER_FIXES_REFERENTS
static void fix_referent_of_embedder(struct gc_ref ref, struct gc_heap *heap,
                                     void *data) {
  (void)data;
  if (!gc_ref_is_null(ref) && !gc_ref_is_immediate(ref))
    fix_ambiguous_word(heap, gc_ref_value(ref));
}
#endif

static void fix_ambiguous_words(struct gc_heap *heap, uintptr_t lo,
                                uintptr_t hi) {
  for (uintptr_t addr = lo; addr < hi; addr += sizeof(uintptr_t)) {
    uintptr_t target = fix_ambiguous_word(heap, *(uintptr_t *)addr);
    (void)target;
#if MMC_EMBEDDER_FIXES_REFERENTS
    /* Those that never move are visited themselves.  */
    if (target && nofl_block_of(target)->class == NOFL_CLASS_ORDINARY &&
        nofl_object_trace_kind(target) == NOFL_KIND_PRECISE)
      gc_fix_referents(gc_ref(target), fix_referent_of_embedder, heap, NULL);
#endif
  }
}

/* An object that never moves, with words from LO to HI: traced conservatively or,
   with PRECISE, such that the embedder may know of ambiguous edges.  */
static void fix_referents_of_pinned(struct gc_heap *heap, uintptr_t lo,
                                    uintptr_t hi, int precise) {
  if (!precise)
    fix_ambiguous_words(heap, lo, hi);
#if MMC_EMBEDDER_FIXES_REFERENTS
  else
    gc_fix_referents(gc_ref(lo), fix_referent_of_embedder, heap, NULL);
#endif
}

static void fix_referents_of_object(uintptr_t addr, uint8_t state, void *data) {
  (void)state;
  uint8_t kind = *nofl_metadata_byte(addr) & NOFL_KIND_MASK;
  fix_referents_of_pinned(data, addr, addr + nofl_object_size(addr),
                          kind == NOFL_KIND_PRECISE);
}

static inline void fix_referents_of_block(struct nofl_space *space,
                                          struct nofl_block *block,
                                          void *data) {
  (void)space;
  if (!nofl_block_is_empty(block) && block->class == NOFL_CLASS_AMBIGUOUS)
    nofl_visit_traced_objects(block, fix_referents_of_object, data);
}

static void fix_referents_of_large_object(uintptr_t start, size_t bytes,
                                          uint8_t kind, int live, void *data) {
  (void)live;
  kind &= NOFL_KIND_MASK;
  if (!(kind & NOFL_KIND_NONE))
    fix_referents_of_pinned(data, start,
                            start + (bytes & ~(sizeof(uintptr_t) - 1)),
                            kind == NOFL_KIND_PRECISE);
}

static void heap_fix_ambiguous_referents(struct gc_heap *heap) {
  nofl_visit_blocks(&heap->space, fix_referents_of_block, heap);
  large_space_visit_objects(&heap->large, fix_referents_of_large_object, heap);
}

/* The referents of pinned roots are marked before anything may move, without
   tracing further; then the blocks to evacuate are chosen.  */
static size_t heap_start_evacuation(struct gc_heap *heap,
                                    size_t max_survivors) {
  struct gc_tracer *tracer = &heap->tracer;
  struct trace_worker *worker = &tracer->workers[0];
  heap_add_pinned_roots(heap);
  trace_all_roots(worker);
  trace_flush_pending_edges(worker);
  tracer_clear_roots(tracer);
  heap_fix_ambiguous_referents(heap);
  size_t candidates = nofl_space_start_evacuation(&heap->space, max_survivors);
  tracer_set_evacuating(tracer, heap->space.evacuating);
  return candidates;
}

static void heap_trace_deferred_ephemerons(struct gc_heap *heap) {
  while (gc_trace_deferred_ephemerons(heap, trace_visit_root,
                                      heap_lone_worker(heap)))
    heap_trace(heap);
}

static void heap_trace_ephemerons(struct gc_heap *heap) {
  struct gc_pending_ephemerons *pending = heap->pending_ephemerons;
  heap_trace_deferred_ephemerons(heap);
  if (gc_pending_ephemerons_empty(pending) ||
      gc_pending_ephemerons_eager(pending))
    return;
  tracer_set_eager_ephemerons(&heap->tracer);
  struct trace_worker *worker = heap_lone_worker(heap);
  gc_scan_pending_ephemerons(heap, trace_visit_root, worker);
  heap_trace(heap);
  heap_trace_deferred_ephemerons(heap);
}

static size_t heap_bytes_traced(struct gc_heap *heap) {
  size_t bytes = 0;
  for (unsigned i = 0; i < heap->tracer.parallelism; i++)
    bytes += heap->tracer.workers[i].bytes_traced;
  return bytes;
}

/* Returns how many bytes finalizers, which have fired, and objects occupy that only
   they keep alive.  */
static size_t heap_trace_finalizers(struct gc_heap *heap, int is_minor) {
  size_t priorities = gc_finalizer_priority_count();
  size_t before = heap_bytes_traced(heap), fired = 0;
  for (size_t p = 0; p < priorities; p++) {
    struct trace_worker *worker = heap_lone_worker(heap);
    size_t count = gc_resolve_finalizers(heap->finalizers, p, is_minor,
                                         trace_visit_root, heap, worker);
    if (!count)
      continue;
    fired += count;
    heap_trace(heap);
    heap_trace_ephemerons(heap);
    /* Nor may ephemerons that this has reached find a key that a finalizer of a
       later priority resurrects.  */
    if (MMC_EPHEMERONS_PRECEDE_FINALIZERS)
      heap->statistics.ephemerons_died += gc_sweep_pending_ephemerons(heap);
  }
  if (!fired)
    return 0;
  /* Without a count that has been taken anew.  */
  size_t after = heap_bytes_traced(heap);
  size_t doomed =
      fired * trace_size_in_heap(gc_finalizer_size()) +
      (after > before && !heap->tracer.recounted ? after - before : 0);
  /* On average over these and those that wait.  */
  size_t waiting = heap->waiting_finalizers;
  heap->bytes_per_finalizer =
      (heap->bytes_per_finalizer * waiting + doomed) / (waiting + fired);
  return doomed;
}

/* An event of the trace, of which one collection reports one: see
   heap_collect_stopped.  */
#define CYCLE_EVENT(heap, cycle, event) \
  do {                                  \
    if ((cycle) == CYCLE_REPORTED)      \
      HEAP_EVENT(heap, event);          \
  } while (0)

enum cycle { CYCLE_REPORTED, CYCLE_UNREPORTED };

/* Returns the number of blocks chosen to be evacuated.  */
static size_t heap_trace_all(struct gc_heap *heap, enum gc_collection_kind kind,
                             size_t max_survivors, enum cycle cycle) {
  int is_minor = kind == GC_COLLECTION_MINOR;
  uint64_t died_before = heap->statistics.ephemerons_died;
  size_t candidates = 0;
  heap_lone_worker(heap);
  heap->waiting_finalizers = 0;
  if (kind == GC_COLLECTION_COMPACTING) {
    candidates = heap_start_evacuation(heap, max_survivors);
  } else {
    heap_add_pinned_roots(heap);
    heap->tracer.wake_first = heap->root_range_bytes / MMC_ROOT_BYTES_TO_WAKE;
  }
  heap_add_roots(heap, kind);
  CYCLE_EVENT(heap, cycle, roots_traced);
  heap_trace(heap);
  CYCLE_EVENT(heap, cycle, heap_traced);
  heap_trace_ephemerons(heap);
  /* An embedder may want no ephemeron to find a key that a finalizer has
     resurrected.  */
  if (MMC_EPHEMERONS_PRECEDE_FINALIZERS)
    heap->statistics.ephemerons_died += gc_sweep_pending_ephemerons(heap);
  CYCLE_EVENT(heap, cycle, ephemerons_traced);
  if (!is_minor)
    heap->waiting_bytes = heap->waiting_finalizers * heap->bytes_per_finalizer;
  size_t doomed = heap_trace_finalizers(heap, is_minor);
  heap->statistics.ephemerons_died += gc_sweep_pending_ephemerons(heap);
  size_t died = heap->statistics.ephemerons_died - died_before;
  heap->doomed_bytes = doomed + died * trace_size_in_heap(gc_ephemeron_size());
  CYCLE_EVENT(heap, cycle, finalizers_traced);
  return candidates;
}

/* Add up what the workers did; returns bytes traced.  OLD_LIVE: bytes that were
   live before a minor collection.  */
static size_t heap_finish_workers(struct gc_heap *heap, size_t old_live) {
  struct gc_tracer *tracer = &heap->tracer;
  struct gc_heap_statistics *stats = &heap->statistics;
  size_t bytes = 0;
  for (unsigned i = 0; i < tracer->parallelism; i++) {
    struct trace_worker *worker = &tracer->workers[i];
    nofl_target_finish(&heap->space, &worker->target);
    bytes += worker->bytes_traced;
    stats->objects_traced += worker->objects_traced;
    stats->objects_evacuated += worker->objects_moved;
    stats->bytes_evacuated += worker->granules_moved << NOFL_GRANULE_SIZE_LOG_2;
  }
  if (GC_UNLIKELY(tracer->recounted))
    bytes = bytes > old_live ? bytes - old_live : 0;
  stats->bytes_traced += bytes;
  tracer_set_evacuating(tracer, 0);
  tracer_trim(tracer);
  return bytes;
}

static void heap_begin_statistics(struct gc_heap *heap) {
  /* Odd: being written.  The release fence keeps the writes after it.  */
  gc_atomic_store_relaxed(&heap->statistics_sequence,
                          heap->statistics_sequence + 1);
  __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void heap_end_statistics(struct gc_heap *heap) {
  gc_atomic_store(&heap->statistics_sequence, heap->statistics_sequence + 1);
}

static uint64_t *heap_collections_of_kind(struct gc_heap *heap,
                                          enum gc_collection_kind kind) {
  struct gc_heap_statistics *stats = &heap->statistics;
  return kind == GC_COLLECTION_MINOR        ? &stats->collections_minor
         : kind == GC_COLLECTION_COMPACTING ? &stats->collections_compacting
                                            : &stats->collections_major;
}

static void heap_record_start(struct gc_heap *heap,
                              enum gc_collection_kind kind) {
  ++*heap_collections_of_kind(heap, kind);
  for (int k = 0; k <= (int)kind; k++)
    heap->started[k]++;
  HEAP_EVENT(heap, prepare_gc, kind, heap_allocation_counter(heap));
  HEAP_EVENT(heap, live_data_size, heap->live_bytes);
}

/* A major collection goes on as a compacting one.  */
static void heap_record_change_to_compacting(struct gc_heap *heap) {
  --*heap_collections_of_kind(heap, GC_COLLECTION_MAJOR);
  ++*heap_collections_of_kind(heap, GC_COLLECTION_COMPACTING);
  heap->started[GC_COLLECTION_COMPACTING]++;
}

static void heap_record_end(struct gc_heap *heap, uint64_t pause_nsec) {
  struct gc_heap_statistics *stats = &heap->statistics;
  size_t small_live = heap->live_bytes - heap->live_large_bytes;
  size_t used = heap->space.used_blocks * NOFL_BLOCK_SIZE;
  stats->pause_total_nsec += pause_nsec;
  if (pause_nsec > stats->pause_max_nsec)
    stats->pause_max_nsec = pause_nsec;
  stats->live_size = heap->live_bytes;
  stats->large_size = heap->live_large_bytes;
  stats->fragmentation_bytes = used > small_live ? used - small_live : 0;
}

/* Bytes of the large object that is wanted; 0 if there can be no such object.  */
static inline size_t request_expected_bytes(const struct mmc_request *request) {
  return request && request->large_bytes < SIZE_MAX / 4 ? request->large_bytes
                                                        : 0;
}

static void heap_satisfy_request(struct gc_heap *heap,
                                 struct mmc_request *request) {
  if (!request)
    return;
  if (request->large_bytes) {
    request->large_object = heap_try_allocate_large(heap, request);
    request->satisfied = request->large_object != NULL;
  } else {
    request->satisfied = nofl_allocator_refill(
        &heap->space, request->allocator, request->granules,
        request->use_reserve, request->effort);
  }
}

/* The same at the end of a collection.  Rather than to spoil what holes there are
   for small objects, the heap grows.  */
static void heap_satisfy_collecting_request(struct gc_heap *heap,
                                            struct mmc_request *request) {
  if (!request || request->given_up)
    return;
  request->effort = NOFL_SWEEP_SOME;
  heap_satisfy_request(heap, request);
  size_t before = heap->heap_size;
  if (!request->satisfied && heap_grow_for_lack_of_holes(heap, request)) {
    request->effort = NOFL_SWEEP_NONE;
    heap_satisfy_request(heap, request);
    if (!request->satisfied)
      heap_resize(heap, before);
  }
  request->effort =
      heap_cannot_grow(heap) ? NOFL_SWEEP_BOTH_CLASSES : NOFL_SWEEP_ALL;
  if (!request->satisfied && !request->large_bytes)
    heap_satisfy_request(heap, request);
}

/* A minor collection traces no more than has been allocated, large objects
   included.  */
static size_t heap_expected_to_trace(struct gc_heap *heap, int is_minor) {
  uint64_t young = heap_allocation_counter(heap) - heap->counter_at_last_gc;
  return is_minor && young < heap->live_bytes ? young : heap->live_bytes;
}

/* One cycle of KIND.  No allocator holds a block and, unless it is a minor one,
   all blocks are swept.  MAX_SURVIVORS: fuller blocks are not evacuated.  */
static void heap_collect_cycle(struct gc_heap *heap,
                               enum gc_collection_kind kind,
                               size_t max_survivors, enum cycle cycle) {
  int is_minor = kind == GC_COLLECTION_MINOR;
  size_t old_live = is_minor ? heap->live_bytes : 0;
  heap->last_kind = kind;
  heap->collected_before = 1;
  nofl_space_start_gc(&heap->space, kind);
  large_space_start_gc(&heap->large, is_minor);
  gc_extern_space_start_gc(heap->extern_space, is_minor);
  gc_pending_ephemerons_prepare(heap->pending_ephemerons);
  size_t expected = heap_expected_to_trace(heap, is_minor);
  tracer_prepare(&heap->tracer, &heap->space, expected,
                 !is_minor || expected > MMC_PARALLEL_THRESHOLD);

  if (GC_UNLIKELY(heap->stress.verify))
    heap_begin_walk(heap);
  uint64_t start = gc_platform_monotonic_nanoseconds();
  size_t candidates = heap_trace_all(heap, kind, max_survivors, cycle);
  uint64_t trace_nsec = gc_platform_monotonic_nanoseconds() - start;

  int waits = tracer_waits_for_memory(&heap->tracer);
  size_t traced = heap_finish_workers(heap, old_live);
  if (kind == GC_COLLECTION_MAJOR && trace_nsec) {
    heap->sizing.marking_rate = (double)traced / trace_nsec;
    heap->sizing.waits_for_memory = waits;
  }
  heap->statistics.trace_nsec += trace_nsec;
  if (GC_UNLIKELY(heap->stress.verify)) {
    heap_verify_marks(heap);
    heap_end_walk(heap, kind);
  }
  size_t freed = large_space_finish_gc(&heap->large, is_minor);
  nofl_space_discharge_large(&heap->space, freed);
  heap->live_large_bytes = large_space_live_bytes(&heap->large);
  heap->live_bytes = old_live + traced;
  if (is_minor)
    heap->nursery_traced = traced;
  size_t emptied = nofl_space_finish_gc(&heap->space, kind);
  if (!is_minor || !heap->nursery_is_part) {
    nofl_space_forget_fragmentation(&heap->space);
    heap->passed_granules = 0;
    heap->compaction_clock++;
  }
  heap->statistics.blocks_evacuation_candidates += candidates;
  heap->statistics.blocks_evacuated_empty += emptied;
  if (kind == GC_COLLECTION_COMPACTING)
    heap_schedule_compaction(heap, candidates, emptied,
                             heap->space.evacuation_limit != SIZE_MAX &&
                                 heap->space.evacuation_was_cut);
  gc_extern_space_finish_gc(heap->extern_space, is_minor);
  heap_forget_remembered_edges(heap);
  heap_update_rates(heap, heap->pause_start, trace_nsec, traced);
  heap->epoch++;
}

/* Sweep what mutators have left.  Where many small objects survive that takes as
   long as tracing them: all workers do it.  With heap->lock held; mutators may be
   running, and then sweep, too.  */
static void heap_finish_sweeping(struct gc_heap *heap) {
  struct gc_tracer *tracer = &heap->tracer;
  struct nofl_space *space = &heap->space;
  if (!nofl_space_has_unswept(space))
    return;
  nofl_space_lock(space);
  size_t used_blocks = space->used_blocks;
  nofl_space_unlock(space);
  if (GC_PARALLEL && tracer->worker_count > 1 &&
      used_blocks >= MMC_PARALLEL_SWEEP_BLOCKS) {
    tracer_prepare(tracer, space, 0, 1);
    for (unsigned i = 0; i < tracer->worker_count; i++)
      tracer_add_root(tracer, (struct trace_root){TRACE_ROOT_SWEEP, NULL, 0});
    tracer->wake_first = tracer->worker_count - 1;
    tracer_trace(tracer);
    tracer_clear_roots(tracer);
  }
  /* All of it, or what those roots had no room to be noted for.  */
  nofl_space_finish_sweeping(space);
}

/* The stopped part.  A compaction that was asked for, or that finds too few free
   blocks to copy to, or any if the embedder wants it, is preceded by a cycle that
   only marks: then all garbage has been found, and the number of survivors in each
   block is exact.  Else it goes by the figures of the last sweep, and leaves blocks
   alone that have been filled since, and copies no more than one step.  A major
   collection that the program asked for also compacts, if that gives back memory.
   Either way that is one collection, to whoever counts them or follows the events
   of one.  */
static void heap_collect_stopped(struct gc_heap *heap,
                                 enum gc_collection_kind requested,
                                 struct mmc_request *request) {
  struct nofl_space *space = &heap->space;
  space->collecting = 1;
  heap_finish_allocators(heap);
  enum gc_collection_kind kind = heap_determine_kind(heap, requested, request);
  if (kind != GC_COLLECTION_MINOR)
    heap_finish_sweeping(heap);
  if (GC_DEBUG || GC_UNLIKELY(heap->stress.verify))
    heap_verify_blocks(heap);
  heap_close_nursery(heap, kind);
  space->evacuation_credit = heap_evacuation_credit(heap);
  heap_record_start(heap, kind);
  if (kind == GC_COLLECTION_COMPACTING) {
    size_t max = requested == GC_COLLECTION_COMPACTING ? MMC_DENSE_GRANULES
                                                       : MMC_SPARSE_GRANULES;
    if (heap->stress.compact)
      max = NOFL_GRANULES_PER_BLOCK;
    int asked_for = !request && !heap->stress.compact;
    if (requested == GC_COLLECTION_ANY && request && !heap->stress.compact &&
        !heap_cannot_grow(heap))
      space->evacuation_limit = heap_compaction_step(heap);
    if (requested == GC_COLLECTION_COMPACTING || asked_for ||
        gc_atomic_load_relaxed(&heap->marks_before_moving) ||
        nofl_space_lacks_targets(space, max)) {
      heap_collect_cycle(heap, GC_COLLECTION_MAJOR, 0, CYCLE_UNREPORTED);
      heap_finish_sweeping(heap);
    }
    heap_collect_cycle(heap, kind, max, CYCLE_REPORTED);
  } else {
    heap_collect_cycle(heap, kind, 0, CYCLE_REPORTED);
    if (!request && kind == GC_COLLECTION_MAJOR && heap_is_sparse(heap)) {
      heap_record_change_to_compacting(heap);
      heap_finish_sweeping(heap);
      heap_collect_cycle(heap, GC_COLLECTION_COMPACTING, MMC_SPARSE_GRANULES,
                         CYCLE_UNREPORTED);
      if (!heap->compaction_was_useful)
        heap->next_sparse = heap->compaction_clock + heap->compaction_interval;
    }
  }
  space->evacuation_credit = 0;
  space->evacuation_limit = SIZE_MAX;
  heap->counter_at_last_gc = heap_allocation_counter(heap);
  size_t before = heap->heap_size;
  size_t expected = request_expected_bytes(request);
  heap_apply_sizing_policy(heap, expected);
  if (kind != GC_COLLECTION_MINOR) {
    if (request)
      request->given_up = heap_gives_up(heap);
    heap_note_full_collection(heap);
  }
  space->collecting = 0;
  if (GC_DEBUG || GC_UNLIKELY(heap->stress.verify))
    heap_verify_blocks(heap);
  /* Rather than let the request fail, do not pass over small holes.  */
  uint16_t min_hole = space->min_hole_granules;
  if (requested == GC_COLLECTION_COMPACTING)
    space->min_hole_granules = 0;
  heap_satisfy_collecting_request(heap, request);
  space->min_hole_granules = min_hole;
  if (expected && !request->satisfied) {
    heap_resize(heap, before);
    heap_apply_sizing_policy(heap, 0);
  }
  gc_notify_finalizers(heap->finalizers, heap);
}

/* Is the next collection worth several threads?  Before the first one, of what
   has been allocated, as is usual, a part will be live.  */
static int heap_wants_workers(struct gc_heap *heap) {
  size_t live = heap->collected_before ? heap->live_bytes
                                       : heap_allocation_counter(heap) / 4;
  return GC_PARALLEL && live + heap->root_range_bytes > MMC_PARALLEL_THRESHOLD;
}

/* What can be done before mutators are stopped: work that would lengthen the
   pause, and calls that may block or allocate.  */
static void heap_prepare_to_stop(struct gc_heap *heap,
                                 enum gc_collection_kind requested,
                                 const struct mmc_request *request) {
#if GC_CONSERVATIVE_ROOTS
  gc_platform_prepare_global_roots(heap->global_roots);
#endif
  tracer_reserve_roots(&heap->tracer, heap->mutator_count * 6 + 16 +
                                          heap->root_range_pieces * 2);
  if (heap_wants_workers(heap))
    tracer_start_threads(&heap->tracer);
  /* The kind as far as it can be told now.  */
  if (!GC_GENERATIONAL ||
      heap_choose_kind(heap, requested, request) != GC_COLLECTION_MINOR)
    heap_finish_sweeping(heap);
}

/* Collect.  MUT is the calling thread's running mutator, or NULL.  With
   heap->lock held.  */
static void GC_NEVER_INLINE heap_collect(struct gc_heap *heap,
                                         struct gc_mutator *mut,
                                         enum gc_collection_kind requested,
                                         struct mmc_request *request) {
  if (mut)
    MUTATOR_EVENT(mut, mutator_cause_gc);
  if (mut && heap->preemption.signal_number)
    mutator_note_blocked_signals(mut);
  heap_prepare_to_stop(heap, requested, request);
  heap_let_others_run(heap, mut);
  heap->pause_start = gc_platform_monotonic_nanoseconds();
  HEAP_EVENT(heap, requesting_stop);
  heap_stop_world(heap, mut);
  HEAP_EVENT(heap, mutators_stopped);
  if (mut)
    MUTATOR_CAPTURE_STACK(mut);
  heap_begin_statistics(heap);
  heap_collect_stopped(heap, requested, request);
  heap->sizing.last_nsec = gc_platform_monotonic_nanoseconds();
  heap_record_end(heap, heap->sizing.last_nsec - heap->pause_start);
  if (GC_GENERATIONAL)
    heap_open_nursery(heap);
  heap_end_statistics(heap);
  HEAP_EVENT(heap, restarting_mutators);
  heap_restart_world(heap, mut);
}

#endif // MMC_COLLECT_H
