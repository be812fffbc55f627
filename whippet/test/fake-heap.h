/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A collector of the simplest kind, around which ephemerons and finalizers are
   tested: objects from malloc, marks in their headers, optionally every object
   is copied, several workers, sticky marks for minor collections.  It drives the
   internal interfaces exactly as their headers demand.

   The test includes the source files under test, and sets the hooks below for
   those that it has.  */
#ifndef FAKE_HEAP_H
#define FAKE_HEAP_H

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../src/gc-ephemeron-internal.h"
#include "../src/gc-finalizer-internal.h"
#include "gc-atomics.h"
#include "unit-embedder.h"

enum fake_kind { FAKE_OBJECT, FAKE_EPHEMERON, FAKE_FINALIZER };
enum fake_state { FAKE_WHITE, FAKE_BUSY, FAKE_MARKED, FAKE_FORWARDED };

#define FAKE_FIELDS 3

struct fake_object {
  struct fake_header header;
  struct gc_ref fields[FAKE_FIELDS];
};

typedef void (*fake_visitor)(struct gc_edge edge, struct gc_heap *heap,
                             void *trace_data);

struct gc_heap {
  struct gc_pending_ephemerons *pending;
  struct gc_finalizer_state *finalizers;
  size_t priorities;
  unsigned epoch;
  int moving;
  int workers;
  /* Yield at one of so many points that matter to races; 0 for never.  */
  unsigned yield_every;

  pthread_mutex_t lock;
  struct fake_header **objects;
  size_t count, capacity;
  /* Edges that the write barrier logged.  */
  struct gc_edge *remembered;
  size_t remembered_count;

  /* Grey objects that workers share.  */
  struct fake_header **shared;
  size_t shared_count, shared_capacity;
  int idle;

  /* If set, called when a weak edge was found to refer to an object that is not
     live, before the caller gets to know.  */
  void (*on_white)(struct gc_heap *heap, struct gc_ref ref);
  void *on_white_data;

  /* Of the last collection.  */
  size_t killed;
  size_t fired;
  /* How often ephemerons that were deferred led to a further trace.  */
  size_t deferrals;
};

struct gc_mutator {
  struct gc_heap *heap;
};

struct fake_worker {
  struct gc_heap *heap;
  struct fake_header **grey;
  size_t count, capacity;
  uint64_t rng;
};

/* Hooks.  */
static void (*fake_trace_ephemeron)(struct gc_ephemeron *, fake_visitor,
                                    struct gc_heap *, void *);
static void (*fake_trace_finalizer)(struct gc_finalizer *, fake_visitor,
                                    struct gc_heap *, void *);
static int (*fake_is_eager)(const struct gc_pending_ephemerons *);
static int (*fake_is_empty)(const struct gc_pending_ephemerons *);
static void (*fake_resolve)(struct gc_heap *, struct gc_ref, fake_visitor,
                            void *);

/* A place outside of the heap.  */
static uintptr_t fake_foreign[2];

static void fake_crash_unless(int ok) {
  if (!ok)
    abort();
}

static uint64_t fake_random(uint64_t *rng) {
  *rng ^= *rng << 13;
  *rng ^= *rng >> 7;
  *rng ^= *rng << 17;
  return (*rng * UINT64_C(0x2545f4914f6cdd1d)) >> 11;
}

/* ---- Objects ---- */

static size_t fake_size(uint32_t kind) {
  switch (kind) {
  case FAKE_EPHEMERON:
    return sizeof(struct fake_header) + 48;
  case FAKE_FINALIZER:
    return sizeof(struct fake_header) + 32;
  default:
    return sizeof(struct fake_object);
  }
}

static void fake_register(struct gc_heap *heap, struct fake_header *obj) {
  pthread_mutex_lock(&heap->lock);
  if (heap->count == heap->capacity) {
    heap->capacity = heap->capacity ? heap->capacity * 2 : 64;
    heap->objects =
        realloc(heap->objects, heap->capacity * sizeof(*heap->objects));
  }
  heap->objects[heap->count++] = obj;
  pthread_mutex_unlock(&heap->lock);
}

static void *fake_allocate(struct gc_heap *heap, enum fake_kind kind) {
  struct fake_header *obj = calloc(1, fake_size(kind));
  obj->kind = kind;
  fake_register(heap, obj);
  return obj;
}

static struct gc_ref fake_ref(void *obj) {
  return gc_ref((uintptr_t)obj);
}

