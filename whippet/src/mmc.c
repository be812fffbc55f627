/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The mostly-marking collector: the public interface.  */

#define GC_IMPL 1

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"
#include "gc-safepoint.h"
#include "mmc-attrs.h"

#include "gc-include-embedder.h"

#include "mmc-collect.h"
#include "mmc-fork.h"
#include "mmc-heap.h"
#include "mmc-residency.h"
#include "mmc-stop.h"
#include "mmc-stress.h"
#include "mmc-ticker.h"
#include "mmc-weak.h"

/* The attributes published for inline code agree with the layout.  */

static void check_attributes(void) {
  if (gc_allocator_small_granule_size() != NOFL_GRANULE_SIZE ||
      gc_allocator_large_threshold() != NOFL_LARGE_THRESHOLD ||
      gc_allocator_allocation_pointer_offset() !=
          offsetof(struct gc_mutator, allocator.alloc) ||
      gc_allocator_allocation_limit_offset() !=
          offsetof(struct gc_mutator, allocator.limit) ||
      gc_allocator_alloc_table_alignment() != NOFL_SLAB_SIZE ||
      gc_allocator_alloc_table_end_pattern() != NOFL_END ||
      gc_allocator_alloc_table_begin_pattern(GC_ALLOCATION_TAGGED) !=
          (NOFL_STATE_YOUNG |
           (GC_CONSERVATIVE_TRACE ? NOFL_KIND_PINNED_OR_CONSERVATIVE
                                  : NOFL_KIND_PRECISE)) ||
      gc_allocator_alloc_table_begin_pattern(GC_ALLOCATION_TAGGED_PINNED) !=
          (NOFL_STATE_YOUNG | NOFL_KIND_PRECISE) ||
      gc_allocator_alloc_table_begin_pattern(
          GC_ALLOCATION_TAGGED_POINTERLESS) !=
          (NOFL_STATE_YOUNG | NOFL_KIND_NONE) ||
      gc_allocator_alloc_table_begin_pattern(
          GC_ALLOCATION_UNTAGGED_CONSERVATIVE) !=
          (NOFL_STATE_YOUNG | NOFL_KIND_PINNED_OR_CONSERVATIVE) ||
      gc_allocator_alloc_table_begin_pattern(
          GC_ALLOCATION_UNTAGGED_POINTERLESS) !=
          (NOFL_STATE_YOUNG | NOFL_KIND_NONE_PINNED) ||
      gc_old_generation_check_alloc_table_tag_mask() != NOFL_STATE_MASK ||
      gc_old_generation_check_alloc_table_young_tag() != NOFL_STATE_YOUNG ||
      gc_write_barrier_field_fields_per_byte() != 2 ||
      gc_write_barrier_field_first_bit_pattern() != NOFL_LOGGED_0 ||
      !own_size_is_right(gc_ephemeron_size()) ||
      !own_size_is_right(gc_finalizer_size()))
    GC_CRASH();
}

/* Initialisation.  */

static void *default_allocation_failure(struct gc_heap *heap, size_t size) {
  (void)size;
  fprintf(stderr, "ran out of space, heap size %zu\n", heap->heap_size);
  GC_CRASH();
}

void gc_heap_set_allocation_failure_handler(struct gc_heap *heap,
                                            void *(*handler)(struct gc_heap *,
                                                             size_t)) {
  heap->allocation_failure = handler ? handler : default_allocation_failure;
}

/* How much address space to reserve: enough for the largest heap, and for large
   objects to lie in it with gaps; a part of what a limit leaves, and no more
   than the large object space can describe.  */
static size_t heap_reservation_size(const struct gc_common_options *options) {
  size_t available = gc_platform_address_space_available();
  size_t most = options->heap_size;
  if (options->heap_size_policy != GC_HEAP_SIZE_FIXED) {
    most = options->maximum_heap_size;
    if (!most)
      most = gc_platform_physical_memory();
    if (most < options->heap_size)
      most = options->heap_size;
  }
  most = heap_round_size(most);
  size_t size = most > SIZE_MAX / 16 ? SIZE_MAX / 4 : most * 4;
  size += 4 * NOFL_SLAB_SIZE;
  if (available != SIZE_MAX && size > available / 4 * 3)
    size = available / 4 * 3;
  size_t describable = large_space_max_reservation();
  return size < describable ? size : describable;
}

