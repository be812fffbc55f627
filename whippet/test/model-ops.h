/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The model checker's operations: each does the same to the heap and to the
   shadow graph.

   Between getting hold of a reference and its last use there is no safepoint:
   in builds with precise roots, locals are not roots.  */

#ifndef MODEL_OPS_H
#define MODEL_OPS_H

#include <pthread.h>

#include "gc-safepoint.h"
#include "model-objects.h"

struct pick {
  void *ref;
  struct shadow *shadow;
};

/* An object at a random distance from a random root, or null.  */
static struct pick world_pick(struct world *w) {
  struct pick p = {NULL, NULL};
  for (int tries = 0; tries < 4 && !p.ref; tries++) {
    int i = model_below(w, MODEL_SLOTS + MODEL_EXTERNS);
    if (i < MODEL_SLOTS)
      p = (struct pick){world_get_slot(w, i),
                        shadow_target(w->shadow_slots[i])};
    else
      p = (struct pick){w->slots->externs[i - MODEL_SLOTS],
                        w->shadow_externs[i - MODEL_SLOTS]};
  }
  if (!p.ref)
    return p;
  model_check_tag(w, p.ref, p.shadow);
  for (int steps = model_below(w, 12); steps; steps--) {
    void **edges = model_edges(p.ref, p.shadow->kind);
    if (!edges || !p.shadow->edge_count)
      break;
    uint32_t i = model_below(w, p.shadow->edge_count);
    struct shadow *next = shadow_target(p.shadow->edges[i]);
    if (!next)
      break;
    p = (struct pick){edges[i], next};
    model_check_tag(w, p.ref, p.shadow);
  }
  return p;
}

/* An object with fields.  */
static struct pick world_pick_holder(struct world *w) {
  struct pick p = {NULL, NULL};
  for (int tries = 0; tries < 6; tries++) {
    p = world_pick(w);
    if (p.ref && model_edges(p.ref, p.shadow->kind) && p.shadow->edge_count)
      return p;
  }
  return (struct pick){NULL, NULL};
}

static inline int world_random_slot(struct world *w) {
  return model_below(w, MODEL_SLOTS);
}

/* Field I of P gets TARGET, or EDGE if that is null.  */
static void world_store(struct world *w, struct pick p, uint32_t i,
                        struct pick target, uintptr_t edge) {
  void **loc = &model_edges(p.ref, p.shadow->kind)[i];
  if (target.ref) {
    /* The fast path asks for the age in the collector's tables.  */
    (p.shadow->kind == MODEL_EXTERN ? gc_write_barrier_slow : gc_write_barrier)(
        w->mut, gc_ref_from_heap_object(p.ref), p.shadow->bytes, gc_edge(loc),
        gc_ref_from_heap_object(target.ref));
    edge = (uintptr_t)target.shadow;
  }
  *loc = target.ref ? target.ref : (void *)edge;
  p.shadow->edges[i] = edge;
}

static uintptr_t world_random_immediate(struct world *w) {
  return model_random(w) << 3 | 1;
}

/* Allocation.  */

struct model_shape {
  enum model_kind kind;
  size_t bytes;
  uint32_t edges;
};

static size_t world_random_size(struct world *w) {
  switch (model_below(w, 40)) {
  case 0:
    return 8192 + model_below(w, 3) * 8 - 8; /* around the threshold */
  case 1:
    return 8192 + model_below(w, 40000);
  case 2:
    return model_one_in(w, 8) ? 128 * 1024 + model_below(w, 400000) : 4096;
  case 3:
  case 4:
  case 5:
    return 16 + model_below(w, 8100);
  default:
    return 16 + model_below(w, 200);
  }
}

