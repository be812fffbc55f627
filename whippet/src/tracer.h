/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The parallel tracer: grey items, workers, sharing of work, termination.

   Each worker has a private stack of grey items, used without atomics, and a
   small shared queue under a spin lock.  A worker that finds others hungry
   moves the oldest half of its stack to its shared queue; hungry workers take
   half of somebody's shared queue.

   The main worker is the collecting thread.  Secondary threads park on a
   futex, and are woken one by one when a worker has more than enough to do, so
   that a small collection stays on one thread.

   Termination.  `state` is OPEN plus the number of active workers.  A worker
   joins by incrementing it while OPEN is set, and leaves when it has nothing
   and found nothing to take.  The main worker, having nothing either, closes
   the trace by changing "OPEN + 1" to 0: then no other worker is active, hence
   all private stacks and shared queues are empty.  A secondary thread cannot
   join a closed trace, hence no worker traces while mutators run; they may sweep (heap_finish_sweeping).

   If a private stack cannot grow, the item is dropped and `overflowed` set; the
   collector then visits all marked objects again.  Objects outside of the heap
   would not be found again: they are not dropped.  The main worker's stack is
   never without memory, so that visiting again makes progress.  */

#ifndef TRACER_H
#define TRACER_H

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "gc-atomics.h"
#include "gc-edge.h"
#include "gc-platform.h"
#include "gc-tracepoint.h"
#include "nofl-allocator.h"
#include "trace-pace.h"

struct gc_heap;
struct gc_tracer;

#define TRACER_MAX_WORKERS 64
#define TRACER_SHARED_SIZE 256
#define TRACER_FIFO_SIZE 16 /* power of two */
#define TRACER_FIFO_MIN 8
#define TRACER_RING_SIZE 16 /* power of two */
#define TRACER_INITIAL_STACK_SIZE (16 * 1024)
/* A worker wakes another when it has this many grey items ...  */
#define TRACER_WAKE_SURPLUS 4
/* ... if they, and what it has done since it last woke one (trace_work), come to
   this many objects.  */
#define TRACER_WAKE_DELAY 4096

#define TRACER_LOCK_SPINS 64

#define TRACER_OPEN 0x80000000u

/* A grey item is the address of an object whose low bits say how to trace it,
   or the index of an entry of the table of sliced objects.  */
enum trace_tag {
  TRACE_PRECISE = 0,
  TRACE_CONSERVATIVE = 1,
  TRACE_EXTERN = 2,
  TRACE_SLICES = 3,
  TRACE_TAG_MASK = 7
};

enum trace_prefetching {
  TRACE_PREFETCHING_NEVER,
  TRACE_PREFETCHING_ALWAYS,
  TRACE_PREFETCHING_MEASURED
};

struct trace_pending_edge {
  struct gc_edge edge;
  uintptr_t addr;
};

struct trace_worker {
  /* Constant during a trace: copies of what each edge needs.  */
  uintptr_t space_base;
  size_t space_extent;
  /* SPACE_EXTENT while objects are marked where they are and nothing else is to
     be done about them, else 0: one comparison finds the common case.  */
  size_t plain_extent;
  uint8_t current_mark;
  uint8_t parallel; /* other workers may be active */
  uint8_t evacuating;
  uint8_t eager_ephemerons;
  uint8_t prefetch;
  /* Cold end of the frames of the trace: an edge in them is a temporary of
     the embedder's.  */
  uintptr_t stack_cold;
  struct gc_heap *heap;
  struct gc_tracer *tracer;
  unsigned id;

  /* Private stack: items [bottom, top) of STACK.  */
  uintptr_t *stack;
  size_t bottom, top, capacity;

  /* Grey items whose objects are being prefetched, 0 for none; the oldest is
     at RING_HEAD.  */
  uint32_t ring_head;
  uintptr_t ring[TRACER_RING_SIZE];

  /* Edges whose referents are being prefetched.  */
  uint32_t fifo_head, fifo_count;
  struct trace_pending_edge fifo[TRACER_FIFO_SIZE];

  /* Whether to prefetch, if MEASURING.  What is expected to be IN_CACHE is
     traced without, until it turns out to be more.  */
  uint8_t measuring;
  uint8_t in_cache;
  struct trace_pace pace;

  struct nofl_allocator target;

  /* Stress: while an ambiguous root is traced, where to note its referents.  */
  struct walk_log *log;