static struct fake_header *fake_header_of(struct gc_ref ref) {
  return (struct fake_header *)gc_ref_value(ref);
}

static int fake_is_ours(struct gc_ref ref) {
  return !gc_ref_is_null(ref) && !gc_ref_is_immediate(ref) &&
         gc_ref_value(ref) - (uintptr_t)fake_foreign >= sizeof(fake_foreign);
}

static void fake_heap_init(struct gc_heap *heap) {
  memset(heap, 0, sizeof(*heap));
  pthread_mutex_init(&heap->lock, NULL);
  heap->workers = 1;
}

static void fake_heap_destroy(struct gc_heap *heap) {
  for (size_t i = 0; i < heap->count; i++)
    free(heap->objects[i]);
  free(heap->objects);
  free(heap->shared);
  free(heap->remembered);
  pthread_mutex_destroy(&heap->lock);
}

/* ---- What the collector provides ---- */

void gc_write_barrier_slow(struct gc_mutator *mut, struct gc_ref obj,
                           size_t obj_size, struct gc_edge edge,
                           struct gc_ref new_val) {
  struct gc_heap *heap = mut->heap;
  (void)obj_size;
  (void)new_val;
  if (!fake_header_of(obj)->old)
    return;
  pthread_mutex_lock(&heap->lock);
  size_t n = ++heap->remembered_count;
  heap->remembered = realloc(heap->remembered, n * sizeof(*heap->remembered));
  heap->remembered[n - 1] = edge;
  pthread_mutex_unlock(&heap->lock);
}

struct gc_pending_ephemerons *gc_heap_pending_ephemerons(struct gc_heap *heap) {
  return heap->pending;
}

unsigned gc_heap_ephemeron_trace_epoch(struct gc_heap *heap) {
  return heap->epoch;
}

/* Here ephemerons are pushed while they are young.  */
void gc_ephemeron_chain_barrier(struct gc_ephemeron *e, struct gc_edge link,
                                struct gc_ref tail) {
  (void)link;
  (void)tail;
  fake_crash_unless(e != NULL);
}

static void fake_maybe_yield(struct gc_heap *heap, uint64_t *rng) {
  if (heap->yield_every && fake_random(rng) % heap->yield_every == 0)
    sched_yield();
}

static int fake_visit_weak(struct gc_edge edge, struct gc_heap *heap) {
  static _Thread_local uint64_t rng = 88172645463325252u;
  struct gc_ref ref = gc_edge_ref(edge);
  fake_crash_unless(!gc_ref_is_null(ref));
  if (!fake_is_ours(ref))
    return 1;
  struct fake_header *obj = fake_header_of(ref);
  for (;;) {
    uint32_t state = gc_atomic_load(&obj->state);
    /* Before the caller can act on it.  */
    fake_maybe_yield(heap, &rng);
    switch (state) {
    case FAKE_WHITE:
      if (heap->on_white)
        heap->on_white(heap, ref);
      return 0;
    case FAKE_MARKED:
      return 1;
    case FAKE_FORWARDED:
      gc_edge_update(edge, fake_ref(obj->forward));
      return 1;
    }
    sched_yield();
  }
}

int gc_visit_ephemeron_key(struct gc_edge edge, struct gc_heap *heap) {
  return fake_visit_weak(edge, heap);
}

int gc_visit_finalizer_object(struct gc_edge edge, struct gc_heap *heap) {
  return fake_visit_weak(edge, heap);
}

void gc_note_waiting_finalizer(struct gc_heap *heap) {
  (void)heap;
}

/* ---- Tracing ---- */

static void fake_push(struct fake_header ***stack, size_t *count,
                      size_t *capacity, struct fake_header *obj) {
  if (*count == *capacity) {
    *capacity = *capacity ? *capacity * 2 : 64;
    *stack = realloc(*stack, *capacity * sizeof(**stack));
  }
  (*stack)[(*count)++] = obj;
}

/* Copy OBJ, which is busy, and forward it.  */
static struct fake_header *fake_move(struct gc_heap *heap,
                                     struct fake_header *obj) {
  size_t size = fake_size(obj->kind);
  struct fake_header *copy = malloc(size);
  /* Others may look at the state.  */
  memcpy(copy + 1, obj + 1, size - sizeof(*copy));
  *copy = (struct fake_header){obj->kind, FAKE_MARKED, obj->old, obj->id, NULL};
  fake_register(heap, copy);
  obj->forward = copy;
  gc_atomic_store(&obj->state, FAKE_FORWARDED);
  return copy;
}