static struct model_shape world_random_shape(struct world *w) {
  struct model_shape shape = {MODEL_LEAF, sizeof(struct test_leaf), 0};
  switch (model_below(w, 16)) {
  case 0:
    break;
  case 1:
  case 2:
  case 3:
    shape = (struct model_shape){MODEL_BOX, sizeof(struct test_box), 1};
    break;
  case 4:
    shape = (struct model_shape){MODEL_BYTES, world_random_size(w), 0};
    break;
  case 5:
    shape = (struct model_shape){MODEL_RAW, world_random_size(w) & ~7, 0};
    break;
  case 6:
  case 7:
    shape.kind = MODEL_AMBIGUOUS;
    shape.bytes = world_random_size(w) & ~(size_t)7;
    shape.edges = model_below(w, shape.bytes / 8 + 1);
    break;
  default: {
    shape.kind = MODEL_NODE;
    size_t words = world_random_size(w) / 8;
    shape.edges = model_below(w, words + 1);
    shape.bytes = test_node_bytes(shape.edges, words - shape.edges);
    break;
  }
  }
  return shape;
}

/* Returns null when the heap is full.  */
static struct pick world_allocate(struct world *w, struct model_shape shape) {
  enum gc_allocation_kind kind = model_allocation_kind(shape.kind);
  int pinned = kind == GC_ALLOCATION_TAGGED && model_one_in(w, 8);
  if (pinned)
    kind = GC_ALLOCATION_TAGGED_PINNED;
  void *ref = gc_allocate(w->mut, shape.bytes, kind);
  if (!ref)
    return (struct pick){NULL, NULL};
  struct shadow *s = shadow_make(w, shape.kind, shape.bytes, shape.edges);
  model_initialize(w, ref, s);
  if (pinned)
    s->pinned_at = (uintptr_t)ref;
  return (struct pick){ref, s};
}

/* Initialise up to a few fields, without barrier.  */
static void world_fill(struct world *w, struct pick p) {
  void **edges = model_edges(p.ref, p.shadow->kind);
  if (!edges || !p.shadow->edge_count)
    return;
  for (int n = model_below(w, 6); n; n--) {
    uint32_t i = model_below(w, p.shadow->edge_count);
    struct pick target = world_pick(w);
    if (!target.ref)
      continue;
    edges[i] = target.ref;
    p.shadow->edges[i] = (uintptr_t)target.shadow;
  }
}

static void world_drop_roots(struct world *w, int one_in) {
  for (int i = 0; i < MODEL_SLOTS; i++)
    if (model_one_in(w, one_in))
      world_set_slot(w, i, NULL, NULL);
  for (int i = 0; i < MODEL_CHAINS; i++)
    if (model_one_in(w, one_in)) {
      w->slots->chains[i] = NULL;
      w->shadow_chains[i] = 0;
    }
  for (int i = 0; i < MODEL_EXTERNS; i++)
    for (int j = 0; j < TEST_EXTERN_EDGES; j++)
      if (model_one_in(w, one_in)) {
        w->externs[i].edges[j] = NULL;
        w->shadow_externs[i]->edges[j] = 0;
      }
}

static void op_allocate(struct world *w) {
  struct pick p = world_allocate(w, world_random_shape(w));
  if (!p.ref) {
    world_drop_roots(w, 2);
    return;
  }
  world_fill(w, p);
  world_set_slot(w, world_random_slot(w), p.ref, p.shadow);
}

/* Short-lived objects, so that there are holes.  */
static void op_allocate_garbage(struct world *w) {
  for (int n = model_below(w, 400); n; n--) {
    struct model_shape shape = world_random_shape(w);
    void *ref =
        gc_allocate(w->mut, shape.bytes, model_allocation_kind(shape.kind));
    if (!ref)
      return;
    /* The collector may look at it in a conservative build.  */
    if (model_is_tagged(shape.kind))
      *(uintptr_t *)ref = TEST_TAG(TEST_LEAF, 0);
    if (shape.kind != MODEL_LEAF && shape.kind != MODEL_BYTES &&
        shape.kind != MODEL_RAW && shape.kind != MODEL_AMBIGUOUS) {
      struct test_node *node = ref;
      if (shape.kind == MODEL_BOX)
        node->tag = TEST_TAG(TEST_BOX, 0);
      else {
        node->payload_words = (shape.bytes - sizeof(*node)) / 8;
        node->tag = TEST_TAG(TEST_NODE, 0);
      }
    } else if (shape.kind == MODEL_BYTES) {
      ((struct test_bytes *)ref)->size = shape.bytes;
      ((struct test_bytes *)ref)->tag = TEST_TAG(TEST_BYTES, 0);
    }
  }
}