static int heap_init_spaces(struct gc_heap *heap,
                            const struct gc_common_options *options) {
  size_t size = heap_limit_size(heap, options->heap_size);
  if (!gc_reservation_init(&heap->reservation, heap_reservation_size(options),
                           2 * NOFL_SLAB_SIZE))
    return 0;
  /* What has been filled with small objects once, when the address space is limited,
     must leave room for large objects, and the other way round.  */
  heap->reservation.least_share = gc_reservation_size(&heap->reservation) / 8;
  /* A heap of fixed size that will never have it is no heap of that size.  */
  if (options->heap_size_policy == GC_HEAP_SIZE_FIXED &&
      heap->reservation.limit - heap->reservation.base < size)
    return 0;
  heap->heap_size = size;
  struct nofl_huge_pages huge_pages;
  heap_choose_huge_pages(&huge_pages);
  if (!nofl_space_init(&heap->space, &heap->reservation, size, &huge_pages, 1))
    return 0;
  heap_set_size(heap, size);
  return large_space_init(&heap->large, &heap->reservation);
}

static int heap_init(struct gc_heap *heap,
                     const struct gc_common_options *options) {
  pthread_mutex_init(&heap->lock, NULL);
  pthread_mutex_init(&heap->edges_lock, NULL);
  if (!gc_edge_set_init(&heap->foreign_edges))
    return 0;
  struct mmc_sizing *sizing = &heap->sizing;
  sizing->policy = options->heap_size_policy;
  sizing->maximum_size = options->maximum_heap_size;
  sizing->memory = options->heap_size_policy == GC_HEAP_SIZE_FIXED
                       ? SIZE_MAX
                       : gc_platform_physical_memory();
  sizing->double_threshold = options->heap_double_threshold;
  sizing->expansiveness = options->heap_expansiveness;
  heap->full_interval = MMC_MIN_FULL_INTERVAL;
  /* Bytes per nanosecond, until measured.  */
  sizing->allocation_rate = 1;
  sizing->trace_rate = sizing->marking_rate = 1;
  sizing->last_nsec = gc_platform_monotonic_nanoseconds();
  heap->allocation_failure = default_allocation_failure;
  if (!heap_init_spaces(heap, options) ||
      !tracer_init(&heap->tracer, heap, GC_PARALLEL ? options->parallelism : 1))
    return 0;
  nursery_init(&heap->nursery);
  heap->nursery_limit = SIZE_MAX;
  heap->nursery_start = gc_platform_cpu_nanoseconds();
  heap_init_stress(heap);
  heap_apply_stress(heap);
  heap->pending_ephemerons = gc_make_pending_ephemerons();
  heap->finalizers = gc_make_finalizer_state(gc_finalizer_priority_count());
  if (GC_CONSERVATIVE_ROOTS)
    heap->global_roots = gc_platform_make_global_roots();
  return heap->pending_ephemerons && heap->finalizers &&
         (!GC_CONSERVATIVE_ROOTS || heap->global_roots);
}

static void heap_release(struct gc_heap *heap) {
  struct gc_tracer *tracer = &heap->tracer;
  heap_release_walk(heap);
  if (heap->global_roots)
    gc_platform_free_global_roots(heap->global_roots);
  if (heap->finalizers)
    gc_free_finalizer_state(heap->finalizers);
  if (heap->pending_ephemerons)
    gc_free_pending_ephemerons(heap->pending_ephemerons);
  if (tracer->workers) {
    struct trace_worker *main = &tracer->workers[0];
    if (main->stack)
      gc_platform_release(main->stack, main->capacity * sizeof(uintptr_t));
    gc_platform_release(tracer->workers,
                        tracer->parallelism * sizeof(*tracer->workers));
  }
  if (tracer->root_capacity)
    gc_platform_release(tracer->roots,
                        tracer->root_capacity * sizeof(*tracer->roots));
  if (heap->large.reservation)
    large_space_destroy(&heap->large);
  if (heap->reservation.base)
    gc_reservation_destroy(&heap->reservation);
  gc_platform_release(heap, sizeof(*heap));
}

/* A mutator of the calling thread, not yet known to HEAP.  NULL without memory, or
   if the bounds of the thread's stack cannot be found out.  */
static struct gc_mutator *make_mutator(struct gc_heap *heap,
                                       struct gc_stack_addr base) {
  struct gc_mutator *mut = gc_platform_map(sizeof(*mut));
  if (!mut)
    return NULL;
  mut->heap = heap;
  mut->thread = pthread_self();
  nofl_allocator_init(&mut->allocator, NOFL_CLASS_ORDINARY);
  nofl_allocator_init(&mut->ambiguous_allocator, NOFL_CLASS_AMBIGUOUS);
  if (GC_CONSERVATIVE_ROOTS && !gc_stack_init(&mut->stack, base)) {
    gc_platform_release(mut, sizeof(*mut));
    return NULL;
  }
  return mut;
}

