/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The interface as a program sees it, with every collector: one heap, on which
   all tests run.  Where roots are conservative, a stale word may keep a few
   objects alive.  */
/* Collectors: % */

#include "unit.h"

#include <pthread.h>
#include <setjmp.h>

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"
#include "gc-ephemeron.h"
#include "gc-event-listener.h"
#include "gc-finalizer.h"
#include "gc-heap-stats.h"
#include "gc-safepoint.h"

#include "test-types.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)
#define HEAP_SIZE (24 * MIB)

#ifdef MMC_ATTRS_H
#define IS_MMC 1
#else
#define IS_MMC 0
#endif

#if GC_CONSERVATIVE_ROOTS
#define MAY_REMAIN(n) ((n) / 10)
#else
#define MAY_REMAIN(n) 0
#endif

static struct gc_heap *heap;
static struct gc_mutator *main_mut;
static struct gc_mutator_roots main_roots;

/* A root, here and in conservative configurations.  */
#define PUSH(roots, name, value)                       \
  struct test_handle name = {value, (roots)->handles}; \
  (roots)->handles = &name
#define POP(roots, name) ((roots)->handles = (name).next)

/* ---- Events ---- */

static char events[4096];
static int recording;
static size_t mutator_count; /* attached, by the events */
static int mutator_data;

static void record(const char *event) {
  if (recording && strlen(events) + strlen(event) + 2 < sizeof events)
    strcat(strcat(events, event), " ");
}

#define EVENT(name)                   \
  static void on_##name(void *data) { \
    (void)data;                       \
    record(#name);                    \
  }
#define SIZE_EVENT(name)                           \
  static void on_##name(void *data, size_t size) { \
    (void)data;                                    \
    (void)size;                                    \
    record(#name);                                 \
  }
SIZE_EVENT(init)
EVENT(requesting_stop)
EVENT(waiting_for_stop)
EVENT(mutators_stopped)
EVENT(roots_traced)
EVENT(heap_traced)
EVENT(ephemerons_traced)
EVENT(finalizers_traced)
EVENT(restarting_mutators)
EVENT(mutator_cause_gc)
EVENT(mutator_stopping)
EVENT(mutator_stopped)
EVENT(mutator_restarted)
SIZE_EVENT(heap_resized)
SIZE_EVENT(live_data_size)

static enum gc_collection_kind last_kind;
static uint64_t last_counter;

static void on_prepare_gc(void *data, enum gc_collection_kind kind,
                          uint64_t counter) {
  (void)data;
  last_kind = kind;
  last_counter = counter;
  record("prepare_gc");
}

static void *on_mutator_added(void *data) {
  (void)data;
  __atomic_add_fetch(&mutator_count, 1, __ATOMIC_RELAXED);
  record("mutator_added");
  return &mutator_data;
}

static void on_mutator_removed(void *data) {
  if (data != &mutator_data)
    abort();
  __atomic_sub_fetch(&mutator_count, 1, __ATOMIC_RELAXED);
}

static int setup(void **state) {
  (void)state;
  struct gc_event_listener listener = {
      on_init,
      on_requesting_stop,
      on_waiting_for_stop,
      on_mutators_stopped,
      on_prepare_gc,
      on_roots_traced,
      on_heap_traced,
      on_ephemerons_traced,
      on_finalizers_traced,
      on_restarting_mutators,
      on_mutator_added,
      on_mutator_cause_gc,
      on_mutator_stopping,
      on_mutator_stopped,
      on_mutator_restarted,
      on_mutator_removed,
      on_heap_resized,
      on_live_data_size,
  };
  struct gc_options *options = gc_allocate_options();
  gc_options_set_size(options, GC_OPTION_HEAP_SIZE, HEAP_SIZE);
  gc_options_set_int(options, GC_OPTION_PARALLELISM, 2);
  recording = 1;
  if (!gc_init(options, gc_empty_stack_addr(), &heap, &main_mut, listener,
               NULL))
    return -1;
  recording = 0;
  free(options);
  gc_mutator_set_roots(main_mut, &main_roots);
  return strcmp(events, "init mutator_added ") == 0 ? 0 : -1;
}

/* ---- Objects ---- */

