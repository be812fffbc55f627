/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Fragmentation.  Each thread first scatters small long-lived objects, the
   islands, over memory: it allocates many small objects and keeps one of
   several.  Then it fills and refills a ring of medium objects, which do not
   fit between islands that lie too close.  In every round a part of the islands
   is scattered anew, so that the gaps move.  */

#include "bench-allocate.h"
#include "bench-main.h"

static size_t island_count = 200000;
static double spread = 0.7;
static size_t medium_count = 8000;
static size_t medium_min = 256;
static size_t medium_max = 4096;
static int rounds = 12;
static double turnovers = 4;

static const struct bench_option options[] = {
    {"islands", "N", "Small long-lived objects of each thread.",
     BENCH_OPTION_SIZE, &island_count, 1, 1e9},
    {"spread", "F", "Scatter them over F times the live data.",
     BENCH_OPTION_REAL, &spread, 0, 100},
    {"medium", "N", "Medium objects of each thread.", BENCH_OPTION_SIZE,
     &medium_count, 1, 1e9},
    {"medium-min", "BYTES", "Size of the smallest.", BENCH_OPTION_SIZE,
     &medium_min, 64, 8000},
    {"medium-max", "BYTES", "Size of the largest.", BENCH_OPTION_SIZE,
     &medium_max, 64, 1 << 20},
    {"rounds", "N", "Scattering and refilling, so many times.",
     BENCH_OPTION_INT, &rounds, 1, 1e6},
    {"turnovers", "F", "Refills of the ring in a round.", BENCH_OPTION_REAL,
     &turnovers, 0, 1e6},
    BENCH_OPTIONS_END};

static size_t island_bytes(void) {
  return island_count * bench_footprint(sizeof(struct node));
}

static size_t medium_length_limit(void) {
  return medium_max > medium_min ? medium_max - medium_min + 1 : 1;
}

static size_t thread_live_bytes(void) {
  size_t medium = bytes_size_for(medium_min + medium_length_limit() / 2);
  return island_bytes() + medium_count * bench_large_footprint(medium) +
         bench_large_footprint(vector_size_for(island_count)) +
         bench_large_footprint(vector_size_for(medium_count));
}

static size_t live_bytes(const struct bench *bench) {
  return thread_live_bytes() * (size_t)bench->thread_count;
}

typedef BENCH_HANDLE(struct vector) vector_handle;

/* Replace every PERIOD-th island, from number START, among as much garbage as
   is needed to spread them.  The value of an island is its number plus the
   round in which it was made.  */
static void scatter(struct bench_thread *t, vector_handle *islands,
                    uint64_t round, size_t start, size_t period) {
  size_t gaps =
      (size_t)(spread * (double)thread_live_bytes() / (double)island_bytes());
  for (size_t i = start; i < island_count; i += period) {
    for (size_t j = 1; j < gaps; j++)
      allocate_hole(t->mut, 2);
    struct node *island = allocate_node(t->mut);
    island->value = i + round;
    BENCH_STORE(t->mut, islands->v, vector_size(islands->v), slots[i],
                (void *)island);
  }
}

/* MADE_IN holds the round in which each island was made.  */
static void check_islands(struct vector *islands, const uint64_t *made_in) {
  for (size_t i = 0; i < island_count; i++) {
    struct node *island = islands->slots[i];
    BENCH_CHECK(island && island->value == i + made_in[i] && !island->left &&
                    !island->right,
                "island %zu is wrong", i);
  }
}

static void check_medium(struct bytes *medium, size_t slot) {
  if (!medium)
    return;
  uint8_t byte = (uint8_t)(slot | 1);
  BENCH_CHECK(medium->data[0] == byte &&
                  medium->data[medium->length / 2] == 0 &&
                  medium->data[medium->length - 1] == byte,
              "medium object %zu is wrong", slot);
}

static void replace_medium(struct bench_thread *t, vector_handle *ring,
                           size_t slot) {
  check_medium(ring->v->slots[slot], slot);
  size_t length = medium_min + bench_random_below(t, medium_length_limit());
  struct bytes *medium = allocate_bytes(t->mut, length);
  medium->data[0] = medium->data[length - 1] = (uint8_t)(slot | 1);
  BENCH_STORE(t->mut, ring->v, vector_size(ring->v), slots[slot],
              (void *)medium);
}

static void run(struct bench_thread *t) {
  vector_handle islands = {.v = NULL};
  vector_handle ring = {.v = NULL};
  uint64_t *made_in = calloc(island_count, sizeof *made_in);
  if (!made_in)
    abort();
  BENCH_PUSH(&t->roots, islands);
  BENCH_PUSH(&t->roots, ring);
  islands.v = allocate_vector(t->mut, island_count);
  ring.v = allocate_vector(t->mut, medium_count);
  scatter(t, &islands, 0, 0, 1);

  uint64_t last = bench_scaled(t->bench, rounds);
  size_t refills = (size_t)(turnovers * (double)medium_count);
  for (uint64_t round = 1; round <= last; round++) {
    for (size_t i = 0; i < refills; i++)
      replace_medium(t, &ring, bench_random_below(t, medium_count));
    size_t period = 4, start = round % period;
    scatter(t, &islands, round, start, period);
    for (size_t i = start; i < island_count; i += period)
      made_in[i] = round;
    check_islands(islands.v, made_in);
  }
  for (size_t i = 0; i < medium_count; i++)
    check_medium(ring.v->slots[i], i);
  BENCH_POP(&t->roots, ring);
  BENCH_POP(&t->roots, islands);
  free(made_in);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "islands",
      .summary = "Long-lived small objects scattered over memory, with medium "
                 "objects between them.",
      .options = options,
      .live_bytes = live_bytes,
      .run = run};
  return bench_main(&program, argc, argv);
}