/* With heap->lock held.  */
static void heap_add_mutator(struct gc_heap *heap, struct gc_mutator *mut) {
  mut->next = heap->mutators;
  if (mut->next)
    mut->next->prev = mut;
  heap->mutators = mut;
  heap->mutator_count++;
  mut->event_data = heap->listener.mutator_added(heap->listener_data);
  GC_TRACEPOINT(mutator_added);
  mutator_note_blocked_signals(mut);
  current_mutator = mut;
}

int gc_init(const struct gc_options *options, struct gc_stack_addr base,
            struct gc_heap **heap_out, struct gc_mutator **mutator_out,
            struct gc_event_listener event_listener,
            void *event_listener_data) {
  check_attributes();
  gc_platform_init();
  struct gc_common_options common;
  gc_common_options_copy(&common, options);
  *heap_out = NULL;
  *mutator_out = NULL;
  struct gc_heap *heap = gc_platform_map(sizeof(*heap));
  if (!heap)
    return 0;
  struct gc_mutator *mut = make_mutator(heap, base);
  if (!mut || !heap_init(heap, &common)) {
    if (mut)
      gc_platform_release(mut, sizeof(*mut));
    heap_release(heap);
    return 0;
  }
  heap->listener = event_listener;
  heap->listener_data = event_listener_data;
  HEAP_EVENT(heap, init, heap->heap_size);
  register_heap(heap);
  heap_add_mutator(heap, mut);
  *heap_out = heap;
  *mutator_out = mut;
  return 1;
}

struct gc_mutator *gc_init_for_thread(struct gc_stack_addr base,
                                      struct gc_heap *heap) {
  struct gc_mutator *mut = make_mutator(heap, base);
  if (!mut)
    return NULL;
  mut->in_library = 1;
  pthread_mutex_lock(&heap->lock);
  heap_add_mutator(heap, mut);
  heap_unlock(heap);
  mut->in_library = 0;
  return mut;
}

void gc_finish_for_thread(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  mutator_enter_library(mut);
  if (mut->status == MUTATOR_RUNNING)
    mutator_lock_heap(mut);
  else
    pthread_mutex_lock(&heap->lock);
  heap->listener.mutator_removed(mut->event_data);
  GC_TRACEPOINT(mutator_removed);
  heap_remove_mutator(heap, mut);
  if (current_mutator == mut)
    current_mutator = NULL;
  heap_unlock(heap);
  gc_platform_release(mut, sizeof(*mut));
}

void gc_mutator_set_roots(struct gc_mutator *mut,
                          struct gc_mutator_roots *roots) {
  mut->roots = roots;
}

void gc_heap_set_roots(struct gc_heap *heap, struct gc_heap_roots *roots) {
  heap->roots = roots;
}

void gc_heap_set_extern_space(struct gc_heap *heap,
                              struct gc_extern_space *space) {
  heap->extern_space = space;
}

/* Take heap->lock, or release it, in any thread.  */
static void heap_lock_in_any_thread(struct gc_heap *heap) {
  struct gc_mutator *mut = current_mutator;
  if (mut)
    mutator_enter_library(mut);
  if (mut && mut->heap == heap && mut->status == MUTATOR_RUNNING)
    mutator_lock_heap(mut);
  else
    pthread_mutex_lock(&heap->lock);
}

static void heap_unlock_in_any_thread(struct gc_heap *heap) {
  heap_unlock(heap);
  if (current_mutator)
    mutator_leave_library(current_mutator);
}

void gc_heap_respect_limits(struct gc_heap *heap) {
  heap_lock_in_any_thread(heap);
  heap_respect_limits(heap);
  heap_unlock_in_any_thread(heap);
}

/* Stopping.  */

struct gc_heap *gc_mutator_heap(struct gc_mutator *mut) {
  return mut->heap;
}

int *gc_safepoint_flag_loc(struct gc_mutator *mut) {
  return &mut->heap->stop_flag;
}

void gc_safepoint_slow(struct gc_mutator *mut) {
  GC_ASSERT(mut->status == MUTATOR_RUNNING);
  mutator_enter_library(mut);
  if (heap_should_stop(mut->heap))
    mutator_park(mut);
  mutator_leave_library(mut);
}

int gc_safepoint_signal_number(void) {
  GC_CRASH();
}
void gc_safepoint_signal_inhibit(struct gc_mutator *mut) {
  (void)mut;
  GC_CRASH();
}
void gc_safepoint_signal_reallow(struct gc_mutator *mut) {
  (void)mut;
  GC_CRASH();
}
uintptr_t gc_small_object_nursery_low_address(struct gc_heap *heap) {
  (void)heap;
  GC_CRASH();
}
uintptr_t gc_small_object_nursery_high_address(struct gc_heap *heap) {
  (void)heap;
  GC_CRASH();
}