static struct test_node *make_node(struct gc_mutator *mut, size_t edges,
                                   uintptr_t id) {
  struct test_node *node =
      gc_allocate(mut, test_node_bytes(edges, 0), GC_ALLOCATION_TAGGED);
  node->tag = TEST_TAG(TEST_NODE, id);
  node->edge_count = edges;
  return node;
}

static struct test_box *make_box(struct gc_mutator *mut, uintptr_t id) {
  struct test_box *box = gc_allocate(mut, sizeof *box, GC_ALLOCATION_TAGGED);
  box->tag = TEST_TAG(TEST_BOX, id);
  return box;
}

static void set_edge(struct gc_mutator *mut, struct test_node *node, size_t i,
                     void *value) {
  if (value)
    gc_write_barrier(mut, gc_ref_from_heap_object(node),
                     test_node_bytes(node->edge_count, 0),
                     gc_edge(&node->edges[i]), gc_ref_from_heap_object(value));
  node->edges[i] = value;
}

/* Overwrite what dead frames have left on the stack.  */
__attribute__((noinline)) static void clear_stack(void) {
  volatile char bytes[16 * 1024];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = 0;
}

static void collect(enum gc_collection_kind kind) {
  clear_stack();
  gc_collect(main_mut, kind);
}

/* ---- Allocation ---- */

static int is_clean(void *p, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (((unsigned char *)p)[i])
      return 0;
  return 1;
}

/* An object of about SIZE bytes, filled with what is not zero, from memory that
   is.  Return its size.  */
static size_t make_object(enum gc_allocation_kind kind, size_t size,
                          struct test_handle *out) {
  if (kind == GC_ALLOCATION_TAGGED)
    size = (size + 7) & ~(size_t)7;
  if (kind == GC_ALLOCATION_TAGGED_POINTERLESS &&
      size < sizeof(struct test_bytes))
    size = sizeof(struct test_bytes);
  char *p = gc_allocate(main_mut, size, kind);
  assert_non_null(p);
  assert_int_equal((uintptr_t)p % gc_allocator_small_granule_size(), 0);
  assert_true(is_clean(p, size));
  /* Conservative objects had better not refer to anything.  */
  memset(p, kind == GC_ALLOCATION_UNTAGGED_CONSERVATIVE ? 0x01 : 0xee, size);
  if (kind == GC_ALLOCATION_TAGGED && size == sizeof(struct test_leaf)) {
    ((struct test_leaf *)p)->tag = TEST_TAG(TEST_LEAF, 0);
  } else if (kind == GC_ALLOCATION_TAGGED) {
    struct test_node *node = (struct test_node *)p;
    node->tag = TEST_TAG(TEST_NODE, 0);
    node->edge_count = 0;
    node->payload_words = (size - sizeof *node) / sizeof(uintptr_t);
  } else if (kind == GC_ALLOCATION_TAGGED_POINTERLESS) {
    struct test_bytes *bytes = (struct test_bytes *)p;
    bytes->tag = TEST_TAG(TEST_BYTES, 0);
    bytes->size = size;
    out->ref = bytes;
  }
  return size;
}

/* Memory is zero also when it is reused.  */
static void test_allocation(void **state) {
  (void)state;
  static const size_t sizes[] = {8,    16,   24,   56,   100,   256, 257,
                                 1000, 4096, 8192, 8193, 20000, MIB};
  PUSH(&main_roots, kept, NULL);
  uint64_t before = gc_allocation_counter(heap);
  uint64_t total = 0;
  for (int round = 0; round < 6; round++)
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
      for (int kind = 0; kind < 4; kind++)
        for (size_t r = 0; r < 256 * KIB / sizes[i] + 1; r++)
          total += make_object((enum gc_allocation_kind)kind, sizes[i], &kept);
  collect(GC_COLLECTION_MAJOR);
  struct test_bytes *bytes = kept.ref;
  for (size_t i = 0; i < MIB - sizeof *bytes; i++)
    assert_int_equal(bytes->payload[i], 0xee);
  assert_true(gc_allocation_counter(heap) - before >= total - total / 8);
  POP(&main_roots, kept);
}

