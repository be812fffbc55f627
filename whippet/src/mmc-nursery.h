/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The limit of the nursery of a generational heap; nursery-limit.h says when
   there is one.  */

#ifndef MMC_NURSERY_H
#define MMC_NURSERY_H

#include "mmc-sizing.h"

/* A nursery with a limit has at least so many bytes, else pauses are mostly
   fixed costs.  */
#define MMC_NURSERY_MIN ((size_t)512 * 1024)

/* One cache for each thread that may be allocating.  */
static size_t heap_nursery_size(struct gc_heap *heap) {
  size_t size = heap->tracer.cache_size;
  if (size < MMC_NURSERY_MIN)
    size = MMC_NURSERY_MIN;
  size_t threads = heap->mutator_count;
  if (threads <= 1)
    return size;
  size_t processors = gc_platform_processor_count();
  return size * (threads < processors ? threads : processors);
}

static void heap_set_nursery_limit(struct gc_heap *heap) {
  size_t live = heap->live_bytes;
  size_t room = live < heap->heap_size ? heap->heap_size - live : 0;
  size_t limit = SIZE_MAX;
  if (heap->nursery.limiting) {
    size_t size = heap_nursery_size(heap);
    if (size <= room / MMC_NURSERY_PART)
      limit = size >> NOFL_GRANULE_SIZE_LOG_2;
  }
  /* Relaxed: mutators may see it late.  */
  gc_atomic_store_relaxed(&heap->nursery_limit, limit);
}

/* A limit of BYTES, or none if they are 0, whatever would be measured.  When the
   heap is made.  */
static void heap_fix_nursery(struct gc_heap *heap, size_t bytes) {
  heap->nursery_is_fixed = 1;
  heap->nursery_limit = bytes ? bytes >> NOFL_GRANULE_SIZE_LOG_2 : SIZE_MAX;
}

/* World stopped, the KIND of the coming collection is known, and what allocators
   have allocated is counted.  */
static void heap_close_nursery(struct gc_heap *heap,
                               enum gc_collection_kind kind) {
  size_t granules = heap_new_granules(heap);
  heap->nursery_bytes = granules << NOFL_GRANULE_SIZE_LOG_2;
  heap->nursery_traced = 0;
  heap->nursery_hit_limit =
      kind == GC_COLLECTION_MINOR && heap_nursery_is_full(heap);
  heap->nursery_is_part =
      heap->nursery_hit_limit && !heap_has_been_filled(heap);
  if (heap->nursery_is_part)
    heap->passed_granules += granules;
}

/* After a minor collection that others may resemble: what did it cost?  */
static void heap_learn_of_nursery(struct gc_heap *heap, uint64_t now) {
  /* What survives has to be traced once more by some later collection.  */
  double promotion = heap->nursery_traced / heap->sizing.trace_rate;
  nursery_learn(&heap->nursery, heap->nursery_bytes,
                now - heap->nursery_start + promotion);
}

/* At the end of the pause.  */
static void heap_open_nursery(struct gc_heap *heap) {
  if (heap->nursery_is_fixed)
    return;
  uint64_t now = gc_platform_cpu_nanoseconds();
  int limited = heap->nursery_limit != SIZE_MAX;
  /* The clock of a process that was forked starts anew.  */
  if (heap->last_kind == GC_COLLECTION_MINOR && now > heap->nursery_start &&
      heap->nursery_bytes >= MMC_NURSERY_MIN &&
      limited == heap->nursery.limiting && limited == heap->nursery_hit_limit)
    heap_learn_of_nursery(heap, now);
  heap->nursery_start = now;
  heap_set_nursery_limit(heap);
}

#endif // MMC_NURSERY_H