/* The caller's registers may be in this frame, which is gone while the mutator is
   inactive.  */
void GC_NEVER_INLINE gc_deactivate(struct gc_mutator *mut) {
  GC_ASSERT(mut->status == MUTATOR_RUNNING);
  mutator_enter_library(mut);
  MUTATOR_CAPTURE_STACK(mut);
  if (GC_CONSERVATIVE_ROOTS)
    gc_stack_keep_frame(&mut->stack);
  mutator_set_not_running(mut, MUTATOR_INACTIVE);
  mutator_leave_library(mut);
}

void gc_reactivate(struct gc_mutator *mut) {
  GC_ASSERT(mut->status == MUTATOR_INACTIVE);
  mutator_enter_library(mut);
  if (mut->heap->preemption.signal_number)
    mutator_note_blocked_signals(mut);
  mutator_set_running(mut, MUTATOR_INACTIVE);
  mutator_leave_library(mut);
}

void *GC_NEVER_INLINE gc_deactivate_for_call(struct gc_mutator *mut,
                                             void *(*f)(struct gc_mutator *,
                                                        void *),
                                             void *data) {
  gc_deactivate(mut);
  void *ret = f(mut, data);
  gc_reactivate(mut);
  return ret;
}

void *GC_NEVER_INLINE gc_reactivate_for_call(struct gc_mutator *mut,
                                             void *(*f)(struct gc_mutator *,
                                                        void *),
                                             void *data) {
  if (mut->status == MUTATOR_RUNNING)
    return f(mut, data);
  /* The outer capture has callee-saved registers that will be in registers
     again, and nowhere else, when this call has returned.  */
  struct gc_stack outer = mut->stack;
  gc_reactivate(mut);
  void *ret = f(mut, data);
  mutator_enter_library(mut);
  mut->stack = outer;
  mutator_set_not_running(mut, MUTATOR_INACTIVE);
  mutator_leave_library(mut);
  return ret;
}

/* In the library, a signal does not park the thread: no collector sees the stack
   meanwhile.  */
void gc_mutator_extend_stack(struct gc_mutator *mut,
                             struct gc_stack_addr base) {
  GC_ASSERT(mut->status == MUTATOR_RUNNING);
  if (!GC_CONSERVATIVE_ROOTS)
    return;
  mutator_enter_library(mut);
  gc_stack_extend(&mut->stack, base);
  mutator_leave_library(mut);
}

/* Collecting.  */

/* Returns with heap->lock held, or released if a collection that others
   started meanwhile serves the purpose; returns 1 in the former case.  */
static int mutator_begin_collection(struct gc_mutator *mut,
                                    enum gc_collection_kind kind) {
  struct gc_heap *heap = mut->heap;
  /* Relaxed: a collection that starts from now on cannot proceed before this
     thread has stopped.  */
  uint64_t started = gc_atomic_load_relaxed(&heap->started[kind]);
  mutator_lock_heap(mut);
  if (heap->started[kind] == started)
    return 1;
  heap_unlock(heap);
  return 0;
}

/* A collection holds the lock: one that has begun is over afterwards.  */
void gc_heap_inhibit_collection(struct gc_heap *heap) {
  heap_lock_in_any_thread(heap);
  gc_atomic_fetch_add_relaxed(&heap->inhibited, 1u);
  heap_unlock_in_any_thread(heap);
}

void gc_heap_allow_collection(struct gc_heap *heap) {
  uint32_t before = gc_atomic_fetch_sub_relaxed(&heap->inhibited, 1u);
  GC_ASSERT(before);
  (void)before;
}

/* Relaxed: the caller's next stop orders it before a collection.  */
void gc_heap_mark_before_moving(struct gc_heap *heap) {
  gc_atomic_store_relaxed(&heap->marks_before_moving, (uint8_t)1);
}

void gc_heap_forbid_moving(struct gc_heap *heap) {
  heap_lock_in_any_thread(heap);
  gc_atomic_store_relaxed(&heap->objects_stay, (uint8_t)1);
  /* Without a reserve for copies.  */
  heap_set_size(heap, heap->heap_size);
  heap_unlock_in_any_thread(heap);
}

static void mutator_end_collection(struct gc_mutator *mut) {
  heap_kick_ticker(mut->heap);
  heap_unlock(mut->heap);
}