static void test_fast_paths(void **state) {
  (void)state;
  assert_null(gc_allocate_fast(main_mut, 8193, GC_ALLOCATION_TAGGED));
  size_t n = 0;
  while (gc_allocate_fast(main_mut, 16, GC_ALLOCATION_TAGGED_POINTERLESS))
    n++;
  struct test_bytes *bytes =
      gc_allocate_slow(main_mut, 16, GC_ALLOCATION_TAGGED_POINTERLESS);
  bytes->tag = TEST_TAG(TEST_BYTES, 0);
  bytes->size = 16;
  (void)n;
}

/* ---- Graphs ---- */

static void *make_tree(struct gc_mutator *mut, struct gc_mutator_roots *roots,
                       int depth, uintptr_t id) {
  if (depth == 0)
    return make_box(mut, id);
  PUSH(roots, left, make_tree(mut, roots, depth - 1, 2 * id));
  PUSH(roots, right, make_tree(mut, roots, depth - 1, 2 * id + 1));
  struct test_node *node = make_node(mut, 2, id);
  node->edges[0] = left.ref;
  node->edges[1] = right.ref;
  POP(roots, right);
  POP(roots, left);
  return node;
}

static int tree_is_right(void *tree, int depth, uintptr_t id) {
  struct test_node *node = tree;
  if (TEST_TAG_ID(node->tag) != id)
    return 0;
  if (depth == 0)
    return TEST_TAG_KIND(node->tag) == TEST_BOX;
  return TEST_TAG_KIND(node->tag) == TEST_NODE &&
         tree_is_right(node->edges[0], depth - 1, 2 * id) &&
         tree_is_right(node->edges[1], depth - 1, 2 * id + 1);
}

static void test_graphs(void **state) {
  (void)state;
  static const enum gc_collection_kind kinds[] = {
      GC_COLLECTION_MINOR, GC_COLLECTION_MAJOR, GC_COLLECTION_COMPACTING,
      GC_COLLECTION_ANY, GC_COLLECTION_MINOR};
  PUSH(&main_roots, tree, make_tree(main_mut, &main_roots, 14, 1));
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    collect(kinds[i]);
    assert_true(tree_is_right(tree.ref, 14, 1));
    for (int j = 0; j < 20; j++)
      make_tree(main_mut, &main_roots, 10, 1);
    assert_true(tree_is_right(tree.ref, 14, 1));
  }
  POP(&main_roots, tree);
}

/* Stores into old objects.  */
static void test_mutation(void **state) {
  (void)state;
  enum { N = 100 };
  PUSH(&main_roots, table, make_node(main_mut, N, 7));
  PUSH(&main_roots, large, make_node(main_mut, 4096, 8));
  collect(GC_COLLECTION_MAJOR);
  for (int round = 0; round < 30; round++) {
    for (size_t i = round % 3; i < N; i += 3) {
      struct test_box *box = make_box(main_mut, round * 1000 + i);
      set_edge(main_mut, table.ref, i, box);
      set_edge(main_mut, large.ref, i * 40, box);
    }
    make_tree(main_mut, &main_roots, 12, 1);
    if (round % 5 == 0)
      collect(GC_COLLECTION_MINOR);
    for (size_t i = round % 3; i < N; i += 3) {
      struct test_box *box = ((struct test_node *)table.ref)->edges[i];
      assert_int_equal(box->tag, TEST_TAG(TEST_BOX, round * 1000 + i));
      assert_ptr_equal(((struct test_node *)large.ref)->edges[i * 40], box);
    }
  }
  POP(&main_roots, large);
  POP(&main_roots, table);
}

static void test_events(void **state) {
  (void)state;
  events[0] = '\0';
  recording = 1;
  collect(GC_COLLECTION_MAJOR);
  recording = 0;
  assert_true(last_kind >= GC_COLLECTION_MAJOR);
  assert_true(last_counter <= gc_allocation_counter(heap));
  static const char *const order[] = {
      "requesting_stop",   "waiting_for_stop",  "mutators_stopped",
      "prepare_gc",        "roots_traced",      "heap_traced",
      "ephemerons_traced", "finalizers_traced", "restarting_mutators"};
  const char *position = events;
  for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
    if (!IS_MMC && strcmp(order[i], "finalizers_traced") == 0)
      continue;
    const char *found = strstr(position, order[i]);
    if (!found)
      fail_msg("%s is missing in: %s", order[i], events);
    position = found;
  }
  assert_non_null(strstr(events, "live_data_size"));
  assert_null(strstr(events, "mutator_stopp"));
  if (IS_MMC)
    assert_ptr_equal(strstr(events, "mutator_cause_gc"), events);
}

