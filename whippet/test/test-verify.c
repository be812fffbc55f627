/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The heap verifier finds the faults of a wrong embedder.  Each case runs in a
   process of its own, which has to end with the right message.  */

#include "test-heap.h"
#include "test-verify-embedder.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct test_faults test_faults;

/* Roots known from here only, lest a stack hold them too.  */
enum { SLOTS = 500 };

struct fault_case {
  enum test_fault fault;
  intptr_t shift;
  /* Make the objects the victims are among.  */
  void (*build)(struct test_heap *t);
  const char *expected; /* in what is said; NULL: no fault is found */
  enum gc_collection_kind kind;
};

static void __attribute__((noinline)) build_boxes(struct test_heap *t) {
  for (int i = 0; i < SLOTS; i++)
    t->roots.precise.slots[i] = test_make_box(t->mut, i);
}

/* A box with an edge to SIZE bytes, which nothing else references; of a kind that
   the embedder traces.  */
static void __attribute__((noinline))
build_victim(struct test_heap *t, size_t size) {
  build_boxes(t);
  t->root.ref = gc_allocate(t->mut, sizeof(struct test_box),
                            GC_CONSERVATIVE_TRACE ? GC_ALLOCATION_TAGGED_PINNED
                                                  : GC_ALLOCATION_TAGGED);
  ((struct test_box *)t->root.ref)->tag = TEST_TAG(TEST_BOX, TEST_VICTIM_ID);
  struct test_bytes *bytes = test_make_bytes(t->mut, size);
  gc_write_barrier(t->mut, gc_ref((uintptr_t)t->root.ref),
                   sizeof(struct test_box),
                   gc_edge(&((struct test_box *)t->root.ref)->edge),
                   gc_ref((uintptr_t)bytes));
  ((struct test_box *)t->root.ref)->edge = bytes;
  for (size_t i = 0; i + sizeof(*bytes) + 8 <= size; i += sizeof(uintptr_t))
    *(uintptr_t *)&bytes->payload[i] = TEST_TAG(TEST_LEAF, 0);
}

static void __attribute__((noinline)) build_small_victim(struct test_heap *t) {
  build_victim(t, 128);
}

static void __attribute__((noinline)) build_large_victim(struct test_heap *t) {
  build_victim(t, 100000);
}

/* Objects that a debugger may see between allocation and initialisation.  */
static void __attribute__((noinline)) build_blank(struct test_heap *t) {
  test_faults.fault = FAULT_BLANK_OBJECT;
  for (int i = 0; i < SLOTS; i++)
    t->roots.precise.slots[i] =
        gc_allocate(t->mut, 16 + i % 10 * 16, GC_ALLOCATION_TAGGED);
}

/* Like the latter, but their first word only is zero.  */
static void __attribute__((noinline)) build_untagged(struct test_heap *t) {
  build_blank(t);
  for (int i = 0; i < SLOTS; i++) {
    uintptr_t *words = t->roots.precise.slots[i];
    words[i % 10 * 2 + 1] = 7;
  }
}

/* Ephemerons in the list of handles, whose keys are in the slots.  */
static void __attribute__((noinline)) build_ephemerons(struct test_heap *t) {
  build_boxes(t);
  for (int i = 0; i < SLOTS; i++) {
    struct test_handle key = {t->roots.precise.slots[i], NULL};
    struct test_handle value = {NULL, NULL};
    test_push(t, &key);
    test_push(t, &value);
    value.ref = test_make_box(t->mut, i);
    struct gc_ephemeron *e = test_make_ephemeron(t->mut, &key, &value);
    gc_ephemeron_chain_push((struct gc_ephemeron **)&t->root.ref, e);
    test_pop(t, &value);
    test_pop(t, &key);
  }
}

/* Chains in which the value of one ephemeron is the key of the next, all kinds
   of objects, finalizers.  */
