/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Finalizers in great number.  Each thread makes resources in pairs that refer
   to each other, keeps the newest pairs in a ring, and attaches a finalizer to
   each resource, with various priorities.  As soon as the collector reports
   fired finalizers, threads take them off the queue and check that the resource
   and what it refers to are intact.  In the end every finalizer must have fired
   exactly once, if roots are precise, and nearly all otherwise.

   Some garbage without finalizers is made too: what is finalized survives one
   collection more, so that a heap full of it would have no room.  */

#include "bench-allocate.h"
#include "bench-main.h"

#include "gc-atomics.h"
#include "gc-finalizer.h"

static size_t pair_count = 20000;
static double turnovers = 20;
static int garbage_words = 16;

static const struct bench_option options[] = {
    {"pairs", "N", "Live pairs of resources of each thread.", BENCH_OPTION_SIZE,
     &pair_count, 1, 1e9},
    {"turnovers", "F", "How often all pairs are replaced.", BENCH_OPTION_REAL,
     &turnovers, 0, 1e6},
    {"garbage-words", "N", "Other garbage per pair, in words.",
     BENCH_OPTION_INT, &garbage_words, 0, 1024},
    BENCH_OPTIONS_END};

static size_t pending;       /* fired since a thread last looked */
static uint8_t *fired;       /* per resource: how often */
static uint64_t pairs_total; /* of each thread */
static uint64_t missing;     /* resources whose finalizer did not fire */

static size_t live_bytes(const struct bench *bench) {
  size_t resource = bench_footprint(sizeof(struct resource)) +
                    bench_footprint(sizeof(struct box)) +
                    bench_footprint(gc_finalizer_size());
  return (size_t)bench->thread_count *
         (pair_count * 2 * resource +
          bench_large_footprint(vector_size_for(pair_count)));
}

static uint64_t resource_count(const struct bench *bench) {
  return pairs_total * 2 * (uint64_t)bench->thread_count;
}

/* In the pause, so only signal.  */
static void on_fired(struct gc_heap *heap, size_t count) {
  (void)heap;
  gc_atomic_fetch_add(&pending, count);
}

static uint64_t closure_value(uint64_t id) {
  return bench_mix(id);
}

static struct gc_finalizer *allocate_finalizer(struct gc_mutator *mut) {
  struct gc_finalizer *finalizer = gc_allocate_finalizer(mut);
  *(uintptr_t *)finalizer = BENCH_TAG(BENCH_KIND_FINALIZER);
  return finalizer;
}

static struct resource *make_resource(struct bench_thread *t, uint64_t id) {
  BENCH_LOCAL(struct box, closure, NULL);
  BENCH_LOCAL(struct resource, resource, NULL);
  BENCH_PUSH(&t->roots, closure);
  BENCH_PUSH(&t->roots, resource);
  closure.v = allocate_box(t->mut);
  closure.v->value = closure_value(id);
  resource.v = allocate_resource(t->mut);
  resource.v->id = id;
  resource.v->closure = closure.v;
  struct gc_finalizer *finalizer = allocate_finalizer(t->mut);
  gc_finalizer_attach(t->mut, finalizer,
                      (unsigned)(id % BENCH_FINALIZER_PRIORITIES),
                      bench_ref(resource.v), bench_ref(closure.v));
  BENCH_POP(&t->roots, resource);
  BENCH_POP(&t->roots, closure);
  return resource.v;
}

static void check_resource(struct bench_thread *t, struct resource *resource) {
  uint64_t id = resource->id;
  BENCH_CHECK(resource->tag == BENCH_TAG(BENCH_KIND_RESOURCE) &&
                  id < resource_count(t->bench),
              "a finalized object is not a resource");
  BENCH_CHECK(resource->closure->value == closure_value(id),
              "the closure of resource %" PRIu64 " is wrong", id);
}