static void test_statistics(void **state) {
  (void)state;
  struct gc_heap_statistics before, after;
  gc_heap_statistics(heap, &before);
  PUSH(&main_roots, tree, make_tree(main_mut, &main_roots, 12, 1));
  collect(GC_COLLECTION_MAJOR);
  gc_heap_statistics(heap, &after);
  POP(&main_roots, tree);
  uint64_t n = after.collections_major + after.collections_compacting -
               before.collections_major - before.collections_compacting;
  assert_true(n >= 1);
  assert_true(after.pause_total_nsec > before.pause_total_nsec);
  assert_true(after.pause_max_nsec <= after.pause_total_nsec);
  assert_true(after.allocated_bytes > before.allocated_bytes);
  assert_true(after.heap_size >= MIB);
  assert_true(after.live_size >= 4096 * 16);
}

/* ---- Ephemerons ---- */

static struct gc_ephemeron *make_ephemeron(struct gc_mutator *mut,
                                           struct test_handle *key,
                                           struct test_handle *value) {
  struct gc_ephemeron *e = gc_allocate_ephemeron(mut);
  *(uintptr_t *)e = TEST_TAG(TEST_EPHEMERON, 0);
  gc_ephemeron_init(mut, e, gc_ref_from_heap_object(key->ref),
                    gc_ref_from_heap_object(value->ref));
  return e;
}

/* Push an ephemeron for a new key, stored in KEYS, on the chain in TABLE.  */
__attribute__((noinline)) static void
associate(struct test_handle *keys, struct test_handle *table, size_t i) {
  PUSH(&main_roots, key, make_box(main_mut, i));
  set_edge(main_mut, keys->ref, i, key.ref);
  PUSH(&main_roots, value, make_box(main_mut, i + 1000000));
  struct gc_ephemeron *e = make_ephemeron(main_mut, &key, &value);
  struct test_node *node = table->ref;
  gc_write_barrier(main_mut, gc_ref_from_heap_object(node),
                   test_node_bytes(node->edge_count, 0),
                   gc_edge(&node->edges[0]), gc_ref_from_heap_object(e));
  gc_ephemeron_chain_push((struct gc_ephemeron **)&node->edges[0], e);
  POP(&main_roots, value);
  POP(&main_roots, key);
}

__attribute__((noinline)) static size_t count_chain(struct test_handle *table) {
  size_t n = 0;
  struct test_node *node = table->ref;
  for (struct gc_ephemeron *e =
           gc_ephemeron_chain_head((struct gc_ephemeron **)&node->edges[0]);
       e; e = gc_ephemeron_chain_next(e)) {
    struct test_box *key = gc_ref_heap_object(gc_ephemeron_key(e));
    struct test_box *value = gc_ref_heap_object(gc_ephemeron_value(e));
    assert_int_equal(TEST_TAG_ID(value->tag), TEST_TAG_ID(key->tag) + 1000000);
    n++;
  }
  return n;
}

static uint64_t ephemerons_died(void) {
  struct gc_heap_statistics stats;
  gc_heap_statistics(heap, &stats);
  return stats.ephemerons_died;
}

static void test_ephemerons(void **state) {
  (void)state;
  enum { N = 1000 };
  PUSH(&main_roots, keys, make_node(main_mut, N, 1));
  PUSH(&main_roots, table, make_node(main_mut, 1, 2));
  for (size_t i = 0; i < N; i++)
    associate(&keys, &table, i);
  collect(GC_COLLECTION_MAJOR);
  assert_int_equal(count_chain(&table), N);
  collect(GC_COLLECTION_COMPACTING);
  assert_int_equal(count_chain(&table), N);

  uint64_t died = ephemerons_died();
  collect(GC_COLLECTION_MAJOR);
  if (IS_MMC)
    assert_int_equal(ephemerons_died(), died);
  for (size_t i = 0; i < N; i += 2)
    set_edge(main_mut, keys.ref, i, NULL);
  collect(GC_COLLECTION_MAJOR);
  size_t n = count_chain(&table);
  assert_true(n >= N / 2 && n <= N / 2 + MAY_REMAIN(N / 2));
  if (IS_MMC)
    assert_true(ephemerons_died() >= died + N - n);

  keys.ref = NULL;
  collect(GC_COLLECTION_MAJOR);
  assert_true(count_chain(&table) <= MAY_REMAIN(N));
  POP(&main_roots, table);
  POP(&main_roots, keys);
}