void gc_collect(struct gc_mutator *mut, enum gc_collection_kind requested) {
  if (heap_is_inhibited(mut->heap))
    return;
  mutator_enter_library(mut);
  enum gc_collection_kind satisfying = requested;
  /* What is asked for may be out of reach of this configuration.  */
  if (satisfying == GC_COLLECTION_MINOR && !GC_GENERATIONAL)
    satisfying = GC_COLLECTION_MAJOR;
  if (satisfying == GC_COLLECTION_COMPACTING && !heap_moves(mut->heap))
    satisfying = GC_COLLECTION_MAJOR;
  if (mutator_begin_collection(mut, satisfying)) {
    if (!heap_is_inhibited(mut->heap))
      heap_collect(mut->heap, mut, requested, NULL);
    mutator_end_collection(mut);
  }
  mutator_leave_library(mut);
}

/* Allocation.  */

static void *heap_try_allocate_large(struct gc_heap *heap,
                                     struct mmc_request *request) {
  size_t bytes = request->large_bytes;
  size_t charge = large_space_size_in_bytes(&heap->large, bytes);
  if (charge < bytes ||
      !nofl_space_charge_large(&heap->space, charge, request->use_reserve))
    return NULL;
  void *ret = large_space_allocate(&heap->large, bytes, request->large_kind,
                                   &request->large_dirty);
  if (!ret) {
    nofl_space_discharge_large(&heap->space, charge);
    return NULL;
  }
  gc_atomic_fetch_add_relaxed(&heap->large_allocated, (uint64_t)charge);
  if (!request->large_dirty)
    heap_note_fresh_large(heap, charge);
  return ret;
}

static int heap_try_request(struct gc_heap *heap, struct mmc_request *request) {
  heap_satisfy_request(heap, request);
  return request->satisfied;
}

/* Grow for a request that collections could not satisfy, or, before the first
   collection of a cycle, as the policy wants for the known live data.  With
   heap->lock held.  */
static int heap_grow_for_request(struct gc_heap *heap,
                                 struct mmc_request *request) {
  if (heap->sizing.policy == GC_HEAP_SIZE_FIXED && !heap_is_inhibited(heap))
    return 0;
  size_t bytes =
      request->large_bytes
          ? large_space_size_in_bytes(&heap->large, request->large_bytes)
          : NOFL_BLOCK_SIZE;
  nofl_space_lock(&heap->space);
  struct nofl_space *space = &heap->space;
  size_t used = space->used_blocks + space->reserve_blocks + 2;
  size_t need = used * NOFL_BLOCK_SIZE + space->large_bytes;
  nofl_space_unlock(&heap->space);
  if (bytes > SIZE_MAX / 4 - need)
    return 0;
  /* An eighth more, so that growth is not by single blocks.  */
  size_t size = need + bytes;
  size += size / 8;
  size_t limited = heap_limit_size(heap, size);
  if (limited <= heap->heap_size)
    return 0;
  heap_resize(heap, limited);
  return 1;
}

static int heap_grow_by_policy(struct gc_heap *heap,
                               struct mmc_request *request) {
  if (heap->sizing.policy == GC_HEAP_SIZE_FIXED)
    return 0;
  size_t before = heap->heap_size;
  size_t live = heap_lasting_bytes(heap) + request_expected_bytes(request);
  size_t target = heap_limit_size(heap, heap_policy_size(heap, live));
  if (target <= before)
    return 0;
  heap_resize(heap, target);
  return 1;
}

/* Growth that does not satisfy the request is taken back: else a request beyond
   all bounds would leave a heap that never collects.  */
static int heap_satisfy_by_growth(struct gc_heap *heap,
                                  struct mmc_request *request,
                                  int (*grow)(struct gc_heap *heap,
                                              struct mmc_request *request)) {
  size_t before = heap->heap_size;
  if (!grow(heap, request))
    return 0;
  if (!heap_try_request(heap, request))
    heap_resize(heap, before);
  return request->satisfied;
}

enum escalation {
  ESCALATE_GROW_BY_POLICY,
  ESCALATE_GROW_FOR_LACK_OF_HOLES,
  ESCALATE_COLLECT,
  ESCALATE_COLLECT_OLD,
  ESCALATE_COMPACT,
  ESCALATE_GROW,
  ESCALATE_USE_RESERVE,
  ESCALATE_FAIL
};

/* A request that shares collections of other threads keeps its level, so that
   threads cannot postpone each other for ever.  */
#define MMC_MAX_SHARED_COLLECTIONS 8

