/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A heap that cannot grow and whose blocks each hold a little, of what moves or of
   what does not: all of their room must be of use to whoever needs it.  */

#include "../src/mmc.c"
#include "test-heap.h"
#include "unit.h"

#include <sys/resource.h>

#include "gc-inhibit.h"

#define HEAP_SIZE ((size_t)32 << 20)
#define HEAP_OPTIONS "heap-size=32m,parallelism=1"
#define OBJECT_BYTES 64
/* One object in each block lasts.  */
#define LASTING_EVERY (NOFL_BLOCK_SIZE / OBJECT_BYTES)
#define LASTING_MAX 1000

static uint64_t collections(struct test_heap *t) {
  return t->heap->started[GC_COLLECTION_ANY];
}

enum filling { MOVABLE, PINNED, RAW };

static void *make_filling(struct test_heap *t, enum filling what, int lasts) {
  if (what == RAW)
    return gc_allocate(t->mut, OBJECT_BYTES,
                       GC_ALLOCATION_UNTAGGED_POINTERLESS);
  struct test_node *node = test_make_node(t->mut, 0, 6);
  if (node && what == PINNED && lasts)
    gc_pin_object(t->mut, gc_ref_from_heap_object(node));
  return node;
}

/* Fill BYTES of the heap, or all that there is until a collection.  T's root becomes a
   node with what lasts.  Returns the number of those objects.  */
static size_t fill_sparsely(struct test_heap *t, enum filling what,
                            size_t bytes) {
  t->root.ref = test_make_node(t->mut, LASTING_MAX, 0);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  uint64_t before = collections(t);
  size_t count = 0;
  for (size_t i = 0; collections(t) == before && i < bytes / OBJECT_BYTES;
       i++) {
    int lasts = i % LASTING_EVERY == 0;
    void *obj = make_filling(t, what, lasts);
    assert_non_null(obj);
    if (!lasts)
      continue;
    if (what == RAW)
      memset(obj, 0x5a, OBJECT_BYTES);
    else
      ((struct test_node *)obj)->payload_words = 6;
    assert_true(count < LASTING_MAX);
    test_store(t->mut, t->root.ref, count++, obj);
  }
  assert_true(count > HEAP_SIZE / NOFL_BLOCK_SIZE / 2);
  return count;
}

static void check_filling(struct test_heap *t, enum filling what,
                          size_t count) {
  struct test_node *table = t->root.ref;
  for (size_t i = 0; i < count; i++) {
    void *obj = table->edges[i];
    if (what != RAW) {
      assert_int_equal(((struct test_node *)obj)->payload_words, 6);
      continue;
    }
    for (size_t j = 0; j < OBJECT_BYTES; j++)
      assert_int_equal(((uint8_t *)obj)[j], 0x5a);
  }
}

/* Objects of OBJECT_BYTES, linked by one edge.  */
static struct test_node *make_link(struct test_heap *t, void *next) {
  struct test_handle rest = {next, NULL};
  test_push(t, &rest);
  struct test_node *node = test_make_node(t->mut, 2, 4);
  test_pop(t, &rest);
  if (node)
    node->edges[0] = rest.ref;
  return node;
}

/* A list of raw objects, each with a link.  */
static struct test_node *make_raw_link(struct test_heap *t, void *next) {
  struct test_handle rest = {next, NULL}, raw = {NULL, NULL};
  test_push(t, &rest);
  raw.ref =
      gc_allocate(t->mut, OBJECT_BYTES * 7, GC_ALLOCATION_UNTAGGED_POINTERLESS);
  struct test_node *node = NULL;
  if (raw.ref) {
    memset(raw.ref, 0x33, OBJECT_BYTES * 7);
    test_push(t, &raw);
    node = test_make_node(t->mut, 2, 4);
    test_pop(t, &raw);
  }
  test_pop(t, &rest);
  if (node) {
    node->edges[0] = rest.ref;
    node->edges[1] = raw.ref;
  }
  return node;
}

