/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Large arrays, of bytes and of references, with sizes spread evenly over their
   logarithms.  Each thread keeps the newest ones, up to a budget of bytes, in a
   ring that is itself a large array.  New arrays must be zero throughout, and
   what a thread writes into them is checked when it drops them.  */

#include "bench-allocate.h"
#include "bench-main.h"

static size_t budget = 48 << 20;
static size_t size_min = 16 << 10;
static size_t size_max = 4 << 20;
static double turnovers = 40;

static const struct bench_option options[] = {
    {"budget", "BYTES", "Live arrays of each thread.", BENCH_OPTION_SIZE,
     &budget, 1 << 20, 1e13},
    {"size-min", "BYTES", "Size of the smallest array.", BENCH_OPTION_SIZE,
     &size_min, 512, 1 << 30},
    {"size-max", "BYTES", "Size of the largest array.", BENCH_OPTION_SIZE,
     &size_max, 1024, 1 << 30},
    {"turnovers", "F", "Allocate F times the budget.", BENCH_OPTION_REAL,
     &turnovers, 0, 1e6},
    BENCH_OPTIONS_END};

#define BOXES_PER_VECTOR 32
#define ZERO_CHECK_STRIDE 64

static size_t largest(void) {
  return size_max > size_min ? size_max : size_min;
}

static size_t ring_length(void) {
  return budget / size_min + 2;
}

static size_t live_bytes(const struct bench *bench) {
  return (size_t)bench->thread_count *
         (budget + bench_large_footprint(largest()) +
          bench_large_footprint(vector_size_for(ring_length())));
}

/* The ring of arrays, oldest at HEAD.  What is known of each array is kept
   outside the heap.  */
struct arrays {
  BENCH_HANDLE(struct vector) ring;
  struct array_facts {
    size_t footprint;
    size_t length;
    uint64_t seed;
    int is_vector;
  } * facts;
  size_t head, count;
  size_t live;
};

/* Array sizes: a power of two between the bounds, times a factor in [1, 2).  */
static size_t random_size(struct bench_thread *t) {
  unsigned doublings = 0;
  while ((size_min << (doublings + 1)) <= size_max)
    doublings++;
  size_t size = size_min << bench_random_below(t, doublings + 1);
  size += bench_random_below(t, size);
  return size < size_max ? size & ~(size_t)7 : largest() & ~(size_t)7;
}

static void check_zero(const char *start, size_t size) {
  for (size_t i = 0; i < size; i += ZERO_CHECK_STRIDE)
    BENCH_CHECK(!start[i], "byte %zu of a new array is not zero", i);
}

static size_t box_position(uint64_t seed, uint64_t i, size_t length) {
  return bench_mix(seed + i) % length;
}

/* Several boxes may go to one position; the last one wins.  */
static void fill_vector(struct bench_thread *t, struct vector *new_vector,
                        uint64_t seed) {
  BENCH_LOCAL(struct vector, vector, new_vector);
  BENCH_PUSH(&t->roots, vector);
  for (uint64_t i = 0; i < BOXES_PER_VECTOR; i++) {
    struct box *box = allocate_box(t->mut);
    size_t position = box_position(seed, i, vector.v->length);
    box->value = seed + position;
    BENCH_STORE(t->mut, vector.v, vector_size(vector.v), slots[position],
                (void *)box);
  }
  BENCH_POP(&t->roots, vector);
}

static void check_vector(struct vector *vector, struct array_facts *facts) {
  BENCH_CHECK(vector->length == facts->length, "a vector has a wrong length");
  uint64_t seed = facts->seed;
  for (uint64_t i = 0; i < BOXES_PER_VECTOR; i++) {
    size_t position = box_position(seed, i, vector->length);
    struct box *box = vector->slots[position];
    BENCH_CHECK(box && box->value == seed + position,
                "element %zu of a vector is wrong", position);
  }
}

static void fill_bytes(struct bytes *bytes, uint64_t seed) {
  for (size_t i = 0; i < bytes->length; i += 4096)
    bytes->data[i] = (uint8_t)(seed + (i >> 12));
  bytes->data[bytes->length - 1] = (uint8_t)seed;
}

static void check_bytes(struct bytes *bytes, struct array_facts *facts) {
  BENCH_CHECK(bytes->length == facts->length,
              "a byte array has a wrong length");
  uint64_t seed = facts->seed;
  size_t last = bytes->length - 1;
  for (size_t i = 0; i < last; i += 4096)
    BENCH_CHECK(bytes->data[i] == (uint8_t)(seed + (i >> 12)),
                "byte %zu of an array is wrong", i);
  BENCH_CHECK(bytes->data[last] == (uint8_t)seed,
              "the end of an array is wrong");
}

static void drop_oldest(struct arrays *arrays) {
  struct array_facts *facts = &arrays->facts[arrays->head];
  void *array = arrays->ring.v->slots[arrays->head];
  if (facts->is_vector)
    check_vector(array, facts);
  else
    check_bytes(array, facts);
  arrays->ring.v->slots[arrays->head] = NULL;
  arrays->live -= facts->footprint;
  arrays->head = (arrays->head + 1) % ring_length();
  arrays->count--;
}

static void store_newest(struct bench_thread *t, struct arrays *arrays,
                         void *array, struct array_facts facts) {
  size_t slot = (arrays->head + arrays->count++) % ring_length();
  arrays->facts[slot] = facts;
  arrays->live += facts.footprint;
  BENCH_STORE(t->mut, arrays->ring.v, vector_size(arrays->ring.v), slots[slot],
              array);
}

/* Return the array's size.  */
static size_t add_array(struct bench_thread *t, struct arrays *arrays) {
  size_t size = random_size(t);
  struct array_facts facts = {.footprint = bench_large_footprint(size),
                              .seed = bench_random(t) >> 1,
                              .is_vector = (int)(bench_random(t) >> 63)};
  while (arrays->count && arrays->live + facts.footprint > budget)
    drop_oldest(arrays);
  if (facts.is_vector) {
    facts.length = (size - sizeof(struct vector)) / sizeof(void *);
    struct vector *vector = allocate_vector(t->mut, facts.length);
    check_zero((char *)vector->slots, facts.length * sizeof(void *));
    store_newest(t, arrays, vector, facts);
    fill_vector(t, vector, facts.seed);
  } else {
    facts.length = size - sizeof(struct bytes);
    struct bytes *bytes = allocate_bytes(t->mut, facts.length);
    check_zero((char *)bytes->data, facts.length);
    fill_bytes(bytes, facts.seed);
    store_newest(t, arrays, bytes, facts);
  }
  return size;
}

static void run(struct bench_thread *t) {
  struct arrays arrays = {.ring = {.v = NULL}};
  arrays.facts = calloc(ring_length(), sizeof *arrays.facts);
  if (!arrays.facts)
    abort();
  BENCH_PUSH(&t->roots, arrays.ring);
  arrays.ring.v = allocate_vector(t->mut, ring_length());
  double todo = turnovers * (double)budget * t->bench->scale;
  do
    todo -= (double)add_array(t, &arrays);
  while (todo > 0);
  while (arrays.count)
    drop_oldest(&arrays);
  BENCH_POP(&t->roots, arrays.ring);
  free(arrays.facts);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "large-arrays",
      .summary = "Large arrays of bytes and of references.",
      .options = options,
      .live_bytes = live_bytes,
      .run = run};
  return bench_main(&program, argc, argv);
}