/* A list whose nodes are each allocated right after their successor.  */
static void op_allocate_list(struct world *w) {
  int slot = world_random_slot(w);
  for (int n = model_below(w, 300); n; n--) {
    struct model_shape shape = {MODEL_BOX, sizeof(struct test_box), 1};
    struct pick p = world_allocate(w, shape);
    if (!p.ref)
      return;
    ((struct test_box *)p.ref)->edge = world_get_slot(w, slot);
    p.shadow->edges[0] = w->shadow_slots[slot];
    world_set_slot(w, slot, p.ref, p.shadow);
  }
}

/* Mutation.  */

static void op_link(struct world *w) {
  for (int n = 1 + model_below(w, 16); n; n--) {
    struct pick p = world_pick_holder(w), target = world_pick(w);
    if (p.ref && target.ref)
      world_store(w, p, model_below(w, p.shadow->edge_count), target, 0);
  }
}

static void op_unlink(struct world *w) {
  struct pick p = world_pick_holder(w), none = {NULL, NULL};
  if (p.ref)
    world_store(w, p, model_below(w, p.shadow->edge_count), none,
                model_one_in(w, 2) ? world_random_immediate(w) : 0);
}

static void op_set_root(struct world *w) {
  struct pick p = world_pick(w);
  if (model_one_in(w, 4))
    p = (struct pick){NULL, NULL};
  world_set_slot(w, world_random_slot(w), p.ref, p.shadow);
}

static void op_pin(struct world *w) {
  struct pick p = world_pick(w);
  if (!p.ref || p.shadow->kind == MODEL_EXTERN)
    return;
  gc_pin_object(w->mut, gc_ref_from_heap_object(p.ref));
  p.shadow->pinned_at = (uintptr_t)p.ref;
}

static void op_resolve(struct world *w) {
  struct pick p = world_pick(w);
  if (!p.ref || p.shadow->kind == MODEL_EXTERN)
    return;
  uintptr_t addr = (uintptr_t)p.ref;
  int interior = model_one_in(w, 2);
  if (interior)
    addr += model_below(w, p.shadow->bytes);
  struct gc_ref found =
      gc_resolve_conservative_ref(w->heap, gc_conservative_ref(addr), interior);
  MODEL_CHECK(w, gc_ref_value(found) == (uintptr_t)p.ref,
              "%zx resolves to %zx instead of %p", addr, gc_ref_value(found),
              p.ref);
  /* Any other address gives nothing, or something in the heap.  */
  addr += model_below(w, 1 << 20);
  found =
      gc_resolve_conservative_ref(w->heap, gc_conservative_ref(addr), interior);
  MODEL_CHECK(w, gc_ref_is_null(found) || gc_heap_contains(w->heap, found),
              "%zx resolves to %zx, which is not in the heap", addr,
              gc_ref_value(found));
}

/* Ephemerons.  */