static size_t list_length(struct test_node *list) {
  size_t n = 0;
  for (; list; list = list->edges[0], n++)
    if (list->edges[1])
      for (size_t i = 0; i < OBJECT_BYTES * 7; i++)
        assert_int_equal(((uint8_t *)list->edges[1])[i], 0x33);
  return n;
}

/* Three quarters of the heap can be live objects made by MAKE after a FILLING of
   which little is left; and it can be compacted after that.  */
static void assert_room_beside(enum filling filling, size_t bytes,
                               struct test_node *(*make)(struct test_heap *,
                                                         void *)) {
  struct test_heap *t = test_heap_make(HEAP_OPTIONS, NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  test_failures = 0;
  size_t count = fill_sparsely(t, filling, SIZE_MAX);
  uint64_t before = collections(t);
  struct test_handle list = {NULL, NULL};
  test_push(t, &list);
  size_t n = HEAP_SIZE / 4 * 3 / bytes;
  for (size_t i = 0; i < n; i++) {
    list.ref = make(t, list.ref);
    assert_non_null(list.ref);
  }
  assert_int_equal(test_failures, 0);
  assert_in_range(collections(t) - before, 0, 60);
  check_filling(t, filling, count);
  assert_int_equal(list_length(list.ref), n);
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  check_filling(t, filling, count);
  assert_int_equal(list_length(list.ref), n);
  list.ref = NULL;
  test_make_garbage(t->mut, HEAP_SIZE);
  check_filling(t, filling, count);
  test_pop(t, &list);
  test_heap_finish(t);
}

static void objects_find_room_beside_raw_bytes(void **state) {
  (void)state;
  assert_room_beside(RAW, OBJECT_BYTES, make_link);
}

static void raw_bytes_find_room_beside_pinned_objects(void **state) {
  (void)state;
  assert_room_beside(PINNED, OBJECT_BYTES * 8, make_raw_link);
}

static void raw_bytes_find_room_beside_raw_bytes(void **state) {
  (void)state;
  assert_room_beside(RAW, OBJECT_BYTES * 8, make_raw_link);
}

static void objects_find_room_beside_pinned_objects(void **state) {
  (void)state;
  assert_room_beside(PINNED, OBJECT_BYTES, make_link);
}

/* Garbage of one class in room that is among survivors of the other: that room is
   used before the next collection.  */
static void there_are_few_collections_beside_raw_bytes(void **state) {
  (void)state;
  /* A generational heap may find that more are faster, but here there are none for
     that reason.  */
  setenv("GC_MMC_NURSERY", "0", 1);
  struct test_heap *t = test_heap_make(HEAP_OPTIONS, NULL);
  unsetenv("GC_MMC_NURSERY");
  size_t count = fill_sparsely(t, RAW, SIZE_MAX);
  uint64_t before = collections(t);
  test_make_garbage(t->mut, HEAP_SIZE * 4);
  assert_in_range(collections(t) - before, 1, 100);
  check_filling(t, RAW, count);
  test_heap_finish(t);
}

/* Large objects that die at once, while all room is in sparse blocks.  */
static void sparse_blocks_make_room_for_large_objects(void **state) {
  (void)state;
  if (!TEST_MOVES)
    skip();
  static const char *const options[] = {
      HEAP_OPTIONS, "heap-size-policy=growable,heap-size=32m,"
                    "maximum-heap-size=32m,parallelism=1"};
  for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
    struct test_heap *t = test_heap_make(options[i], NULL);
    size_t count = fill_sparsely(t, MOVABLE, HEAP_SIZE / 64 * 61);
    uint64_t before = collections(t);
    for (int j = 0; j < 4000; j++)
      assert_non_null(test_make_bytes(t->mut, 40000));
    /* 160 MB.  */
    assert_in_range(collections(t) - before, 1, 100);
    check_filling(t, MOVABLE, count);
    test_heap_finish(t);
  }
}

