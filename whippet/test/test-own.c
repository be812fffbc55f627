/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ephemerons and finalizers for an embedder that traces no objects in heap-conservative
   builds, and whose headers of theirs have references.  */
/* Collectors: mmc parallel-generational-mmc heap-conservative-% */

#include "test-heap.h"
#include "test-own-embedder.h"

enum { SLOTS = 2000, EXTRA = 1000000 };

static const enum gc_collection_kind kinds[] = {
    GC_COLLECTION_MAJOR, GC_COLLECTION_MINOR, GC_COLLECTION_COMPACTING,
    GC_COLLECTION_MAJOR};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static struct test_heap *make_heap(void) {
  struct test_heap *t = test_heap_make("heap-size=16m", "verify");
  t->roots.precise.slots = calloc(SLOTS, sizeof(void *));
  t->roots.precise.count = SLOTS;
  return t;
}

/* Of those that should be dead, does a stale word keep too many?  */
static void check_dead(size_t dead, size_t expected) {
  assert_true(dead <= expected);
  assert_true(dead >= (TEST_EXACT ? expected : expected / 2));
}

static void __attribute__((noinline)) clear_stack(void) {
  volatile char bytes[16 * 1024];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = 0;
}

static void set_extra(struct test_heap *t, void *own, size_t size, int id) {
  struct own_header *header = own;
  struct test_handle handle = {own, NULL};
  test_push(t, &handle);
  struct test_box *extra = test_make_box(t->mut, EXTRA + id);
  test_pop(t, &handle);
  header = handle.ref;
  gc_write_barrier(t->mut, gc_ref_from_heap_object(header), size,
                   gc_edge(&header->extra), gc_ref_from_heap_object(extra));
  header->extra = extra;
}

static uintptr_t id_of(const void *box) {
  uintptr_t tag = ((const struct test_box *)box)->tag;
  assert_int_equal(TEST_TAG_KIND(tag), TEST_BOX);
  return TEST_TAG_ID(tag);
}

static uintptr_t id_of_ref(struct gc_ref ref) {
  return id_of(gc_ref_heap_object(ref));
}

/* Values and extras that only a chain of ephemerons holds, whose head is the root; keys
   are in the slots.  The key of each third is the value of the one before.  */
static void __attribute__((noinline)) build_ephemerons(struct test_heap *t) {
  struct test_handle key = {NULL, NULL}, value = {NULL, NULL};
  test_push(t, &key);
  test_push(t, &value);
  for (int i = 0; i < SLOTS; i++) {
    key.ref = i % 3 == 2 ? value.ref : test_make_box(t->mut, i);
    t->roots.precise.slots[i] = i % 3 == 2 ? NULL : key.ref;
    value.ref = test_make_box(t->mut, SLOTS + i);
    struct gc_ephemeron *e = test_make_ephemeron(t->mut, &key, &value);
    gc_ephemeron_chain_push((struct gc_ephemeron **)&t->root.ref, e);
    set_extra(t, e, gc_ephemeron_size(), i);
  }
  test_pop(t, &value);
  test_pop(t, &key);
}

static size_t __attribute__((noinline)) count_ephemerons(struct test_heap *t) {
  size_t count = 0;
  struct gc_ephemeron **head = (struct gc_ephemeron **)&t->root.ref;
  for (struct gc_ephemeron *e = gc_ephemeron_chain_head(head); e;
       e = gc_ephemeron_chain_next(e), count++) {
    uintptr_t id = id_of_ref(gc_ephemeron_value(e)) - SLOTS;
    assert_int_equal(id_of_ref(gc_ephemeron_key(e)),
                     id % 3 == 2 ? SLOTS + id - 1 : id);
    assert_int_equal(id_of(((struct own_header *)e)->extra), EXTRA + id);
  }
  return count;
}

static void collect(struct test_heap *t, enum gc_collection_kind kind) {
  test_make_garbage(t->mut, 100000);
  clear_stack();
  gc_collect(t->mut, kind);
}

