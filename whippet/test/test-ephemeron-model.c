/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ephemerons in random graphs, against a shadow in which reachability is
   computed by brute force; and together with finalizers.

   The seed of a random run is printed; the argument of the program sets it.
   The environment variable GC_TEST_QUICK makes the runs fewer.  */
/* Collectors: mmc */

/* Few ephemerons: defer them early.  */
static unsigned max_dead_steps;
#define EPHEMERON_MAX_DEAD_STEPS max_dead_steps

#include "ephemeron-unit.h"

#include "../src/gc-finalizer.c"

static uint64_t seed = 20240817;

/* ---- Random graphs against a shadow ---- */

#define NODES 200
#define ROOTS 6

enum { NOTHING = -1, IMMEDIATE = -2, FOREIGN = -3 };

struct node {
  int exists, old, reached, traced;
  enum fake_kind kind;
  int fields[FAKE_FIELDS];
  /* Ephemerons: the key is NOTHING when dead.  */
  int key, value, chain;
};

struct model {
  struct gc_heap *heap;
  struct gc_mutator mut;
  struct node nodes[NODES];
  void *address[NODES];
  int roots[ROOTS];
  uint64_t rng;
};

static int below(struct model *m, int n) {
  return fake_random(&m->rng) % n;
}

static struct gc_ref model_ref(struct model *m, int id) {
  switch (id) {
  case NOTHING:
    return gc_ref_null();
  case IMMEDIATE:
    return gc_ref(0xabcdef1);
  case FOREIGN:
    return fake_ref(fake_foreign);
  default:
    return fake_ref(m->address[id]);
  }
}

/* A node that is known to be reachable, or NOTHING.  */
static int model_pick(struct model *m) {
  int id = m->roots[below(m, ROOTS)];
  for (int steps = below(m, 8); id >= 0 && steps; steps--) {
    struct node *n = &m->nodes[id];
    int next = n->kind == FAKE_OBJECT ? n->fields[below(m, FAKE_FIELDS)]
               : below(m, 2)          ? n->chain
               : n->key != NOTHING    ? n->value
                                      : NOTHING;
    if (next < 0)
      break;
    id = next;
  }
  return id;
}

static int model_pick_key(struct model *m) {
  int r = below(m, 20);
  return r == 0 ? IMMEDIATE : r == 1 ? FOREIGN : model_pick(m);
}

static void model_allocate_object(struct model *m, int id) {
  struct fake_object *obj = fake_allocate(m->heap, FAKE_OBJECT);
  struct node *n = &m->nodes[id];
  *n = (struct node){.exists = 1, .kind = FAKE_OBJECT};
  obj->header.id = id;
  m->address[id] = obj;
  for (int i = 0; i < FAKE_FIELDS; i++) {
    n->fields[i] = below(m, 2) ? model_pick(m) : NOTHING;
    obj->fields[i] = model_ref(m, n->fields[i]);
  }
}

static void model_allocate_ephemeron(struct model *m, int id) {
  int key = model_pick_key(m), value = model_pick_key(m);
  if (key == NOTHING || value == NOTHING)
    return;
  int chain = model_pick(m);
  if (chain >= 0 && m->nodes[chain].kind != FAKE_EPHEMERON)
    chain = NOTHING;
  struct gc_ephemeron *e =
      make_ephemeron(m->heap, model_ref(m, key), model_ref(m, value));
  struct gc_ephemeron *head = chain >= 0 ? m->address[chain] : NULL;
  gc_ephemeron_chain_push(&head, e);
  e->header.id = id;
  m->address[id] = e;
  m->nodes[id] = (struct node){.exists = 1,
                               .kind = FAKE_EPHEMERON,
                               .key = key,
                               .value = value,
                               .chain = chain};
}

static void model_allocate(struct model *m) {
  for (int id = 0; id < NODES; id++)
    if (!m->nodes[id].exists) {
      if (below(m, 2))
        model_allocate_object(m, id);
      else
        model_allocate_ephemeron(m, id);
      if (m->nodes[id].exists)
        m->roots[below(m, ROOTS)] = id;
      return;
    }
}

static void model_mutate(struct model *m) {
  int id = model_pick(m);
  if (id < 0)
    return;
  struct node *n = &m->nodes[id];
  int target = model_pick(m);
  if (n->kind == FAKE_OBJECT) {
    int i = below(m, FAKE_FIELDS);
    n->fields[i] = target;
    *field(model_ref(m, id), i) = model_ref(m, target);
  } else if (below(m, 6) == 0) {
    gc_ephemeron_mark_dead(m->address[id]);
    n->key = n->value = NOTHING;
  } else if (target != NOTHING) {
    struct gc_ref old =
        gc_ephemeron_swap_value(&m->mut, m->address[id], model_ref(m, target));
    assert_ref_equal(old, model_ref(m, n->value));
    if (n->key != NOTHING)
      n->value = target;
  }
}

