/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ephemerons: objects, chains, and their part in a collection.

   How the collector uses this: gc-ephemeron-internal.h.

   State of an ephemeron; outside of collections it is always "traced":

     from      event                                                   to
     traced    visited by the trace, first in this epoch               claimed
     claimed   many dead successors: put in the list of deferred ones  claimed
     claimed   dead, or key known to be live                           traced
     claimed   key not known to be live: put in the table              pending
     pending   key found live, by whoever wins the exchange            traced
     pending   collection ends: key and value cleared                  traced

   Whoever takes an ephemeron from pending to traced visits its value.

   Death is key == null.  Then the value is null too, or becomes so at once;
   only mark_dead clears them one after the other with others looking on.  While
   the trace runs, the value of a dead ephemeron stands in for its link.  */

#define GC_IMPL 1

#include "gc-ephemeron.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-ephemeron-internal.h"
#include "gc-platform.h"

#include "gc-include-embedder.h"

#ifndef GC_EMBEDDER_EPHEMERON_HEADER
#error Embedder should define GC_EMBEDDER_EPHEMERON_HEADER
#endif

enum ephemeron_state { EPHEMERON_TRACED, EPHEMERON_CLAIMED, EPHEMERON_PENDING };

struct gc_ephemeron {
  GC_EMBEDDER_EPHEMERON_HEADER
  uint32_t state;
  /* Last collection that traced it.  An ephemeron is born with the number of
     the previous one.  */
  uint32_t epoch;
  /* Next in the user's chain.  Strong.  */
  struct gc_ephemeron *chain;
  /* Next in the bucket of the pending table, constant from publication but for
     the scan; or in the list of deferred ones, or of dead ones that were
     traced.  */
  struct gc_ephemeron *bucket_next;
  /* Pending: the address of the key when the trace began.  Resolved, value not
     yet visited: next of those that wait for it.  Others may look at it at any
     time; that they compare it with a key is harmless in the second case, since
     the ephemeron is not pending.  */
  uintptr_t pending_key_or_next;
  struct gc_ref key;
  struct gc_ref value;
};

/* Part of the contract: programs size their heaps by it.  */
_Static_assert(sizeof(struct gc_ephemeron) -
                       offsetof(struct gc_ephemeron, state) ==
                   2 * sizeof(uint32_t) + 5 * sizeof(uintptr_t),
               "size of an ephemeron");

/* ---- Mutators ---- */

size_t gc_ephemeron_size(void) {
  return sizeof(struct gc_ephemeron);
}

size_t gc_ephemeron_header_size(void) {
  return offsetof(struct gc_ephemeron, state);
}

void gc_ephemeron_init_internal(struct gc_heap *heap, struct gc_ephemeron *e,
                                struct gc_ref key, struct gc_ref value) {
  GC_ASSERT(!gc_ref_is_null(key));
  GC_ASSERT(!gc_ref_is_null(value));
  e->state = EPHEMERON_TRACED;
  e->epoch = gc_heap_ephemeron_trace_epoch(heap) - 1;
  e->chain = NULL;
  e->bucket_next = NULL;
  e->pending_key_or_next = 0;
  e->key = key;
  e->value = value;
}

struct gc_edge gc_ephemeron_key_edge(struct gc_ephemeron *e) {
  return gc_edge(&e->key);
}

struct gc_edge gc_ephemeron_value_edge(struct gc_ephemeron *e) {
  return gc_edge(&e->value);
}

static inline struct gc_ref ephemeron_load(struct gc_ref *loc) {
  return gc_ref(gc_atomic_load(&loc->value));
}

static inline int ephemeron_is_dead(struct gc_ephemeron *e) {
  return gc_ref_is_null(ephemeron_load(&e->key));
}

struct gc_ref gc_ephemeron_key(struct gc_ephemeron *e) {
  return ephemeron_load(&e->key);
}

