/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The model checker's shadow graph: what the heap should contain.  Plain malloc
   memory that the collector never looks at.

   A world is the part of the graph that one thread owns.  Worlds share no
   objects.  */

#ifndef MODEL_SHADOW_H
#define MODEL_SHADOW_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gc-api.h"
#include "test-types.h"

enum model_kind {
  MODEL_LEAF,
  MODEL_BOX,
  MODEL_NODE,
  MODEL_BYTES,
  MODEL_RAW,       /* untagged, pointerless */
  MODEL_AMBIGUOUS, /* untagged, conservatively traced */
  MODEL_EPHEMERON,
  MODEL_EXTERN
};

/* How an object is held; the less, the stronger.  */
enum model_level {
  LEVEL_STRONG,    /* roots and closures of finalizers */
  LEVEL_FINALIZER, /* only objects of finalizers */
  LEVEL_WEAK       /* only ephemerons that are not yet broken */
};

/* Indices of the edges of an ephemeron.  */
enum { EPHEMERON_CHAIN, EPHEMERON_KEY, EPHEMERON_VALUE, EPHEMERON_EDGES };

/* An edge is null, an immediate (odd), or a shadow.  */
struct shadow {
  struct shadow *next;    /* all of the world */
  struct shadow *work;    /* to be scanned */
  struct shadow *waiting; /* ephemerons that wait for this key */
  struct shadow *wait_next;
  uint64_t id;
  uint64_t mark; /* epoch in which it was reached ... */
  uint64_t wait_epoch;
  uint64_t visit;      /* epoch of the last comparison */
  uintptr_t addr;      /* at that comparison */
  uintptr_t pinned_at; /* 0: not pinned */
  size_t bytes;
  uint32_t edge_count;
  uint8_t kind;
  uint8_t level; /* ... and how */
  uint8_t dead;  /* ephemeron: known to be broken */
  uintptr_t edges[];
};

#define MODEL_FINALIZERS 48

struct shadow_finalizer {
  uint8_t active;
  /* Its object became reachable again by way of another one that fired: it may
     have fired in the same collection.  */
  uint8_t may_have_fired;
  uint8_t priority;
  uint64_t serial;
  uintptr_t object, closure;
};

enum {
  MODEL_PRECISE_SLOTS = 24,
  MODEL_PINNED_SLOTS = 4,
  MODEL_AMBIGUOUS_SLOTS = 6,
  MODEL_SLOTS =
      MODEL_PRECISE_SLOTS + MODEL_PINNED_SLOTS + MODEL_AMBIGUOUS_SLOTS,
  MODEL_CHAINS = 2,
  MODEL_EXTERNS = 2
};

/* Real slots, in this order: precise, chains, externs, inbox, then pinned and
   ambiguous ones.  */
struct world_slots {
  void *precise[MODEL_PRECISE_SLOTS];
  struct gc_ephemeron *chains[MODEL_CHAINS];
  void *externs[MODEL_EXTERNS];
  void *inbox[MODEL_FINALIZERS]; /* finalizers that other threads popped */
  void *pinned[MODEL_PINNED_SLOTS];
  void *ambiguous[MODEL_AMBIGUOUS_SLOTS];
};

struct world {
  struct gc_heap *heap;
  struct gc_mutator *mut;
  uint32_t index;
  uint64_t seed; /* for messages */
  uint64_t random;
  uint64_t ops;
  int exact; /* precise roots: what is dead must be found */
  int threads;
  size_t byte_limit; /* of the live graph */

  struct world_slots *slots;
  struct gc_mutator_roots roots;
  struct gc_mutator_roots heap_view; /* the same, while detached */
  size_t offsets[MODEL_AMBIGUOUS_SLOTS];
  struct test_extern externs[MODEL_EXTERNS];

  uintptr_t shadow_slots[MODEL_SLOTS];
  uintptr_t shadow_chains[MODEL_CHAINS];
  struct shadow *shadow_externs[MODEL_EXTERNS];
  struct shadow_finalizer finalizers[MODEL_FINALIZERS];
  uint64_t next_id;
  struct shadow *all;
  uint64_t epoch;
  size_t allocated_bytes; /* since the last sweep of the shadow */
  size_t live_bytes;
};

static void __attribute__((noreturn, format(printf, 3, 4)))
model_failed(struct world *w, const char *where, const char *format, ...);

#define MODEL_STRING_(x) #x
#define MODEL_STRING(x) MODEL_STRING_(x)
#define MODEL_CHECK(w, cond, ...)                                          \
  do {                                                                     \
    if (!(cond))                                                           \
      model_failed((w), __FILE__ ":" MODEL_STRING(__LINE__), __VA_ARGS__); \
  } while (0)

#include <stdarg.h>

static void model_failed(struct world *w, const char *where, const char *format,
                         ...) {
  va_list args;
  va_start(args, format);
  fprintf(stderr, "%s: seed %llu, world %u, operation %llu: ", where,
          (unsigned long long)w->seed, w->index, (unsigned long long)w->ops);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  abort();
}