/* Mark ID as reached, and what it holds, except through ephemerons.  */
static void model_reach(struct model *m, int id, int is_minor) {
  static int stack[NODES * (FAKE_FIELDS + 2)];
  int depth = 0;
  stack[depth++] = id;
  while (depth) {
    id = stack[--depth];
    if (id < 0 || m->nodes[id].reached)
      continue;
    struct node *n = &m->nodes[id];
    n->reached = 1;
    if (n->kind == FAKE_OBJECT) {
      for (int i = 0; i < FAKE_FIELDS; i++)
        stack[depth++] = n->fields[i];
      continue;
    }
    if (is_minor && n->old)
      continue;
    n->traced = 1;
    while (n->chain >= 0 && m->nodes[n->chain].key == NOTHING)
      n->chain = m->nodes[n->chain].chain;
    stack[depth++] = n->chain;
  }
}

static int model_is_live(struct model *m, int id) {
  return id == IMMEDIATE || id == FOREIGN || (id >= 0 && m->nodes[id].reached);
}

/* The least fixed point, by brute force.  */
static void model_reach_all(struct model *m, int is_minor) {
  for (int i = 0; i < NODES; i++)
    m->nodes[i].reached = m->nodes[i].traced = 0;
  for (int i = 0; i < NODES && is_minor; i++)
    if (m->nodes[i].exists && m->nodes[i].old)
      model_reach(m, i, is_minor);
  for (int i = 0; i < ROOTS; i++)
    model_reach(m, m->roots[i], is_minor);
  for (int changed = 1; changed;) {
    changed = 0;
    for (int i = 0; i < NODES; i++) {
      struct node *n = &m->nodes[i];
      if (n->reached && n->kind == FAKE_EPHEMERON && model_is_live(m, n->key) &&
          !model_is_live(m, n->value)) {
        model_reach(m, n->value, is_minor);
        changed = 1;
      }
    }
  }
}

static void model_check_node(struct model *m, int id) {
  struct node *n = &m->nodes[id];
  assert_non_null(m->address[id]);
  if (n->kind == FAKE_OBJECT) {
    for (int i = 0; i < FAKE_FIELDS; i++)
      assert_ref_equal(*field(model_ref(m, id), i), model_ref(m, n->fields[i]));
    return;
  }
  struct gc_ephemeron *e = m->address[id];
  assert_ref_equal(gc_ephemeron_key(e), model_ref(m, n->key));
  assert_ref_equal(gc_ephemeron_value(e), model_ref(m, n->value));
  /* What was not traced may have been linked to the next live one.  */
  while (!n->traced && n->key == NOTHING && n->chain >= 0 &&
         m->nodes[n->chain].key == NOTHING && m->address[n->chain] != e->chain)
    n->chain = m->nodes[n->chain].chain;
  assert_ref_equal(fake_ref(e->chain), model_ref(m, n->chain));
}

static void model_collect(struct model *m, int is_minor) {
  struct gc_ref refs[ROOTS];
  size_t killed = 0, count = 0;
  model_reach_all(m, is_minor);
  for (int i = 0; i < NODES; i++) {
    struct node *n = &m->nodes[i];
    n->exists = n->exists && n->reached;
    n->old = n->exists;
    count += n->exists;
    if (n->exists && n->kind == FAKE_EPHEMERON && n->key != NOTHING &&
        !model_is_live(m, n->key)) {
      n->key = n->value = NOTHING;
      killed++;
    }
  }
  for (int i = 0; i < ROOTS; i++)
    refs[i] = model_ref(m, m->roots[i]);
  fake_collect(m->heap, &phases, refs, ROOTS, is_minor);
  assert_int_equal(m->heap->killed, killed);
  assert_int_equal(m->heap->count, count);
  memset(m->address, 0, sizeof(m->address));
  for (size_t i = 0; i < m->heap->count; i++)
    m->address[m->heap->objects[i]->id] = m->heap->objects[i];
  for (int i = 0; i < ROOTS; i++)
    assert_ref_equal(refs[i], model_ref(m, m->roots[i]));
  for (int i = 0; i < NODES; i++)
    if (m->nodes[i].exists)
      model_check_node(m, i);
}

static void run_model(uint64_t model_seed, int workers, int moving) {
  struct model *m = test_calloc(1, sizeof(*m));
  m->heap = make_heap();
  m->heap->workers = workers;
  m->heap->moving = moving;
  max_dead_steps = model_seed / 8 % 4;
  m->heap->yield_every = model_seed % 3 ? 5 + model_seed % 50 : 0;
  m->mut.heap = m->heap;
  m->rng = model_seed * 2 + 1;
  for (int i = 0; i < ROOTS; i++)
    m->roots[i] = NOTHING;
  for (int cycle = 0; cycle < 12; cycle++) {
    for (int i = 0; i < 150; i++)
      if (below(m, 3))
        model_allocate(m);
      else
        model_mutate(m);
    for (int i = below(m, 4); i > 0; i--)
      m->roots[below(m, ROOTS)] = NOTHING;
    model_collect(m, below(m, 2));
  }
  free_heap(m->heap);
  test_free(m);
}

