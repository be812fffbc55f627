/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The mostly-marking collector's heap and mutators.

   Locks, outermost first:
     heaps_lock (process)   list of heaps, for fork
     heap->lock             one collection, attachment or resize at a time
     nofl space lock, large space lock, the reservation's lock

   A running mutator never blocks on heap->lock: it becomes inactive first
   (mmc-stop.h).  */

#ifndef MMC_HEAP_H
#define MMC_HEAP_H

#include <pthread.h>
#include <signal.h>

#include "gc-api.h"
#include "gc-edge-set.h"
#include "gc-ephemeron-internal.h"
#include "gc-finalizer-internal.h"
#include "gc-heap-stats.h"
#include "gc-inhibit.h"
#include "gc-limits.h"
#include "gc-moving.h"
#include "gc-options-internal.h"
#include "gc-platform.h"
#include "gc-preempt.h"
#include "gc-stack.h"
#include "large-object-space.h"
#include "mmc-attrs.h"
#include "mmc-walk-log.h"
#include "nofl-collect.h"
#include "nursery-limit.h"
#include "tracer.h"

enum mutator_status {
  MUTATOR_RUNNING,
  MUTATOR_STOPPED, /* at a safepoint, or waiting for the heap lock */
  MUTATOR_INACTIVE,
  MUTATOR_SIGNALLED /* parked by the signal handler */
};

/* Fields of small objects, and chunks of large ones in which some field was
   logged.  */
#define EDGE_BUFFER_SIZE 510
struct edge_buffer {
  struct edge_buffer *next;
  size_t count;
  struct gc_edge edges[EDGE_BUFFER_SIZE];
};

struct gc_mutator {
  /* Its first two words are known to inline allocation...  */
  struct nofl_allocator allocator;
  /* ... and those of this one: for what never moves, in a heap that moves other
     objects.  */
  struct nofl_allocator ambiguous_allocator
      __attribute__((aligned(MMC_SECOND_ALLOCATOR_OFFSET)));
  struct gc_heap *heap;
  /* Futex.  enum mutator_status; sequentially consistent, because it pairs
     with the stop flag (mmc-stop.h).  */
  uint32_t status;
  /* Nonzero while the thread executes library code that must not be parked by
     a signal.  Written by the owner, read by its own signal handler.  */
  volatile uint32_t in_library;
  /* The last stop had to park this mutator by a signal.  Written by the
     collector in the pause.  */
  uint8_t signalled_before;
  uint8_t was_stopped; /* by the last collection, that is, not inactive */
  /* The first 64 signals that the thread blocks when no handler of a signal is
     running, as far as known.  The owner's, read by its own signal handler.  */
  volatile uint64_t blocked_signals;
  struct gc_stack stack;
  struct gc_mutator_roots *roots;
  struct edge_buffer *edges;
  void *event_data;
  pthread_t thread;
  struct gc_mutator *next, *prev;
};

_Static_assert(offsetof(struct gc_mutator, allocator.alloc) == 0,
               "published allocation pointer offset");
_Static_assert(offsetof(struct gc_mutator, allocator.limit) ==
                   sizeof(uintptr_t),
               "published allocation limit offset");
_Static_assert(offsetof(struct gc_mutator, ambiguous_allocator) ==
                   MMC_SECOND_ALLOCATOR_OFFSET,
               "published offset of the second allocator");

/* Switches for testing, from the environment variable GC_MMC_STRESS.  */
struct mmc_stress {
  uint32_t collect_every;    /* at every n-th slow path */
  uint32_t random_collect;   /* at one in n slow paths */
  uint32_t seed;             /* of all random switches */
  uint8_t compact;           /* every collection evacuates all it can */
  uint8_t random_kind;       /* explicit and stress kinds at random */
  uint8_t verify;            /* before and after each collection */
  uint8_t poison;            /* overwrite free memory */
  uint32_t quarantine;       /* emptied blocks made inaccessible */
  uint32_t refuse_per_mille; /* evacuation finds no target block */
  uint32_t min_hole;         /* bytes of the least hole to allocate in */
  uint32_t stack_limit;      /* items on a trace worker's stack */
  uint32_t delay_usec;       /* at most, at random, when stopping */
};

struct mmc_preemption {
  int signal_number; /* 0: off */
  uint64_t grace_nsec;
  gc_may_park_predicate may_park;
  void *data;
};