static struct pick world_make_ephemeron(struct world *w) {
  struct pick p = {NULL, NULL};
  struct gc_ephemeron *e = gc_allocate_ephemeron(w->mut);
  if (!e)
    return p;
  struct shadow *s =
      shadow_make(w, MODEL_EPHEMERON, gc_ephemeron_size(), EPHEMERON_EDGES);
  *(uintptr_t *)e = model_tag(s);
  struct pick key = world_pick(w), value = world_pick(w);
  uintptr_t key_word = (uintptr_t)key.ref, value_word = (uintptr_t)value.ref;
  s->edges[EPHEMERON_KEY] = (uintptr_t)key.shadow;
  s->edges[EPHEMERON_VALUE] = (uintptr_t)value.shadow;
  if (!key_word)
    s->edges[EPHEMERON_KEY] = key_word = world_random_immediate(w);
  if (!value_word)
    s->edges[EPHEMERON_VALUE] = value_word = world_random_immediate(w);
  gc_ephemeron_init(w->mut, e, gc_ref(key_word), gc_ref(value_word));
  return (struct pick){e, s};
}

static void op_ephemeron(struct world *w) {
  struct pick p = world_make_ephemeron(w);
  if (!p.ref)
    return;
  if (model_one_in(w, 2)) {
    int i = model_below(w, MODEL_CHAINS);
    p.shadow->edges[EPHEMERON_CHAIN] = w->shadow_chains[i];
    gc_ephemeron_chain_push(&w->slots->chains[i], p.ref);
    w->shadow_chains[i] = (uintptr_t)p.shadow;
  } else {
    world_set_slot(w, world_random_slot(w), p.ref, p.shadow);
  }
}

/* A chain of ephemerons, each with a fresh key and the previous one's key as
   value: the first key keeps them all.  */
static void op_ephemeron_cascade(struct world *w) {
  int slot = world_random_slot(w), chain = model_below(w, MODEL_CHAINS);
  struct model_shape leaf = {MODEL_LEAF, sizeof(struct test_leaf), 0};
  struct pick key = world_allocate(w, leaf);
  if (!key.ref)
    return;
  world_set_slot(w, slot, key.ref, key.shadow);
  for (int n = model_below(w, 100); n; n--) {
    key = world_allocate(w, leaf);
    if (!key.ref)
      return;
    int other = world_random_slot(w);
    if (other == slot)
      continue;
    world_set_slot(w, other, key.ref, key.shadow);
    struct gc_ephemeron *e = gc_allocate_ephemeron(w->mut);
    if (!e)
      return;
    struct shadow *s =
        shadow_make(w, MODEL_EPHEMERON, gc_ephemeron_size(), EPHEMERON_EDGES);
    *(uintptr_t *)e = model_tag(s);
    s->edges[EPHEMERON_KEY] = w->shadow_slots[other];
    s->edges[EPHEMERON_VALUE] = w->shadow_slots[slot];
    gc_ephemeron_init(w->mut, e, gc_ref((uintptr_t)world_get_slot(w, other)),
                      gc_ref((uintptr_t)world_get_slot(w, slot)));
    s->edges[EPHEMERON_CHAIN] = w->shadow_chains[chain];
    gc_ephemeron_chain_push(&w->slots->chains[chain], e);
    w->shadow_chains[chain] = (uintptr_t)s;
    world_set_slot(w, slot, world_get_slot(w, other),
                   shadow_target(w->shadow_slots[other]));
    world_set_slot(w, other, NULL, NULL);
  }
}

/* Something becomes reachable again that was not, and with it perhaps objects
   whose finalizers have fired already.  After world_compute_reachability.  */
static void world_note_resurrection(struct world *w) {
  for (int i = 0; i < MODEL_FINALIZERS; i++) {
    struct shadow_finalizer *f = &w->finalizers[i];
    if (f->active && !shadow_is_reached(w, f->object, LEVEL_STRONG))
      f->may_have_fired = 1;
  }
}