/* One step towards satisfying REQUEST; judged by its outcome only.  */
static void mutator_escalate(struct gc_mutator *mut,
                             struct mmc_request *request, enum escalation level,
                             int *shared) {
  struct gc_heap *heap = mut->heap;
  enum gc_collection_kind kind = level == ESCALATE_COLLECT ? GC_COLLECTION_ANY
                                 : level == ESCALATE_COLLECT_OLD
                                     ? GC_COLLECTION_MAJOR
                                     : GC_COLLECTION_COMPACTING;
  enum gc_collection_kind satisfying =
      kind == GC_COLLECTION_COMPACTING && !heap_moves(heap)
          ? GC_COLLECTION_MAJOR
          : kind;
  int collects = level == ESCALATE_COLLECT || level == ESCALATE_COLLECT_OLD ||
                 level == ESCALATE_COMPACT;
  int alone = 1;
  if (collects && *shared < MMC_MAX_SHARED_COLLECTIONS)
    alone = mutator_begin_collection(mut, satisfying);
  else
    mutator_lock_heap(mut);
  *shared = alone ? 0 : *shared + 1;
  if (!alone)
    return;
  switch (level) {
  case ESCALATE_GROW_BY_POLICY:
    heap_satisfy_by_growth(heap, request, heap_grow_by_policy);
    break;
  case ESCALATE_GROW:
    heap_satisfy_by_growth(heap, request, heap_grow_for_request);
    break;
  case ESCALATE_GROW_FOR_LACK_OF_HOLES:
    heap_satisfy_by_growth(heap, request, heap_grow_for_lack_of_holes);
    /* Nothing is left but to look at all holes and, if that is in vain, to
       collect.  */
    request->effort = heap_cannot_grow(heap) && heap_is_early(heap)
                          ? NOFL_SWEEP_BOTH_CLASSES
                          : NOFL_SWEEP_ALL;
    break;
  case ESCALATE_COLLECT:
    if (!heap_is_inhibited(heap))
      heap_collect(heap, mut, kind, request);
    break;
  case ESCALATE_COLLECT_OLD:
    /* Only then it is known whether the heap has to grow.  */
    if (!heap_is_inhibited(heap) && heap->sizing.policy != GC_HEAP_SIZE_FIXED &&
        heap->last_kind == GC_COLLECTION_MINOR)
      heap_collect(heap, mut, kind, request);
    break;
  case ESCALATE_COMPACT:
    /* A dense heap would gain nothing.  */
    if (!heap_is_sparse(heap) &&
        heap_satisfy_by_growth(heap, request, heap_grow_for_request))
      break;
    if (!heap_is_inhibited(heap))
      heap_collect(heap, mut, kind, request);
    break;
  case ESCALATE_USE_RESERVE:
    request->use_reserve = 1;
    heap_try_request(heap, request);
    break;
  default:
    GC_CRASH();
  }
  mutator_end_collection(mut);
}

/* Satisfy REQUEST, or return 0 after everything has been tried.  Nothing is
   charged to the heap for a request that failed.  */
static int mutator_satisfy(struct gc_mutator *mut,
                           struct mmc_request *request) {
  int shared = 0;
  for (int level = ESCALATE_GROW_BY_POLICY; level < ESCALATE_FAIL;) {
    if (heap_should_stop(mut->heap))
      mutator_park(mut);
    if (heap_try_request(mut->heap, request))
      return 1;
    mutator_escalate(mut, request, level, &shared);
    if (request->satisfied)
      return 1;
    if (request->given_up)
      return 0;
    if (!shared && ++level == ESCALATE_COLLECT_OLD && !GC_GENERATIONAL)
      level++;
  }
  return 0;
}

/* Collect, if no other thread just did, though there is room.  */
static void GC_NEVER_INLINE mutator_collect_nursery(struct gc_mutator *mut,
                                                    struct nofl_allocator *a,
                                                    size_t granules) {
  struct mmc_request request = {.allocator = a, .granules = granules};
  int shared = 0;
  if (!heap_is_inhibited(mut->heap))
    mutator_escalate(mut, &request, ESCALATE_COLLECT, &shared);
}

/* Blocks of class "ambiguous" are never evacuated: what never moves lives in
   them, so that one such object does not keep a block of others from being
   emptied.  What is allocated there as tagged is traced like elsewhere.  */
static struct nofl_allocator *mutator_allocator(struct gc_mutator *mut,
                                                enum gc_allocation_kind kind) {
  return mmc_lives_apart(kind) ? &mut->ambiguous_allocator : &mut->allocator;
}