static void test_ephemeron_values(void **state) {
  (void)state;
  assert_int_equal(gc_ephemeron_size(), 56);
  PUSH(&main_roots, key, make_box(main_mut, 1));
  PUSH(&main_roots, value, make_box(main_mut, 2));
  PUSH(&main_roots, other, make_box(main_mut, 3));
  PUSH(&main_roots, e, make_ephemeron(main_mut, &key, &value));
  struct gc_ref old = gc_ephemeron_swap_value(
      main_mut, e.ref, gc_ref_from_heap_object(other.ref));
  assert_ptr_equal(gc_ref_heap_object(old), value.ref);
  other.ref = value.ref = NULL;
  collect(GC_COLLECTION_MAJOR);
  struct test_box *box = gc_ref_heap_object(gc_ephemeron_value(e.ref));
  assert_int_equal(box->tag, TEST_TAG(TEST_BOX, 3));
  assert_ptr_equal(gc_ref_heap_object(gc_ephemeron_key(e.ref)), key.ref);

  gc_ephemeron_mark_dead(e.ref);
  assert_true(gc_ref_is_null(gc_ephemeron_key(e.ref)));
  assert_true(gc_ref_is_null(gc_ephemeron_value(e.ref)));
  old = gc_ephemeron_swap_value(main_mut, e.ref,
                                gc_ref_from_heap_object(key.ref));
  assert_true(gc_ref_is_null(old));
  assert_true(gc_ref_is_null(gc_ephemeron_value(e.ref)));
  collect(GC_COLLECTION_MAJOR);

  /* Immediate keys live for ever.  */
  value.ref = make_box(main_mut, 4);
  e.ref = gc_allocate_ephemeron(main_mut);
  *(uintptr_t *)e.ref = TEST_TAG(TEST_EPHEMERON, 0);
  gc_ephemeron_init(main_mut, e.ref, gc_ref_immediate(5),
                    gc_ref_from_heap_object(value.ref));
  value.ref = NULL;
  collect(GC_COLLECTION_MAJOR);
  box = gc_ref_heap_object(gc_ephemeron_value(e.ref));
  assert_int_equal(box->tag, TEST_TAG(TEST_BOX, 4));
  assert_int_equal(gc_ref_value(gc_ephemeron_key(e.ref)), 5);
  POP(&main_roots, e);
  POP(&main_roots, other);
  POP(&main_roots, value);
  POP(&main_roots, key);
}

/* ---- Finalizers ---- */

static size_t notified;

static void on_finalizers(struct gc_heap *h, size_t count) {
  if (h != heap || count == 0)
    abort();
  notified += count;
}

__attribute__((noinline)) static void attach(struct test_handle *object,
                                             uintptr_t closure_id) {
  PUSH(&main_roots, closure, make_box(main_mut, closure_id));
  struct gc_finalizer *f = gc_allocate_finalizer(main_mut);
  *(uintptr_t *)f = TEST_TAG(TEST_FINALIZER, 0);
  gc_finalizer_attach(main_mut, f, 0, gc_ref_from_heap_object(object->ref),
                      gc_ref_from_heap_object(closure.ref));
  POP(&main_roots, closure);
}

/* The object of finalizer I refers to a box that nothing else does.  */
__attribute__((noinline)) static void make_finalizable(size_t i, int copies) {
  PUSH(&main_roots, content, make_box(main_mut, i + 2000000));
  PUSH(&main_roots, object, make_node(main_mut, 1, i));
  ((struct test_node *)object.ref)->edges[0] = content.ref;
  while (copies--)
    attach(&object, i + 1000000);
  POP(&main_roots, object);
  POP(&main_roots, content);
}