/* Look an ephemeron up, and take its key or value as a root.  */
static void world_use_ephemeron(struct world *w, struct gc_ephemeron *e,
                                struct shadow *s) {
  void *key = (void *)gc_ref_value(gc_ephemeron_key(e));
  void *value = (void *)gc_ref_value(gc_ephemeron_value(e));
  MODEL_CHECK(w, !key == !value, "half of ephemeron %p is dead", (void *)e);
  if (!key) {
    shadow_break(s);
    return;
  }
  MODEL_CHECK(w, !s->dead, "ephemeron %p came back to life", (void *)e);
  struct shadow *k = shadow_target(s->edges[EPHEMERON_KEY]);
  struct shadow *v = shadow_target(s->edges[EPHEMERON_VALUE]);
  if (k)
    model_check_contents(w, key, k);
  if (v)
    model_check_contents(w, value, v);
  world_compute_reachability(w);
  if (!shadow_is_reached(w, (uintptr_t)k, LEVEL_STRONG))
    world_note_resurrection(w);
  if (k && model_one_in(w, 3))
    world_set_slot(w, world_random_slot(w), key, k);
  if (v && model_one_in(w, 3))
    world_set_slot(w, world_random_slot(w), value, v);
}

static void op_use_ephemeron(struct world *w) {
  struct pick p = world_pick(w);
  if (!p.ref || p.shadow->kind != MODEL_EPHEMERON)
    return;
  struct gc_ephemeron *e = p.ref;
  struct shadow *s = p.shadow;
  /* That it is broken is a fact to be checked against what is reachable.  */
  if (gc_ref_is_null(gc_ephemeron_key(e)) && !s->dead) {
    world_compute_reachability(w);
    MODEL_CHECK(w, shadow_may_be_dead(w, s),
                "ephemeron %p was broken though its key is reachable", p.ref);
  }
  world_use_ephemeron(w, e, s);
  if (s->dead)
    return;
  struct pick value = world_pick(w);
  switch (model_below(w, 6)) {
  case 0:
  case 1: {
    if (!value.ref)
      return;
    struct gc_ref old =
        gc_ephemeron_swap_value(w->mut, e, gc_ref_from_heap_object(value.ref));
    MODEL_CHECK(w, !gc_ref_is_null(old), "swap in ephemeron %p", p.ref);
    s->edges[EPHEMERON_VALUE] = (uintptr_t)value.shadow;
    return;
  }
  case 2:
    gc_ephemeron_mark_dead(e);
    shadow_break(s);
    return;
  }
}

/* Finalizers.  */

static pthread_mutex_t finalizer_lock = PTHREAD_MUTEX_INITIALIZER;
static struct world *model_worlds;
static int model_world_count;

static uintptr_t finalizer_tag(uint32_t world, int i, uint64_t serial) {
  return TEST_TAG(TEST_FINALIZER, serial << 16 | i << 8 | world);
}

static void op_finalizer(struct world *w) {
  int i = model_below(w, MODEL_FINALIZERS);
  if (w->finalizers[i].active)
    return;
  struct gc_finalizer *f = gc_allocate_finalizer(w->mut);
  if (!f)
    return;
  uint64_t serial = w->next_id++ & 0xffffff;
  *(uintptr_t *)f = finalizer_tag(w->index, i, serial);
  struct pick object = world_pick(w), closure = world_pick(w);
  uintptr_t closure_word = (uintptr_t)closure.ref;
  uintptr_t closure_edge = (uintptr_t)closure.shadow;
  if (!closure_word || model_one_in(w, 2))
    closure_word = closure_edge = world_random_immediate(w);
  struct shadow_finalizer shadow = {.active = 1, .serial = serial};
  shadow.priority = model_below(w, TEST_FINALIZER_PRIORITIES);
  shadow.object = (uintptr_t)object.shadow;
  shadow.closure = closure_edge;
  if (!object.ref)
    return;
  gc_finalizer_attach(w->mut, f, shadow.priority,
                      gc_ref_from_heap_object(object.ref),
                      gc_ref(closure_word));
  w->finalizers[i] = shadow;
}