static void test_random_graphs(void **state) {
  (void)state;
  print_message("seed %llu\n", (unsigned long long)seed);
  int runs = getenv("GC_TEST_QUICK") ? 40 : 400;
  for (int i = 0; i < runs; i++)
    run_model(seed + i, 1 + i % 4, i / 4 % 2);
}

/* ---- Together with finalizers ---- */

static struct gc_heap *make_heap_with_finalizers(void) {
  struct gc_heap *heap = make_heap();
  heap->priorities = 1;
  heap->finalizers = gc_make_finalizer_state(1);
  fake_trace_finalizer = gc_trace_finalizer;
  return heap;
}

static void free_heap_with_finalizers(struct gc_heap *heap) {
  gc_free_finalizer_state(heap->finalizers);
  free_heap(heap);
}

static struct fake_phases phases_with_finalizers(int sweep_first) {
  struct fake_phases ret = phases;
  ret.finalizer_roots = gc_visit_finalizer_roots;
  ret.resolve = gc_resolve_finalizers;
  ret.sweep_first = sweep_first;
  return ret;
}

static void attach_finalizer(struct gc_heap *heap, struct gc_ref object) {
  gc_finalizer_attach_internal(heap->finalizers,
                               fake_allocate(heap, FAKE_FINALIZER), 0, object,
                               gc_ref_null());
}

/* The key of an ephemeron is resurrected: the association holds, unless
   ephemerons are swept before finalizers are looked at.  */
static void test_resurrected_key(void **state) {
  (void)state;
  for (int variant = 0; variant < 4; variant++) {
    int sweep_first = variant % 2;
    struct gc_heap *heap = make_heap_with_finalizers();
    struct fake_phases p = phases_with_finalizers(sweep_first);
    heap->moving = variant / 2;
    struct gc_ref key = make_object(heap), value = make_object(heap);
    struct gc_ref root = fake_ref(make_ephemeron(heap, key, value));
    attach_finalizer(heap, key);
    fake_collect(heap, &p, &root, 1, 0);
    assert_int_equal(heap->fired, 1);
    assert_int_equal(heap->killed, sweep_first);
    assert_int_equal(heap->count, sweep_first ? 3 : 4);
    struct gc_finalizer *f = gc_finalizer_state_pop(heap->finalizers);
    struct gc_ephemeron *e = (struct gc_ephemeron *)gc_ref_value(root);
    assert_ref_equal(gc_ephemeron_key(e),
                     sweep_first ? gc_ref_null() : gc_finalizer_object(f));
    free_heap_with_finalizers(heap);
  }
}

/* Ephemerons that only a fired finalizer reaches, in all states: dead, with a
   dead key, with a key that is found live after them.  Nothing was pending
   before, so that the trace is still lazy.  */
static void test_resurrected_ephemerons(void **state) {
  (void)state;
  for (int variant = 0; variant < 8; variant++) {
    struct gc_heap *heap = make_heap_with_finalizers();
    struct fake_phases p = phases_with_finalizers(variant % 2);
    heap->moving = variant / 2 % 2;
    max_dead_steps = variant / 4;
    struct gc_ref object = make_object(heap), box = make_object(heap);
    struct gc_ref key = make_object(heap), chain = gc_ref_null();
    *field(object, 0) = box;
    *field(box, 0) = key;
    struct gc_ephemeron **loc = (struct gc_ephemeron **)&chain;
    gc_ephemeron_chain_push(loc, make_ephemeron(heap, key, make_object(heap)));
    gc_ephemeron_chain_push(loc, make_ephemeron(heap, key, key));
    gc_ephemeron_chain_push(loc,
                            make_ephemeron(heap, make_object(heap), object));
    for (int i = 0; i < 2; i++) {
      struct gc_ephemeron *dead = make_ephemeron(heap, key, key);
      gc_ephemeron_chain_push(loc, dead);
      gc_ephemeron_mark_dead(dead);
    }
    *field(object, 1) = chain;
    attach_finalizer(heap, object);
    fake_collect(heap, &p, NULL, 0, 0);
    assert_int_equal(heap->fired, 1);
    assert_int_equal(heap->killed, 1);
    assert_int_equal(heap->deferrals, max_dead_steps == 0);
    object = gc_finalizer_object(gc_finalizer_state_pop(heap->finalizers));
    loc = (struct gc_ephemeron **)field(object, 1);
    size_t length = 0;
    for (struct gc_ephemeron *e = gc_ephemeron_chain_head(loc); e;
         e = gc_ephemeron_chain_next(e), length++)
      assert_ref_equal(gc_ephemeron_key(e), *field(*field(object, 0), 0));
    assert_int_equal(length, 2);
    free_heap_with_finalizers(heap);
  }
}

int main(int argc, char **argv) {
  if (argc > 1)
    seed = strtoull(argv[1], NULL, 0);
  gc_platform_init();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_graphs),
      cmocka_unit_test(test_resurrected_key),
      cmocka_unit_test(test_resurrected_ephemerons),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