__attribute__((noinline)) static size_t pop_all(size_t *times, size_t n) {
  size_t popped = 0;
  for (struct gc_finalizer *f; (f = gc_pop_finalizable(main_mut)); popped++) {
    struct test_node *object = gc_ref_heap_object(gc_finalizer_object(f));
    struct test_box *closure = gc_ref_heap_object(gc_finalizer_closure(f));
    struct test_box *content = object->edges[0];
    size_t id = TEST_TAG_ID(object->tag);
    assert_true(id < n);
    assert_int_equal(closure->tag, TEST_TAG(TEST_BOX, id + 1000000));
    assert_int_equal(content->tag, TEST_TAG(TEST_BOX, id + 2000000));
    times[id]++;
  }
  return popped;
}

static void test_finalizers(void **state) {
  (void)state;
  enum { N = 500 };
  static size_t times[2 * N];
  assert_int_equal(gc_finalizer_size(), 40);
  gc_set_finalizer_callback(heap, on_finalizers);
  notified = 0;
  for (size_t i = 0; i < N; i++)
    make_finalizable(i, 1);
  for (size_t i = N; i < 2 * N; i++)
    make_finalizable(i, 2);
  collect(GC_COLLECTION_MAJOR);
  size_t popped = pop_all(times, 2 * N);
  assert_true(popped <= 3 * N && popped >= 3 * N - MAY_REMAIN(3 * N));
  assert_int_equal(notified, popped);
  for (size_t i = 0; i < 2 * N; i++)
    assert_true(times[i] == (i < N ? 1 : 2) ||
                (times[i] == 0 && MAY_REMAIN(N)));
  collect(GC_COLLECTION_MAJOR);
  collect(GC_COLLECTION_MAJOR);
  popped += pop_all(times, 2 * N);
  assert_true(popped <= 3 * N);
  gc_set_finalizer_callback(heap, NULL);
}

/* A live object's finalizer does not fire; a resurrected object still is the
   key of its ephemeron.  */
static void test_finalizer_of_key(void **state) {
  (void)state;
  PUSH(&main_roots, key, make_node(main_mut, 1, 0));
  ((struct test_node *)key.ref)->edges[0] = NULL;
  PUSH(&main_roots, value, make_box(main_mut, 9));
  PUSH(&main_roots, e, make_ephemeron(main_mut, &key, &value));
  value.ref = NULL;
  attach(&key, 1000000);
  collect(GC_COLLECTION_MAJOR);
  assert_null(gc_pop_finalizable(main_mut));

  key.ref = NULL;
  collect(GC_COLLECTION_MAJOR);
  struct gc_finalizer *f = gc_pop_finalizable(main_mut);
  if (f) {
    key.ref = gc_ref_heap_object(gc_finalizer_object(f));
    assert_ptr_equal(gc_ref_heap_object(gc_ephemeron_key(e.ref)), key.ref);
    struct test_box *box = gc_ref_heap_object(gc_ephemeron_value(e.ref));
    assert_int_equal(box->tag, TEST_TAG(TEST_BOX, 9));
  } else {
    assert_true(MAY_REMAIN(100) > 0);
  }
  POP(&main_roots, e);
  POP(&main_roots, value);
  POP(&main_roots, key);
}

/* ---- Failure ---- */

static size_t failed_size;
static jmp_buf failure;

static void *fail_with_null(struct gc_heap *h, size_t size) {
  assert_ptr_equal(h, heap);
  failed_size = size;
  return NULL;
}

static void *fail_with_jump(struct gc_heap *h, size_t size) {
  (void)h;
  failed_size = size;
  longjmp(failure, 1);
}