struct gc_ref gc_ephemeron_value(struct gc_ephemeron *e) {
  return ephemeron_is_dead(e) ? gc_ref_null() : ephemeron_load(&e->value);
}

struct gc_ref gc_ephemeron_swap_value(struct gc_mutator *mut,
                                      struct gc_ephemeron *e,
                                      struct gc_ref ref) {
  GC_ASSERT(!gc_ref_is_null(ref));
  struct gc_ref old = gc_ephemeron_value(e);
  if (gc_ref_is_null(old))
    return old;
  gc_write_barrier_slow(mut, gc_ref_from_heap_object(e), sizeof(*e),
                        gc_edge(&e->value), ref);
  /* The exchange fails for ever once mark_dead has cleared the value.  */
  while (!gc_ref_is_null(old) &&
         !gc_atomic_cmpxchg_weak(&e->value.value, &old.value, ref.value)) {
  }
  return old;
}

void gc_ephemeron_mark_dead(struct gc_ephemeron *e) {
  gc_atomic_store(&e->key.value, (uintptr_t)0);
  gc_atomic_store(&e->value.value, (uintptr_t)0);
}

int gc_ephemeron_chain_try_push(struct gc_ephemeron **loc,
                                struct gc_ephemeron *e,
                                struct gc_ephemeron **tail) {
  if (*tail)
    gc_ephemeron_chain_barrier(e, gc_edge(&e->chain),
                               gc_ref_from_heap_object(*tail));
  gc_atomic_store_relaxed(&e->chain, *tail);
  return gc_atomic_cmpxchg_strong(loc, tail, e);
}

void gc_ephemeron_chain_push(struct gc_ephemeron **loc,
                             struct gc_ephemeron *e) {
  struct gc_ephemeron *tail = gc_atomic_load(loc);
  while (!gc_ephemeron_chain_try_push(loc, e, &tail)) {
  }
}

/* An ephemeron is pushed once, or while nobody else uses its chain, so that a chain
   only loses members behind its head: no ABA.  The link of a dead one may have been
   advanced already, to the next live one; never back.  LOC is a field of HOLDER, if
   there is one: what it has stored is younger, perhaps, than what it had.  */
static struct gc_ephemeron *chain_first_live(struct gc_ephemeron **loc,
                                             struct gc_ephemeron *holder) {
  struct gc_ephemeron *head = gc_atomic_load(loc);
  while (head && ephemeron_is_dead(head)) {
    struct gc_ephemeron *next = gc_atomic_load(&head->chain);
    if (holder && next)
      gc_ephemeron_chain_barrier(holder, gc_edge(loc),
                                 gc_ref_from_heap_object(next));
    if (gc_atomic_cmpxchg_strong(loc, &head, next))
      head = next;
  }
  return head;
}

struct gc_ephemeron *gc_ephemeron_chain_head(struct gc_ephemeron **loc) {
  return chain_first_live(loc, NULL);
}

struct gc_ephemeron *gc_ephemeron_chain_next(struct gc_ephemeron *e) {
  return chain_first_live(&e->chain, e);
}

/* ---- The table of pending ephemerons ---- */

/* A hash table by key, of lists that only grow.  It may turn out to be too
   small while many threads use it: then a greater one, the next level, gets all
   further publications, and look-ups go through all levels.  The next
   collection starts with one level of the right size.  */

#define PENDING_MIN_BUCKETS_LOG_2 9
#define PENDING_MAX_BUCKETS_LOG_2 40
#define PENDING_LEVEL_GROWTH_LOG_2 2
#define PENDING_MAX_LEVELS 16
/* A table that is at most this much too large is kept.  */
#define PENDING_SLACK_LOG_2 2
/* A level is full at this many publications per bucket.  */
#define PENDING_MAX_LOAD_LOG_2 1
/* Publications are counted in stripes, lest threads fight for one line.  */
#define PENDING_STRIPES_LOG_2 4