static void fake_visit(struct gc_edge edge, struct gc_heap *heap,
                       void *trace_data) {
  struct fake_worker *worker = trace_data;
  struct gc_ref ref = gc_edge_ref(edge);
  if (!fake_is_ours(ref))
    return;
  struct fake_header *obj = fake_header_of(ref);
  uint32_t state = FAKE_WHITE;
  int moving = heap->moving;
  if (gc_atomic_cmpxchg_strong(&obj->state, &state,
                               moving ? FAKE_BUSY : FAKE_MARKED)) {
    struct fake_header *grey = moving ? fake_move(heap, obj) : obj;
    fake_maybe_yield(heap, &worker->rng);
    fake_push(&worker->grey, &worker->count, &worker->capacity, grey);
    gc_edge_update(edge, fake_ref(grey));
    if (fake_resolve && fake_is_eager(heap->pending))
      fake_resolve(heap, ref, fake_visit, worker);
    return;
  }
  while (state == FAKE_BUSY) {
    sched_yield();
    state = gc_atomic_load(&obj->state);
  }
  if (state == FAKE_FORWARDED)
    gc_edge_update(edge, fake_ref(obj->forward));
}

static void fake_trace_one(struct fake_worker *worker,
                           struct fake_header *obj) {
  switch (obj->kind) {
  case FAKE_EPHEMERON:
    fake_trace_ephemeron((struct gc_ephemeron *)obj, fake_visit, worker->heap,
                         worker);
    break;
  case FAKE_FINALIZER:
    fake_trace_finalizer((struct gc_finalizer *)obj, fake_visit, worker->heap,
                         worker);
    break;
  default:
    for (int i = 0; i < FAKE_FIELDS; i++)
      fake_visit(gc_edge(&((struct fake_object *)obj)->fields[i]), worker->heap,
                 worker);
  }
}

/* Give half of what the worker has to the others.  */
static void fake_share(struct fake_worker *worker, size_t n) {
  struct gc_heap *heap = worker->heap;
  pthread_mutex_lock(&heap->lock);
  while (n--)
    fake_push(&heap->shared, &heap->shared_count, &heap->shared_capacity,
              worker->grey[--worker->count]);
  pthread_mutex_unlock(&heap->lock);
}

/* Take a shared object.  0 when all workers are idle.  */
static int fake_take_shared(struct fake_worker *worker) {
  struct gc_heap *heap = worker->heap;
  pthread_mutex_lock(&heap->lock);
  heap->idle++;
  while (!heap->shared_count && heap->idle < heap->workers) {
    pthread_mutex_unlock(&heap->lock);
    sched_yield();
    pthread_mutex_lock(&heap->lock);
  }
  int found = heap->shared_count > 0;
  if (found) {
    struct fake_header *obj = heap->shared[--heap->shared_count];
    fake_push(&worker->grey, &worker->count, &worker->capacity, obj);
    heap->idle--;
  }
  pthread_mutex_unlock(&heap->lock);
  return found;
}

static void *fake_worker_main(void *data) {
  struct fake_worker *worker = data;
  do {
    while (worker->count) {
      if (worker->heap->workers > 1 && worker->count > 2)
        fake_share(worker, worker->count / 2);
      fake_trace_one(worker, worker->grey[--worker->count]);
    }
  } while (fake_take_shared(worker));
  return NULL;
}

/* Trace from what MAIN has, with all workers.  */
static void fake_trace(struct gc_heap *heap, struct fake_worker *main) {
  struct fake_worker others[16];
  pthread_t threads[16];
  heap->idle = 0;
  for (int i = 0; i < heap->workers - 1; i++) {
    others[i] = (struct fake_worker){heap, NULL, 0, 0, main->rng + i + 1};
    pthread_create(&threads[i], NULL, fake_worker_main, &others[i]);
  }
  fake_worker_main(main);
  for (int i = 0; i < heap->workers - 1; i++) {
    pthread_join(threads[i], NULL);
    free(others[i].grey);
  }
}

/* ---- Collections ---- */

static void fake_start(struct gc_heap *heap, int is_minor) {
  for (size_t i = 0; i < heap->count; i++) {
    struct fake_header *obj = heap->objects[i];
    obj->state = is_minor && obj->old ? FAKE_MARKED : FAKE_WHITE;
  }
}