static void *mutator_allocate_small(struct gc_mutator *mut, size_t bytes,
                                    enum gc_allocation_kind kind) {
  size_t granules = nofl_size_to_granules(bytes);
  struct nofl_allocator *a = mutator_allocator(mut, kind);
  size_t size = granules << NOFL_GRANULE_SIZE_LOG_2;
  if (a->limit - a->alloc < size &&
      GC_UNLIKELY(heap_nursery_is_full(mut->heap)))
    mutator_collect_nursery(mut, a, granules);
  if (a->limit - a->alloc < size &&
      !nofl_allocator_refill(&mut->heap->space, a, granules, 0,
                             NOFL_SWEEP_SOME)) {
    struct mmc_request request = {.allocator = a, .granules = granules};
    if (!mutator_satisfy(mut, &request))
      return NULL;
  }
  mutator_check_residency(mut);
  uintptr_t addr = a->alloc;
  a->alloc = addr + size;
  gc_update_alloc_table(gc_ref(addr), size, kind);
  return (void *)addr;
}

/* Bytes that are populated without a look whether the world is to stop: some
   hundred microseconds.  */
#define MMC_POPULATE_SLICE ((size_t)1024 * 1024)

/* Get the fresh pages of a large object, unless the program may not use all of
   it soon, or somebody waits for this thread.  */
static void mutator_populate(struct gc_mutator *mut, void *mem, size_t size) {
  if (size >= LARGE_POPULATE_THRESHOLD)
    return;
  uintptr_t mask = gc_platform_page_size() - 1;
  uintptr_t end = ((uintptr_t)mem + size + mask) & ~mask;
  for (uintptr_t addr = (uintptr_t)mem & ~mask;
       addr < end && !heap_should_stop(mut->heap); addr += MMC_POPULATE_SLICE) {
    size_t rest = end - addr;
    gc_platform_populate((void *)addr,
                         rest < MMC_POPULATE_SLICE ? rest : MMC_POPULATE_SLICE);
  }
}

static void *mutator_allocate_large(struct gc_mutator *mut, size_t bytes,
                                    enum gc_allocation_kind kind, int clear) {
  uint8_t trace_kind =
      gc_allocator_alloc_table_begin_pattern(kind) & NOFL_KIND_MASK;
  struct mmc_request request = {.large_bytes = bytes, .large_kind = trace_kind};
  /* No collection makes room for what the address range cannot hold.  */
  struct gc_reservation *res = &mut->heap->reservation;
  if (bytes > res->limit - res->base || !mutator_satisfy(mut, &request))
    return NULL;
  /* Here, because the request may have been satisfied in a pause.  There is no
     safepoint before the object is prepared.  */
  mutator_check_residency(mut);
  struct large_space *large = &mut->heap->large;
  large_space_prepare(large, request.large_object, bytes, request.large_dirty,
                      clear);
  if (!request.large_dirty)
    mutator_populate(mut, request.large_object,
                     large_space_size_in_bytes(large, bytes));
  return request.large_object;
}

static void GC_NEVER_INLINE mutator_stress(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  const struct mmc_stress *stress = &heap->stress;
  int wanted = 0;
  if (stress->collect_every) {
    uint32_t n = gc_atomic_fetch_add_relaxed(&heap->stress_counter, 1u) + 1;
    wanted = n % stress->collect_every == 0;
  }
  if (stress->random_collect)
    wanted |= heap_random(heap) % stress->random_collect == 0;
  if (wanted)
    gc_collect(mut, GC_COLLECTION_ANY);
}

static inline void *mutator_allocate(struct gc_mutator *mut, size_t bytes,
                                     enum gc_allocation_kind kind, int clear) {
  GC_ASSERT(bytes);
  GC_ASSERT(mut->status == MUTATOR_RUNNING);
  mutator_enter_library(mut);
  struct gc_heap *heap = mut->heap;
  if (GC_UNLIKELY(heap_should_stop(heap)))
    mutator_park(mut);
  if (GC_UNLIKELY(heap->stress.collect_every | heap->stress.random_collect))
    mutator_stress(mut);
  void *ret = bytes <= NOFL_LARGE_THRESHOLD
                  ? mutator_allocate_small(mut, bytes, kind)
                  : mutator_allocate_large(mut, bytes, kind, clear);
  mutator_leave_library(mut);
  if (GC_UNLIKELY(!ret))
    return heap->allocation_failure(heap, bytes);
  return ret;
}

void *GC_NEVER_INLINE gc_allocate_slow(struct gc_mutator *mut, size_t bytes,
                                       enum gc_allocation_kind kind) {
  return mutator_allocate(mut, bytes, kind, 1);
}

void *GC_NEVER_INLINE gc_allocate_uncleared_slow(struct gc_mutator *mut,
                                                 size_t bytes,
                                                 enum gc_allocation_kind kind) {
  GC_ASSERT(kind == GC_ALLOCATION_TAGGED_POINTERLESS ||
            kind == GC_ALLOCATION_UNTAGGED_POINTERLESS);
  return mutator_allocate(mut, bytes, kind, 0);
}