/* Buckets in a chunk: one page of them.  */
#define PENDING_CHUNK_LOG_2 9

struct pending_level {
  struct gc_ephemeron **buckets;
  /* For each chunk of buckets, whether something was published there: a large
     table costs nothing while it is hardly used.  Behind the buckets in the
     same mapping.  */
  uint8_t *touched;
  unsigned log_2;
};

struct pending_stripe {
  size_t published;
} __attribute__((aligned(64)));

enum pending_growth {
  PENDING_MAY_GROW,
  PENDING_GROWING,    /* one thread is at it */
  PENDING_CANNOT_GROW /* until the next collection */
};

struct gc_pending_ephemerons {
  /* Read for each newly marked object.  Written by one thread, while no worker
     traces.  */
  int eager;
  int inspecting;
  /* Not null while a verifier walks, which also sets INSPECTING.  */
  void (*walker)(struct gc_ephemeron *e, void *trace_data);
  /* Stored with release order after the level is complete.  At least 1.  */
  unsigned level_count;
  struct pending_level levels[PENDING_MAX_LEVELS];
  int growth;
  /* Dead ephemerons that were traced, by bucket_next.  Pushed by workers.  */
  struct gc_ephemeron *dead;
  /* Claimed ephemerons whose successor is to be found when no worker traces, by
     bucket_next.  Pushed by workers.  */
  struct gc_ephemeron *deferred;
  /* Number of buckets wanted: at least the number of publications in the last
     collection, and it goes down by a quarter per collection.  */
  size_t demand;
  struct pending_stripe stripes[1 << PENDING_STRIPES_LOG_2];
};

/* Orders a store before it against loads after it.  Thread sanitizers do not
   model fences; no access relies on these to be free of races.  */
static inline void ephemeron_fence(void) {
#if defined(__GNUC__) && !defined(__clang__) && defined(__SANITIZE_THREAD__)
#pragma GCC diagnostic ignored "-Wtsan"
#endif
  atomic_thread_fence(memory_order_seq_cst);
}