/* Fields of all old objects: more than any remembered set.  */
static void fake_visit_old_fields(struct gc_heap *heap,
                                  struct fake_worker *worker) {
  size_t count = heap->count;
  for (size_t i = 0; i < count; i++) {
    struct fake_object *obj = (struct fake_object *)heap->objects[i];
    if (obj->header.kind == FAKE_OBJECT && obj->header.old)
      for (int j = 0; j < FAKE_FIELDS; j++)
        fake_visit(gc_edge(&obj->fields[j]), heap, worker);
  }
  for (size_t i = 0; i < heap->remembered_count; i++)
    fake_visit(heap->remembered[i], heap, worker);
}

static void fake_sweep(struct gc_heap *heap) {
  size_t kept = 0;
  for (size_t i = 0; i < heap->count; i++) {
    struct fake_header *obj = heap->objects[i];
    if (obj->state == FAKE_MARKED) {
      obj->old = 1;
      heap->objects[kept++] = obj;
    } else {
      fake_crash_unless(obj->state != FAKE_BUSY);
      free(obj);
    }
  }
  heap->count = kept;
}

/* ROOTS are updated.  DEFERRED, SCAN and SWEEP are the functions of ephemerons, or
   NULL; RESOLVE that of finalizers, or NULL.  */
struct fake_phases {
  void (*prepare)(struct gc_pending_ephemerons *);
  size_t (*deferred)(struct gc_heap *, fake_visitor, void *);
  size_t (*scan)(struct gc_heap *, fake_visitor, void *);
  size_t (*sweep)(struct gc_heap *);
  void (*finalizer_roots)(struct gc_finalizer_state *, int, fake_visitor,
                          struct gc_heap *, void *);
  size_t (*resolve)(struct gc_finalizer_state *, size_t, int, fake_visitor,
                    struct gc_heap *, void *);
  /* Also sweep ephemerons before finalizers.  */
  int sweep_first;
};

static void fake_trace_deferred(struct gc_heap *heap,
                                const struct fake_phases *phases,
                                struct fake_worker *worker) {
  while (phases->deferred && phases->deferred(heap, fake_visit, worker)) {
    heap->deferrals++;
    fake_trace(heap, worker);
  }
}

/* After a trace.  */
static void fake_finish_ephemerons(struct gc_heap *heap,
                                   const struct fake_phases *phases,
                                   struct fake_worker *worker) {
  fake_trace_deferred(heap, phases, worker);
  if (!phases->scan || fake_is_empty(heap->pending) ||
      fake_is_eager(heap->pending))
    return;
  if (!phases->scan(heap, fake_visit, worker))
    return;
  fake_trace(heap, worker);
  fake_trace_deferred(heap, phases, worker);
}

static void fake_collect(struct gc_heap *heap, const struct fake_phases *phases,
                         struct gc_ref *roots, size_t root_count,
                         int is_minor) {
  struct fake_worker worker = {.heap = heap, .rng = 4711 + heap->epoch};
  int was_moving = heap->moving;
  heap->moving = was_moving && !is_minor;
  heap->deferrals = 0;
  fake_start(heap, is_minor);
  if (phases->prepare)
    phases->prepare(heap->pending);
  if (is_minor)
    fake_visit_old_fields(heap, &worker);
  heap->remembered_count = 0;
  for (size_t i = 0; i < root_count; i++)
    fake_visit(gc_edge(&roots[i]), heap, &worker);
  if (phases->finalizer_roots)
    phases->finalizer_roots(heap->finalizers, is_minor, fake_visit, heap,
                            &worker);
  fake_trace(heap, &worker);
  fake_finish_ephemerons(heap, phases, &worker);
  heap->fired = heap->killed = 0;
  if (phases->sweep_first)
    heap->killed += phases->sweep(heap);
  for (size_t i = 0; phases->resolve && i < heap->priorities; i++) {
    size_t fired = phases->resolve(heap->finalizers, i, is_minor, fake_visit,
                                   heap, &worker);
    heap->fired += fired;
    if (!fired)
      continue;
    fake_trace(heap, &worker);
    fake_finish_ephemerons(heap, phases, &worker);
  }
  if (phases->sweep)
    heap->killed += phases->sweep(heap);
  fake_sweep(heap);
  heap->epoch++;
  heap->moving = was_moving;
  free(worker.grey);
}

#endif // FAKE_HEAP_H