  /* Statistics of this collection.  */
  size_t objects_traced, bytes_traced;
  size_t objects_moved, granules_moved;
  size_t work_at_wake; /* trace_work then */
  uint32_t steal_seed;

  /* Shared part.  */
  __attribute__((aligned(64))) uint32_t shared_lock;
  uint32_t shared_count; /* written under the lock; relaxed reads */
  uintptr_t shared[TRACER_SHARED_SIZE];
  pthread_t thread;
} __attribute__((aligned(64)));

#define TRACER_MAX_SLICED 256
#define TRACER_SLICE_SIZE ((size_t)64 * 1024)

/* A large object that is traced slice by slice.  A grey item of tag
   TRACE_SLICES allows its holder to claim the next slice.  */
struct trace_sliced {
  uintptr_t addr;
  size_t size;
  size_t cursor; /* atomic */
  uint8_t conservative;
};

enum trace_root_kind {
  TRACE_ROOT_MUTATOR,
  TRACE_ROOT_MUTATOR_PINNED,
  TRACE_ROOT_HEAP,
  TRACE_ROOT_RANGE,          /* ambiguous words from DATA to END */
  TRACE_ROOT_INTERIOR_RANGE, /* the same, possibly interior references */
  TRACE_ROOT_GLOBALS,
  TRACE_ROOT_FINALIZERS,
  TRACE_ROOT_REMEMBERED,
  TRACE_ROOT_REMEMBERED_FOREIGN,
  TRACE_ROOT_SWEEP /* not a root: a share of the sweeping */
};

struct trace_root {
  enum trace_root_kind kind;
  void *data;
  uintptr_t end;
};

struct gc_tracer {
  struct gc_heap *heap;
  unsigned parallelism;  /* workers wanted, with the main one */
  unsigned worker_count; /* workers that exist */
  size_t stack_limit;    /* stress: capacity of a private stack */
  enum trace_prefetching prefetching;
  size_t cache_size;

  /* Futex: see above.  Changes are acquire-release.  */
  __attribute__((aligned(64))) uint32_t state;
  /* Futex: parked workers wait for a change.  */
  uint32_t wake_count;
  uint32_t parked; /* relaxed */
  uint32_t hungry; /* relaxed */
  uint32_t shutdown;
  uint32_t overflowed; /* relaxed */
  /* The counts are of all that is marked.  */
  uint8_t recounted;
  uint8_t parallel;    /* this collection, if there are threads */
  unsigned wake_first; /* workers, not when there turns out to be work */

  /* Roots of the running phase: added while closed, then taken by any worker,
     by fetch-and-add on the cursor.  */
  struct trace_root *roots;
  size_t root_count, root_capacity;
  size_t root_cursor;

  struct trace_sliced sliced[TRACER_MAX_SLICED];
  size_t sliced_count; /* atomic */

  /* Array of TRACER_MAX_WORKERS, page-backed.  */
  struct trace_worker *workers;
};

/* Provided by the collector: take roots and trace until this worker has nothing
   more to do.  */
static void trace_worker_drain(struct trace_worker *worker);
/* The same: trace an item that is on no stack.  May recurse.  */
static void trace_item_now(struct trace_worker *worker, uintptr_t item);

/* Private stack.  */

static int trace_stack_grow(struct trace_worker *worker) {
  size_t count = worker->top - worker->bottom;
  if (worker->bottom >= worker->capacity / 2 && worker->capacity) {
    memmove(worker->stack, worker->stack + worker->bottom,
            count * sizeof(uintptr_t));
    worker->bottom = 0;
    worker->top = count;
    return 1;
  }
  size_t capacity =
      worker->capacity ? worker->capacity * 2 : TRACER_INITIAL_STACK_SIZE;
  if (worker->tracer->stack_limit && capacity > worker->tracer->stack_limit) {
    if (worker->capacity)
      return 0;
    capacity = worker->tracer->stack_limit;
  }
  uintptr_t *stack = gc_platform_map(capacity * sizeof(uintptr_t));
  if (!stack)
    return 0;
  if (worker->capacity) {
    memcpy(stack, worker->stack + worker->bottom, count * sizeof(uintptr_t));
    gc_platform_release(worker->stack, worker->capacity * sizeof(uintptr_t));
  }
  worker->stack = stack;
  worker->capacity = capacity;
  worker->bottom = 0;
  worker->top = count;
  return 1;
}

