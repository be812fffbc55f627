/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A large random graph that all threads mutate.  Vertices stay; their lists of
   edges are replaced, or one edge is turned to another vertex.  Vertices lie in
   memory in an order unrelated to their numbers, so tracing an edge means a
   cache miss.  Each thread changes the vertices whose number is congruent to
   its own, and reads of the others only the number, which is constant.  */

#include "bench-allocate.h"
#include "bench-main.h"

static size_t vertex_count = 200000;
static int mean_degree = 6;
static double mutations_per_vertex = 20;

static const struct bench_option options[] = {
    {"vertices", "N", "Number of vertices.", BENCH_OPTION_SIZE, &vertex_count,
     256, 1e9},
    {"degree", "N", "Mean number of edges of a vertex.", BENCH_OPTION_INT,
     &mean_degree, 1, 64},
    {"mutations", "F", "Mutations per vertex.", BENCH_OPTION_REAL,
     &mutations_per_vertex, 0, 1e6},
    BENCH_OPTIONS_END};

/* Degrees are uniform in [1, 2 * mean_degree - 1].  */
static uint64_t random_degree(struct bench_thread *t) {
  return 1 + bench_random_below(t, 2 * (uint64_t)mean_degree - 1);
}

static size_t live_bytes(const struct bench *bench) {
  (void)bench;
  size_t edges = 0, degrees = 2 * (size_t)mean_degree - 1;
  for (size_t d = 1; d <= degrees; d++)
    edges += bench_footprint(adjacency_size_for(d));
  return bench_large_footprint(vector_size_for(vertex_count)) +
         vertex_count * bench_footprint(sizeof(struct vertex)) +
         vertex_count * edges / degrees;
}

static struct vector *vertex_table(struct bench_thread *t) {
  return t->bench->shared->v;
}

static struct vertex *vertex_at(struct bench_thread *t, uint64_t id) {
  return vertex_table(t)->slots[id];
}

static struct vertex *random_vertex(struct bench_thread *t) {
  return vertex_at(t, bench_random_below(t, vertex_count));
}

/* The stores into the adjacency list initialise it.  */
static void replace_edges(struct bench_thread *t, uint64_t id) {
  struct adjacency *edges = allocate_adjacency(t->mut, random_degree(t));
  for (uint64_t i = 0; i < edges->degree; i++) {
    edges->targets[i] = random_vertex(t);
    edges->target_id_sum += edges->targets[i]->id;
  }
  struct vertex *vertex = vertex_at(t, id);
  BENCH_STORE(t->mut, vertex, sizeof(struct vertex), edges, edges);
}

static void turn_edge(struct bench_thread *t, uint64_t id) {
  struct adjacency *edges = vertex_at(t, id)->edges;
  uint64_t i = bench_random_below(t, edges->degree);
  struct vertex *target = random_vertex(t);
  edges->target_id_sum += target->id - edges->targets[i]->id;
  BENCH_STORE(t->mut, edges, adjacency_size(edges), targets[i], target);
}

static void check_vertex(struct vertex *vertex, uint64_t id) {
  BENCH_CHECK(vertex && vertex->id == id, "vertex %" PRIu64 " is wrong", id);
  struct adjacency *edges = vertex->edges;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < edges->degree; i++)
    sum += edges->targets[i]->id;
  BENCH_CHECK(sum == edges->target_id_sum,
              "the edges of vertex %" PRIu64 " are wrong", id);
}

/* The numbers below N, shuffled.  To be freed.  */
static uint64_t *random_permutation(struct bench_thread *t, uint64_t n) {
  uint64_t *order = malloc(n * sizeof *order);
  if (!order)
    abort();
  for (uint64_t i = 0; i < n; i++) {
    uint64_t j = bench_random_below(t, i + 1);
    order[i] = order[j];
    order[j] = i;
  }
  return order;
}

static void setup(struct bench_thread *t) {
  uint64_t *order = random_permutation(t, vertex_count);
  t->bench->shared->v = allocate_vector(t->mut, vertex_count);
  for (uint64_t i = 0; i < vertex_count; i++) {
    struct vertex *vertex = allocate_vertex(t->mut);
    vertex->id = order[i];
    struct vector *table = vertex_table(t);
    BENCH_STORE(t->mut, table, vector_size(table), slots[vertex->id],
                (void *)vertex);
  }
  free(order);
  for (uint64_t id = 0; id < vertex_count; id++)
    replace_edges(t, id);
}

/* One mutation in so many turns an edge, and one is preceded by a check; the
   others replace the edges.  */
#define TURN_PERIOD 3
#define CHECK_PERIOD 16

static void run(struct bench_thread *t) {
  uint64_t stride = (uint64_t)t->bench->thread_count;
  uint64_t own = (vertex_count - (uint64_t)t->index + stride - 1) / stride;
  uint64_t count = bench_scaled(t->bench, mutations_per_vertex * (double)own);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t id = bench_random_below(t, own) * stride + (uint64_t)t->index;
    if (i % CHECK_PERIOD == 0)
      check_vertex(vertex_at(t, id), id);
    if (i % TURN_PERIOD == 0)
      turn_edge(t, id);
    else
      replace_edges(t, id);
  }
}

static void verify(struct bench_thread *t) {
  for (uint64_t id = 0; id < vertex_count; id++)
    check_vertex(vertex_at(t, id), id);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "random-graph",
      .summary = "A large random graph with edges that change.",
      .options = options,
      .live_bytes = live_bytes,
      .setup = setup,
      .run = run,
      .verify = verify};
  return bench_main(&program, argc, argv);
}