/* Finalizer F of this world has been popped.  */
static void world_finalize(struct world *w, struct gc_finalizer *f) {
  uint64_t id = TEST_TAG_ID(*(uintptr_t *)f);
  struct shadow_finalizer *shadow = &w->finalizers[id >> 8 & 0xff];
  MODEL_CHECK(w, shadow->active && shadow->serial == id >> 16,
              "finalizer %llx fired twice", (unsigned long long)id);
  world_compute_reachability(w);
  struct shadow *object = shadow_target(shadow->object);
  MODEL_CHECK(w,
              shadow->may_have_fired ||
                  !shadow_is_reached(w, shadow->object, LEVEL_STRONG),
              "finalizer %llx fired though object %llx is reachable",
              (unsigned long long)id, (unsigned long long)object->id);
  void *ref = (void *)gc_ref_value(gc_finalizer_object(f));
  void *closure = (void *)gc_ref_value(gc_finalizer_closure(f));
  model_check_contents(w, ref, object);
  if (shadow_target(shadow->closure))
    model_check_contents(w, closure, shadow_target(shadow->closure));
  else
    MODEL_CHECK(w, (uintptr_t)closure == shadow->closure,
                "closure of finalizer %llx", (unsigned long long)id);
  shadow->active = 0;
  if (!model_one_in(w, 3))
    return;
  world_set_slot(w, world_random_slot(w), ref, object);
  world_note_resurrection(w);
}

/* Hand finalizer F to the world it belongs to.  With the lock held.  */
static void deliver_finalizer(struct world *w, struct gc_finalizer *f) {
  uint32_t index = TEST_TAG_ID(*(uintptr_t *)f) & 0xff;
  MODEL_CHECK(w, index < (uint32_t)model_world_count,
              "popped something else than a finalizer");
  struct world *owner = &model_worlds[index];
  for (int i = 0; i < MODEL_FINALIZERS; i++)
    if (!owner->slots->inbox[i]) {
      owner->slots->inbox[i] = f;
      return;
    }
  MODEL_CHECK(w, 0, "more finalizers fired than there are");
}

/* Pop at most COUNT finalizers, and process what is this world's.  Returns how
   many those were.  */
static int world_pop_finalizers(struct world *w, int count) {
  struct gc_finalizer *mine[MODEL_FINALIZERS];
  int n = 0, empty = 0;
  pthread_mutex_lock(&finalizer_lock);
  while (count-- && !empty) {
    struct gc_finalizer *f = gc_pop_finalizable(w->mut);
    if (f)
      deliver_finalizer(w, f);
    else
      empty = 1;
  }
  for (int i = 0; i < MODEL_FINALIZERS; i++)
    if (w->slots->inbox[i]) {
      mine[n++] = w->slots->inbox[i];
      w->slots->inbox[i] = NULL;
    }
  pthread_mutex_unlock(&finalizer_lock);
  for (int i = 0; i < n; i++)
    world_finalize(w, mine[i]);
  if (empty)
    for (int i = 0; i < MODEL_FINALIZERS; i++)
      w->finalizers[i].may_have_fired = 0;
  return n;
}

static void op_pop_finalizers(struct world *w) {
  world_pop_finalizers(w, 1 + model_below(w, 4));
}

/* Collections.  */

static void world_check(struct world *w, int exact) {
  world_compute_reachability(w);
  if (exact && w->exact)
    for (int i = 0; i < MODEL_FINALIZERS; i++)
      MODEL_CHECK(
          w,
          !w->finalizers[i].active ||
              shadow_is_reached(w, w->finalizers[i].object, LEVEL_STRONG),
          "finalizer %d did not fire", i);
  world_compare(w, exact);
  world_sweep_shadows(w);
}

static void op_check(struct world *w) {
  world_check(w, 0);
  if (w->live_bytes > w->byte_limit)
    world_drop_roots(w, 2);
}