/* There is no room for ITEM.  */
static void GC_NEVER_INLINE trace_overflow(struct trace_worker *worker,
                                           uintptr_t item) {
  gc_atomic_store_relaxed(&worker->tracer->overflowed, 1u);
  if ((item & TRACE_TAG_MASK) != TRACE_EXTERN)
    return;
  for (size_t i = worker->bottom; i < worker->top; i++)
    if ((worker->stack[i] & TRACE_TAG_MASK) != TRACE_EXTERN) {
      worker->stack[i] = item;
      return;
    }
  trace_item_now(worker, item);
}

static inline void trace_push(struct trace_worker *worker, uintptr_t item) {
  if (GC_UNLIKELY(worker->top == worker->capacity) &&
      !trace_stack_grow(worker)) {
    trace_overflow(worker, item);
    return;
  }
  worker->stack[worker->top++] = item;
}

/* Shared queue.  */

static inline int trace_shared_try_lock(struct trace_worker *worker) {
  /* Acquire; pairs with the release in trace_shared_unlock.  */
  return !gc_atomic(exchange_n, &worker->shared_lock, 1u, __ATOMIC_ACQUIRE);
}

/* Held for the copying of some words, unless the holder has lost the
   processor.  */
static inline void trace_shared_lock(struct trace_worker *worker) {
  for (unsigned tries = 0; !trace_shared_try_lock(worker); tries++)
    if (tries < TRACER_LOCK_SPINS)
      gc_platform_spin_hint();
    else
      sched_yield();
}

static inline void trace_shared_unlock(struct trace_worker *worker) {
  gc_atomic_store(&worker->shared_lock, 0u);
}

/* Let others have the older half of the private stack.  */
static void trace_share(struct trace_worker *worker) {
  size_t count = (worker->top - worker->bottom) / 2;
  trace_shared_lock(worker);
  size_t room = TRACER_SHARED_SIZE - worker->shared_count;
  if (count > room)
    count = room;
  memcpy(worker->shared + worker->shared_count, worker->stack + worker->bottom,
         count * sizeof(uintptr_t));
  gc_atomic_store_relaxed(&worker->shared_count,
                          (uint32_t)(worker->shared_count + count));
  worker->bottom += count;
  trace_shared_unlock(worker);
  GC_TRACEPOINT(trace_share);
}

/* Move half of VICTIM's shared items, or all if it is the worker's own queue,
   to the worker's private stack.  */
static int trace_take_shared(struct trace_worker *worker,
                             struct trace_worker *victim) {
  if (!gc_atomic_load_relaxed(&victim->shared_count))
    return 0;
  uintptr_t taken[TRACER_SHARED_SIZE];
  if (victim == worker)
    trace_shared_lock(victim);
  else if (!trace_shared_try_lock(victim))
    return 0;
  size_t have = victim->shared_count;
  size_t count = victim == worker ? have : (have + 1) / 2;
  memcpy(taken, victim->shared + have - count, count * sizeof(uintptr_t));
  gc_atomic_store_relaxed(&victim->shared_count, (uint32_t)(have - count));
  trace_shared_unlock(victim);
  for (size_t i = 0; i < count; i++)
    trace_push(worker, taken[i]);
  return count != 0;
}

static int trace_steal(struct trace_worker *worker) {
  struct gc_tracer *tracer = worker->tracer;
  worker->steal_seed = worker->steal_seed * 1664525u + 1013904223u;
  unsigned first = (worker->steal_seed >> 16) % tracer->worker_count;
  for (unsigned i = 0; i < tracer->worker_count; i++) {
    unsigned id = first + i;
    if (id >= tracer->worker_count)
      id -= tracer->worker_count;
    if (id != worker->id && trace_take_shared(worker, &tracer->workers[id])) {
      GC_TRACEPOINT(trace_steal);
      return 1;
    }
  }
  return 0;
}

/* Let COUNT parked workers join.  */
static void tracer_wake(struct gc_tracer *tracer, unsigned count) {
  GC_TRACEPOINT(trace_unpark_all);
  gc_atomic_fetch_add(&tracer->wake_count, 1u);
  gc_platform_futex_wake(&tracer->wake_count, (int)count);
}

/* What has been traced, in objects.  A large one counts by its size.  */
static inline size_t trace_work(const struct trace_worker *worker) {
  return worker->objects_traced + worker->bytes_traced / 64;
}

static inline void trace_share_some(struct trace_worker *worker) {
  if (!gc_atomic_load_relaxed(&worker->shared_count))
    trace_share(worker);
}