static void __attribute__((noinline)) build_everything(struct test_heap *t) {
  build_ephemerons(t);
  struct test_handle key = {NULL, NULL}, value = {NULL, NULL};
  struct test_handle big = {NULL, NULL};
  test_push(t, &key);
  test_push(t, &value);
  test_push(t, &big);
  key.ref = t->roots.precise.slots[0];
  for (int i = 0; i < 20000; i++) {
    value.ref = test_make_box(t->mut, i);
    struct gc_ephemeron *e = test_make_ephemeron(t->mut, &key, &value);
    gc_ephemeron_chain_push((struct gc_ephemeron **)&t->root.ref, e);
    key.ref = value.ref;
    if (i % 10 == 0)
      test_attach_finalizer(t->mut, i % 3, &key, 9);
    if (i % 11 == 0) {
      value.ref = test_make_box(t->mut, i);
      test_attach_finalizer(t->mut, i % 2, &value, 9);
    }
  }
  test_make_table(t->mut, &big, 30000);
  t->roots.precise.slots[1] = big.ref;
  void **words = gc_allocate(t->mut, 4000, GC_ALLOCATION_UNTAGGED_CONSERVATIVE);
  for (int i = 0; i < 500; i++)
    words[i] = ((struct test_node *)big.ref)->edges[i * 50];
  t->roots.precise.slots[2] = words;
  test_pop(t, &big);
  test_pop(t, &value);
  test_pop(t, &key);
}

/* What dead frames have left on the stack would keep objects alive.  */
static void __attribute__((noinline)) clear_stack(void) {
  volatile char bytes[16 * 1024];
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = 0;
}

static void run_case(const struct fault_case *c, struct test_heap *t) {
  c->build(t);
  clear_stack();
  gc_collect(t->mut, c->kind);
  test_faults.object_calls = test_faults.root_calls = 0;
  test_faults.shift = c->shift;
  test_faults.fault = c->fault;
  gc_collect(t->mut, c->kind);
}

