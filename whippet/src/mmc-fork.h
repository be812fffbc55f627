/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Fork: the child has one thread.  The handlers stop the other mutators, as for a
   collection, and hold all of the library's locks across the fork, so that no
   allocator is in the middle of anything and the lists are consistent.  In the
   child the other mutators are removed, and collector threads are started again
   when they are next needed.

   Mutators that were parked by a signal may hold locks that fork itself or other
   handlers need, malloc's among them.  So they go on when all locks of the library
   are held, as far as the library: there, write barriers included, and at
   safepoints, they wait.  What the child sees of such a mutator is what its thread
   did up to some instruction outside of the library; that may be in the middle of
   an inline allocation of an object that nothing in the child refers to.  */

#ifndef MMC_FORK_H
#define MMC_FORK_H

#include "mmc-barrier.h"
#include "mmc-stop.h"

static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gc_heap *all_heaps;

/* Unlink MUT and free what it holds, with the lock held and MUT inactive or
   its own thread calling.  */
static void heap_remove_mutator(struct gc_heap *heap, struct gc_mutator *mut) {
  nofl_allocator_finish(&heap->space, &mut->allocator);
  nofl_allocator_finish(&heap->space, &mut->ambiguous_allocator);
  mutator_bequeath_edges(mut);
  if (mut->next)
    mut->next->prev = mut->prev;
  if (mut->prev)
    mut->prev->next = mut->next;
  else
    heap->mutators = mut->next;
  heap->mutator_count--;
}

/* The thread of A is gone, perhaps in the middle of an inline allocation: what is
   left of its hole is not used before it is swept.  The last object may have an end
   without a begin, or, where stores are not seen in order, a begin without an end,
   which whoever walks the block would look for in vain.  */
static void fork_abandon_hole(struct nofl_allocator *a) {
  a->alloc = a->limit = a->hole_end;
  if (!a->hole_end)
    return;
  uint8_t *first = nofl_block_metadata(nofl_block_of(a->hole_end - 1));
  uint8_t *last = nofl_metadata_byte(a->hole_end - 1);
  while (last > first && !(*last & (NOFL_STATE_MASK | NOFL_END)))
    last--;
  if (!(*last & NOFL_END)) {
    *last = NOFL_STATE_NONE;
    return;
  }
  uint8_t *begin = last;
  while (begin > first && !(*begin & NOFL_STATE_MASK) &&
         (begin == last || !(*begin & NOFL_END)))
    begin--;
  if (!(*begin & NOFL_STATE_MASK) || (begin < last && *begin & NOFL_END))
    *last = NOFL_STATE_NONE;
}

static void GC_NEVER_INLINE fork_prepare(void) {
  struct gc_mutator *mut = current_mutator;
  int was_running =
      mut && __atomic_load_n(&mut->status, __ATOMIC_SEQ_CST) == MUTATOR_RUNNING;
  if (mut)
    mutator_enter_library(mut);
  if (was_running) {
    /* It may have to wait for a collection that waits for it.  */
    MUTATOR_CAPTURE_STACK(mut);
    mutator_set_not_running(mut, MUTATOR_STOPPED);
  }
  pthread_mutex_lock(&heaps_lock);
  for (struct gc_heap *heap = all_heaps; heap; heap = heap->next_heap) {
    pthread_mutex_lock(&heap->lock);
    heap_stop_world(heap, mut && mut->heap == heap ? mut : NULL);
    nofl_space_lock(&heap->space);
    large_space_lock(&heap->large);
    gc_reservation_lock(&heap->reservation);
    pthread_mutex_lock(&heap->edges_lock);
    pthread_mutex_lock(&heap->foreign_edges.lock);
    heap_set_stop_flag(heap, STOP_COOPERATIVE);
  }
  /* Nobody else stops or restarts the world while this thread has the lock.  */
  if (was_running)
    __atomic_store_n(&mut->status, (uint32_t)MUTATOR_RUNNING, __ATOMIC_SEQ_CST);
}

static void fork_unlock(struct gc_heap *heap) {
  pthread_mutex_unlock(&heap->foreign_edges.lock);
  pthread_mutex_unlock(&heap->edges_lock);
  gc_reservation_unlock(&heap->reservation);
  large_space_unlock(&heap->large);
  nofl_space_unlock(&heap->space);
}

static void fork_finish(void) {
  pthread_mutex_unlock(&heaps_lock);
  if (current_mutator)
    mutator_leave_library(current_mutator);
}

static void fork_parent(void) {
  for (struct gc_heap *heap = all_heaps; heap; heap = heap->next_heap) {
    fork_unlock(heap);
    heap_restart_world(heap, NULL);
    heap_unlock(heap);
  }
  fork_finish();
}

static void fork_child(void) {
  for (struct gc_heap *heap = all_heaps; heap; heap = heap->next_heap) {
    fork_unlock(heap);
    struct gc_mutator *next;
    for (struct gc_mutator *m = heap->mutators; m; m = next) {
      next = m->next;
      if (m == current_mutator)
        continue;
      fork_abandon_hole(&m->allocator);
      fork_abandon_hole(&m->ambiguous_allocator);
      heap_remove_mutator(heap, m);
      gc_platform_release(m, sizeof(*m));
    }
    tracer_forget_threads(&heap->tracer);
    heap->ticker_running = 0;
    heap->ticker_word = 0;
    heap_restart_world(heap, NULL);
    heap_unlock(heap);
  }
  if (current_mutator)
    current_mutator->thread = pthread_self();
  fork_finish();
}

static void register_heap(struct gc_heap *heap) {
  static int registered;
  pthread_mutex_lock(&heaps_lock);
  if (!registered) {
    pthread_atfork(fork_prepare, fork_parent, fork_child);
    registered = 1;
  }
  heap->next_heap = all_heaps;
  all_heaps = heap;
  pthread_mutex_unlock(&heaps_lock);
}

#endif // MMC_FORK_H