/* Let one more worker join.  What it is to have is there when it comes, which may
   be sooner or later than this worker looks around again.  */
static void trace_wake_another(struct trace_worker *worker) {
  worker->work_at_wake = trace_work(worker);
  trace_share_some(worker);
  tracer_wake(worker->tracer, 1);
}

/* Called now and then by a worker that has work.  */
static inline void trace_consider_sharing(struct trace_worker *worker) {
  struct gc_tracer *tracer = worker->tracer;
  size_t have = worker->top - worker->bottom;
  if (gc_atomic_load_relaxed(&tracer->hungry)) {
    if (have >= 2)
      trace_share_some(worker);
    return;
  }
  if (have >= TRACER_WAKE_SURPLUS &&
      trace_work(worker) - worker->work_at_wake + have >= TRACER_WAKE_DELAY &&
      gc_atomic_load_relaxed(&tracer->parked))
    trace_wake_another(worker);
}

/* Look for work for a while.  */
static int trace_find_work(struct trace_worker *worker, unsigned attempts) {
  struct gc_tracer *tracer = worker->tracer;
  if (trace_take_shared(worker, worker))
    return 1;
  gc_atomic_fetch_add_relaxed(&tracer->hungry, 1u);
  int found = 0;
  for (unsigned i = 0; i < attempts && !found; i++) {
    found = trace_steal(worker);
    if (!found)
      for (unsigned j = 0; j < 16; j++)
        gc_platform_spin_hint();
  }
  gc_atomic_fetch_sub_relaxed(&tracer->hungry, 1u);
  return found;
}

/* Secondary threads.  */

static int tracer_join(struct gc_tracer *tracer) {
  uint32_t state = gc_atomic_load(&tracer->state);
  while (state & TRACER_OPEN)
    if (gc_atomic_cmpxchg_weak(&tracer->state, &state, state + 1))
      return 1;
  return 0;
}

static void tracer_leave(struct gc_tracer *tracer) {
  uint32_t left = gc_atomic_fetch_sub(&tracer->state, 1u) - 1;
  if (left == (TRACER_OPEN | 1))
    gc_platform_futex_wake(&tracer->state, 1);
}

static void *tracer_thread(void *data) {
  struct trace_worker *worker = data;
  struct gc_tracer *tracer = worker->tracer;
  for (;;) {
    uint32_t seen = gc_atomic_load(&tracer->wake_count);
    if (gc_atomic_load(&tracer->shutdown))
      return NULL;
    if (tracer_join(tracer)) {
      worker->parallel = 1;
      worker->stack_cold = (uintptr_t)__builtin_frame_address(0);
      GC_TRACEPOINT(trace_worker_begin);
      do
        trace_worker_drain(worker);
      while (trace_find_work(worker, 32));
      GC_TRACEPOINT(trace_worker_end);
      tracer_leave(tracer);
    }
    gc_atomic_fetch_add_relaxed(&tracer->parked, 1u);
    gc_platform_futex_wait(&tracer->wake_count, seen);
    gc_atomic_fetch_sub_relaxed(&tracer->parked, 1u);
  }
}

/* Create the secondary threads that do not exist yet.  Not with the world
   stopped: thread creation allocates.  Failure means fewer workers for the next
   collection; the one after it tries again.  A worker without any stack would have
   to recurse.  */
static void tracer_start_threads(struct gc_tracer *tracer) {
  while (tracer->worker_count < tracer->parallelism) {
    struct trace_worker *worker = &tracer->workers[tracer->worker_count];
    if (!worker->capacity && !trace_stack_grow(worker))
      return;
    if (!gc_platform_thread_create(&worker->thread, tracer_thread, worker))
      return;
    tracer->worker_count++;
  }
}

/* In the child of a fork only the calling thread exists.  */
static void tracer_forget_threads(struct gc_tracer *tracer) {
  tracer->worker_count = 1;
  tracer->state = 0;
  tracer->parked = 0;
  tracer->hungry = 0;
}

