/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Trees with four children.  Each thread keeps one large tree of which it
   replaces random subtrees, and between replacements makes trees that it drops
   at once.  The value of a leaf is a serial number, that of an inner node one
   more than the sum over its children, which the thread keeps so on the way
   from the root to a replaced subtree.  */

#include "bench-allocate.h"
#include "bench-main.h"

static int depth = 9;
static int short_depth = 5;
static int replace_depth = 2;
static int replacements = 10;
static int rounds = 10000;

static const struct bench_option options[] = {
    {"depth", "N", "Depth of each thread's long-lived tree.", BENCH_OPTION_INT,
     &depth, 1, 14},
    {"short-depth", "N", "Depth of short-lived trees.", BENCH_OPTION_INT,
     &short_depth, 0, 14},
    {"replace-depth", "N", "Depth of replaced subtrees.", BENCH_OPTION_INT,
     &replace_depth, 0, 14},
    {"replacements", "N", "Subtrees replaced per short-lived tree.",
     BENCH_OPTION_INT, &replacements, 0, 1e6},
    {"rounds", "N", "Short-lived trees made by each thread.", BENCH_OPTION_INT,
     &rounds, 1, 1e9},
    BENCH_OPTIONS_END};

static uint64_t tree_nodes(int levels_below) {
  return ((UINT64_C(4) << (2 * levels_below)) - 1) / 3;
}

static size_t live_bytes(const struct bench *bench) {
  return (tree_nodes(depth) + tree_nodes(short_depth)) *
         bench_footprint(sizeof(struct quad)) * (size_t)bench->thread_count;
}

/* Only the kids live across allocations.  The stores initialise an object that
   is younger than they are.  */
static struct quad *make_tree(struct bench_thread *t, int levels,
                              uint64_t *serial) {
  if (!levels) {
    struct quad *leaf = allocate_quad(t->mut);
    leaf->value = ++*serial;
    return leaf;
  }
  BENCH_HANDLE(struct quad) kids[4] = {{.v = NULL}};
  for (int i = 0; i < 4; i++) {
    BENCH_PUSH(&t->roots, kids[i]);
    kids[i].v = make_tree(t, levels - 1, serial);
  }
  struct quad *quad = allocate_quad(t->mut);
  quad->value = 1;
  for (int i = 0; i < 4; i++) {
    quad->kids[i] = kids[i].v;
    quad->value += kids[i].v->value;
  }
  for (int i = 3; i >= 0; i--)
    BENCH_POP(&t->roots, kids[i]);
  return quad;
}

static uint64_t check_tree(struct quad *quad, int levels) {
  BENCH_CHECK(quad, "a tree lacks a node at height %d", levels);
  if (levels) {
    uint64_t sum = 1;
    for (int i = 0; i < 4; i++)
      sum += check_tree(quad->kids[i], levels - 1);
    BENCH_CHECK(quad->value == sum,
                "node at height %d has value %" PRIu64
                ", its children give %" PRIu64,
                levels, quad->value, sum);
  } else {
    for (int i = 0; i < 4; i++)
      BENCH_CHECK(!quad->kids[i], "a leaf has children");
  }
  return quad->value;
}

static void replace_subtree(struct bench_thread *t, struct quad *root,
                            int levels, uint64_t *serial) {
  BENCH_LOCAL(struct quad, tree, root);
  BENCH_PUSH(&t->roots, tree);
  struct quad *fresh = make_tree(t, levels, serial);

  uint64_t path = bench_random(t);
  struct quad *parent = tree.v;
  uint64_t bits = path;
  for (int i = depth - 1; i > levels; i--, bits >>= 2)
    parent = parent->kids[bits & 3];
  uint64_t change = fresh->value - parent->kids[bits & 3]->value;
  BENCH_STORE(t->mut, parent, sizeof(struct quad), kids[bits & 3], fresh);

  struct quad *above = tree.v;
  for (int i = depth - 1; i >= levels; i--, path >>= 2) {
    above->value += change;
    above = above->kids[path & 3];
  }
  BENCH_POP(&t->roots, tree);
}

static void run(struct bench_thread *t) {
  BENCH_LOCAL(struct quad, tree, NULL);
  BENCH_PUSH(&t->roots, tree);
  uint64_t serial = (uint64_t)t->index << 40;
  int levels = replace_depth < depth ? replace_depth : depth - 1;
  tree.v = make_tree(t, depth, &serial);
  uint64_t count = bench_scaled(t->bench, rounds);
  for (uint64_t i = 0; i < count; i++) {
    for (int j = 0; j < replacements; j++)
      replace_subtree(t, tree.v, levels, &serial);
    check_tree(make_tree(t, short_depth, &serial), short_depth);
  }
  check_tree(tree.v, depth);
  BENCH_POP(&t->roots, tree);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "quad-trees",
      .summary = "A long-lived quad tree with replaced subtrees, and "
                 "short-lived trees.",
      .options = options,
      .live_bytes = live_bytes,
      .run = run};
  return bench_main(&program, argc, argv);
}
