/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Trace rate: a large graph of small objects, then a number of forced major
   collections of it.  The graph is a tree of degree three in which every node
   has one more edge, to a random node.  Its shape says how the tree relates to
   the order of allocation: `shuffled' (not at all), `tree' (breadth first), or
   `list' (each node leads to the next one only, which no two threads can trace
   at the same time).

   With --hold the program prints READY when the graph is built and waits for a
   line on standard input, so that several processes can be made to trace at the
   same time.  */

#include "bench-allocate.h"
#include "bench-main.h"

static size_t graph_bytes = (size_t)256 << 20;
static int collections = 10;
static const char *shape = "shuffled";
static int hold = 0;

static uint64_t objects_live;
/* When the measured collections began.  */
static struct bench_pauses before;
static uint64_t cpu_usec_before;

static const struct bench_option options[] = {
    {"live", "BYTES", "Size of the graph.", BENCH_OPTION_SIZE, &graph_bytes,
     1 << 10, 1e13},
    {"collections", "N", "Number of forced collections.", BENCH_OPTION_INT,
     &collections, 1, 1e7},
    {"shape", "NAME", "shuffled, tree or list.", BENCH_OPTION_STRING, &shape, 0,
     0},
    {"hold", NULL, "Wait for a line on standard input.", BENCH_OPTION_FLAG,
     &hold, 0, 0},
    BENCH_OPTIONS_END};

static uint64_t node_count(void) {
  return graph_bytes / bench_footprint(sizeof(struct quad));
}

/* While the graph is built there is also a table of its nodes.  */
static size_t live_bytes(const struct bench *bench) {
  if (strcmp(shape, "shuffled") && strcmp(shape, "tree") &&
      strcmp(shape, "list"))
    bench_usage_error(bench->program->name, "unknown shape", shape);
  if (bench->thread_count != 1)
    bench_usage_error(bench->program->name, "option not supported",
                      "--threads");
  return node_count() * bench_footprint(sizeof(struct quad)) +
         bench_large_footprint(vector_size_for(node_count()));
}

static void link_kid(struct bench_thread *t, struct quad *quad, int i,
                     struct quad *kid) {
  BENCH_STORE(t->mut, quad, sizeof(struct quad), kids[i], kid);
}

static void make_nodes(struct bench_thread *t, struct vector *new_table) {
  BENCH_LOCAL(struct vector, table, new_table);
  BENCH_PUSH(&t->roots, table);
  uint64_t count = node_count();
  for (uint64_t i = 0; i < count; i++) {
    struct quad *quad = allocate_quad(t->mut);
    BENCH_STORE(t->mut, table.v, vector_size(table.v), slots[i], (void *)quad);
  }
  BENCH_POP(&t->roots, table);
}

static void swap_slots(struct bench_thread *t, struct vector *table, uint64_t i,
                       uint64_t j) {
  void *a = table->slots[i], *b = table->slots[j];
  size_t size = vector_size(table);
  BENCH_STORE(t->mut, table, size, slots[i], b);
  BENCH_STORE(t->mut, table, size, slots[j], a);
}

/* The table gives the breadth-first order of the tree; a node's value is its
   place in that order.  Allocates nothing.  */
static void link_nodes(struct bench_thread *t, struct vector *table) {
  uint64_t count = node_count();
  if (strcmp(shape, "shuffled") == 0)
    for (uint64_t i = count - 1; i > 0; i--)
      swap_slots(t, table, i, bench_random_below(t, i + 1));
  for (uint64_t i = 0; i < count; i++) {
    struct quad *quad = table->slots[i];
    quad->value = i;
    if (strcmp(shape, "list") == 0) {
      if (i + 1 < count)
        link_kid(t, quad, 0, table->slots[i + 1]);
      continue;
    }
    for (uint64_t kid = 0; kid < 3 && 3 * i + kid + 1 < count; kid++)
      link_kid(t, quad, (int)kid, table->slots[3 * i + kid + 1]);
    link_kid(t, quad, 3, table->slots[bench_random_below(t, count)]);
  }
}

static void setup(struct bench_thread *t) {
  BENCH_LOCAL(struct vector, table, NULL);
  BENCH_PUSH(&t->roots, table);
  table.v = allocate_vector(t->mut, node_count());
  make_nodes(t, table.v);
  link_nodes(t, table.v);
  t->bench->shared->v = table.v->slots[0];
  /* A stale reference to the table must not keep anything alive.  */
  memset(table.v->slots, 0, node_count() * sizeof(void *));
  table.v = NULL;
  BENCH_POP(&t->roots, table);
  /* The first collection may be of another kind, and frees the table.  */
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  if (hold) {
    puts("READY");
    fflush(stdout);
    while (getchar() != '\n' && !feof(stdin))
      continue;
  }
}

static void run(struct bench_thread *t) {
  before = t->bench->pauses;
  cpu_usec_before = t->bench->basic_stats.cpu_collector_usec;
  for (int i = 0; i < collections; i++)
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
}

/* Returns the sum of the values on a path that depends on the structure; the
   whole tree is walked without recursion for the list's sake.  */
static uint64_t walk_list(struct quad *quad) {
  uint64_t sum = 0;
  for (; quad; quad = quad->kids[0], objects_live++) {
    BENCH_CHECK(quad->value == objects_live, "the list is out of order");
    sum += quad->value;
  }
  return sum;
}

static uint64_t walk_tree(struct quad *quad, uint64_t place) {
  BENCH_CHECK(quad && quad->value == place,
              "node %" PRIu64 " is not in its place", place);
  BENCH_CHECK(quad->kids[3] && quad->kids[3]->value < node_count(),
              "node %" PRIu64 " has a wrong edge", place);
  uint64_t sum = quad->value;
  objects_live++;
  for (uint64_t kid = 0; kid < 3 && 3 * place + kid + 1 < node_count(); kid++)
    sum += walk_tree(quad->kids[kid], 3 * place + kid + 1);
  return sum;
}

static void verify(struct bench_thread *t) {
  struct quad *root = t->bench->shared->v;
  uint64_t n = node_count();
  uint64_t sum =
      strcmp(shape, "list") == 0 ? walk_list(root) : walk_tree(root, 0);
  BENCH_CHECK(objects_live == n && sum == n * (n - 1) / 2,
              "the graph has %" PRIu64 " nodes, not %" PRIu64, objects_live, n);
}

/* Rates over whole pauses, which every backend can report.  */
static void report(struct bench *bench, struct bench_results *results) {
  uint64_t nsec = bench->pauses.total_nsec - before.total_nsec;
  uint64_t cpu_usec = bench->basic_stats.cpu_collector_usec - cpu_usec_before;
  uint64_t done =
      bench_pauses_count(&bench->pauses) - bench_pauses_count(&before);
  double objects = (double)(objects_live * done);
  double size = (double)bench_footprint(sizeof(struct quad));
  bench_add_text(results, "shape", shape);
  bench_add_number(results, "graph_objects", (double)objects_live);
  bench_add_number(results, "forced_collections", (double)done);
  bench_add_number(results, "forced_pause_ms", (double)nsec / 1e6);
  bench_add_number(results, "graph_objects_per_s",
                   bench_per_second(objects, nsec));
  bench_add_number(results, "graph_objects_per_cpu_s",
                   bench_per_second(objects, cpu_usec * 1000));
  bench_add_number(results, "graph_bytes_per_s",
                   bench_per_second(objects * size, nsec));
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "trace",
      .summary = "Repeated collections of a large graph.",
      .options = options,
      .live_bytes = live_bytes,
      .setup = setup,
      .run = run,
      .verify = verify,
      .report = report};
  return bench_main(&program, argc, argv);
}
