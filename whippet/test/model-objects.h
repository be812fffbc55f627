/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The model checker's real objects: how they are made and what they must
   contain, and the comparison of the heap with the shadow graph.  */

#ifndef MODEL_OBJECTS_H
#define MODEL_OBJECTS_H

#include "gc-allocate.h"
#include "gc-barrier.h"
#include "gc-ephemeron.h"
#include "gc-finalizer.h"
#include "model-shadow.h"

/* Word I of the payload of the object ID: never a valid reference.  */
static inline uint64_t model_pattern(uint64_t id, size_t i) {
  return model_mix(id * 31 + i) | 1;
}

static const enum test_kind model_test_kinds[] = {
    [MODEL_LEAF] = TEST_LEAF,           [MODEL_BOX] = TEST_BOX,
    [MODEL_NODE] = TEST_NODE,           [MODEL_BYTES] = TEST_BYTES,
    [MODEL_EPHEMERON] = TEST_EPHEMERON, [MODEL_EXTERN] = TEST_EXTERN};

static inline int model_is_tagged(enum model_kind kind) {
  return kind != MODEL_RAW && kind != MODEL_AMBIGUOUS;
}

static inline uintptr_t model_tag(const struct shadow *s) {
  return TEST_TAG(model_test_kinds[s->kind], s->id);
}

static enum gc_allocation_kind model_allocation_kind(enum model_kind kind) {
  switch (kind) {
  case MODEL_BYTES:
    return GC_ALLOCATION_TAGGED_POINTERLESS;
  case MODEL_RAW:
    return GC_ALLOCATION_UNTAGGED_POINTERLESS;
  case MODEL_AMBIGUOUS:
    return GC_ALLOCATION_UNTAGGED_CONSERVATIVE;
  default:
    return GC_ALLOCATION_TAGGED;
  }
}

static void **model_edges(void *ref, enum model_kind kind) {
  switch (kind) {
  case MODEL_BOX:
    return &((struct test_box *)ref)->edge;
  case MODEL_NODE:
    return ((struct test_node *)ref)->edges;
  case MODEL_EXTERN:
    return ((struct test_extern *)ref)->edges;
  case MODEL_AMBIGUOUS:
    return ref;
  default:
    return NULL;
  }
}

/* Words of pattern in the object.  */
static uint64_t *model_payload(void *ref, const struct shadow *s,
                               size_t *words) {
  switch (s->kind) {
  case MODEL_NODE:
    *words = ((struct test_node *)ref)->payload_words;
    return test_node_payload(ref);
  case MODEL_BYTES:
    *words = (s->bytes - sizeof(struct test_bytes)) / sizeof(uint64_t);
    return (uint64_t *)((struct test_bytes *)ref)->payload;
  case MODEL_RAW:
    *words = s->bytes / sizeof(uint64_t);
    return ref;
  case MODEL_AMBIGUOUS:
    *words = s->bytes / sizeof(uint64_t) - s->edge_count;
    return (uint64_t *)ref + s->edge_count;
  default:
    *words = 0;
    return NULL;
  }
}

/* The new object REF must be zero; write header and payload.  */
static void model_initialize(struct world *w, void *ref,
                             const struct shadow *s) {
  const uint8_t *bytes = ref;
  for (size_t i = 0; i < s->bytes; i++)
    MODEL_CHECK(w, !bytes[i],
                "new object %p of kind %d: byte %zu of %zu is "
                "not zero",
                ref, s->kind, i, s->bytes);
  if (model_is_tagged(s->kind))
    *(uintptr_t *)ref = model_tag(s);
  if (s->kind == MODEL_NODE) {
    struct test_node *node = ref;
    node->edge_count = s->edge_count;
    node->payload_words =
        (s->bytes - test_node_bytes(s->edge_count, 0)) / sizeof(uint64_t);
  } else if (s->kind == MODEL_BYTES) {
    ((struct test_bytes *)ref)->size = s->bytes;
  }
  size_t words;
  uint64_t *payload = model_payload(ref, s, &words);
  for (size_t i = 0; i < words; i++)
    payload[i] = model_pattern(s->id, i);
}