static void test_ephemerons(void **state) {
  (void)state;
  struct test_heap *t = make_heap();
  build_ephemerons(t);
  for (int i = 0; i < KINDS; i++) {
    collect(t, kinds[i]);
    assert_int_equal(count_ephemerons(t), SLOTS);
  }
  for (int i = SLOTS / 2; i < SLOTS; i++)
    t->roots.precise.slots[i] = NULL;
  for (int i = 0; i < KINDS; i++)
    collect(t, kinds[i]);
  check_dead(SLOTS - count_ephemerons(t), SLOTS / 2);
  test_heap_finish(t);
}

static void __attribute__((noinline)) build_finalizers(struct test_heap *t) {
  struct test_handle object = {NULL, NULL};
  test_push(t, &object);
  for (int i = 0; i < SLOTS; i++) {
    t->roots.precise.slots[i] = test_make_box(t->mut, SLOTS + i);
    object.ref = test_make_box(t->mut, i);
    struct gc_finalizer *f = gc_allocate_finalizer(t->mut);
    ((struct own_header *)f)->tag = TEST_TAG(TEST_FINALIZER, i);
    gc_finalizer_attach(t->mut, f, i % TEST_FINALIZER_PRIORITIES,
                        gc_ref_from_heap_object(object.ref),
                        gc_ref_from_heap_object(t->roots.precise.slots[i]));
    t->roots.precise.slots[i] = object.ref;
    set_extra(t, f, gc_finalizer_size(), i);
  }
  test_pop(t, &object);
}

static size_t __attribute__((noinline)) pop_finalizers(struct test_heap *t) {
  size_t count = 0;
  struct gc_finalizer *f;
  while ((f = gc_pop_finalizable(t->mut))) {
    uintptr_t id = id_of_ref(gc_finalizer_object(f));
    assert_true(id >= SLOTS / 2);
    assert_int_equal(id_of_ref(gc_finalizer_closure(f)), SLOTS + id);
    assert_int_equal(id_of(((struct own_header *)f)->extra), EXTRA + id);
    count++;
  }
  return count;
}

static void test_finalizers(void **state) {
  (void)state;
  struct test_heap *t = make_heap();
  build_finalizers(t);
  for (int i = 0; i < KINDS; i++) {
    collect(t, kinds[i]);
    assert_int_equal(pop_finalizers(t), 0);
  }
  for (int i = SLOTS / 2; i < SLOTS; i++)
    t->roots.precise.slots[i] = NULL;
  /* Fired ones stay in the queue meanwhile.  */
  for (int i = 0; i < KINDS; i++)
    collect(t, kinds[i]);
  check_dead(pop_finalizers(t), SLOTS / 2);
  test_heap_finish(t);
}

/* A thread may be stopped before it has initialised what it has allocated.  */
static void test_not_initialised(void **state) {
  (void)state;
  struct test_heap *t = make_heap();
  for (int i = 0; i < SLOTS; i += 2) {
    t->roots.precise.slots[i] = gc_allocate_ephemeron(t->mut);
    t->roots.precise.slots[i + 1] = gc_allocate_finalizer(t->mut);
  }
  for (int i = 0; i < KINDS; i++)
    collect(t, kinds[i]);
  for (int i = 0; i < SLOTS; i += 2) {
    struct gc_ref box = gc_ref((uintptr_t)test_make_box(t->mut, i));
    *(uintptr_t *)t->roots.precise.slots[i] = TEST_TAG(TEST_EPHEMERON, 0);
    gc_ephemeron_init(t->mut, t->roots.precise.slots[i], box, box);
    *(uintptr_t *)t->roots.precise.slots[i + 1] = TEST_TAG(TEST_FINALIZER, 0);
    gc_finalizer_attach(t->mut, t->roots.precise.slots[i + 1], 0, box, box);
  }
  for (int i = 0; i < KINDS; i++)
    collect(t, kinds[i]);
  assert_null(gc_pop_finalizable(t->mut));
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ephemerons),
      cmocka_unit_test(test_finalizers),
      cmocka_unit_test(test_not_initialised),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
