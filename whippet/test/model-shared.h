/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The model checker's shared objects: two tables, one of them a large object,
   into whose fields all threads store lists that need no shadow: the identity
   of each element follows from that of the one before.  */

#ifndef MODEL_SHARED_H
#define MODEL_SHARED_H

#include "gc-preempt.h"
#include "model-ops.h"

#define MODEL_TABLES 2
static const uint32_t model_table_sizes[MODEL_TABLES] = {700, 3000};

static struct gc_heap_roots model_heap_roots;
static struct test_handle model_tables[MODEL_TABLES];

static int shared_make_tables(struct gc_mutator *mut) {
  for (int i = 0; i < MODEL_TABLES; i++) {
    struct test_node *table = gc_allocate(
        mut, test_node_bytes(model_table_sizes[i], 0), GC_ALLOCATION_TAGGED);
    if (!table)
      return 0;
    table->edge_count = model_table_sizes[i];
    table->tag = TEST_TAG(TEST_NODE, i);
    model_tables[i].ref = table;
    model_tables[i].next = model_heap_roots.handles;
    model_heap_roots.handles = &model_tables[i];
  }
  return 1;
}

static void shared_check_list(struct world *w, void *list) {
  uint64_t expected = 0;
  for (int i = 0;; i++) {
    uintptr_t tag = *(uintptr_t *)list;
    MODEL_CHECK(w, i == 0 || TEST_TAG_ID(tag) == expected,
                "list of shared table is broken at %p", list);
    if (TEST_TAG_KIND(tag) == TEST_LEAF)
      return;
    MODEL_CHECK(w, TEST_TAG_KIND(tag) == TEST_BOX,
                "list of shared table is broken at %p: tag %zx", list, tag);
    expected = TEST_TAG_ID(tag) + 1;
    list = ((struct test_box *)list)->edge;
  }
}

/* A fresh list, in the last precise slot.  */
static void *shared_make_list(struct world *w) {
  int slot = MODEL_PRECISE_SLOTS - 1;
  uint64_t id = (model_random(w) >> 16) + 100;
  world_set_slot(w, slot, NULL, NULL);
  struct test_leaf *leaf =
      gc_allocate(w->mut, sizeof(*leaf), GC_ALLOCATION_TAGGED);
  if (!leaf)
    return NULL;
  leaf->tag = TEST_TAG(TEST_LEAF, id);
  *world_slot(w, slot) = leaf;
  for (int n = model_below(w, 8); n; n--) {
    struct test_box *box =
        gc_allocate(w->mut, sizeof(*box), GC_ALLOCATION_TAGGED);
    if (!box)
      break;
    box->tag = TEST_TAG(TEST_BOX, --id);
    box->edge = *world_slot(w, slot);
    *world_slot(w, slot) = box;
  }
  void *list = *world_slot(w, slot);
  *world_slot(w, slot) = NULL;
  return list;
}

static void op_shared(struct world *w) {
  int t = model_below(w, MODEL_TABLES);
  uint32_t size = model_table_sizes[t];
  for (int n = 1 + model_below(w, 8); n; n--) {
    void *list = model_one_in(w, 2) ? shared_make_list(w) : NULL;
    struct test_node *table = model_tables[t].ref;
    void **loc = &table->edges[model_below(w, size)];
    if (list) {
      gc_write_barrier(w->mut, gc_ref_from_heap_object(table),
                       test_node_bytes(size, 0), gc_edge(loc),
                       gc_ref_from_heap_object(list));
      gc_atomic_store(loc, list);
    }
    list = gc_atomic_load(&table->edges[model_below(w, size)]);
    if (list)
      shared_check_list(w, list);
    if (list && model_one_in(w, 64))
      gc_pin_object(w->mut, gc_ref_from_heap_object(list));
  }
}

/* Foreign code: a thread there may be parked by a signal.  */
static __thread volatile sig_atomic_t model_in_foreign_code;

static int model_may_park(uintptr_t pc, void *ucontext, void *data) {
  (void)pc;
  (void)ucontext;
  (void)data;
  return model_in_foreign_code;
}

static void op_foreign(struct world *w) {
  model_in_foreign_code = 1;
  for (volatile int i = model_below(w, 200000); i; i--)
    continue;
  model_in_foreign_code = 0;
}

#endif // MODEL_SHARED_H