static inline void model_check_tag(struct world *w, void *ref,
                                   const struct shadow *s) {
  MODEL_CHECK(w, ref, "object %llx of kind %d is gone",
              (unsigned long long)s->id, s->kind);
  if (model_is_tagged(s->kind))
    MODEL_CHECK(w, *(uintptr_t *)ref == model_tag(s),
                "object %llx at %p: tag is %zx, should be %zx",
                (unsigned long long)s->id, ref, *(uintptr_t *)ref,
                model_tag(s));
}

static void model_check_contents(struct world *w, void *ref,
                                 const struct shadow *s) {
  model_check_tag(w, ref, s);
  if (s->kind == MODEL_NODE)
    MODEL_CHECK(w, ((struct test_node *)ref)->edge_count == s->edge_count,
                "object %p: length changed", ref);
  if (s->kind == MODEL_BYTES)
    MODEL_CHECK(w, ((struct test_bytes *)ref)->size == s->bytes,
                "object %p: size changed", ref);
  size_t words;
  const uint64_t *payload = model_payload(ref, s, &words);
  for (size_t i = 0; i < words; i++)
    MODEL_CHECK(w, payload[i] == model_pattern(s->id, i),
                "object %llx of kind %d, %zu bytes, at %p: word %zu of payload "
                "is %llx",
                (unsigned long long)s->id, s->kind, s->bytes, ref, i,
                (unsigned long long)payload[i]);
  if (s->kind == MODEL_EXTERN)
    return;
  MODEL_CHECK(w, gc_heap_contains(w->heap, gc_ref_from_heap_object(ref)),
              "heap does not contain %p", ref);
  MODEL_CHECK(w, !s->pinned_at || s->pinned_at == (uintptr_t)ref,
              "pinned object moved from %zx to %p", s->pinned_at, ref);
}

/* Root slots.  */

static void **world_slot(struct world *w, int i) {
  struct world_slots *slots = w->slots;
  if (i < MODEL_PRECISE_SLOTS)
    return &slots->precise[i];
  i -= MODEL_PRECISE_SLOTS;
  if (i < MODEL_PINNED_SLOTS)
    return &slots->pinned[i];
  return &slots->ambiguous[i - MODEL_PINNED_SLOTS];
}

/* Ambiguous slots may point into the object.  */
static size_t *world_slot_offset(struct world *w, int i) {
  static size_t zero;
  i -= MODEL_PRECISE_SLOTS + MODEL_PINNED_SLOTS;
  return GC_CONSERVATIVE_ROOTS && i >= 0 ? &w->offsets[i] : &zero;
}

static void *world_get_slot(struct world *w, int i) {
  char *value = *world_slot(w, i);
  return value ? value - *world_slot_offset(w, i) : NULL;
}

static void world_set_slot(struct world *w, int i, void *ref,
                           struct shadow *s) {
  int interior = GC_CONSERVATIVE_ROOTS && s && s->kind != MODEL_EXTERN &&
                 i >= MODEL_PRECISE_SLOTS + MODEL_PINNED_SLOTS;
  size_t offset = interior ? model_below(w, s->bytes) : 0;
  if (interior || *world_slot_offset(w, i))
    *world_slot_offset(w, i) = offset;
  *world_slot(w, i) = ref ? (char *)ref + offset : NULL;
  w->shadow_slots[i] = (uintptr_t)s;
}

/* Comparison.  */

struct model_pair {
  void *ref;
  struct shadow *shadow;
};

struct comparison {
  struct world *world;
  int exact;
  struct model_pair *pairs;
  size_t count, capacity;
};

