/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Heap size and choice of collection.

   The square-root rule (M. Kirisame, P. Shenoy, P. Panchekha, "Optimal heap
   limits for reducing browser memory use", 2022): for live data L, allocation
   rate g and collection speed s, the total cost of several heaps is least when
   each has extra space proportional to sqrt(L * g / s).  The growable policy
   takes g and s as constants; the adaptive one measures them.  */

#ifndef MMC_SIZING_H
#define MMC_SIZING_H

#include <math.h>

#include "mmc-stop.h"

#define MMC_MIN_HEAP_SIZE ((size_t)1024 * 1024)
#define MMC_ADAPTIVE_MIN_EXTRA ((size_t)3 * 1024 * 1024)
/* And at least and at most so many times the live data; an embedder may know
   better.  */
#ifdef GC_EMBEDDER_HEAP_MULTIPLE_MIN
#define MMC_ADAPTIVE_MIN_MULTIPLE ((double)GC_EMBEDDER_HEAP_MULTIPLE_MIN)
#else
#define MMC_ADAPTIVE_MIN_MULTIPLE 1.1
#endif
#ifdef GC_EMBEDDER_HEAP_MULTIPLE_MAX
#define MMC_ADAPTIVE_MAX_MULTIPLE ((double)GC_EMBEDDER_HEAP_MULTIPLE_MAX)
#else
#define MMC_ADAPTIVE_MAX_MULTIPLE 5.0
#endif
/* When live data become less, an adaptive heap shrinks at once to this, and
   further with a time constant, in nanoseconds.  */
#define MMC_ADAPTIVE_KEPT_MULTIPLE 5.0
#define MMC_ADAPTIVE_KEPT_EXTRA (64.0 * 1024 * 1024)
#define MMC_ADAPTIVE_SHRINK_TIME 3e9
#define MMC_RESERVE_PER_CENT 2
/* Thresholds of the decision table.  */
#define MMC_FRAGMENTATION_TO_COMPACT 0.10
/* Collections between compactions that nobody asked for.  The interval doubles
   when one gains little.  */
#define MMC_MIN_COMPACTION_INTERVAL 8
#define MMC_MAX_COMPACTION_INTERVAL 128
/* To copy an object takes some ten times as long as to mark it, if both wait for
   memory, where markers can fetch ahead, else four times.  So a compaction that
   nobody asked for goes in steps, each of which copies as much as is expected to take
   this part of the marking's time, but at least so many nanoseconds; more if that
   empties many blocks.  A step comes so many collections after the one before.  A heap
   that cannot grow meanwhile needs all at once.  */
#define MMC_COPYING_COST 4
#define MMC_COPYING_COST_OUT_OF_CACHE 10
#define MMC_COMPACTION_STEP_PART 0.5
#define MMC_COMPACTION_STEP_NSEC 10e6
#define MMC_COMPACTION_STEP_INTERVAL 2
#define MMC_MAX_COMPACTION_STEPS 32
#define MMC_MIN_MAJOR_YIELD 0.05
/* Fullest blocks that are evacuated: on request, so that what a request has
   compacted is not copied again by the next one; and when nobody asked.  */
#define MMC_DENSE_GRANULES (NOFL_GRANULES_PER_BLOCK - NOFL_HISTOGRAM_GRANULES)
#define MMC_SPARSE_GRANULES (NOFL_GRANULES_PER_BLOCK * 3 / 4)
/* A limited nursery is at most this part of what is free.  */
#define MMC_NURSERY_PART 4
/* The heap grows for what minor collections have promoted, up to this part of what the
   last full collection has found live.  */
#define MMC_PROMOTED_PART 2
/* And for lack of holes, until what they have promoted is this part of what the full
   one left free.  */
#define MMC_PROMOTED_ROOM 2
/* A heap that can grow has a full collection after the allocation of so many times what
   the last one left free.  The number doubles from one of these to the next, and is
   the least again when live data have grown by this part.  */
#define MMC_MIN_FULL_INTERVAL 2
#define MMC_MAX_FULL_INTERVAL 1024
#define MMC_GROWN_PART 8
/* A collection is early that comes before this part of what was free has been
   allocated, if that was at least this part of the heap.  The heap grows instead, by
   this part at a time.  */
#define MMC_EARLY_PART 4
#define MMC_EARLY_ROOM 16
#define MMC_EARLY_GROWTH 64
/* A collection is futile if less than this part of the heap has been allocated since
   the last one, and less is free.  After so many in a row, a request fails.  */
#define MMC_FUTILE_PART 64
#define MMC_MAX_FUTILE_COLLECTIONS 8
/* A heap is sparse if its blocks have a quarter more room than live data, and
   this much.  */
#define MMC_SPARSE_HEAP_SLACK ((size_t)2 * 1024 * 1024)

static inline size_t heap_round_size(size_t size) {
  if (size < MMC_MIN_HEAP_SIZE)
    size = MMC_MIN_HEAP_SIZE;
  if (size > SIZE_MAX / 4)
    size = SIZE_MAX / 4;
  return (size + NOFL_BLOCK_SIZE - 1) & ~(NOFL_BLOCK_SIZE - 1);
}

static inline size_t heap_limit_size(struct gc_heap *heap, size_t size) {
  size_t most = heap->sizing.maximum_size & ~(NOFL_BLOCK_SIZE - 1);
  size = heap_round_size(size);
  if (heap->sizing.maximum_size && size > most)
    size = heap_round_size(most);
  return size;
}

static double clamp(double x, double lo, double hi) {
  return x < lo ? lo : x > hi ? hi : x;
}

/* The one place where the heap's size changes.  The size is that of blocks and
   large objects; metadata, a fifteenth of the former, come on top, as they do in
   other collectors.  With heap->lock held.  */
static void heap_set_size(struct gc_heap *heap, size_t size) {
  size_t blocks = size / NOFL_BLOCK_SIZE;
  size_t reserve =
      heap_moves(heap) ? (blocks * MMC_RESERVE_PER_CENT + 99) / 100 : 0;
  nofl_space_lock(&heap->space);
  heap->space.budget_bytes = size;
  heap->space.reserve_blocks = reserve;
  nofl_space_unlock(&heap->space);
  gc_atomic_store_relaxed(&heap->heap_size, size);
}

/* Give up unused address space but for KEEP bytes, for small objects and large ones
   like what there is of them, at least a quarter each.  */
static int heap_trim_reservation(struct gc_heap *heap, size_t keep) {
  struct gc_reservation *res = &heap->reservation;
  double low = gc_reservation_low_top(res) - res->base;
  double high = res->limit - gc_reservation_high_bottom(res);
  size_t keep_low = keep * clamp(low / (low + high + 1), 0.25, 0.75);
  return gc_reservation_trim(res, keep_low, keep - keep_low) > 0;
}

/* Of the address space that a limit leaves, a quarter is for the rest of the program,
   the same as when the heap is made (heap_reservation_size): so much again if half
   of it is gone.  How far a limit is exceeded is not known: then this halves until
   it fits.  With heap->lock held.  */
static void heap_respect_limits(struct gc_heap *heap) {
  size_t available = gc_platform_address_space_available();
  size_t gap = gc_reservation_unused(&heap->reservation);
  while (available < gap / 7) {
    size_t keep = available ? (gap + available) / 4 * 3 : gap / 2;
    if (!heap_trim_reservation(heap, keep))
      break;
    large_space_trim_tables(&heap->large);
    gap = gc_reservation_unused(&heap->reservation);
    available = gc_platform_address_space_available();
  }
}

static void heap_resize(struct gc_heap *heap, size_t size) {
  size = heap_limit_size(heap, size);
  if (size == heap->heap_size)
    return;
  if (size > heap->heap_size)
    heap_respect_limits(heap);
  heap_set_size(heap, size);
  HEAP_EVENT(heap, heap_resized, size);
}

static double heap_growable_target(struct gc_heap *heap, double live) {
  return live + sqrt(live) * sqrt(heap->sizing.double_threshold / 2);
}

/* With g = s this is the growable policy's rule, times the expansiveness.  */
static double heap_adaptive_target(struct gc_heap *heap, double live) {
  struct mmc_sizing *sizing = &heap->sizing;
  double ratio =
      clamp(sizing->allocation_rate / sizing->trace_rate, 1.0 / 64, 64);
  double extra = sizing->expansiveness * sqrt(live) *
                 sqrt(sizing->double_threshold / 2 * ratio);
  double target = clamp(live + extra, live * MMC_ADAPTIVE_MIN_MULTIPLE,
                        live * MMC_ADAPTIVE_MAX_MULTIPLE);
  double least = live + MMC_ADAPTIVE_MIN_EXTRA;
  return target < least ? least : target;
}

static inline uint64_t heap_allocation_counter(struct gc_heap *heap) {
  /* Relaxed: a statistic.  */
  uint64_t granules =
      gc_atomic_load_relaxed(&heap->space.total_allocated_granules);
  return (granules << NOFL_GRANULE_SIZE_LOG_2) +
         gc_atomic_load_relaxed(&heap->large_allocated);
}

/* Smooth the rates with what was seen since the last call, up to NOW.  Pauses do
   not count as time in which the program could have allocated: else a heap that
   is too small looks like a program that allocates little.  */
static void heap_update_rates(struct gc_heap *heap, uint64_t now,
                              uint64_t trace_nsec, size_t traced) {
  struct mmc_sizing *sizing = &heap->sizing;
  uint64_t counter = heap_allocation_counter(heap);
  if (now > sizing->last_nsec) {
    double rate =
        (double)(counter - sizing->last_counter) / (now - sizing->last_nsec);
    double elapsed = (now - sizing->last_nsec) * 1e-9;
    double weight = exp(-elapsed * 0.7);
    sizing->allocation_rate =
        sizing->allocation_rate * weight + rate * (1 - weight);
  }
  sizing->last_nsec = now;
  sizing->last_counter = counter;
  /* The fixed cost of a tiny collection says nothing about speed.  */
  if (trace_nsec && traced > 256 * 1024)
    sizing->trace_rate = (sizing->trace_rate + (double)traced / trace_nsec) / 2;
}

/* Each mutator holds on to a block or two until the next collection, however little
   it allocates.  Without room for that, many that allocate now and then would
   cause collections all the time.  For a few there is room anyway.  */
static size_t heap_room_for_mutators(struct gc_heap *heap) {
  size_t count = heap->mutator_count;
  return count > 4 ? (count - 4) * 2 * NOFL_BLOCK_SIZE : 0;
}

/* The same heap TARGET in a machine or container with little memory: there is other
   use for it, and to be slow is better than to be killed.  But with no room at all
   a heap does nothing but collect.  */
static size_t heap_modest_target(struct gc_heap *heap, size_t live,
                                 size_t target) {
  size_t most = heap->sizing.memory - heap->sizing.memory / 4;
  size_t least = live + live / 4 + MMC_ADAPTIVE_MIN_EXTRA;
  if (most < least)
    most = least;
  return target < most ? target : most;
}

/* What waits for its finalizer must have its place, and room to work, but is no
   reason for as much room as other data: the more there is, the more finalizers fire
   at a time, and wait.  */
static size_t heap_size_for_waiting(struct gc_heap *heap, size_t live,
                                    double (*rule)(struct gc_heap *heap,
                                                   double live)) {
  size_t waiting = heap->waiting_bytes < live ? heap->waiting_bytes : live;
  size_t size = waiting + (size_t)rule(heap, live - waiting);
  size_t least = live + live / 8 + MMC_ADAPTIVE_MIN_EXTRA;
  return waiting && size < least ? least : size;
}

static size_t heap_policy_size(struct gc_heap *heap, size_t live) {
  size_t target = heap_room_for_mutators(heap);
  switch (heap->sizing.policy) {
  case GC_HEAP_SIZE_GROWABLE:
    target += heap_size_for_waiting(heap, live, heap_growable_target);
    target = heap_modest_target(heap, live, target);
    return target > heap->heap_size ? target : heap->heap_size;
  case GC_HEAP_SIZE_ADAPTIVE:
    target += heap_size_for_waiting(heap, live, heap_adaptive_target);
    return heap_modest_target(heap, live, target);
  case GC_HEAP_SIZE_FIXED:
  default:
    return heap->heap_size;
  }
}

/* An adaptive heap could be SIZE, as LIVE bytes are live, but was larger.  What
   a program needed a moment ago it often needs again, and fewer collections are
   the better use of memory that it had anyway.  */
static size_t heap_shrink_slowly(struct gc_heap *heap, size_t size,
                                 double live) {
  struct mmc_sizing *sizing = &heap->sizing;
  double elapsed = (double)(sizing->last_nsec - sizing->kept_nsec);
  double kept = sizing->kept_size * exp(-elapsed / MMC_ADAPTIVE_SHRINK_TIME);
  double most = live * MMC_ADAPTIVE_KEPT_MULTIPLE + MMC_ADAPTIVE_KEPT_EXTRA;
  kept = clamp(kept, size, most > size ? most : size);
  sizing->kept_size = kept;
  sizing->kept_nsec = sizing->last_nsec;
  return kept;
}

/* Smallest size at which what is in use fits, with the reserve and some blocks
   to allocate in.  */
static size_t heap_least_size(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  nofl_space_lock(space);
  size_t blocks = space->used_blocks + space->reserve_blocks + 4;
  size_t bytes = blocks * NOFL_BLOCK_SIZE + space->large_bytes;
  nofl_space_unlock(space);
  return bytes;
}

static size_t bytes_without(size_t bytes, size_t part) {
  return part < bytes ? bytes - part : 0;
}

/* What the size of the heap goes by: live bytes but for those that are doomed, else a
   program most of whose garbage dies one collection late, as the entries of weak
   tables do, would have a heap in proportion to its garbage.

   Nor does what minor collections have promoted since the last full one count as
   live, beyond a part of what that one found.  Much of it may be dead, which only
   another full collection can tell; and a heap that grows with it has room
   again, so that this collection would never seem necessary.  Some must count,
   else a program whose live data do grow would have as many full collections as
   if there were no minor ones.  */
static size_t heap_lasting_bytes(struct gc_heap *heap) {
  size_t lasting = bytes_without(heap->live_bytes, heap->doomed_bytes);
  if (!GC_GENERATIONAL || heap->last_kind != GC_COLLECTION_MINOR)
    return lasting;
  size_t old = bytes_without(heap->full_live_bytes, heap->full_doomed_bytes);
  size_t promoted = bytes_without(lasting, heap->full_live_bytes);
  size_t most = old / MMC_PROMOTED_PART;
  return old + (promoted < most ? promoted : most);
}

/* At the end of a collection, world stopped; or by the ticker.  EXPECTED: bytes
   of the large object that the collection is for.  They count as live: else the
   heap would be sized without it, and the request, which then finds no room,
   cause a second collection.  */
static void heap_apply_sizing_policy(struct gc_heap *heap, size_t expected) {
  if (heap->sizing.policy == GC_HEAP_SIZE_FIXED)
    return;
  size_t live = heap_lasting_bytes(heap) + expected;
  size_t size = heap_policy_size(heap, live);
  if (heap->sizing.policy == GC_HEAP_SIZE_ADAPTIVE)
    size = heap_shrink_slowly(heap, size, live);
  size_t least = heap_least_size(heap);
  heap->shrink_blocked = size < least - least / 4;
  if (size < heap->heap_size && size < least)
    size = least < heap->heap_size ? least : heap->heap_size;
  heap_resize(heap, size);
}

/* What part of the heap did the last collection free?  */
static double heap_yield(struct gc_heap *heap) {
  size_t budget = heap->space.budget_bytes;
  if (!budget || heap->live_bytes >= budget)
    return 0;
  return 1.0 - (double)heap->live_bytes / budget;
}

/* Granules allocated since the last collection, as far as counted.  Relaxed: exact
   once every allocator has been finished.  */
static inline size_t heap_new_granules(struct gc_heap *heap) {
  return gc_atomic_load_relaxed(&heap->space.allocated_granules);
}

/* Would a collection for a request that finds no hole come too early?  Then most of
   what is free is in holes that are too small, and a collection would find the
   same ones.  */
static int heap_is_early(struct gc_heap *heap) {
  size_t live = heap->live_bytes;
  size_t room = live < heap->heap_size ? heap->heap_size - live : 0;
  uint64_t allocated = heap_allocation_counter(heap) - heap->counter_at_last_gc;
  return heap->collected_before && room > heap->heap_size / MMC_EARLY_ROOM &&
         allocated < room / MMC_EARLY_PART;
}

/* Also for lack of address space, as far as is known.  */
static int heap_cannot_grow(struct gc_heap *heap) {
  return heap->sizing.policy == GC_HEAP_SIZE_FIXED ||
         nofl_space_cannot_extend(&heap->space) ||
         heap->heap_size >= heap_limit_size(heap, SIZE_MAX);
}

/* Would a full collection perhaps free what a heap that can grow seems to lack?  */
static int heap_may_hold_old_garbage(struct gc_heap *heap) {
  if (!GC_GENERATIONAL || heap->sizing.policy == GC_HEAP_SIZE_FIXED ||
      heap->last_kind != GC_COLLECTION_MINOR)
    return 0;
  size_t room = bytes_without(heap->heap_size, heap->full_live_bytes);
  size_t promoted = bytes_without(heap->live_bytes, heap->full_live_bytes);
  return promoted > room / MMC_PROMOTED_ROOM;
}

/* Where next to nothing is promoted, minor collections could go on for ever, and
   nobody would see that what was live at a peak has died.  */
static int heap_is_overdue(struct gc_heap *heap) {
  uint64_t allocated =
      heap_allocation_counter(heap) - heap->counter_at_last_full_gc;
  return GC_GENERATIONAL && heap->sizing.policy != GC_HEAP_SIZE_FIXED &&
         allocated / heap->full_interval >
             bytes_without(heap->heap_size, heap->full_live_bytes);
}

/* At the end of a full collection.  Those that nothing else has called for become
   rare, until live data have grown.  */
static void heap_note_full_collection(struct gc_heap *heap) {
  size_t before = heap->full_live_bytes;
  if (heap->live_bytes > before + before / MMC_GROWN_PART)
    heap->full_interval = MMC_MIN_FULL_INTERVAL;
  else if (heap_is_overdue(heap) && heap->full_interval < MMC_MAX_FULL_INTERVAL)
    heap->full_interval *= 2;
  heap->full_live_bytes = heap->live_bytes;
  heap->full_doomed_bytes = heap->doomed_bytes;
  heap->counter_at_last_full_gc = heap->counter_at_last_gc;
}

/* Where all holes are small, a larger object now and then must not cause a
   collection each time; nor large objects that find no room beside blocks which
   are mostly free.  */
static int heap_grow_for_lack_of_holes(struct gc_heap *heap,
                                       struct mmc_request *request) {
  if (heap->sizing.policy == GC_HEAP_SIZE_FIXED ||
      heap_may_hold_old_garbage(heap) || !heap_is_early(heap))
    return 0;
  size_t before = heap->heap_size;
  size_t extra = before / MMC_EARLY_GROWTH + NOFL_BLOCK_SIZE;
  if (request->large_bytes) {
    extra = before / MMC_EARLY_ROOM;
    if (request->large_bytes > extra)
      return 0;
  }
  size_t size = heap_limit_size(heap, before + extra);
  if (size <= before)
    return 0;
  heap_resize(heap, size);
  return 1;
}

/* At the end of a full collection for a request: should that fail?  A program whose
   live data come close to the limit would spend all its time in collections, each of
   which finds a little less, before one fails to satisfy a request.  It may let go of
   something then, so the count starts anew.  */
static int heap_gives_up(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  size_t size = heap->heap_size;
  size_t used = heap->live_bytes + space->reserve_blocks * NOFL_BLOCK_SIZE;
  /* All that a limit of the address space allows.  */
  if (nofl_space_cannot_extend(space)) {
    size = space->total_blocks * NOFL_BLOCK_SIZE + space->large_bytes;
    used = heap->live_bytes;
  }
  size_t little = size / MMC_FUTILE_PART;
  uint64_t allocated = heap->counter_at_last_gc - heap->counter_at_last_full_gc;
  int futile = allocated < little && used + little > size;
  heap->futile_collections = futile ? heap->futile_collections + 1 : 0;
  if (heap->futile_collections < MMC_MAX_FUTILE_COLLECTIONS)
    return 0;
  heap->futile_collections = 0;
  return 1;
}

/* Part of the nofl space that is in the rests of holes, by the last sweep.  If
   allocators have passed through some of what is free only, perhaps more than
   once, the rest is taken to be like that.  */
static double heap_fragmentation(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  double abandoned = gc_atomic_load_relaxed(&space->abandoned_granules);
  size_t total = space->budget_bytes >> NOFL_GRANULE_SIZE_LOG_2;
  if (heap->passed_granules)
    return heap_yield(heap) * abandoned /
           (abandoned + heap->passed_granules + heap_new_granules(heap));
  return total ? abandoned / total : 0;
}

/* Blocks that a compaction may take beyond the budget and the reserve: room for
   copies of all small objects, but no more than a quarter of what is used, and
   none if the heap may not grow so far.  */
static size_t heap_evacuation_credit(struct gc_heap *heap) {
  if (!heap_moves(heap) || heap->sizing.policy == GC_HEAP_SIZE_FIXED)
    return 0;
  size_t used = heap->space.used_blocks;
  size_t live = heap->live_bytes - heap->live_large_bytes;
  size_t credit = live / NOFL_BLOCK_SIZE + 1;
  if (credit > used / 4)
    credit = used / 4;
  size_t size = heap->heap_size + credit * NOFL_BLOCK_SIZE;
  size_t allowed = heap_limit_size(heap, size);
  if (allowed < size)
    credit = allowed > heap->heap_size
                 ? (allowed - heap->heap_size) / NOFL_BLOCK_SIZE
                 : 0;
  return credit;
}

/* Did mutators get most of their memory in small pieces?  */
static int heap_has_small_holes(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  size_t granules = gc_atomic_load_relaxed(&space->swept_hole_granules);
  size_t holes = gc_atomic_load_relaxed(&space->swept_holes);
  return granules << NOFL_GRANULE_SIZE_LOG_2 > space->budget_bytes / 8 &&
         granules < holes * NOFL_SMALL_HOLE_GRANULES;
}

/* Do small objects have blocks with much more room than they need?  With heap->lock
   held; mutators may be running.  */
static int heap_has_sparse_blocks(struct gc_heap *heap) {
  size_t live = heap->live_bytes - heap->live_large_bytes;
  nofl_space_lock(&heap->space);
  size_t used = heap->space.used_blocks * NOFL_BLOCK_SIZE;
  nofl_space_unlock(&heap->space);
  return used > live + live / 4 + MMC_SPARSE_HEAP_SLACK;
}

/* In a heap that cannot grow, there is no other way out of full collections that come
   early.  Those for large objects do if blocks that are mostly free have taken
   the room: each collection would find just what the last large objects had.  */
static int heap_should_compact(struct gc_heap *heap) {
  int due = heap->compaction_clock >= heap->next_compaction;
  int stuck = heap_cannot_grow(heap) && heap_is_early(heap) &&
              heap->last_kind != GC_COLLECTION_MINOR;
  if (!heap_moves(heap) || !(due || stuck))
    return 0;
  return heap_fragmentation(heap) > MMC_FRAGMENTATION_TO_COMPACT ||
         heap_has_small_holes(heap) || heap->shrink_blocked ||
         (stuck && due && heap_has_sparse_blocks(heap));
}

/* After a cycle that marked all: would compacting give back memory?  Then a
   program that just asked for a collection should have it, and a request that
   finds no room should try it before the heap grows.  Not if that was of no use
   the last time and it is too early for another attempt.  With heap->lock held;
   mutators may be running.  */
static int heap_is_sparse(struct gc_heap *heap) {
  if (!heap_moves(heap) || heap->sizing.policy == GC_HEAP_SIZE_FIXED)
    return 0;
  if (heap->compaction_clock < heap->next_sparse)
    return 0;
  return heap_has_sparse_blocks(heap);
}

/* Granules to copy in one step of a compaction.  */
static size_t heap_compaction_step(struct gc_heap *heap) {
  const struct mmc_sizing *sizing = &heap->sizing;
  double bytes = MMC_COMPACTION_STEP_NSEC * sizing->marking_rate;
  if (bytes < heap->live_bytes * MMC_COMPACTION_STEP_PART)
    bytes = heap->live_bytes * MMC_COMPACTION_STEP_PART;
  bytes /= sizing->waits_for_memory ? MMC_COPYING_COST_OUT_OF_CACHE
                                    : MMC_COPYING_COST;
  return (size_t)bytes >> NOFL_GRANULE_SIZE_LOG_2;
}

/* Of CANDIDATES blocks, EMPTIED became empty; MORE would have been chosen but for the
   size of a step.  Compactions take long: what is to be compacted again as soon as
   that is allowed does not stay compact.  */
static void heap_schedule_compaction(struct gc_heap *heap, size_t candidates,
                                     size_t emptied, int more) {
  uint32_t interval = heap->compaction_interval;
  if (!heap->compaction_steps) {
    heap->compaction_candidates = heap->compaction_emptied = 0;
    heap->compaction_had_lasted =
        heap->compaction_clock - heap->next_compaction > interval / 4;
  }
  heap->compaction_steps++;
  candidates = heap->compaction_candidates += candidates;
  emptied = heap->compaction_emptied += emptied;
  int sparse = emptied * 2 > candidates;
  if (more && sparse && heap->compaction_steps < MMC_MAX_COMPACTION_STEPS) {
    heap->next_compaction =
        heap->compaction_clock + MMC_COMPACTION_STEP_INTERVAL;
    return;
  }
  heap->compaction_steps = 0;
  int useful = sparse && emptied * 16 > heap->space.used_blocks;
  heap->compaction_was_useful = useful;
  interval = useful && heap->compaction_had_lasted ? MMC_MIN_COMPACTION_INTERVAL
                                                   : interval * 2;
  if (interval < MMC_MIN_COMPACTION_INTERVAL)
    interval = MMC_MIN_COMPACTION_INTERVAL;
  if (interval > MMC_MAX_COMPACTION_INTERVAL)
    interval = MMC_MAX_COMPACTION_INTERVAL;
  heap->compaction_interval = interval;
  heap->next_compaction = heap->compaction_clock + interval;
}

/* Has as much been allocated as should be between two collections?  */
static inline int heap_nursery_is_full(struct gc_heap *heap) {
  /* Relaxed: seen a little late by some thread.  */
  return GC_GENERATIONAL && heap_new_granules(heap) >=
                                gc_atomic_load_relaxed(&heap->nursery_limit);
}

/* Has as much been allocated, perhaps in many nurseries, as was free?  */
static int heap_has_been_filled(struct gc_heap *heap) {
  size_t granules = heap->passed_granules + heap_new_granules(heap);
  size_t bytes = granules << NOFL_GRANULE_SIZE_LOG_2;
  return heap->live_bytes + bytes >= heap->heap_size;
}

/* The yield below which a run of minor collections ends: when they would have to
   be much more frequent.  With a limit they are frequent anyway.  */
static double heap_major_threshold(struct gc_heap *heap) {
  size_t limit = heap->nursery_limit;
  double threshold = heap->major_threshold;
  if (limit == SIZE_MAX)
    return threshold;
  double nursery = (double)(limit << NOFL_GRANULE_SIZE_LOG_2);
  double least = MMC_NURSERY_PART * nursery / (heap->heap_size + 1);
  if (least < MMC_MIN_MAJOR_YIELD)
    least = MMC_MIN_MAJOR_YIELD;
  return least < threshold ? least : threshold;
}

/* EXHAUSTED: there was no room left.  */
static enum gc_collection_kind heap_major_or_minor(struct gc_heap *heap,
                                                   int exhausted) {
  if (!GC_GENERATIONAL || heap->minor_impossible)
    return GC_COLLECTION_MAJOR;
  double yield = heap_yield(heap);
  if (heap->last_kind != GC_COLLECTION_MINOR) {
    double threshold = yield * 0.30;
    double block = (double)NOFL_BLOCK_SIZE / (heap->heap_size + 1);
    if (threshold < MMC_MIN_MAJOR_YIELD)
      threshold = MMC_MIN_MAJOR_YIELD;
    if (threshold < block)
      threshold = block;
    heap->major_threshold = threshold;
    return GC_COLLECTION_MINOR;
  }
  if (yield < heap_major_threshold(heap) || heap_is_overdue(heap))
    return GC_COLLECTION_MAJOR;
  /* What is free is in holes that are too small.  */
  if (exhausted && heap_may_hold_old_garbage(heap) && heap_is_early(heap))
    return GC_COLLECTION_MAJOR;
  if (exhausted && heap->nursery_limit != SIZE_MAX &&
      heap_new_granules(heap) < heap->nursery_limit / 2)
    return GC_COLLECTION_MAJOR;
  return GC_COLLECTION_MINOR;
}

/* With heap->lock held; mutators may be running.  */
static enum gc_collection_kind
heap_choose_kind(struct gc_heap *heap, enum gc_collection_kind requested,
                 const struct mmc_request *request) {
  if (requested != GC_COLLECTION_ANY) {
    if (requested == GC_COLLECTION_MINOR &&
        (!GC_GENERATIONAL || !heap->collected_before || heap->minor_impossible))
      return GC_COLLECTION_MAJOR;
    return requested;
  }
  if (!heap->collected_before)
    return GC_COLLECTION_MAJOR;
  if (request && request->large_bytes && GC_GENERATIONAL)
    return heap_should_compact(heap) ? GC_COLLECTION_COMPACTING
                                     : GC_COLLECTION_MAJOR;
  int full = heap_nursery_is_full(heap);
  enum gc_collection_kind kind = heap_major_or_minor(heap, request && !full);
  if (full && kind == GC_COLLECTION_MINOR && !heap_has_been_filled(heap))
    return kind;
  return heap_should_compact(heap) ? GC_COLLECTION_COMPACTING : kind;
}

/* World stopped, counters final.  Kinds at random apart, what heap_choose_kind
   said before the stop is most likely what this says.  */
static enum gc_collection_kind
heap_determine_kind(struct gc_heap *heap, enum gc_collection_kind requested,
                    const struct mmc_request *request) {
  if (heap->stress.random_kind && requested == GC_COLLECTION_ANY)
    requested = GC_COLLECTION_MINOR + heap_random(heap) % 3;
  enum gc_collection_kind kind = heap_choose_kind(heap, requested, request);
  if (heap->stress.compact && kind != GC_COLLECTION_MINOR)
    kind = GC_COLLECTION_COMPACTING;
  if (!heap_moves(heap) && kind == GC_COLLECTION_COMPACTING)
    kind = GC_COLLECTION_MAJOR;
  return kind;
}

#endif // MMC_SIZING_H