/* Multiplicative hash; the leading bits are good.  */
static inline uint64_t pending_hash(uintptr_t key) {
  return (uint64_t)(key >> 3) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline struct gc_ephemeron **
pending_bucket(const struct pending_level *level, uint64_t hash) {
  return &level->buckets[hash >> (64 - level->log_2)];
}

static inline size_t pending_level_chunks(const struct pending_level *level) {
  return (size_t)1 << (level->log_2 - PENDING_CHUNK_LOG_2);
}

static inline size_t pending_level_size(const struct pending_level *level) {
  return (sizeof(struct gc_ephemeron *) << level->log_2) +
         pending_level_chunks(level);
}

static int pending_level_init(struct pending_level *level, unsigned log_2) {
  level->log_2 = log_2;
  level->buckets = gc_platform_map(pending_level_size(level));
  level->touched = (uint8_t *)(level->buckets + ((size_t)1 << log_2));
  return level->buckets != NULL;
}

static void pending_level_release(struct pending_level *level) {
  gc_platform_release(level->buckets, pending_level_size(level));
  level->buckets = NULL;
}

struct gc_pending_ephemerons *gc_make_pending_ephemerons(void) {
  struct gc_pending_ephemerons *p = gc_platform_map(sizeof(*p));
  if (!p)
    return NULL;
  if (!pending_level_init(&p->levels[0], PENDING_MIN_BUCKETS_LOG_2)) {
    gc_platform_release(p, sizeof(*p));
    return NULL;
  }
  p->level_count = 1;
  return p;
}

void gc_free_pending_ephemerons(struct gc_pending_ephemerons *p) {
  for (unsigned i = 0; i < p->level_count; i++)
    pending_level_release(&p->levels[i]);
  gc_platform_release(p, sizeof(*p));
}

static size_t pending_published(const struct gc_pending_ephemerons *p) {
  size_t count = 0;
  for (unsigned i = 0; i < 1 << PENDING_STRIPES_LOG_2; i++)
    count += gc_atomic_load_relaxed(&p->stripes[i].published);
  return count;
}

int gc_pending_ephemerons_empty(const struct gc_pending_ephemerons *p) {
  return pending_published(p) == 0;
}

int gc_pending_ephemerons_eager(const struct gc_pending_ephemerons *p) {
  return gc_atomic_load_relaxed(&p->eager);
}

void gc_pending_ephemerons_inspect(struct gc_pending_ephemerons *p,
                                   int inspect) {
  gc_atomic_store_relaxed(&p->inspecting, inspect);
}

void gc_pending_ephemerons_walk(struct gc_pending_ephemerons *p,
                                void (*f)(struct gc_ephemeron *e,
                                          void *trace_data)) {
  p->walker = f;
  gc_pending_ephemerons_inspect(p, f != NULL);
}

static unsigned pending_wanted_log_2(size_t demand) {
  unsigned log_2 = PENDING_MIN_BUCKETS_LOG_2;
  while (log_2 < PENDING_MAX_BUCKETS_LOG_2 && (size_t)1 << log_2 < demand)
    log_2++;
  return log_2;
}

void gc_pending_ephemerons_prepare(struct gc_pending_ephemerons *p) {
  size_t published = pending_published(p);
  p->demand -= p->demand / 4;
  if (p->demand < published)
    p->demand = published;
  memset(p->stripes, 0, sizeof(p->stripes));
  p->eager = 0;
  p->growth = PENDING_MAY_GROW;

  unsigned log_2 = pending_wanted_log_2(p->demand);
  struct pending_level level;
  if (p->level_count == 1 && log_2 <= p->levels[0].log_2 &&
      p->levels[0].log_2 - log_2 <= PENDING_SLACK_LOG_2)
    return;
  /* Without memory for a better table, the one that is there will do.  */
  if (!pending_level_init(&level, log_2))
    return;
  for (unsigned i = 0; i < p->level_count; i++)
    pending_level_release(&p->levels[i]);
  p->levels[0] = level;
  p->level_count = 1;
}

/* Any worker.  The level is public before anything is published in it, so that
   the fence of a look-up that misses the level comes before the fence of that
   publication.  */
static void pending_add_level(struct gc_pending_ephemerons *p) {
  int growth = PENDING_MAY_GROW;
  if (gc_atomic_load_relaxed(&p->growth) != growth ||
      !gc_atomic_cmpxchg_strong(&p->growth, &growth, PENDING_GROWING))
    return;
  unsigned count = gc_atomic_load(&p->level_count);
  growth = PENDING_CANNOT_GROW;
  if (count < PENDING_MAX_LEVELS) {
    struct pending_level *level = &p->levels[count];
    unsigned log_2 = p->levels[count - 1].log_2 + PENDING_LEVEL_GROWTH_LOG_2;
    if (log_2 <= PENDING_MAX_BUCKETS_LOG_2 &&
        pending_level_init(level, log_2)) {
      gc_atomic_store(&p->level_count, count + 1);
      growth = PENDING_MAY_GROW;
    }
  }
  gc_atomic_store(&p->growth, growth);
}

/* Put E, which is claimed by the calling worker, in the table, and make it
   pending.  */
static void pending_publish(struct gc_pending_ephemerons *p,
                            struct gc_ephemeron *e, uintptr_t key) {
  uint64_t hash = pending_hash(key);
  const struct pending_level *level =
      &p->levels[gc_atomic_load(&p->level_count) - 1];
  struct gc_ephemeron **bucket = pending_bucket(level, hash);
  gc_atomic_store_relaxed(&e->pending_key_or_next, key);
  gc_atomic_store_relaxed(&e->state, EPHEMERON_PENDING);
  /* Release: pairs with the load of the bucket in look-ups.  */
  struct gc_ephemeron *head = gc_atomic_load_relaxed(bucket);
  do {
    e->bucket_next = head;
  } while (!gc_atomic_cmpxchg_weak(bucket, &head, e));

  uint8_t *touched =
      &level->touched[(bucket - level->buckets) >> PENDING_CHUNK_LOG_2];
  if (!gc_atomic_load_relaxed(touched))
    gc_atomic_store_relaxed(touched, 1);

  /* Stripe by other bits than the bucket, so that stripes fill evenly.  */
  unsigned stripe = (hash >> 8) & ((1 << PENDING_STRIPES_LOG_2) - 1);
  size_t count = gc_atomic_fetch_add_relaxed(&p->stripes[stripe].published, 1);
  unsigned full_log_2 =
      level->log_2 + PENDING_MAX_LOAD_LOG_2 - PENDING_STRIPES_LOG_2;
  if (GC_UNLIKELY(count >> full_log_2))
    pending_add_level(p);
}

/* ---- Tracing ---- */

/* The values that wait to be visited by this thread.  Visiting a value may mark
   an object, and so resolve further ephemerons, in a call that is nested in the
   visit: instead of recursing, that call adds them to the list.  */
struct ephemeron_queue {
  struct gc_ephemeron *head;
};

static _Thread_local struct ephemeron_queue *ephemeron_current_queue;

/* Visit the value of E, which the calling thread has just made resolved, now or
   when the outermost call gets to it.  */
static void ephemeron_visit_value(struct gc_ephemeron *e,
                                  gc_ephemeron_visitor visit,
                                  struct gc_heap *heap, void *trace_data) {
  struct ephemeron_queue *outer = ephemeron_current_queue;
  if (outer) {
    gc_atomic_store_relaxed(&e->pending_key_or_next, (uintptr_t)outer->head);
    outer->head = e;
    return;
  }
  struct ephemeron_queue queue = {NULL};
  ephemeron_current_queue = &queue;
  for (;;) {
    visit(gc_edge(&e->value), heap, trace_data);
    e = queue.head;
    if (!e)
      break;
    queue.head = (struct gc_ephemeron *)e->pending_key_or_next;
  }
  ephemeron_current_queue = NULL;
}

/* Nonzero if KEY is live; then the key of E, which was KEY, is redirected if it
   moved.  Several threads may find the key live at the same time, and they
   store the same address; mark_dead may have got there before them.  */
static int ephemeron_key_is_live(struct gc_ephemeron *e, uintptr_t key,
                                 struct gc_heap *heap) {
  struct gc_ref ref = gc_ref(key);
  if (!gc_visit_ephemeron_key(gc_edge(&ref), heap))
    return 0;
  if (gc_ref_value(ref) != key)
    gc_atomic_cmpxchg_strong(&e->key.value, &key, gc_ref_value(ref));
  return 1;
}

/* Nonzero if the calling thread is the one to visit the value of E.  */
static int ephemeron_try_resolve(struct gc_ephemeron *e) {
  uint32_t state = EPHEMERON_PENDING;
  return gc_atomic_load_relaxed(&e->state) == state &&
         gc_atomic_cmpxchg_strong(&e->state, &state, EPHEMERON_TRACED);
}

/* A dead run is a sequence of dead ephemerons in a chain.  If several ephemerons
   lead into it, for instance its own members, each has to find the live one at
   its end.  For the sum of their walks to be linear, they have to shorten the
   run for each other.  That writes to ephemerons that others may read or copy
   at the same time, so it has to wait until no worker traces.  Walks by
   workers are bounded: who has not come to the end of the run after this many
   dead ephemerons is deferred.

   Between two traces, therefore, a dead run is shortened by more than this
   number, or nobody is deferred: traces are few, too.  */
#ifndef EPHEMERON_MAX_DEAD_STEPS
#define EPHEMERON_MAX_DEAD_STEPS 32
#endif

/* Find the first live ephemeron in the chain after E, or NULL.  Return 0 if it is
   too far.  This reads other ephemerons while the trace is running, but only
   what does not change: that they are dead, and the links of those that are,
   which are not updated while workers trace.  Of an ephemeron that has moved,
   the old copy is read, which is still what it was, apart from the first word.

   Relaxed: what is read was stored before this trace began, and workers were
   started or woken after that.  */
static int ephemeron_find_successor(struct gc_ephemeron *e,
                                    struct gc_ephemeron **successor) {
  struct gc_ephemeron *next = gc_atomic_load_relaxed(&e->chain);
  for (unsigned steps = 0; next && ephemeron_is_dead(next); steps++) {
    if (steps == EPHEMERON_MAX_DEAD_STEPS)
      return 0;
    next = gc_atomic_load_relaxed(&next->chain);
  }
  *successor = next;
  return 1;
}

/* The same at any distance, and the dead ones in between are linked to what was
   found, so that nobody passes all of them again.  No worker traces, and what
   they did comes before this as what they will do comes after it: plain loads
   and stores.

   The dead need not have been traced, nor be traced later.  Those that will be
   find the same successor, even if a copy was made before.  Those that are old,
   in a minor collection, refer to it from now on: it is visited, and so will be
   old itself.  The others are garbage.  */
static struct gc_ephemeron *ephemeron_shorten_chain(struct gc_ephemeron *e) {
  struct gc_ephemeron *successor = e->chain;
  while (successor && ephemeron_is_dead(successor))
    successor = successor->chain;
  for (struct gc_ephemeron *dead = e->chain; dead != successor;) {
    struct gc_ephemeron *next = dead->chain;
    dead->chain = successor;
    dead = next;
  }
  return successor;
}

/* By workers.  The load is relaxed, since the exchange checks what it got.  The
   list is read when all workers have stopped: that orders the links, the
   exchange need not.  */
static void ephemeron_push(struct gc_ephemeron **list, struct gc_ephemeron *e) {
  struct gc_ephemeron *head = gc_atomic_load_relaxed(list);
  do {
    e->bucket_next = head;
  } while (!gc_atomic_cmpxchg_weak(list, &head, e));
}

static void ephemeron_trace_chain(struct gc_ephemeron *e,
                                  struct gc_ephemeron *next,
                                  gc_ephemeron_visitor visit,
                                  struct gc_heap *heap, void *trace_data) {
  if (next != e->chain)
    gc_atomic_store_relaxed(&e->chain, next);
  if (next)
    visit(gc_edge(&e->chain), heap, trace_data);
}

/* Others may follow the link of E, which is dead: what would be the new link
   stays in the value until the end of the collection.  */
static void ephemeron_trace_dead(struct gc_pending_ephemerons *p,
                                 struct gc_ephemeron *e,
                                 struct gc_ephemeron *next,
                                 gc_ephemeron_visitor visit,
                                 struct gc_heap *heap, void *trace_data) {
  if (!e->chain)
    return;
  e->value = gc_ref((uintptr_t)next);
  ephemeron_push(&p->dead, e);
  if (next)
    visit(gc_edge(&e->value), heap, trace_data);
}

/* The trace has ended.  */
static void ephemerons_update_dead_links(struct gc_pending_ephemerons *p) {
  for (struct gc_ephemeron *e = p->dead; e; e = e->bucket_next) {
    e->chain = (struct gc_ephemeron *)gc_ref_value(e->value);
    e->value = gc_ref_null();
  }
  p->dead = NULL;
}

/* For verifiers.  */
static void ephemeron_inspect(struct gc_pending_ephemerons *p,
                              struct gc_ephemeron *e,
                              gc_ephemeron_visitor visit, struct gc_heap *heap,
                              void *trace_data) {
  visit(gc_edge(&e->chain), heap, trace_data);
  if (ephemeron_is_dead(e))
    return;
  if (p->walker) {
    p->walker(e, trace_data);
    return;
  }
  visit(gc_edge(&e->key), heap, trace_data);
  visit(gc_edge(&e->value), heap, trace_data);
}

/* Trace E, which is claimed by the caller, and followed by NEXT.  */
static void ephemeron_trace_claimed(struct gc_pending_ephemerons *p,
                                    struct gc_ephemeron *e,
                                    struct gc_ephemeron *next,
                                    gc_ephemeron_visitor visit,
                                    struct gc_heap *heap, void *trace_data) {
  uintptr_t key = gc_ref_value(ephemeron_load(&e->key));
  if (!key) {
    gc_atomic_store(&e->state, EPHEMERON_TRACED);
    ephemeron_trace_dead(p, e, next, visit, heap, trace_data);
    return;
  }
  ephemeron_trace_chain(e, next, visit, heap, trace_data);
  if (ephemeron_key_is_live(e, key, heap)) {
    gc_atomic_store(&e->state, EPHEMERON_TRACED);
    visit(gc_edge(&e->value), heap, trace_data);
    return;
  }
  pending_publish(p, e, key);
  /* In lazy mode the scan will look at it.  In eager mode, the key may have
     been marked and looked up since it was tested.  The fence pairs with that
     of gc_resolve_pending_ephemerons.  */
  if (!gc_pending_ephemerons_eager(p))
    return;
  ephemeron_fence();
  if (ephemeron_key_is_live(e, key, heap) && ephemeron_try_resolve(e))
    ephemeron_visit_value(e, visit, heap, trace_data);
}

void gc_trace_ephemeron(struct gc_ephemeron *e, gc_ephemeron_visitor visit,
                        struct gc_heap *heap, void *trace_data) {
  struct gc_pending_ephemerons *p = gc_heap_pending_ephemerons(heap);
  if (GC_UNLIKELY(p->inspecting)) {
    ephemeron_inspect(p, e, visit, heap, trace_data);
    return;
  }
  uint32_t epoch = gc_heap_ephemeron_trace_epoch(heap);
  uint32_t state = EPHEMERON_TRACED;
  if (!gc_atomic_cmpxchg_strong(&e->state, &state, EPHEMERON_CLAIMED))
    return;
  if (e->epoch == epoch) {
    gc_atomic_store(&e->state, EPHEMERON_TRACED);
    return;
  }
  e->epoch = epoch;
  struct gc_ephemeron *next;
  if (ephemeron_find_successor(e, &next))
    ephemeron_trace_claimed(p, e, next, visit, heap, trace_data);
  else
    ephemeron_push(&p->deferred, e);
}

size_t gc_trace_deferred_ephemerons(struct gc_heap *heap,
                                    gc_ephemeron_visitor visit,
                                    void *trace_data) {
  struct gc_pending_ephemerons *p = gc_heap_pending_ephemerons(heap);
  size_t count = 0;
  for (struct gc_ephemeron *e = p->deferred; e; e = p->deferred) {
    p->deferred = e->bucket_next;
    struct gc_ephemeron *next = ephemeron_shorten_chain(e);
    if (next || !ephemeron_is_dead(e))
      count++;
    ephemeron_trace_claimed(p, e, next, visit, heap, trace_data);
  }
  return count;
}

void gc_resolve_pending_ephemerons(struct gc_heap *heap, struct gc_ref old_key,
                                   gc_ephemeron_visitor visit,
                                   void *trace_data) {
  struct gc_pending_ephemerons *p = gc_heap_pending_ephemerons(heap);
  uintptr_t key = gc_ref_value(old_key);
  uint64_t hash = pending_hash(key);
  /* The caller has marked the key; now see who published before.  Pairs with
     the fence of gc_trace_ephemeron.  */
  ephemeron_fence();
  unsigned count = gc_atomic_load(&p->level_count);
  for (unsigned i = 0; i < count; i++) {
    struct gc_ephemeron *e =
        gc_atomic_load(pending_bucket(&p->levels[i], hash));
    while (e) {
      /* Read first: once E is resolved, so may be all that follow.  */
      struct gc_ephemeron *next = e->bucket_next;
      if (gc_atomic_load_relaxed(&e->pending_key_or_next) == key &&
          ephemeron_try_resolve(e)) {
        int live = ephemeron_key_is_live(e, key, heap);
        GC_ASSERT(live);
        (void)live;
        ephemeron_visit_value(e, visit, heap, trace_data);
      }
      e = next;
    }
  }
}

/* Resolve what can be in one bucket, and take what is resolved off its list.
   Visits may resolve more of it at any time.  */
static size_t pending_scan_bucket(struct gc_ephemeron **loc,
                                  gc_ephemeron_visitor visit,
                                  struct gc_heap *heap, void *trace_data) {
  size_t resolved = 0;
  for (struct gc_ephemeron *e = *loc; e; e = *loc) {
    if (e->state == EPHEMERON_PENDING &&
        ephemeron_key_is_live(e, e->pending_key_or_next, heap) &&
        ephemeron_try_resolve(e)) {
      ephemeron_visit_value(e, visit, heap, trace_data);
      resolved++;
    }
    if (e->state == EPHEMERON_PENDING)
      loc = &e->bucket_next;
    else
      *loc = e->bucket_next;
  }
  return resolved;
}

size_t gc_scan_pending_ephemerons(struct gc_heap *heap,
                                  gc_ephemeron_visitor visit,
                                  void *trace_data) {
  struct gc_pending_ephemerons *p = gc_heap_pending_ephemerons(heap);
  if (p->eager)
    return 0;
  /* Before the scan: what it marks must be looked up, as it may be the key of
     an ephemeron in a bucket that was scanned already.  */
  gc_atomic_store(&p->eager, 1);
  size_t resolved = 0;
  for (unsigned i = 0; i < p->level_count; i++) {
    struct pending_level *level = &p->levels[i];
    for (size_t chunk = 0; chunk < pending_level_chunks(level); chunk++) {
      if (!level->touched[chunk])
        continue;
      size_t first = chunk << PENDING_CHUNK_LOG_2;
      for (size_t j = 0; j < (size_t)1 << PENDING_CHUNK_LOG_2; j++)
        resolved += pending_scan_bucket(&level->buckets[first + j], visit, heap,
                                        trace_data);
    }
  }
  return resolved;
}

/* Empty the bucket at LOC; what is still pending dies.  */
static size_t pending_sweep_bucket(struct gc_ephemeron **loc) {
  size_t dead = 0;
  for (struct gc_ephemeron *e = *loc; e; e = e->bucket_next) {
    if (e->state != EPHEMERON_PENDING)
      continue;
    gc_ephemeron_mark_dead(e);
    e->state = EPHEMERON_TRACED;
    dead++;
  }
  *loc = NULL;
  return dead;
}

size_t gc_sweep_pending_ephemerons(struct gc_heap *heap) {
  struct gc_pending_ephemerons *p = gc_heap_pending_ephemerons(heap);
  size_t dead = 0;
  GC_ASSERT(!p->deferred);
  ephemerons_update_dead_links(p);
  if (gc_pending_ephemerons_empty(p))
    return 0;
  for (unsigned i = 0; i < p->level_count; i++) {
    struct pending_level *level = &p->levels[i];
    for (size_t chunk = 0; chunk < pending_level_chunks(level); chunk++) {
      if (!level->touched[chunk])
        continue;
      level->touched[chunk] = 0;
      size_t first = chunk << PENDING_CHUNK_LOG_2;
      for (size_t j = 0; j < (size_t)1 << PENDING_CHUNK_LOG_2; j++)
        if (level->buckets[first + j])
          dead += pending_sweep_bucket(&level->buckets[first + j]);
    }
  }
  return dead;
}