static void pop_all(struct bench_thread *t) {
  struct gc_finalizer *finalizer;
  while ((finalizer = gc_pop_finalizable(t->mut))) {
    struct resource *resource =
        gc_ref_heap_object(gc_finalizer_object(finalizer));
    check_resource(t, resource);
    check_resource(t, resource->neighbour);
    uint64_t id = resource->id;
    BENCH_CHECK(resource->neighbour->id == (id ^ 1),
                "resource %" PRIu64 " has a wrong neighbour", id);
    BENCH_CHECK(gc_ref_value(gc_finalizer_closure(finalizer)) ==
                    (uintptr_t)resource->closure,
                "finalizer %" PRIu64 " has a wrong closure", id);
    BENCH_CHECK(gc_atomic_fetch_add(&fired[id], 1) == 0,
                "finalizer %" PRIu64 " fired twice", id);
  }
}

static void make_pair(struct bench_thread *t, struct vector *ring_now,
                      size_t slot, uint64_t id) {
  BENCH_LOCAL(struct vector, ring, ring_now);
  BENCH_LOCAL(struct resource, first, NULL);
  BENCH_PUSH(&t->roots, ring);
  BENCH_PUSH(&t->roots, first);
  first.v = make_resource(t, id);
  struct resource *second = make_resource(t, id + 1);
  BENCH_STORE(t->mut, second, sizeof(struct resource), neighbour, first.v);
  BENCH_STORE(t->mut, first.v, sizeof(struct resource), neighbour, second);
  BENCH_STORE(t->mut, ring.v, vector_size(ring.v), slots[slot],
              (void *)first.v);
  BENCH_POP(&t->roots, first);
  BENCH_POP(&t->roots, ring);
}

static void setup(struct bench_thread *t) {
  pairs_total =
      pair_count + bench_scaled(t->bench, turnovers * (double)pair_count);
  fired = calloc(resource_count(t->bench), 1);
  if (!fired)
    abort();
  gc_set_finalizer_callback(t->bench->heap, on_fired);
}

static void run(struct bench_thread *t) {
  BENCH_LOCAL(struct vector, ring, NULL);
  BENCH_PUSH(&t->roots, ring);
  ring.v = allocate_vector(t->mut, pair_count);
  uint64_t id = (uint64_t)t->index * pairs_total * 2;
  for (uint64_t i = 0; i < pairs_total; i++, id += 2) {
    size_t slot = i < pair_count ? i : bench_random_below(t, pair_count);
    make_pair(t, ring.v, slot, id);
    if (garbage_words)
      allocate_hole(t->mut, (size_t)garbage_words);
    if (gc_atomic_load_relaxed(&pending) && gc_atomic_swap(&pending, 0))
      pop_all(t);
  }
  /* Clear the slots too, in case a stale word on the stack looks like a
     reference to the vector.  */
  for (size_t i = 0; i < pair_count; i++)
    ring.v->slots[i] = NULL;
  ring.v = NULL;
  BENCH_POP(&t->roots, ring);
}

/* A fired finalizer keeps the partner alive until the next collection, so one
   collection per priority may be needed, and one for good measure.  */
static void verify(struct bench_thread *t) {
  for (int i = 0; i <= BENCH_FINALIZER_PRIORITIES; i++) {
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    pop_all(t);
  }
  uint64_t all = resource_count(t->bench);
  for (uint64_t id = 0; id < all; id++)
    missing += !fired[id];
#if GC_CONSERVATIVE_ROOTS || GC_CONSERVATIVE_TRACE
  uint64_t allowed = 100 + all / 20;
#else
  uint64_t allowed = 0;
#endif
  BENCH_CHECK(missing <= allowed,
              "%" PRIu64 " of %" PRIu64 " finalizers did not fire", missing,
              all);
}

static void report(struct bench *bench, struct bench_results *results) {
  bench_add_number(results, "finalizers", (double)resource_count(bench));
  bench_add_number(results, "finalizers_missing", (double)missing);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "finalizer-storm",
      .summary = "Many objects with finalizers.",
      .options = options,
      .live_bytes = live_bytes,
      .setup = setup,
      .run = run,
      .verify = verify,
      .report = report};
  return bench_main(&program, argc, argv);
}
