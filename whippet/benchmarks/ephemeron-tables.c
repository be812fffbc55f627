/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Weak hash tables.  All threads share one table, a vector of chains of
   ephemerons.  Each thread holds a set of keys; it replaces random ones, which
   ends the association of the old key, and looks others up.  In the end all
   keys are dropped, and no association may remain: exactly none if all roots
   are precise, few otherwise.

   With --cycles each value refers to its key.  A collector whose ephemerons are
   mere weak references never frees such an association.  */

#include "bench-allocate.h"
#include "bench-main.h"

#include "gc-ephemeron.h"

static size_t key_count = 60000;
static size_t bucket_count = 1 << 16;
static double turnovers = 20;
static int lookups = 2;
static int cycles = 0;

static uint64_t remaining; /* associations at the end */

static const struct bench_option options[] = {
    {"keys", "N", "Live keys of each thread.", BENCH_OPTION_SIZE, &key_count, 1,
     1e9},
    {"buckets", "N", "Chains in the table.", BENCH_OPTION_SIZE, &bucket_count,
     1, 1e9},
    {"turnovers", "F", "How often all keys are replaced.", BENCH_OPTION_REAL,
     &turnovers, 0, 1e6},
    {"lookups", "N", "Look-ups per replacement.", BENCH_OPTION_INT, &lookups, 0,
     1e6},
    {"cycles", NULL, "Let values refer to their keys.", BENCH_OPTION_FLAG,
     &cycles, 0, 0},
    BENCH_OPTIONS_END};

static size_t live_bytes(const struct bench *bench) {
  size_t association = bench_footprint(gc_ephemeron_size()) +
                       bench_footprint(sizeof(struct box)) +
                       bench_footprint(sizeof(struct entry));
  return bench_large_footprint(vector_size_for(bucket_count)) +
         (size_t)bench->thread_count *
             (key_count * association +
              bench_large_footprint(vector_size_for(key_count)));
}

static struct vector *table(struct bench_thread *t) {
  return t->bench->shared->v;
}

static size_t bucket_index(uint64_t serial) {
  return bench_mix(serial) % bucket_count;
}

static struct gc_ephemeron **bucket(struct bench_thread *t, size_t i) {
  return (struct gc_ephemeron **)&table(t)->slots[i];
}

static struct gc_ephemeron *allocate_ephemeron(struct gc_mutator *mut) {
  struct gc_ephemeron *ephemeron = gc_allocate_ephemeron(mut);
  *(uintptr_t *)ephemeron = BENCH_TAG(BENCH_KIND_EPHEMERON);
  return ephemeron;
}

static void associate(struct bench_thread *t, struct box *new_key) {
  BENCH_LOCAL(struct box, key, new_key);
  BENCH_LOCAL(struct entry, entry, NULL);
  BENCH_PUSH(&t->roots, key);
  BENCH_PUSH(&t->roots, entry);
  entry.v = allocate_entry(t->mut);
  entry.v->serial = key.v->value;
  if (cycles)
    entry.v->link = key.v;
  struct gc_ephemeron *ephemeron = allocate_ephemeron(t->mut);
  gc_ephemeron_init(t->mut, ephemeron, bench_ref(key.v), bench_ref(entry.v));
  struct gc_ephemeron **place = bucket(t, bucket_index(key.v->value));
  gc_write_barrier(t->mut, bench_ref(table(t)), vector_size(table(t)),
                   gc_edge(place), bench_ref(ephemeron));
  gc_ephemeron_chain_push(place, ephemeron);
  BENCH_POP(&t->roots, entry);
  BENCH_POP(&t->roots, key);
}

/* The entry of a key, NULL if there is none.  */
static struct entry *look_up(struct bench_thread *t, struct box *key) {
  struct gc_ephemeron **place = bucket(t, bucket_index(key->value));
  for (struct gc_ephemeron *e = gc_ephemeron_chain_head(place); e;
       e = gc_ephemeron_chain_next(e))
    if (gc_ref_value(gc_ephemeron_key(e)) == (uintptr_t)key)
      return (struct entry *)gc_ref_value(gc_ephemeron_value(e));
  return NULL;
}

static void check_key(struct bench_thread *t, struct box *key) {
  struct entry *entry = look_up(t, key);
  BENCH_CHECK(entry, "the association of key %" PRIu64 " is lost", key->value);
  BENCH_CHECK(entry->serial == key->value &&
                  entry->link == (cycles ? key : NULL),
              "the value of key %" PRIu64 " is wrong", key->value);
}

static void run(struct bench_thread *t) {
  BENCH_LOCAL(struct vector, keys, NULL);
  BENCH_PUSH(&t->roots, keys);
  keys.v = allocate_vector(t->mut, key_count);
  uint64_t serial = (uint64_t)t->index << 40;
  uint64_t steps =
      key_count + bench_scaled(t->bench, turnovers * (double)key_count);
  for (uint64_t i = 0; i < steps; i++) {
    size_t slot = i < key_count ? i : bench_random_below(t, key_count);
    struct box *key = allocate_box(t->mut);
    key->value = ++serial;
    BENCH_STORE(t->mut, keys.v, vector_size(keys.v), slots[slot], (void *)key);
    associate(t, key);
    uint64_t filled = i < key_count ? i + 1 : key_count;
    for (int j = 0; j < lookups; j++)
      check_key(t, keys.v->slots[bench_random_below(t, filled)]);
  }
  /* Clear the slots too, in case a stale word on the stack looks like a
     reference to the vector.  */
  for (size_t i = 0; i < key_count; i++) {
    check_key(t, keys.v->slots[i]);
    keys.v->slots[i] = NULL;
  }
  keys.v = NULL;
  BENCH_POP(&t->roots, keys);
}

static void setup(struct bench_thread *t) {
  t->bench->shared->v = allocate_vector(t->mut, bucket_count);
}

static void verify(struct bench_thread *t) {
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  for (size_t i = 0; i < bucket_count; i++)
    for (struct gc_ephemeron *e = gc_ephemeron_chain_head(bucket(t, i)); e;
         e = gc_ephemeron_chain_next(e))
      remaining++;
  uint64_t all = key_count * (uint64_t)t->bench->thread_count;
#if GC_CONSERVATIVE_ROOTS || GC_CONSERVATIVE_TRACE
  uint64_t allowed = 100 + all / 20;
#else
  uint64_t allowed = 0;
#endif
  BENCH_CHECK(remaining <= allowed,
              "%" PRIu64 " of %" PRIu64 " associations outlive their keys",
              remaining, all);
}

static void report(struct bench *bench, struct bench_results *results) {
  (void)bench;
  bench_add_number(results, "remaining_associations", (double)remaining);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "ephemeron-tables",
      .summary = "A weak hash table whose keys come and go.",
      .options = options,
      .live_bytes = live_bytes,
      .setup = setup,
      .run = run,
      .verify = verify,
      .report = report};
  return bench_main(&program, argc, argv);
}
