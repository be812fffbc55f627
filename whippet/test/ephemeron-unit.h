/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the tests of ephemerons have in common: gc-ephemeron.c itself, and a
   fake heap around it.  */
#ifndef EPHEMERON_UNIT_H
#define EPHEMERON_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#undef GC_EMBEDDER
#define GC_EMBEDDER "../test/unit-embedder.h"
#include "../src/gc-ephemeron.c"

#include "fake-heap.h"

static const struct fake_phases phases = {
    .prepare = gc_pending_ephemerons_prepare,
    .deferred = gc_trace_deferred_ephemerons,
    .scan = gc_scan_pending_ephemerons,
    .sweep = gc_sweep_pending_ephemerons,
};

static struct gc_heap *make_heap(void) {
  struct gc_heap *heap = test_malloc(sizeof(*heap));
  fake_heap_init(heap);
  heap->pending = gc_make_pending_ephemerons();
  assert_non_null(heap->pending);
  fake_trace_ephemeron = gc_trace_ephemeron;
  fake_is_eager = gc_pending_ephemerons_eager;
  fake_is_empty = gc_pending_ephemerons_empty;
  fake_resolve = gc_resolve_pending_ephemerons;
  return heap;
}

static void free_heap(struct gc_heap *heap) {
  gc_free_pending_ephemerons(heap->pending);
  fake_heap_destroy(heap);
  test_free(heap);
}

static struct gc_ephemeron *
make_ephemeron(struct gc_heap *heap, struct gc_ref key, struct gc_ref value) {
  struct gc_ephemeron *e = fake_allocate(heap, FAKE_EPHEMERON);
  gc_ephemeron_init_internal(heap, e, key, value);
  return e;
}

static struct gc_ref make_object(struct gc_heap *heap) {
  return fake_ref(fake_allocate(heap, FAKE_OBJECT));
}

static struct gc_ref *field(struct gc_ref obj, int i) {
  return &((struct fake_object *)gc_ref_value(obj))->fields[i];
}

static void collect(struct gc_heap *heap, struct gc_ref *roots, size_t count) {
  fake_collect(heap, &phases, roots, count, 0);
  /* What must hold outside of collections.  */
  for (size_t i = 0; i < heap->count; i++)
    if (heap->objects[i]->kind == FAKE_EPHEMERON) {
      struct gc_ephemeron *e = (struct gc_ephemeron *)heap->objects[i];
      assert_int_equal(e->state, EPHEMERON_TRACED);
      assert_int_equal(gc_ref_is_null(e->key), gc_ref_is_null(e->value));
    }
}

#define assert_ref_equal(a, b) \
  assert_int_equal(gc_ref_value(a), gc_ref_value(b))
#define assert_ref_null(a) assert_int_equal(gc_ref_value(a), 0)

#endif // EPHEMERON_UNIT_H
