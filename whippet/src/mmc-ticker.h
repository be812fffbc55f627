/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ageing of free memory.  A thread that ticks once a second as long as there
   is free memory that could go back to the OS or a heap size to adapt, and
   sleeps without a timeout otherwise.  It is started when first needed, and
   never for a heap of fixed size.

   State of the ticker's word:

     from      event                                              to
     idle      a collection has ended (kick)                      kicked
     kicked    a second has passed; the tick begins               idle
     idle      the tick has found that another is worth while     kicked

   The word is idle during a tick, so a kick is never taken for one that the
   tick has already answered.  */

#ifndef MMC_TICKER_H
#define MMC_TICKER_H

#include "mmc-sizing.h"
#include "nofl-discard.h"

#define MMC_TICK_NSEC UINT64_C(1000000000)

enum ticker_state { TICKER_IDLE, TICKER_KICKED };

/* Between two slices of what is returned to the OS with heap->lock held: time
   for a thread that waits for the lock to wake up and take it.  */
#define MMC_TICK_BREAK_NSEC UINT64_C(100000)

static void ticker_take_break(void) {
  uint32_t never_changes = 0;
  gc_platform_futex_wait_timed(&never_changes, 0, MMC_TICK_BREAK_NSEC);
}

/* Age what small objects have left.  With heap->lock held, since a collection
   moves blocks from list to list without the space's lock; it is released in
   between.  The clock stands still meanwhile, so this ends.  */
static void heap_age_empty_blocks(struct gc_heap *heap) {
  nofl_space_advance_clock(&heap->space);
  while (nofl_space_discard_slice(&heap->space, NOFL_RESIDENT_TICKS)) {
    heap_unlock(heap);
    ticker_take_break();
    pthread_mutex_lock(&heap->lock);
  }
}

/* One tick.  Returns nonzero if another one is worth while.  The large object
   space ages without heap->lock: it allows for that during a collection.  */
static int heap_tick(struct gc_heap *heap, uint64_t *counter) {
  if (pthread_mutex_trylock(&heap->lock) != 0)
    return 1;
  heap_age_empty_blocks(heap);
  heap_unlock(heap);
  large_space_age(&heap->large);
  pthread_mutex_lock(&heap->lock);
  size_t resident = nofl_space_resident_empty_blocks(&heap->space);
  size_t quarantined = large_space_quarantined_bytes(&heap->large);
  uint64_t now = heap_allocation_counter(heap);
  int active = now != *counter;
  *counter = now;
  if (heap->sizing.policy == GC_HEAP_SIZE_ADAPTIVE) {
    heap_update_rates(heap, gc_platform_monotonic_nanoseconds(), 0, 0);
    heap_apply_sizing_policy(heap, 0);
  }
  heap_unlock(heap);
  return resident || quarantined || active;
}

/* Idle to kicked.  Returns 0 if it was kicked already.  Acquire and release, as
   every read-modify-write operation, but nothing depends on it: see below.  */
static int ticker_kick(struct gc_heap *heap) {
  uint32_t expected = TICKER_IDLE;
  return gc_atomic_cmpxchg_strong(&heap->ticker_word, &expected,
                                  (uint32_t)TICKER_KICKED);
}

/* A tick of a kicked ticker.  */
static void ticker_tick(struct gc_heap *heap, uint64_t *counter) {
  /* Before the tick.  A collection kicks before it releases heap->lock.  If
     the tick has had the lock before it, the kick sees at least this store,
     and remains; else the tick sees what the collection has freed, or finds the
     lock taken and wants another.  So the lock gives the order.  */
  gc_atomic_swap(&heap->ticker_word, (uint32_t)TICKER_IDLE);
  if (heap_tick(heap, counter))
    ticker_kick(heap);
}

static void *ticker_thread(void *data) {
  struct gc_heap *heap = data;
  uint64_t counter = 0;
  for (;;) {
    if (gc_atomic_load(&heap->ticker_word) == TICKER_IDLE) {
      gc_platform_futex_wait(&heap->ticker_word, TICKER_IDLE);
      continue;
    }
    gc_platform_futex_wait_timed(&heap->ticker_word, TICKER_KICKED,
                                 MMC_TICK_NSEC);
    ticker_tick(heap, &counter);
  }
  return NULL;
}

/* After a collection, mutators running, heap->lock held.  */
static void heap_kick_ticker(struct gc_heap *heap) {
  if (heap->sizing.policy == GC_HEAP_SIZE_FIXED || !ticker_kick(heap))
    return;
  if (heap->ticker_running)
    gc_platform_futex_wake(&heap->ticker_word, 1);
  else
    heap->ticker_running =
        gc_platform_thread_create(&heap->ticker_thread, ticker_thread, heap);
  if (!heap->ticker_running)
    gc_atomic_store(&heap->ticker_word, (uint32_t)TICKER_IDLE);
}

#endif // MMC_TICKER_H
