/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Binary trees with holes.  Each thread keeps one long-lived tree and makes
   many short-lived ones of various depths, alternately from the leaves up (all
   stores initialise) and from the root down (stores of young nodes into older
   ones).  Between nodes it allocates small garbage of random size, so that the
   nodes that survive a collection are spread out and memory is free only in
   holes between them.

   The value of a node follows from its place in its tree: the root has the
   tree's serial number V, the children of a node with value v have 2v and
   2v + 1.  */

#include "bench-allocate.h"
#include "bench-main.h"

static int long_lived_depth = 18;
static int max_depth = 16;
static int min_depth = 4;
static int hole_words = 4;

static const struct bench_option options[] = {
    {"depth", "N", "Depth of each thread's long-lived tree.", BENCH_OPTION_INT,
     &long_lived_depth, 0, 28},
    {"max-depth", "N", "Depth of the deepest short-lived tree.",
     BENCH_OPTION_INT, &max_depth, 0, 28},
    {"min-depth", "N", "Depth of the shallowest short-lived tree.",
     BENCH_OPTION_INT, &min_depth, 0, 28},
    {"hole-words", "N", "Greatest payload of a hole, in words; 0: no holes.",
     BENCH_OPTION_INT, &hole_words, 0, 1024},
    BENCH_OPTIONS_END};

static uint64_t tree_nodes(int depth) {
  return (UINT64_C(2) << depth) - 1;
}

static size_t live_bytes(const struct bench *bench) {
  return (tree_nodes(long_lived_depth) + tree_nodes(max_depth)) *
         bench_footprint(sizeof(struct node)) * (size_t)bench->thread_count;
}

/* After three nodes out of four there is a hole.  */
static void make_hole(struct bench_thread *t) {
  uint64_t r = bench_random(t);
  if (hole_words && (r & 3))
    allocate_hole(t->mut, ((r >> 32) * ((uint64_t)hole_words + 1)) >> 32);
}

static struct node *grow_up(struct bench_thread *t, int depth, uint64_t value) {
  BENCH_LOCAL(struct node, left, NULL);
  BENCH_LOCAL(struct node, right, NULL);
  BENCH_PUSH(&t->roots, left);
  BENCH_PUSH(&t->roots, right);
  if (depth) {
    left.v = grow_up(t, depth - 1, 2 * value);
    right.v = grow_up(t, depth - 1, 2 * value + 1);
  }
  make_hole(t);
  struct node *node = allocate_node(t->mut);
  node->value = value;
  node->left = left.v;
  node->right = right.v;
  BENCH_POP(&t->roots, right);
  BENCH_POP(&t->roots, left);
  return node;
}

static struct node *make_node(struct bench_thread *t, uint64_t value) {
  make_hole(t);
  struct node *node = allocate_node(t->mut);
  node->value = value;
  return node;
}

static void grow_kids(struct bench_thread *t, struct node *root, int depth) {
  if (!depth)
    return;
  BENCH_LOCAL(struct node, node, root);
  BENCH_PUSH(&t->roots, node);
  uint64_t value = root->value;
  struct node *kid = make_node(t, 2 * value);
  BENCH_STORE(t->mut, node.v, sizeof(struct node), left, kid);
  kid = make_node(t, 2 * value + 1);
  BENCH_STORE(t->mut, node.v, sizeof(struct node), right, kid);
  grow_kids(t, node.v->left, depth - 1);
  grow_kids(t, node.v->right, depth - 1);
  BENCH_POP(&t->roots, node);
}

static struct node *grow_down(struct bench_thread *t, int depth,
                              uint64_t value) {
  BENCH_LOCAL(struct node, root, NULL);
  BENCH_PUSH(&t->roots, root);
  root.v = make_node(t, value);
  grow_kids(t, root.v, depth);
  BENCH_POP(&t->roots, root);
  return root.v;
}

static void check_tree(struct node *node, int depth, uint64_t value) {
  BENCH_CHECK(node, "a tree lacks a node at height %d", depth);
  BENCH_CHECK(node->value == value,
              "node at height %d has value %" PRIu64 ", not %" PRIu64, depth,
              node->value, value);
  if (depth) {
    check_tree(node->left, depth - 1, 2 * value);
    check_tree(node->right, depth - 1, 2 * value + 1);
  } else {
    BENCH_CHECK(!node->left && !node->right, "a leaf has children");
  }
}

/* As many trees as have the nodes of sixteen trees of the greatest depth.  */
static void make_short_lived_trees(struct bench_thread *t, int depth,
                                   uint64_t *serial) {
  uint64_t count = bench_scaled(
      t->bench, 16.0 * (double)(UINT64_C(1) << (max_depth - depth)));
  for (uint64_t i = 0; i < count; i++) {
    uint64_t value = ++*serial;
    struct node *tree =
        (i & 1) ? grow_down(t, depth, value) : grow_up(t, depth, value);
    check_tree(tree, depth, value);
  }
}

static void run(struct bench_thread *t) {
  BENCH_LOCAL(struct node, long_lived, NULL);
  BENCH_PUSH(&t->roots, long_lived);
  uint64_t serial = (uint64_t)t->index << 32 | 1;
  uint64_t first = serial;
  long_lived.v = grow_down(t, long_lived_depth, first);
  for (int depth = min_depth; depth <= max_depth; depth += 2)
    make_short_lived_trees(t, depth, &serial);
  check_tree(long_lived.v, long_lived_depth, first);
  BENCH_POP(&t->roots, long_lived);
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "binary-trees",
      .summary = "Short-lived binary trees next to a long-lived one, with "
                 "holes between the nodes.",
      .options = options,
      .live_bytes = live_bytes,
      .run = run};
  return bench_main(&program, argc, argv);
}