static void op_full_check(struct world *w) {
  enum gc_collection_kind kind =
      model_one_in(w, 2) ? GC_COLLECTION_MAJOR : GC_COLLECTION_COMPACTING;
  int quiet = 0;
  for (int i = 0; i < MODEL_FINALIZERS + 1 && !quiet; i++) {
    gc_collect(w->mut, kind);
    quiet = world_pop_finalizers(w, -1) == 0;
  }
  world_check(w, quiet);
  if (w->live_bytes > w->byte_limit)
    world_drop_roots(w, 2);
}

static void op_collect(struct world *w) {
  static const enum gc_collection_kind kinds[] = {
      GC_COLLECTION_ANY,   GC_COLLECTION_MINOR, GC_COLLECTION_MINOR,
      GC_COLLECTION_MINOR, GC_COLLECTION_MAJOR, GC_COLLECTION_COMPACTING};
  gc_collect(w->mut, kinds[model_below(w, 6)]);
  if (model_one_in(w, 3))
    op_check(w);
}

/* Threads.  */

static void *call_reactivated(struct gc_mutator *mut, void *data) {
  struct world *w = data;
  if (mut != w->mut)
    abort();
  op_allocate(w);
  gc_safepoint(mut);
  return data;
}

static void *call_deactivated(struct gc_mutator *mut, void *data) {
  struct world *w = data;
  if (model_one_in(w, 2) &&
      gc_reactivate_for_call(mut, call_reactivated, data) != data)
    abort();
  return data;
}

static void op_deactivate(struct world *w) {
  if (model_one_in(w, 2)) {
    gc_deactivate(w->mut);
    for (volatile int i = model_below(w, 1000); i; i--)
      continue;
    gc_reactivate(w->mut);
  } else if (gc_deactivate_for_call(w->mut, call_deactivated, w) != w) {
    abort();
  }
}

static void *world_attach_again(struct gc_stack_addr base, void *data) {
  struct world *w = data;
  w->mut = gc_init_for_thread(base, w->heap);
  MODEL_CHECK(w, w->mut, "attaching failed");
  gc_mutator_set_roots(w->mut, &w->roots);
  return NULL;
}

/* Leave the heap, and come back.  For threads that have nothing of it in their
   frames.  */
static void op_reattach(struct world *w) {
  /* For a while the roots are both the mutator's and the heap's.  */
  struct gc_mutator_roots *next = w->heap_view.next;
  w->heap_view = w->roots;
  w->heap_view.next = next;
  if (model_one_in(w, 2))
    gc_deactivate(w->mut);
  gc_finish_for_thread(w->mut);
  world_attach_again(gc_empty_stack_addr(), w);
  if (model_one_in(w, 4))
    gc_safepoint(w->mut);
  memset(&w->heap_view, 0, sizeof(w->heap_view));
  w->heap_view.next = next;
}

struct visitor {
  struct gc_heap *heap;
  uint64_t seed;
  int inactive;
};

static void *visitor_thread(void *data) {
  struct visitor *v = data;
  struct gc_mutator *mut = gc_init_for_thread(gc_empty_stack_addr(), v->heap);
  if (!mut)
    abort();
  for (uint64_t i = 0; i < v->seed % 300; i++) {
    struct test_leaf *leaf = gc_allocate(mut, 8, GC_ALLOCATION_TAGGED);
    if (leaf)
      leaf->tag = TEST_TAG(TEST_LEAF, i);
  }
  if (v->inactive)
    gc_deactivate(mut);
  gc_finish_for_thread(mut);
  return NULL;
}

static void *join_inactive(struct gc_mutator *mut, void *thread) {
  (void)mut;
  pthread_join(*(pthread_t *)thread, NULL);
  return NULL;
}

/* Another thread attaches for a while.  */
static void op_visitor(struct world *w) {
  struct visitor v = {w->heap, model_random(w), model_one_in(w, 2)};
  pthread_t thread;
  if (pthread_create(&thread, NULL, visitor_thread, &v) == 0)
    gc_deactivate_for_call(w->mut, join_inactive, &thread);
}

#endif // MODEL_OPS_H