/* Run CASE in a child; store what it says to BUF.  Returns its status.  */
static int run_child(const struct fault_case *c, char *buf, size_t size) {
  int fds[2];
  fflush(NULL);
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(60);
    /* The test framework's handlers would go on with the next test.  */
    for (int sig = 1; sig < 32; sig++)
      signal(sig, SIG_DFL);
    dup2(fds[1], 2);
    close(fds[0]);
    struct test_heap *t = test_heap_make("heap-size=16m", "verify");
    t->roots.precise.slots = calloc(SLOTS, sizeof(void *));
    t->roots.precise.count = SLOTS;
    run_case(c, t);
    _exit(0);
  }
  close(fds[1]);
  size_t used = 0;
  ssize_t n;
  /* What does not fit is dropped; a sanitizer may have much to say.  */
  char rest[256];
  while ((n = read(fds[0], used + 1 < size ? buf + used : rest,
                   used + 1 < size ? size - 1 - used : sizeof(rest))) > 0)
    used += used + 1 < size ? n : 0;
  buf[used] = 0;
  close(fds[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static void check_case(const struct fault_case *c) {
  char said[4096];
  int status = run_child(c, said, sizeof(said));
  if (!c->expected) {
    if (status != 0)
      fail_msg("status %d: %s", status, said);
  } else if (status == 0) {
    fail_msg("not found: %s", c->expected);
  } else if (!strstr(said, "heap verifier: ") || !strstr(said, c->expected)) {
    fail_msg("expected: %s; said: %s", c->expected, said);
  }
  if (c->expected)
    print_message("# %.*s\n", (int)strcspn(said, "\n"), said);
}

static void what_is_right_passes(void **state) {
  (void)state;
  for (int kind = GC_COLLECTION_MINOR; kind <= GC_COLLECTION_COMPACTING; kind++)
    check_case(&(struct fault_case){FAULT_NONE, 0, build_everything, NULL,
                                    (enum gc_collection_kind)kind});
}

#define MAJOR GC_COLLECTION_MAJOR

static void missing_marks_are_found(void **state) {
  (void)state;
  check_case(&(struct fault_case){FAULT_UNTRACED_EDGE, 0, build_small_victim,
                                  "edge to an object that is not marked: "
                                  "object",
                                  MAJOR});
  check_case(&(struct fault_case){FAULT_UNTRACED_EDGE, 0, build_large_victim,
                                  "edge to a large object that is not marked",
                                  MAJOR});
  check_case(&(struct fault_case){FAULT_UNTRACED_ROOTS, 0, build_boxes,
                                  "edge to an object that is not marked: "
                                  "root of a thread",
                                  MAJOR});
}

static void superfluous_marks_are_found(void **state) {
  (void)state;
  check_case(&(struct fault_case){FAULT_FORGOTTEN_ROOTS, 0, build_boxes,
                                  "object is marked and cannot be reached",
                                  MAJOR});
  check_case(&(struct fault_case){FAULT_FORGOTTEN_ROOTS, 0, build_ephemerons,
                                  "ephemeron has outlived its key", MAJOR});
}

static void edges_to_no_object_are_found(void **state) {
  (void)state;
  check_case(&(struct fault_case){FAULT_SHIFTED_EDGE, 32, build_small_victim,
                                  "edge to the middle of an object", MAJOR});
  check_case(&(struct fault_case){FAULT_SHIFTED_EDGE, 8, build_small_victim,
                                  "edge to the middle of an object", MAJOR});
#if !GC_DEBUG
  /* Else the tracer asserts.  */
  check_case(&(struct fault_case){FAULT_WRONG_EDGE, 32, build_small_victim,
                                  "edge to the middle of an object", MAJOR});
  check_case(&(struct fault_case){FAULT_WRONG_EDGE, 256, build_small_victim,
                                  "edge to free memory", MAJOR});
  check_case(&(struct fault_case){FAULT_WRONG_EDGE, 256 * 1024,
                                  build_small_victim, "edge to free memory",
                                  MAJOR});
#endif
  check_case(&(struct fault_case){FAULT_SHIFTED_EDGE, 4096, build_large_victim,
                                  "edge to the middle of a large object",
                                  MAJOR});
  check_case(&(struct fault_case){FAULT_SHIFTED_EDGE, 256 * 1024,
                                  build_small_victim, "edge to free memory",
                                  MAJOR});
  check_case(&(struct fault_case){FAULT_SHIFTED_EDGE, 8 * 1024 * 1024,
                                  build_small_victim,
                                  "edge to unused address space", MAJOR});
}

static void wrong_sizes_are_found(void **state) {
  (void)state;
  check_case(&(struct fault_case){FAULT_WRONG_SIZE, 32, build_small_victim,
                                  "embedder disagrees about the size", MAJOR});
  check_case(&(struct fault_case){FAULT_WRONG_SIZE, -16, build_small_victim,
                                  "embedder disagrees about the size", MAJOR});
}

#if !GC_CONSERVATIVE_TRACE
static void blank_objects_may_have_any_size(void **state) {
  (void)state;
  for (int kind = GC_COLLECTION_MINOR; kind <= GC_COLLECTION_COMPACTING; kind++)
    check_case(&(struct fault_case){FAULT_BLANK_OBJECT, 0, build_blank, NULL,
                                    (enum gc_collection_kind)kind});
#if !GC_DEBUG
  /* Else the tracer asserts.  */
  check_case(&(struct fault_case){FAULT_BLANK_OBJECT, 0, build_untagged,
                                  "embedder disagrees about the size", MAJOR});
#endif
}
#endif

static void implausible_objects_are_found(void **state) {
  (void)state;
  check_case(&(struct fault_case){FAULT_IMPLAUSIBLE_OBJECT, 0,
                                  build_small_victim, "odd object", MAJOR});
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_right_passes),
    cmocka_unit_test(missing_marks_are_found),
    cmocka_unit_test(superfluous_marks_are_found),
    cmocka_unit_test(edges_to_no_object_are_found),
    cmocka_unit_test(wrong_sizes_are_found),
#if !GC_CONSERVATIVE_TRACE
    cmocka_unit_test(blank_objects_may_have_any_size),
#endif
    cmocka_unit_test(implausible_objects_are_found),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
