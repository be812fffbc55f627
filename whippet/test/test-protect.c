/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Stress switches: emptied blocks that cannot be accessed, collections at
   random, and small holes passed over.  Looks at internals.  */

#include "../src/mmc.c"
#include "test-heap.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS "heap-size-policy=growable,heap-size=4m"

enum { N = 20000 };

/* A third of a table's boxes is left in its blocks.  */
static void make_sparse_table(struct test_heap *t, struct test_handle *table) {
  test_make_table(t->mut, table, N);
  for (int i = 0; i < N; i++)
    if (i % 3)
      ((struct test_node *)table->ref)->edges[i] = NULL;
}

/* How a child ends that reads the word at ADDR.  */
static int status_after_read(uintptr_t addr) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    /* The test framework has a handler.  */
    signal(SIGSEGV, SIG_DFL);
    _exit(*(volatile uintptr_t *)addr == 0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

static int read_faults(uintptr_t addr) {
  int status = status_after_read(addr);
  /* A sanitizer turns the signal into an exit.  */
  return WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV
                             : WEXITSTATUS(status) > 1;
}

/* Boxes that have moved leave addresses behind that fault.  */
static void stale_references_fault(void **state) {
  (void)state;
  if (!TEST_MOVES)
    skip();
  struct test_heap *t =
      test_heap_make(OPTIONS, "verify,compact,protect,poison");
  make_sparse_table(t, &t->root);
  uintptr_t *was = calloc(N, sizeof(*was));
  for (int i = 0; i < N; i++)
    was[i] = ~(uintptr_t)((struct test_node *)t->root.ref)->edges[i];
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  test_check_table(&t->root);
  assert_true(t->heap->space.quarantine.count > 0);
  int moved = 0, faults = 0;
  for (int i = 0; i < N; i += 300) {
    struct test_node *table = t->root.ref;
    if (!table->edges[i])
      continue;
    assert_true(WIFEXITED(status_after_read((uintptr_t)table->edges[i])));
    if ((uintptr_t)table->edges[i] == ~was[i])
      continue;
    moved++;
    faults += read_faults(~was[i]);
  }
  /* A block with something pinned in it stays.  */
  assert_true(moved > 10);
  if (TEST_EXACT)
    assert_int_equal(faults, moved);
  else
    assert_true(faults > moved / 2);
  free(was);
  test_heap_finish(t);
}

/* Blocks come out in the order in which they went in, accessible and zero, once
   the quarantine has filled up.  */
static void blocks_are_used_again(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(OPTIONS, "verify,compact,protect=40");
  struct nofl_space *space = &t->heap->space;
  size_t most = 0, slabs = 0;
  struct nofl_block *oldest = NULL;
  int reused = 0;
  for (int round = 0; round < 30; round++) {
    make_sparse_table(t, &t->root);
    test_make_garbage(t->mut, 1 << 20);
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_check_table(&t->root);
    if (space->quarantine.count > most)
      most = space->quarantine.count;
    reused += oldest && oldest != space->quarantine.oldest;
    oldest = space->quarantine.oldest;
    if (round == 10)
      slabs = nofl_space_slab_count(space);
  }
  assert_true(most >= 40);
  assert_true(reused > 5);
  assert_true(nofl_space_slab_count(space) <= slabs + 1);
  for (struct nofl_block *b = oldest; b; b = b->next)
    assert_int_equal(b->place, NOFL_PLACE_PAGED_OUT);
  test_heap_finish(t);
}

/* A heap that cannot have more memory takes blocks out of quarantine.  */
static void small_heaps_use_the_quarantine(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size=8m", "verify,compact,protect=100000");
  for (int round = 0; round < 60; round++) {
    make_sparse_table(t, &t->root);
    test_make_garbage(t->mut, 4 << 20);
    test_check_table(&t->root);
  }
  /* Four times as much address space as heap is reserved.  */
  assert_true(nofl_space_slab_count(&t->heap->space) <= 14);
  test_heap_finish(t);
}

/* Ageing and the return of memory find nothing to do in quarantine.  */
static void ageing_leaves_the_quarantine_alone(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make(OPTIONS, "verify,compact,protect");
  make_sparse_table(t, &t->root);
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  t->root.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  size_t count = t->heap->space.quarantine.count;
  assert_true(count > 0);
  for (int i = 0; i < 4; i++) {
    nofl_space_advance_clock(&t->heap->space);
    assert_false(nofl_space_discard_slice(&t->heap->space,
                                          i == 3 ? 0 : NOFL_RESIDENT_TICKS));
    assert_int_equal(nofl_space_resident_empty_blocks(&t->heap->space), 0);
  }
  assert_int_equal(t->heap->space.quarantine.count, count);
  make_sparse_table(t, &t->root);
  gc_collect(t->mut, GC_COLLECTION_ANY);
  test_check_table(&t->root);
  test_heap_finish(t);
}

static uint64_t count_collections(const char *stress) {
  struct test_heap *t = test_heap_make("heap-size=64m", stress);
  for (int round = 0; round < 4; round++) {
    make_sparse_table(t, &t->root);
    test_make_garbage(t->mut, 1 << 20);
    test_check_table(&t->root);
  }
  uint64_t count = t->heap->epoch;
  test_heap_finish(t);
  return count;
}

/* The same seed gives the same collections; others give others.  */
static void random_collections_follow_the_seed(void **state) {
  (void)state;
  uint64_t first = count_collections("random-collect=20,verify");
  assert_true(first > 20);
  assert_true(count_collections("random-collect=2000") < first / 10);
  if (!TEST_EXACT)
    return;
  assert_int_equal(count_collections("random-collect=20"), first);
  int same = 0;
  for (int seed = 1; seed < 6; seed++) {
    char stress[64];
    snprintf(stress, sizeof(stress), "random-collect=20,seed=%d", seed);
    same += count_collections(stress) == first;
  }
  assert_true(same < 5);
}

/* The smallest hole, in bytes, that is allocated in while a heap has many small
   ones.  */
static size_t smallest_hole(const char *stress) {
  struct test_heap *t = test_heap_make("heap-size=16m", stress);
  size_t smallest = SIZE_MAX;
  make_sparse_table(t, &t->root);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  uint64_t epoch = t->heap->epoch;
  uintptr_t end = 0;
  while (t->heap->epoch == epoch) {
    uintptr_t addr = (uintptr_t)test_make_box(t->mut, 1);
    const struct nofl_allocator *a = &t->mut->allocator;
    if (a->hole_end != end && a->hole_end - addr < smallest)
      smallest = a->hole_end - addr;
    end = a->hole_end;
  }
  test_check_table(&t->root);
  test_heap_finish(t);
  return smallest;
}

static void small_holes_are_passed_over(void **state) {
  (void)state;
  assert_true(smallest_hole(NULL) < 256);
  assert_true(smallest_hole("min-hole=256,verify") >= 256);
  /* More than half a block is not asked for.  */
  assert_true(smallest_hole("min-hole=1000000") >= NOFL_BLOCK_SIZE / 2);
}

/* When nothing but small holes is left, they are used.  */
static void small_holes_are_used_before_failure(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=2m", "min-hole=32768");
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  size_t count = t->heap->space.budget_bytes / sizeof(struct test_box);
  size_t kept = 0;
  for (size_t i = 0; i < count / 10 * 8; i++) {
    struct test_box *box = test_make_box(t->mut, i);
    assert_non_null(box);
    if (i % 2)
      continue;
    box->edge = t->root.ref;
    t->root.ref = box;
    kept++;
  }
  for (size_t i = 0; i < count / 10 * 2 + 200; i++) {
    struct test_box *box = test_make_box(t->mut, i);
    assert_non_null(box);
    box->edge = t->root.ref;
    t->root.ref = box;
    kept++;
  }
  for (struct test_box *box = t->root.ref; box; box = box->edge)
    kept--;
  assert_int_equal(kept, 0);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(stale_references_fault),
      cmocka_unit_test(blocks_are_used_again),
      cmocka_unit_test(small_heaps_use_the_quarantine),
      cmocka_unit_test(ageing_leaves_the_quarantine_alone),
      cmocka_unit_test(random_collections_follow_the_seed),
      cmocka_unit_test(small_holes_are_passed_over),
      cmocka_unit_test(small_holes_are_used_before_failure),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