static void compare_push(struct comparison *c, void *ref, uintptr_t edge) {
  struct world *w = c->world;
  struct shadow *s = shadow_target(edge);
  if (!s) {
    MODEL_CHECK(w, (uintptr_t)ref == edge, "edge is %p, should be %zx", ref,
                edge);
    return;
  }
  MODEL_CHECK(w, s->mark == w->epoch, "model: shadow out of reach");
  if (s->visit == w->epoch) {
    MODEL_CHECK(w, s->addr == (uintptr_t)ref, "object %llx is both %zx and %p",
                (unsigned long long)s->id, s->addr, ref);
    return;
  }
  s->visit = w->epoch;
  s->addr = (uintptr_t)ref;
  if (c->count == c->capacity) {
    c->capacity = c->capacity ? c->capacity * 2 : 1024;
    c->pairs = realloc(c->pairs, c->capacity * sizeof(*c->pairs));
    if (!c->pairs)
      abort();
  }
  c->pairs[c->count++] = (struct model_pair){ref, s};
}

/* REF is the first ephemeron of a chain that is not broken, EDGE the shadow of
   the chain.  What the chain has lost must be allowed to be broken.  */
static uintptr_t compare_chain(struct comparison *c, struct gc_ephemeron *ref,
                               uintptr_t edge) {
  struct world *w = c->world;
  struct shadow *s = shadow_target(edge);
  while (s && (!ref || *(uintptr_t *)ref != model_tag(s))) {
    MODEL_CHECK(w, shadow_may_be_dead(w, s),
                "ephemeron %llx is lost from its chain",
                (unsigned long long)s->id);
    shadow_break(s);
    s = shadow_target(s->edges[EPHEMERON_CHAIN]);
  }
  MODEL_CHECK(w, s || !ref, "ephemeron %p is not of this chain", (void *)ref);
  if (s)
    compare_push(c, ref, (uintptr_t)s);
  return (uintptr_t)s;
}

static void compare_ephemeron(struct comparison *c, void *ref,
                              struct shadow *s) {
  struct world *w = c->world;
  struct gc_ephemeron *e = ref;
  void *key = (void *)gc_ref_value(gc_ephemeron_key(e));
  void *value = (void *)gc_ref_value(gc_ephemeron_value(e));
  if (!key) {
    MODEL_CHECK(w, shadow_may_be_dead(w, s),
                "ephemeron %llx was broken though its key is reachable",
                (unsigned long long)s->id);
    MODEL_CHECK(w, !value, "value of broken ephemeron %p", ref);
    shadow_break(s);
  } else {
    MODEL_CHECK(w, !s->dead, "ephemeron %p came back to life", ref);
    MODEL_CHECK(w, !c->exact || !shadow_may_be_dead(w, s),
                "ephemeron %llx survived its key", (unsigned long long)s->id);
    compare_push(c, key, s->edges[EPHEMERON_KEY]);
    compare_push(c, value, s->edges[EPHEMERON_VALUE]);
  }
  s->edges[EPHEMERON_CHAIN] =
      compare_chain(c, gc_ephemeron_chain_next(e), s->edges[EPHEMERON_CHAIN]);
}

static void compare_object(struct comparison *c, struct model_pair pair) {
  struct shadow *s = pair.shadow;
  model_check_contents(c->world, pair.ref, s);
  if (s->kind == MODEL_EPHEMERON) {
    compare_ephemeron(c, pair.ref, s);
    return;
  }
  void **edges = model_edges(pair.ref, s->kind);
  for (uint32_t i = 0; i < s->edge_count; i++)
    compare_push(c, edges[i], s->edges[i]);
}

/* Compare all that is reachable with the shadow.  EXACT: a full collection has
   just ended, and what is not reachable must be gone.  After
   world_compute_reachability; without a safepoint.  */
static void world_compare(struct world *w, int exact) {
  struct comparison c = {w, exact && w->exact, NULL, 0, 0};
  for (int i = 0; i < MODEL_SLOTS; i++)
    compare_push(&c, world_get_slot(w, i), w->shadow_slots[i]);
  for (int i = 0; i < MODEL_EXTERNS; i++)
    compare_push(&c, w->slots->externs[i], (uintptr_t)w->shadow_externs[i]);
  for (int i = 0; i < MODEL_CHAINS; i++)
    w->shadow_chains[i] = compare_chain(
        &c, gc_ephemeron_chain_head(&w->slots->chains[i]), w->shadow_chains[i]);
  while (c.count)
    compare_object(&c, c.pairs[--c.count]);
  free(c.pairs);
}

#endif // MODEL_OBJECTS_H