static void test_failure(void **state) {
  (void)state;
  PUSH(&main_roots, tree, make_tree(main_mut, &main_roots, 12, 1));
  for (int i = 0; i < 5; i++) {
    gc_heap_set_allocation_failure_handler(heap, fail_with_null);
    failed_size = 0;
    assert_null(
        gc_allocate(main_mut, 100 * MIB, GC_ALLOCATION_TAGGED_POINTERLESS));
    assert_int_equal(failed_size, 100 * MIB);

    gc_heap_set_allocation_failure_handler(heap, fail_with_jump);
    failed_size = 0;
    if (setjmp(failure) == 0) {
      gc_allocate(main_mut, 200 * MIB, GC_ALLOCATION_UNTAGGED_POINTERLESS);
      fail();
    }
    assert_int_equal(failed_size, 200 * MIB);
    make_tree(main_mut, &main_roots, 12, 1);
    assert_true(tree_is_right(tree.ref, 12, 1));
  }
  POP(&main_roots, tree);
}

/* Fill the heap with a list, drop it, and all is as before.  A word on the stack
   that happens to look like a node keeps all nodes before it, so with ambiguous
   roots only the best of the rounds counts.  */
static void test_exhaustion(void **state) {
  (void)state;
  size_t most = 0;
  for (int round = 0; round < 3; round++) {
    PUSH(&main_roots, list, NULL);
    volatile size_t length = 0;
    gc_heap_set_allocation_failure_handler(heap, fail_with_jump);
    if (setjmp(failure) == 0) {
      for (;;) {
        struct test_node *node = make_node(main_mut, 20, length);
        node->edges[0] = list.ref;
        list.ref = node;
        length++;
      }
    }
    main_roots.handles = &list;
    size_t n = 0;
    for (struct test_node *node = list.ref; node; node = node->edges[0])
      n++;
    list.ref = NULL;
    POP(&main_roots, list);
    clear_stack();
    assert_int_equal(n, length);
    if (n > most)
      most = n;
    if (!GC_CONSERVATIVE_ROOTS)
      assert_true(n * test_node_bytes(20, 0) > HEAP_SIZE / 2);
  }
  assert_true(most * test_node_bytes(20, 0) > HEAP_SIZE / 2);
  collect(GC_COLLECTION_MAJOR);
  PUSH(&main_roots, tree, make_tree(main_mut, &main_roots, 14, 1));
  assert_true(tree_is_right(tree.ref, 14, 1));
  POP(&main_roots, tree);
}

/* ---- Addresses ---- */

static void test_addresses(void **state) {
  (void)state;
  static uintptr_t elsewhere[4];
  PUSH(&main_roots, small, make_node(main_mut, 20, 1));
  PUSH(&main_roots, large, make_node(main_mut, 20000, 1));
  assert_true(gc_heap_contains(heap, gc_ref_from_heap_object(small.ref)));
  assert_true(gc_heap_contains(heap, gc_ref_from_heap_object(large.ref)));
  assert_false(gc_heap_contains(heap, gc_ref_from_heap_object(elsewhere)));
  collect(GC_COLLECTION_MAJOR);
  void *const objects[] = {small.ref, large.ref};
  for (int i = 0; i < 2; i++) {
    uintptr_t p = (uintptr_t)objects[i];
#define RESOLVE(addr, interior) \
  gc_ref_value(                 \
      gc_resolve_conservative_ref(heap, gc_conservative_ref(addr), interior))
    assert_int_equal(RESOLVE(p, 0), p);
    assert_int_equal(RESOLVE(p, 1), p);
    assert_int_equal(RESOLVE(p + 40, 1), p);
    assert_int_equal(RESOLVE(p + 40, 0), 0);
  }
  for (int i = 0; i < 2; i++) {
    struct gc_ref ref = gc_ref_from_heap_object(objects[i]);
    const struct test_node *node = objects[i];
    size_t bytes = test_node_bytes(node->edge_count, node->payload_words);
    size_t size = gc_object_size(heap, ref);
    assert_true(size >= bytes && size <= bytes + bytes / 4 + 4096);
    assert_int_equal(gc_object_size(heap, gc_ref(gc_ref_value(ref) + 64)), 0);
  }
  assert_int_equal(gc_object_size(heap, gc_ref_from_heap_object(elsewhere)), 0);
  assert_int_equal(RESOLVE((uintptr_t)elsewhere, 1), 0);
  assert_int_equal(RESOLVE(0, 1), 0);
  assert_int_equal(RESOLVE(1, 0), 0);

  if (gc_can_pin_objects()) {
    gc_pin_object(main_mut, gc_ref_from_heap_object(small.ref));
    uintptr_t addr = (uintptr_t)small.ref;
    collect(GC_COLLECTION_COMPACTING);
    assert_int_equal((uintptr_t)small.ref, addr);
  }
  POP(&main_roots, large);
  POP(&main_roots, small);
}

