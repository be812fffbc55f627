/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ageing of free memory.  A thread that ticks once a second as long as there
   is free memory that could go back to the OS or a heap size to adapt, and
   sleeps without a timeout otherwise.  It is started when first needed, and
   never for a heap of fixed size.  */

#ifndef MMC_TICKER_H
#define MMC_TICKER_H

#include "mmc-sizing.h"

#define MMC_TICK_NSEC UINT64_C(1000000000)

enum ticker_state { TICKER_IDLE, TICKER_KICKED, TICKER_SHUTDOWN };

/* One tick.  Returns nonzero if another one is worth while.  Not during a
   collection, which moves blocks from list to list without the space's lock.  */
static int heap_tick(struct gc_heap *heap, uint64_t *counter) {
  if (pthread_mutex_trylock(&heap->lock) != 0)
    return 1;
  size_t resident = nofl_space_age_empty_blocks(&heap->space, 0);
  large_space_age(&heap->large);
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

static void *ticker_thread(void *data) {
  struct gc_heap *heap = data;
  uint64_t counter = 0;
  for (;;) {
    uint32_t state = gc_atomic_load(&heap->ticker_word);
    if (state == TICKER_SHUTDOWN)
      return NULL;
    if (state == TICKER_IDLE) {
      gc_platform_futex_wait(&heap->ticker_word, TICKER_IDLE);
      continue;
    }
    gc_platform_futex_wait_timed(&heap->ticker_word, TICKER_KICKED,
                                 MMC_TICK_NSEC);
    if (!heap_tick(heap, &counter)) {
      uint32_t expected = TICKER_KICKED;
      gc_atomic_cmpxchg_strong(&heap->ticker_word, &expected,
                               (uint32_t)TICKER_IDLE);
    }
  }
}

/* After a collection, mutators running, heap->lock held.  */
static void heap_kick_ticker(struct gc_heap *heap) {
  if (heap->sizing.policy == GC_HEAP_SIZE_FIXED)
    return;
  uint32_t expected = TICKER_IDLE;
  if (!gc_atomic_cmpxchg_strong(&heap->ticker_word, &expected,
                                (uint32_t)TICKER_KICKED))
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