/* The same where the heap may grow as far as it likes, but the system has no more
   address space: the heap is then as large as it can be.  */

struct limited {
  enum filling filling;
  size_t bytes;
  struct test_node *(*make)(struct test_heap *t, void *next);
};

/* In the child that a test makes, where there is no framework to tell.  */
#define MUST(condition)                                       \
  do {                                                        \
    if (!(condition)) {                                       \
      fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
      _exit(1);                                               \
    }                                                         \
  } while (0)

/* Leave BYTES of address space.  */
static void limit_space(size_t bytes) {
  unsigned long pages = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  MUST(f && fscanf(f, "%lu", &pages) == 1);
  fclose(f);
  bytes += pages * gc_platform_page_size();
  struct rlimit limit = {bytes, bytes};
  MUST(setrlimit(RLIMIT_AS, &limit) == 0);
}

/* Until there is no room for more.  */
static size_t fill_limited_heap(struct test_heap *t, enum filling what) {
  size_t count = 0;
  t->root.ref = test_make_node(t->mut, LASTING_MAX, 0);
  gc_heap_inhibit_collection(t->heap);
  for (size_t i = 0;; i++) {
    int lasts = i % LASTING_EVERY == 0;
    void *obj = make_filling(t, what, lasts);
    if (!obj)
      break;
    if (!lasts)
      continue;
    MUST(count < LASTING_MAX);
    test_store(t->mut, t->root.ref, count++, obj);
  }
  gc_heap_allow_collection(t->heap);
  return count;
}

static void find_room_in_limited_heap(void *data) {
  const struct limited *limited = data;
  limit_space((size_t)96 << 20);
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,parallelism=1", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  size_t count = fill_limited_heap(t, limited->filling);
  MUST(count > 200);
  struct test_handle list = {NULL, NULL};
  test_push(t, &list);
  size_t n = count * NOFL_BLOCK_SIZE / 4 * 3 / limited->bytes;
  for (size_t i = 0; i < n; i++) {
    list.ref = limited->make(t, list.ref);
    MUST(list.ref);
  }
  MUST(list_length(list.ref) == n);
}

static void check_limited(enum filling filling, size_t bytes,
                          struct test_node *(*make)(struct test_heap *,
                                                    void *)) {
  struct limited limited = {filling, bytes, make};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  /* Shadow memory alone is beyond any such limit.  */
  skip();
#endif
  assert_int_equal(unit_run_in_child(find_room_in_limited_heap, &limited), 0);
}

static void objects_find_room_beside_raw_bytes_in_limited_space(void **state) {
  (void)state;
  check_limited(RAW, OBJECT_BYTES, make_link);
}

static void raw_bytes_find_room_beside_pinned_in_limited_space(void **state) {
  (void)state;
  check_limited(PINNED, OBJECT_BYTES * 8, make_raw_link);
}

static void raw_bytes_find_room_beside_objects_in_limited_space(void **state) {
  (void)state;
  check_limited(MOVABLE, OBJECT_BYTES * 8, make_raw_link);
}

static void objects_find_room_beside_objects_in_limited_space(void **state) {
  (void)state;
  check_limited(MOVABLE, OBJECT_BYTES, make_link);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(objects_find_room_beside_raw_bytes),
      cmocka_unit_test(objects_find_room_beside_pinned_objects),
      cmocka_unit_test(raw_bytes_find_room_beside_raw_bytes),
      cmocka_unit_test(raw_bytes_find_room_beside_pinned_objects),
      cmocka_unit_test(there_are_few_collections_beside_raw_bytes),
      cmocka_unit_test(sparse_blocks_make_room_for_large_objects),
      cmocka_unit_test(objects_find_room_beside_raw_bytes_in_limited_space),
      cmocka_unit_test(raw_bytes_find_room_beside_pinned_in_limited_space),
      cmocka_unit_test(raw_bytes_find_room_beside_objects_in_limited_space),
      cmocka_unit_test(objects_find_room_beside_objects_in_limited_space),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