uint64_t gc_allocation_counter(struct gc_heap *heap) {
  return heap_allocation_counter(heap);
}

void gc_heap_statistics(struct gc_heap *heap,
                        struct gc_heap_statistics *stats) {
  for (;;) {
    uint32_t before = gc_atomic_load(&heap->statistics_sequence);
    if (before & 1) {
      sched_yield();
      continue;
    }
    *stats = heap->statistics;
    /* Acquire fence: the copy is complete before the second look.  */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (gc_atomic_load_relaxed(&heap->statistics_sequence) == before)
      break;
  }
  stats->heap_size = gc_atomic_load_relaxed(&heap->heap_size);
  stats->allocated_bytes = heap_allocation_counter(heap);
}

/* Barrier.  */

void gc_write_barrier_slow(struct gc_mutator *mut, struct gc_ref obj,
                           size_t obj_size, struct gc_edge edge,
                           struct gc_ref new_val) {
  (void)obj_size;
  if (!GC_GENERATIONAL || heap_large_field_is_logged(mut->heap, edge))
    return;
  mutator_enter_barrier(mut);
  mutator_write_barrier(mut, obj, edge, new_val);
  mutator_leave_library(mut);
}

int gc_object_is_old_generation_slow(struct gc_mutator *mut,
                                     struct gc_ref obj) {
  if (!GC_GENERATIONAL)
    return 0;
  struct gc_heap *heap = mut->heap;
  uintptr_t addr = gc_ref_value(obj);
  if (nofl_space_contains(&heap->space, addr))
    return nofl_object_is_old(addr);
  if (large_space_contains(&heap->large, addr))
    return large_object_is_old(&heap->large, obj);
  return 0;
}

/* Queries.  */

int gc_heap_contains(struct gc_heap *heap, struct gc_ref ref) {
  uintptr_t addr = gc_ref_value(ref);
  return nofl_space_contains_object_address(&heap->space, addr) ||
         large_space_contains(&heap->large, addr);
}

struct gc_ref gc_resolve_conservative_ref(struct gc_heap *heap,
                                          struct gc_conservative_ref ref,
                                          int possibly_interior) {
  uintptr_t word = gc_conservative_ref_value(ref);
  if (word < GC_MIN_OBJECT_ADDRESS)
    return gc_ref_null();
  if (!possibly_interior &&
      !gc_accepts_displacement(word & (sizeof(uintptr_t) - 1)))
    return gc_ref_null();
  if (nofl_space_contains_object_address(&heap->space, word))
    return gc_ref(
        nofl_resolve_conservative(&heap->space, word, possibly_interior));
  if (!large_space_contains(&heap->large, word))
    return gc_ref_null();
  /* The tracer asks for ambiguous edges that the embedder knows of, also with
     the space locked, in which nothing changes then.  */
  if (heap->space.collecting)
    return large_space_resolve_conservative(&heap->large, word,
                                            possibly_interior, 1);
  /* Takes a lock that a parked thread must not hold.  */
  struct gc_mutator *mut = current_mutator;
  if (mut)
    mutator_enter_library(mut);
  struct gc_ref ret = large_space_resolve_conservative(&heap->large, word,
                                                       possibly_interior, 0);
  if (mut)
    mutator_leave_library(mut);
  return ret;
}

size_t gc_object_size(struct gc_heap *heap, struct gc_ref ref) {
  uintptr_t addr = gc_ref_value(ref);
  struct gc_ref found =
      gc_resolve_conservative_ref(heap, gc_conservative_ref(addr), 1);
  if (gc_ref_is_null(found) || gc_ref_value(found) != addr)
    return 0;
  return nofl_space_contains(&heap->space, addr)
             ? nofl_object_size_if_complete(addr)
             : large_object_size(&heap->large, ref);
}

void gc_pin_object(struct gc_mutator *mut, struct gc_ref ref) {
  uintptr_t addr = gc_ref_value(ref);
  if (!NOFL_MOVES || !nofl_space_contains(&mut->heap->space, addr))
    return;
  /* Most are pinned again and again, as keys of hash tables.  Relaxed: see
     nofl_pin_object.  */
  if (gc_atomic_load_relaxed(nofl_metadata_byte(addr)) & NOFL_PINNED)
    return;
  mutator_enter_library(mut);
  /* Relaxed: see nofl_block_make_ambiguous.  */
  if (gc_atomic_load_relaxed(&nofl_block_of(addr)->class) ==
      NOFL_CLASS_ORDINARY)
    nofl_pin_object(addr);
  mutator_leave_library(mut);
}