struct mmc_sizing {
  enum gc_heap_size_policy policy;
  size_t maximum_size; /* 0: none */
  size_t memory;       /* of the machine or container, in bytes */
  double double_threshold;
  double expansiveness;
  /* Adaptive: smoothed bytes per nanosecond.  */
  double allocation_rate;
  double trace_rate;
  uint64_t last_nsec;
  uint64_t last_counter;
  /* Of the last collection that moved nothing: bytes per nanosecond, and whether it
     was faster to prefetch.  */
  double marking_rate;
  int waits_for_memory;
  /* Adaptive: what the size fell to until then, not rounded.  */
  double kept_size;
  uint64_t kept_nsec;
};

/* What the allocation that caused a collection is waiting for.  Satisfied
   while the world is still stopped, so that no other mutator can take what
   this collection found.  */
struct mmc_request {
  struct nofl_allocator *allocator; /* small: needs a hole ... */
  size_t granules;                  /* ... of this size */
  size_t large_bytes;               /* large: needs so many */
  uint8_t large_kind;
  enum nofl_effort effort; /* small */
  uint8_t use_reserve;
  uint8_t satisfied;
  uint8_t given_up;   /* a collection found that more of them are of no use */
  void *large_object; /* not prepared yet */
  int large_dirty;
};

struct gc_heap {
  struct nofl_space space;
  struct large_space large;
  struct gc_tracer tracer;
  struct gc_reservation reservation;
  struct gc_extern_space *extern_space;
  struct gc_heap_roots *roots;
  struct gc_pending_ephemerons *pending_ephemerons;
  struct gc_finalizer_state *finalizers;
  struct gc_global_roots *global_roots; /* if roots are conservative */

  /* Polled at safepoints, and a futex on which stopped mutators wait: enum
     mmc_stop, nonzero from the request to stop until restart.  Written with
     heap->lock held.  */
  __attribute__((aligned(64))) int stop_flag;
  __attribute__((aligned(64))) pthread_mutex_t lock;
  struct gc_mutator *mutators;
  size_t mutator_count;
  size_t heap_size; /* written with the lock held */

  /* Collections started whose kind is at least the index; only grows.  */
  uint64_t started[GC_COLLECTION_COMPACTING + 1];
  uint32_t epoch;
  /* Counts collections; those that are due to the nursery's limit count as one
     when as much as was free has been allocated.  */
  uint64_t compaction_clock;
  /* No compaction by choice before the clock shows this, and how long to wait
     after the next one.  */
  uint64_t next_compaction;
  uint32_t compaction_interval;
  uint8_t compaction_was_useful;
  /* The steps of the current round of compactions by choice so far, the blocks they
     chose and emptied, and whether the round before had lasted.  */
  uint32_t compaction_steps;
  size_t compaction_candidates;
  size_t compaction_emptied;
  uint8_t compaction_had_lasted;
  /* Until then, a request does not compact a sparse heap.  */
  uint64_t next_sparse;
  /* The heap should be smaller, but its blocks are sparsely used.  */
  uint8_t shrink_blocked;
  /* When the current or last pause began, in monotonic nanoseconds.  */
  uint64_t pause_start;
  uint64_t stopped_nsec; /* when the world was last stopped, or may have been */
  enum gc_collection_kind last_kind;
  uint8_t collected_before;
  /* A remembered edge could not be recorded.  */
  uint32_t minor_impossible;
  double major_threshold; /* yield below which a minor run ends */

  /* Generational; mmc-nursery.h.  */
  struct nursery_limit nursery;
  uint8_t nursery_is_fixed;  /* by the environment */
  size_t nursery_limit;      /* granules; SIZE_MAX: none; relaxed */
  size_t nursery_bytes;      /* that were allocated in the last one */
  uint8_t nursery_hit_limit; /* that was why the last one ended */
  uint8_t nursery_is_part;   /* and it was a part of what was free */
  size_t nursery_traced;     /* bytes that survived it */
  uint64_t nursery_start;    /* nanoseconds of CPU time */
  size_t passed_granules;    /* allocated since fragmentation was forgotten */