/* ---- Threads ---- */

#define THREADS 4

static int threads_waiting;
static int threads_may_go;

static void *wait_inactive(struct gc_mutator *mut, void *data) {
  (void)mut;
  __atomic_add_fetch(&threads_waiting, 1, __ATOMIC_SEQ_CST);
  while (!__atomic_load_n(&threads_may_go, __ATOMIC_ACQUIRE))
    usleep(100);
  return data;
}

static void *make_a_tree(struct gc_mutator *mut, void *data) {
  return make_tree(mut, data, 8, 1);
}

static void *run_thread(struct gc_stack_addr base, void *data) {
  struct gc_mutator *mut = gc_init_for_thread(base, heap);
  struct gc_mutator_roots roots;
  memset(&roots, 0, sizeof roots);
  gc_mutator_set_roots(mut, &roots);
  assert_ptr_equal(gc_mutator_heap(mut), heap);
  PUSH(&roots, tree, make_tree(mut, &roots, 9, 1));
  assert_ptr_equal(gc_deactivate_for_call(mut, wait_inactive, &roots), &roots);
  for (int i = 0; i < 40; i++) {
    if (!tree_is_right(tree.ref, 9, 1))
      abort();
    void *other = gc_reactivate_for_call(mut, make_a_tree, &roots);
    if (!tree_is_right(other, 8, 1))
      abort();
    if (i % 10 == 9)
      gc_collect(mut, GC_COLLECTION_MAJOR);
    gc_safepoint(mut);
    gc_inhibit_preemption(mut);
    gc_reallow_preemption(mut);
  }
  POP(&roots, tree);
  gc_finish_for_thread(mut);
  return data;
}

static void *start_thread(void *data) {
  return gc_call_with_stack_addr(run_thread, data);
}

static void *join_thread(struct gc_mutator *mut, void *data) {
  (void)mut;
  void *result;
  pthread_join(*(pthread_t *)data, &result);
  return result;
}

static void test_threads(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  assert_int_equal(mutator_count, 1);
  threads_waiting = threads_may_go = 0;
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, start_thread, main_mut),
                     0);
  /* Other threads may want to collect meanwhile.  */
  while (__atomic_load_n(&threads_waiting, __ATOMIC_SEQ_CST) < THREADS)
    gc_safepoint(main_mut);
  assert_int_equal(mutator_count, THREADS + 1);
  /* They do not hold up collections.  */
  for (int i = 0; i < 5; i++)
    collect(GC_COLLECTION_COMPACTING);
  __atomic_store_n(&threads_may_go, 1, __ATOMIC_RELEASE);
  for (int i = 0; i < THREADS; i++)
    assert_ptr_equal(gc_deactivate_for_call(main_mut, join_thread, &threads[i]),
                     main_mut);
  assert_int_equal(mutator_count, 1);
  collect(GC_COLLECTION_MAJOR);
}

static void test_deactivation(void **state) {
  (void)state;
  PUSH(&main_roots, tree, make_tree(main_mut, &main_roots, 9, 1));
  gc_deactivate(main_mut);
  gc_reactivate(main_mut);
  collect(GC_COLLECTION_COMPACTING);
  assert_true(tree_is_right(tree.ref, 9, 1));
  POP(&main_roots, tree);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_allocation),
      cmocka_unit_test(test_fast_paths),
      cmocka_unit_test(test_graphs),
      cmocka_unit_test(test_mutation),
      cmocka_unit_test(test_events),
      cmocka_unit_test(test_statistics),
      cmocka_unit_test(test_ephemerons),
      cmocka_unit_test(test_ephemeron_values),
      cmocka_unit_test(test_finalizers),
      cmocka_unit_test(test_finalizer_of_key),
      cmocka_unit_test(test_failure),
      cmocka_unit_test(test_exhaustion),
      cmocka_unit_test(test_addresses),
      cmocka_unit_test(test_threads),
      cmocka_unit_test(test_deactivation),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