/* Trace until nothing is grey anywhere.  By the collecting thread.  */
static void tracer_trace(struct gc_tracer *tracer) {
  struct trace_worker *main = &tracer->workers[0];
  main->stack_cold = (uintptr_t)__builtin_frame_address(0);
  main->parallel = tracer->parallel && tracer->worker_count > 1;
  main->work_at_wake = trace_work(main);
  if (!main->parallel) {
    do
      trace_worker_drain(main);
    while (trace_take_shared(main, main));
    return;
  }
  gc_atomic_store(&tracer->state, TRACER_OPEN | 1);
  if (tracer->wake_first) {
    unsigned others = tracer->worker_count - 1;
    tracer_wake(tracer,
                tracer->wake_first < others ? tracer->wake_first : others);
    tracer->wake_first = 0;
  }
  for (;;) {
    trace_worker_drain(main);
    if (trace_take_shared(main, main))
      continue;
    uint32_t state = gc_atomic_load(&tracer->state);
    if (state != (TRACER_OPEN | 1) && trace_find_work(main, 32))
      continue;
    GC_TRACEPOINT(trace_check_termination_begin);
    int done = 0;
    state = gc_atomic_load(&tracer->state);
    if (state == (TRACER_OPEN | 1)) {
      uint32_t expected = state;
      done = gc_atomic_cmpxchg_strong(&tracer->state, &expected, 0u);
    } else {
      gc_platform_futex_wait_timed(&tracer->state, state, 200 * 1000);
    }
    GC_TRACEPOINT(trace_check_termination_end);
    if (done)
      return;
  }
}

/* Roots.  */

static int tracer_add_root(struct gc_tracer *tracer, struct trace_root root) {
  if (tracer->root_count == tracer->root_capacity)
    return 0;
  tracer->roots[tracer->root_count++] = root;
  return 1;
}

/* Make room for COUNT roots.  Before the world is stopped.  */
static int tracer_reserve_roots(struct gc_tracer *tracer, size_t count) {
  if (count <= tracer->root_capacity)
    return 1;
  size_t capacity = tracer->root_capacity ? tracer->root_capacity : 256;
  while (capacity < count)
    capacity *= 2;
  struct trace_root *roots = gc_platform_map(capacity * sizeof(*roots));
  if (!roots)
    return 0;
  if (tracer->root_capacity)
    gc_platform_release(tracer->roots, tracer->root_capacity * sizeof(*roots));
  tracer->roots = roots;
  tracer->root_capacity = capacity;
  return 1;
}

static inline struct trace_root *tracer_take_root(struct gc_tracer *tracer) {
  /* Relaxed test first, so that the counter does not run away.  */
  if (gc_atomic_load_relaxed(&tracer->root_cursor) >= tracer->root_count)
    return NULL;
  size_t idx = gc_atomic_fetch_add_relaxed(&tracer->root_cursor, (size_t)1);
  return idx < tracer->root_count ? &tracer->roots[idx] : NULL;
}

static inline void tracer_clear_roots(struct gc_tracer *tracer) {
  tracer->root_count = tracer->root_cursor = 0;
}

/* Sliced objects.  */

/* The fuller the table, the larger the objects must be, so that there is room for
   the largest.  */
static inline size_t tracer_least_sliced_size(size_t count) {
  return (2 * TRACER_SLICE_SIZE) << (count * 8 / TRACER_MAX_SLICED);
}

static int tracer_add_sliced(struct gc_tracer *tracer, uintptr_t addr,
                             size_t size, int conservative, uintptr_t *item) {
  size_t count = gc_atomic_load_relaxed(&tracer->sliced_count);
  if (count >= TRACER_MAX_SLICED || size < tracer_least_sliced_size(count))
    return 0;
  size_t idx = gc_atomic_fetch_add_relaxed(&tracer->sliced_count, (size_t)1);
  if (idx >= TRACER_MAX_SLICED)
    return 0;
  struct trace_sliced *sliced = &tracer->sliced[idx];
  sliced->addr = addr;
  /* In whole words: the rest of the last one cannot be a reference.  */
  sliced->size = size & ~(sizeof(uintptr_t) - 1);
  sliced->conservative = conservative;
  gc_atomic_store_relaxed(&sliced->cursor, (size_t)0);
  *item = (idx << 3) | TRACE_SLICES;
  return 1;
}

static int tracer_init(struct gc_tracer *tracer, struct gc_heap *heap,
                       unsigned parallelism) {
  memset(tracer, 0, sizeof(*tracer));
  tracer->heap = heap;
  if (parallelism > TRACER_MAX_WORKERS)
    parallelism = TRACER_MAX_WORKERS;
  tracer->parallelism = parallelism;
  tracer->worker_count = 1;
  tracer->prefetching = TRACE_PREFETCHING_MEASURED;
  tracer->cache_size = gc_platform_cache_size();
  tracer->workers = gc_platform_map(parallelism * sizeof(struct trace_worker));
  if (!tracer->workers || !tracer_reserve_roots(tracer, 256))
    return 0;
  for (unsigned i = 0; i < parallelism; i++) {
    struct trace_worker *worker = &tracer->workers[i];
    worker->heap = heap;
    worker->tracer = tracer;
    worker->id = i;
    worker->steal_seed = i * 2654435761u + 1;
    trace_pace_init(&worker->pace);
    nofl_allocator_init(&worker->target, NOFL_CLASS_ORDINARY);
  }
  return trace_stack_grow(&tracer->workers[0]);
}