  size_t live_bytes; /* at the end of the last collection */
  /* The part of them that most likely is not live any more at the end of the next:
     ephemerons that have died, what has been resurrected to be finalized.  */
  size_t doomed_bytes;
  /* live_bytes and doomed_bytes at the end of the last full collection.  */
  size_t full_live_bytes;
  size_t full_doomed_bytes;
  /* There is another after the allocation of so many times what it left free.  */
  uint32_t full_interval;
  /* About what was doomed before and is still alive, since finalizers wait for their
     turn; as of the last full collection.  */
  size_t waiting_bytes;
  size_t waiting_finalizers;  /* so far in this trace; relaxed atomic */
  size_t bytes_per_finalizer; /* with what only it keeps alive, on average */
  size_t live_large_bytes;
  uint64_t counter_at_last_gc;
  uint64_t counter_at_last_full_gc;
  /* Full collections for requests, the last ones in a row, that freed next to
     nothing.  */
  unsigned futile_collections;
  /* Bytes; relaxed atomic.  */
  uint64_t large_allocated;
  uint8_t objects_stay;        /* relaxed; gc-moving.h */
  uint8_t marks_before_moving; /* the same */
  uint32_t inhibited;          /* relaxed; nesting of gc-inhibit.h */
  uint32_t stress_counter;     /* relaxed */
  uint32_t random_state;       /* relaxed */

  struct edge_buffer *full_edges; /* lock-free push, taken in pauses */
  struct edge_buffer *free_edges; /* protected by edges_lock */
  /* Of threads that have gone, not full; protected by lock.  */
  struct edge_buffer *bequeathed_edges;
  pthread_mutex_t edges_lock;
  struct gc_edge_set foreign_edges; /* of objects outside the heap */

  /* Ambiguous ranges among the heap's roots, at the last collection.  */
  size_t root_range_bytes;
  size_t root_range_pieces;
  struct mmc_sizing sizing;
  struct mmc_stress stress;
  struct mmc_walk *walk;     /* stress: the verifier's; else NULL */
  struct walk_log *walk_log; /* in a trace that it will look at; else NULL */
  struct mmc_preemption preemption;

  /* Ageing of free memory; mmc-ticker.h.  */
  uint32_t ticker_word; /* futex */
  uint8_t ticker_running;
  pthread_t ticker_thread;

  void *(*allocation_failure)(struct gc_heap *, size_t);
  struct gc_event_listener listener;
  void *listener_data;

  /* Written by the collecting thread between two increments of the sequence
     number; readers retry while it is odd or has changed.  */
  uint32_t statistics_sequence;
  struct gc_heap_statistics statistics;

  struct gc_heap *next_heap;
};

#define HEAP_EVENT(heap, event, ...)                              \
  do {                                                            \
    (heap)->listener.event((heap)->listener_data, ##__VA_ARGS__); \
    GC_TRACEPOINT(event, ##__VA_ARGS__);                          \
  } while (0)
#define MUTATOR_EVENT(mut, event)                   \
  do {                                              \
    (mut)->heap->listener.event((mut)->event_data); \
    GC_TRACEPOINT(event);                           \
  } while (0)

static inline void mutator_enter_library(struct gc_mutator *mut) {
  mut->in_library++;
  /* Only the thread's own signal handler looks.  */
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void mutator_leave_library(struct gc_mutator *mut) {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  mut->in_library--;
}

/* May objects move?  Relaxed: changes with heap->lock held, so not while the kind of a
   collection is chosen or the heap is resized; elsewhere it is advice.  */
static inline int heap_moves(struct gc_heap *heap) {
  return NOFL_MOVES && !gc_atomic_load_relaxed(&heap->objects_stay);
}

static inline int heap_is_inhibited(struct gc_heap *heap) {
  return gc_atomic_load_relaxed(&heap->inhibited) != 0;
}

static inline uint32_t heap_random(struct gc_heap *heap) {
  uint32_t x = gc_atomic_fetch_add_relaxed(&heap->random_state, 0x9e3779b9u);
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

static inline void heap_random_delay(struct gc_heap *heap) {
  if (GC_LIKELY(!heap->stress.delay_usec))
    return;
  uint64_t now = gc_platform_monotonic_nanoseconds();
  uint64_t end = now + 1000 * (heap_random(heap) % heap->stress.delay_usec);
  while (gc_platform_monotonic_nanoseconds() < end)
    gc_platform_spin_hint();
}

#endif // MMC_HEAP_H