/* splitmix64 */
static inline uint64_t model_mix(uint64_t x) {
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static inline uint64_t model_random(struct world *w) {
  return model_mix(w->random += UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t model_below(struct world *w, uint64_t n) {
  return model_random(w) % n;
}

static inline int model_one_in(struct world *w, uint64_t n) {
  return model_below(w, n) == 0;
}

static inline struct shadow *shadow_target(uintptr_t edge) {
  return edge & 1 ? NULL : (struct shadow *)edge;
}

static struct shadow *shadow_make(struct world *w, enum model_kind kind,
                                  size_t bytes, uint32_t edge_count) {
  struct shadow *s = calloc(1, sizeof(*s) + edge_count * sizeof(uintptr_t));
  if (!s)
    abort();
  s->kind = kind;
  s->bytes = bytes;
  s->edge_count = edge_count;
  s->id = w->next_id++ << 8 | w->index;
  s->next = w->all;
  w->all = s;
  w->allocated_bytes += bytes;
  return s;
}

/* Reachability.  */

struct shadow_search {
  uint64_t epoch;
  struct shadow *work;
  enum model_level level;
};

static inline int shadow_is_reached(const struct world *w, uintptr_t edge,
                                    enum model_level level) {
  struct shadow *s = shadow_target(edge);
  return !s || (s->mark == w->epoch && s->level <= level);
}

static void shadow_reach(struct shadow_search *search, uintptr_t edge) {
  struct shadow *s = shadow_target(edge);
  if (!s || s->mark == search->epoch)
    return;
  s->mark = search->epoch;
  s->level = search->level;
  s->work = search->work;
  search->work = s;
}

static void shadow_scan_ephemeron(struct shadow_search *search,
                                  struct shadow *s) {
  shadow_reach(search, s->edges[EPHEMERON_CHAIN]);
  if (s->dead)
    return;
  struct shadow *key = shadow_target(s->edges[EPHEMERON_KEY]);
  if (key && key->mark != search->epoch) {
    if (key->wait_epoch != search->epoch)
      key->waiting = NULL;
    key->wait_epoch = search->epoch;
    s->wait_next = key->waiting;
    key->waiting = s;
  } else {
    shadow_reach(search, s->edges[EPHEMERON_VALUE]);
  }
}

static void shadow_search_all(struct shadow_search *search) {
  while (search->work) {
    struct shadow *s = search->work;
    search->work = s->work;
    if (s->kind == MODEL_EPHEMERON)
      shadow_scan_ephemeron(search, s);
    else
      for (uint32_t i = 0; i < s->edge_count; i++)
        shadow_reach(search, s->edges[i]);
    if (s->wait_epoch != search->epoch)
      continue;
    for (struct shadow *e = s->waiting; e; e = e->wait_next)
      shadow_reach(search, e->edges[EPHEMERON_VALUE]);
    s->waiting = NULL;
  }
}

/* What only ephemerons hold whose key is gone.  */
static void shadow_search_weak(struct world *w, struct shadow_search *search) {
  int again;
  search->level = LEVEL_WEAK;
  do {
    again = 0;
    for (struct shadow *s = w->all; s; s = s->next) {
      if (s->kind != MODEL_EPHEMERON || s->dead || s->mark != search->epoch ||
          shadow_is_reached(w, s->edges[EPHEMERON_KEY], LEVEL_WEAK))
        continue;
      shadow_reach(search, s->edges[EPHEMERON_KEY]);
      shadow_search_all(search);
      again = 1;
    }
  } while (again);
}

/* Compute the level of each object.  */
static void world_compute_reachability(struct world *w) {
  struct shadow_search search = {++w->epoch, NULL, LEVEL_STRONG};
  for (int i = 0; i < MODEL_SLOTS; i++)
    shadow_reach(&search, w->shadow_slots[i]);
  for (int i = 0; i < MODEL_CHAINS; i++)
    shadow_reach(&search, w->shadow_chains[i]);
  for (int i = 0; i < MODEL_EXTERNS; i++)
    shadow_reach(&search, (uintptr_t)w->shadow_externs[i]);
  for (int i = 0; i < MODEL_FINALIZERS; i++)
    if (w->finalizers[i].active)
      shadow_reach(&search, w->finalizers[i].closure);
  shadow_search_all(&search);
  search.level = LEVEL_FINALIZER;
  for (int i = 0; i < MODEL_FINALIZERS; i++)
    if (w->finalizers[i].active)
      shadow_reach(&search, w->finalizers[i].object);
  shadow_search_all(&search);
  shadow_search_weak(w, &search);
}

/* Free the shadows of what nothing holds.  After the computation.  */
static void world_sweep_shadows(struct world *w) {
  struct shadow **loc = &w->all;
  w->live_bytes = 0;
  while (*loc) {
    struct shadow *s = *loc;
    if (s->mark == w->epoch) {
      w->live_bytes += s->bytes;
      loc = &s->next;
    } else {
      *loc = s->next;
      free(s);
    }
  }
  w->allocated_bytes = 0;
}

/* May the collector have broken ephemeron S?  */
static inline int shadow_may_be_dead(const struct world *w,
                                     const struct shadow *s) {
  return s->dead ||
         !shadow_is_reached(w, s->edges[EPHEMERON_KEY], LEVEL_FINALIZER);
}

static inline void shadow_break(struct shadow *s) {
  s->dead = 1;
  s->edges[EPHEMERON_KEY] = s->edges[EPHEMERON_VALUE] = 0;
}

#endif // MODEL_SHADOW_H