/* Stress: let private stacks have at most LIMIT items.  After tracer_init.  */
static void tracer_limit_stacks(struct gc_tracer *tracer, size_t limit) {
  tracer->stack_limit = limit;
  if (limit && limit < tracer->workers[0].capacity)
    tracer->workers[0].capacity = limit;
}

/* May LIVE_BYTES, with their metadata and what else a trace touches, stay in the
   cache?  */
static inline int tracer_is_in_cache(const struct gc_tracer *tracer,
                                     size_t live_bytes) {
  return live_bytes < tracer->cache_size - tracer->cache_size / 4;
}

/* After a collection in which nothing moved: was it better to prefetch?  */
static inline int tracer_waits_for_memory(const struct gc_tracer *tracer) {
  const struct trace_worker *worker = &tracer->workers[0];
  return worker->measuring ? !worker->in_cache && worker->pace.better
                           : worker->prefetch;
}

/* Start of a collection, which is expected to trace LIVE_BYTES; with several
   threads, if there are several, only if PARALLEL.  */
static void tracer_prepare(struct gc_tracer *tracer,
                           const struct nofl_space *space, size_t live_bytes,
                           int parallel) {
  int measuring = tracer->prefetching == TRACE_PREFETCHING_MEASURED;
  int in_cache = measuring && tracer_is_in_cache(tracer, live_bytes);
  tracer_clear_roots(tracer);
  tracer->sliced_count = 0;
  tracer->overflowed = 0;
  tracer->recounted = 0;
  tracer->parallel = parallel;
  tracer->wake_first = 0;
  for (unsigned i = 0; i < tracer->parallelism; i++) {
    struct trace_worker *worker = &tracer->workers[i];
    GC_ASSERT(worker->top == worker->bottom && !worker->shared_count &&
              !worker->fifo_count);
    worker->bottom = worker->top = 0;
    worker->objects_traced = worker->bytes_traced = 0;
    worker->objects_moved = worker->granules_moved = 0;
    worker->work_at_wake = 0;
    worker->evacuating = worker->eager_ephemerons = 0;
    worker->measuring = measuring;
    worker->in_cache = in_cache;
    worker->prefetch = !measuring
                           ? tracer->prefetching == TRACE_PREFETCHING_ALWAYS
                           : !in_cache && worker->pace.prefetch;
    worker->space_base = space->base;
    worker->current_mark = space->current_mark;
    worker->space_extent = nofl_space_extent(space);
    worker->plain_extent = worker->space_extent;
    nofl_allocator_reset(&worker->target);
  }
}

static inline void tracer_set_evacuating(struct gc_tracer *tracer,
                                         int evacuating) {
  for (unsigned i = 0; i < tracer->parallelism; i++) {
    struct trace_worker *worker = &tracer->workers[i];
    worker->evacuating = evacuating;
    worker->plain_extent = evacuating ? 0 : worker->space_extent;
  }
}

static inline void tracer_set_eager_ephemerons(struct gc_tracer *tracer) {
  for (unsigned i = 0; i < tracer->parallelism; i++) {
    tracer->workers[i].eager_ephemerons = 1;
    tracer->workers[i].plain_extent = 0;
  }
}

/* Release the stack memory of a big trace.  */
static void tracer_trim(struct gc_tracer *tracer) {
  for (unsigned i = 0; i < tracer->parallelism; i++) {
    struct trace_worker *worker = &tracer->workers[i];
    if (worker->capacity > 16 * TRACER_INITIAL_STACK_SIZE) {
      size_t keep = TRACER_INITIAL_STACK_SIZE * sizeof(uintptr_t);
      gc_platform_release((char *)worker->stack + keep,
                          worker->capacity * sizeof(uintptr_t) - keep);
      worker->capacity = TRACER_INITIAL_STACK_SIZE;
      worker->bottom = worker->top = 0;
    }
  }
}

#endif // TRACER_H
