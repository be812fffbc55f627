/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The nofl space and the system: memory that is not touched, given back, taken
   again.  Looks at internals.  */

#include "../src/mmc.c"
#include "pages.h"
#include "test-heap.h"

static int compare_times(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static size_t space_resident_pages(struct test_heap *t) {
  struct nofl_space *space = &t->heap->space;
  return pages_resident((void *)space->base, space->extent);
}

/* Collecting an empty heap again and again neither touches its memory, nor
   counts it as allocated, nor uses up the free blocks.  */
static void empty_heap_stays_untouched(void **state) {
  (void)state;
  enum { N = 200 };
  struct test_heap *t = test_heap_make("heap-size=64m", NULL);
  uint64_t times[N];
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t resident = space_resident_pages(t);
  uint64_t counter = gc_allocation_counter(t->heap);
  for (int i = 0; i < N; i++) {
    uint64_t start = gc_platform_monotonic_nanoseconds();
    gc_collect(t->mut, i % 2 ? GC_COLLECTION_MAJOR : GC_COLLECTION_COMPACTING);
    times[i] = gc_platform_monotonic_nanoseconds() - start;
  }
  assert_in_range(space_resident_pages(t), 0, resident + 32);
  assert_int_equal(gc_allocation_counter(t->heap), counter);
  assert_in_range(t->heap->space.used_blocks, 0, 4);
  qsort(times, N, sizeof(times[0]), compare_times);
  print_message("# collection of an empty heap: median %.1f us, with roots\n",
                times[N / 2] / 1000.0);
  assert_in_range(times[N / 2], 0, UINT64_C(50) * 1000 * 1000);
  test_heap_finish(t);
}

/* What a peak has left is given back after some ticks, not at once.  */
static void memory_returns_to_the_system(void **state) {
  (void)state;
  if (!TEST_EXACT)
    skip();
  struct test_heap *t =
      test_heap_make("heap-size-policy=growable,heap-size=4m", NULL);
  test_make_table(t->mut, &t->root, 300000);
  size_t peak = space_resident_pages(t);
  t->root.ref = NULL;
  test_make_garbage(t->mut, 1 << 16);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_true(t->heap->space.empty.count > 0);
  uint64_t counter = 0;
  for (int i = 0; i < 8; i++)
    heap_tick(t->heap, &counter);
  assert_int_equal(t->heap->space.empty.count, 0);
  assert_int_equal(large_space_quarantined_bytes(&t->heap->large), 0);
  assert_true(space_resident_pages(t) < peak / 4);
  /* And it can be used again.  */
  test_make_table(t->mut, &t->root, 300000);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* Memory goes back in slices, the oldest first, and nothing before its time;
   between slices blocks are taken and collections add others.  */
static void memory_is_returned_in_slices(void **state) {
  (void)state;
  if (!TEST_EXACT)
    skip();
  enum { SLICE = NOFL_DISCARD_SLICE_BLOCKS };
  struct test_heap *t = test_heap_make("heap-size=32m", "verify");
  struct nofl_space *space = &t->heap->space;
  test_make_garbage(t->mut, 16 << 20);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t old = space->empty.count;
  assert_true(old > 6 * SLICE);
  for (int i = 1; i < NOFL_RESIDENT_TICKS; i++) {
    nofl_space_advance_clock(space);
    assert_false(nofl_space_discard_slice(space, NOFL_RESIDENT_TICKS));
  }
  assert_int_equal(space->empty.count, old);
  nofl_space_advance_clock(space);
  size_t paged_out = space->paged_out.count;
  assert_true(nofl_space_discard_slice(space, NOFL_RESIDENT_TICKS));
  assert_int_equal(space->empty.count, old - SLICE);
  assert_int_equal(space->paged_out.count, paged_out + SLICE);
  /* These blocks are taken from the old ones, and become young.  */
  test_make_garbage(t->mut, 2 * SLICE * NOFL_BLOCK_SIZE);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  size_t slices = 0, young = 0;
  for (struct nofl_block *b = space->empty.head; b; b = b->next)
    young += b->empty_since == space->clock;
  old = space->empty.count - young;
  assert_true(old > 2 * SLICE);
  assert_in_range(young, SLICE, 3 * SLICE);
  while (nofl_space_discard_slice(space, NOFL_RESIDENT_TICKS))
    slices++;
  assert_in_range(slices, old / SLICE - 1, old / SLICE);
  assert_int_equal(nofl_space_resident_empty_blocks(space), young);
  heap_verify_blocks(t->heap);
  while (nofl_space_discard_slice(space, 0))
    continue;
  assert_int_equal(nofl_space_resident_empty_blocks(space), 0);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_heap_finish(t);
}

/* With pages of SIZE bytes, which hold the metadata of some blocks: it goes when all
   of these have gone.  */
static void check_metadata_of_pages(size_t size) {
  size_t per_page = size / NOFL_GRANULES_PER_BLOCK;
  struct nofl_slab *slab = gc_platform_reserve(NOFL_SLAB_SIZE, NOFL_SLAB_SIZE);
  assert_non_null(slab);
  assert_true(gc_platform_commit(slab, NOFL_SLAB_SIZE));
  for (size_t i = NOFL_META_BLOCKS_PER_SLAB; i < NOFL_BLOCKS_PER_SLAB; i++) {
    memset(nofl_block_metadata(&slab->blocks[i]), 1, NOFL_GRANULES_PER_BLOCK);
    *(uint8_t *)nofl_block_start(&slab->blocks[i]) = 1;
    slab->blocks[i].flags = NOFL_BLOCK_DIRTY_METADATA;
    slab->blocks[i].place = NOFL_PLACE_EMPTY;
  }
  slab->block_marks[0] = 1;
  /* In runs of three, the even ones first.  */
  for (size_t odd = 0; odd < 2; odd++)
    for (size_t i = NOFL_META_BLOCKS_PER_SLAB; i < NOFL_BLOCKS_PER_SLAB;
         i += 3) {
      if (i % 2 != odd)
        continue;
      struct nofl_block_run run = {slab, i, i + 1};
      slab->blocks[i].place = NOFL_PLACE_PAGED_OUT;
      for (size_t j = i + 1; j < i + 3 && j < NOFL_BLOCKS_PER_SLAB; j++) {
        slab->blocks[j].place = NOFL_PLACE_PAGED_OUT;
        assert_true(nofl_run_extend(&run, &slab->blocks[j]));
      }
      nofl_run_discard(&run, size);
      for (size_t k = 0; k < NOFL_BLOCKS_PER_SLAB; k++) {
        struct nofl_block *block = &slab->blocks[k];
        size_t first = k / per_page * per_page;
        int gone = first >= NOFL_META_BLOCKS_PER_SLAB;
        for (size_t l = first; l < first + per_page; l++)
          gone = gone && slab->blocks[l].place == NOFL_PLACE_PAGED_OUT;
        if (k < NOFL_META_BLOCKS_PER_SLAB)
          continue;
        assert_int_equal(*nofl_block_metadata(block), !gone);
        assert_int_equal(block->flags, gone ? 0 : NOFL_BLOCK_DIRTY_METADATA);
        assert_int_equal(*(uint8_t *)nofl_block_start(block),
                         block->place != NOFL_PLACE_PAGED_OUT);
      }
    }
  assert_int_equal(slab->block_marks[0], 1);
  gc_platform_release(slab, NOFL_SLAB_SIZE);
}

static void metadata_of_large_pages_goes_when_all_has_gone(void **state) {
  (void)state;
  for (size_t size = gc_platform_page_size(); size <= 65536; size *= 4)
    check_metadata_of_pages(size);
}

static void runs_are_of_neighbours(void **state) {
  (void)state;
  struct nofl_slab *slab =
      gc_platform_reserve(2 * NOFL_SLAB_SIZE, NOFL_SLAB_SIZE);
  assert_non_null(slab);
  struct nofl_block_run run = {slab, 20, 21};
  assert_false(nofl_run_extend(&run, &slab->blocks[20]));
  assert_false(nofl_run_extend(&run, &slab->blocks[22]));
  assert_false(nofl_run_extend(&run, &slab[1].blocks[21]));
  assert_true(nofl_run_extend(&run, &slab->blocks[21]));
  assert_true(nofl_run_extend(&run, &slab->blocks[19]));
  assert_int_equal(run.low, 19);
  assert_int_equal(run.high, 22);
  gc_platform_release(slab, 2 * NOFL_SLAB_SIZE);
}

/* Blocks are taken while others, with which they share pages, go back.  */

struct returner {
  struct gc_heap *heap;
  int done;
};

static void *return_all_the_time(void *data) {
  struct returner *self = data;
  while (!gc_atomic_load(&self->done)) {
    pthread_mutex_lock(&self->heap->lock);
    nofl_space_discard_slice(&self->heap->space, 0);
    heap_unlock(self->heap);
    sched_yield();
  }
  return NULL;
}

static void blocks_are_taken_while_others_go(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=32m", "verify");
  t->heap->space.page_size = 65536;
  struct returner returner = {.heap = t->heap};
  pthread_t thread;
  assert_int_equal(
      0, pthread_create(&thread, NULL, return_all_the_time, &returner));
  for (int i = 0; i < 40; i++) {
    test_make_table(t->mut, &t->root, 5000);
    test_make_garbage(t->mut, 20 << 20);
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
    test_check_table(&t->root);
  }
  gc_atomic_store(&returner.done, 1);
  gc_deactivate(t->mut);
  pthread_join(thread, NULL);
  gc_reactivate(t->mut);
  test_heap_finish(t);
}

/* Of the 16 blocks that share a page of 64 KiB with BLOCK.  */
static int all_others_are_with_the_system(struct nofl_block *block) {
  struct nofl_slab *slab = nofl_slab_of((uintptr_t)block);
  size_t idx = block - slab->blocks, first = idx / 16 * 16;
  if (!first)
    return 0;
  for (size_t i = first; i < first + 16; i++)
    if (i != idx && slab->blocks[i].place != NOFL_PLACE_PAGED_OUT)
      return 0;
  return 1;
}

/* In the moment between its being taken and its being owned.  */
static void metadata_of_a_block_that_was_taken_stays(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  struct nofl_space *space = &t->heap->space;
  test_make_garbage(t->mut, 28 << 20);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  while (nofl_space_discard_slice(space, 0))
    continue;
  struct nofl_list rejected = {0};
  struct nofl_block *taken;
  nofl_space_lock(space);
  while ((taken = nofl_space_find_empty(space)) &&
         !all_others_are_with_the_system(taken))
    nofl_list_push(&rejected, taken);
  nofl_space_unlock(space);
  assert_non_null(taken);
  memset(nofl_block_metadata(taken), 1, NOFL_GRANULES_PER_BLOCK);
  struct nofl_slab *slab = nofl_slab_of((uintptr_t)taken);
  size_t neighbour = (taken - slab->blocks) ^ 1;
  nofl_run_discard(&(struct nofl_block_run){slab, neighbour, neighbour + 1},
                   65536);
  assert_int_equal(*nofl_block_metadata(taken), 1);
  memset(nofl_block_metadata(taken), 0, NOFL_GRANULES_PER_BLOCK);
  do {
    taken->place = NOFL_PLACE_PAGED_OUT;
    nofl_list_push(&space->paged_out, taken);
  } while ((taken = nofl_list_pop(&rejected)));
  test_heap_finish(t);
}

static void *tick_once(void *data) {
  struct test_heap *t = data;
  uint64_t counter = 0;
  heap_tick(t->heap, &counter);
  return NULL;
}

/* Let a tick return many blocks, and take the lock of the heap when it has begun
   to.  How many has it still to do?  */
static size_t interrupt_tick(struct test_heap *t) {
  struct nofl_space *space = &t->heap->space;
  pthread_t thread;
  test_make_garbage(t->mut, 96 << 20);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  for (int i = 1; i < NOFL_RESIDENT_TICKS; i++)
    nofl_space_advance_clock(space);
  size_t before = space->empty.count;
  assert_int_equal(0, pthread_create(&thread, NULL, tick_once, t));
  while (nofl_space_resident_empty_blocks(space) == before)
    sched_yield();
  mutator_lock_heap(t->mut);
  size_t rest = nofl_space_resident_empty_blocks(space);
  heap_unlock(t->heap);
  if (rest)
    gc_collect(t->mut, GC_COLLECTION_MAJOR);
  pthread_join(thread, NULL);
  assert_int_equal(space->empty.count, 0);
  return rest;
}

/* A tick that has much to return lets others have the lock, if the system lets
   them run.  */
static void long_ticks_let_others_in(void **state) {
  (void)state;
  if (!TEST_EXACT)
    skip();
  struct test_heap *t = test_heap_make("heap-size=128m", NULL);
  size_t rest = 0;
  for (int i = 0; i < 10 && !rest; i++)
    rest = interrupt_tick(t);
  assert_true(rest > 0);
  test_heap_finish(t);
}

static void *tick_all_the_time(void *data) {
  struct test_heap *t = data;
  uint64_t counter = 0;
  while (!gc_atomic_load(&t->root.next))
    heap_tick(t->heap, &counter);
  return NULL;
}

/* Memory ages while the world is stopped, too.  */
static void ticks_do_not_disturb_collections(void **state) {
  (void)state;
  struct test_heap *t =
      test_heap_make("heap-size-policy=adaptive,heap-size=8m", "verify");
  struct test_heap ticker = {.heap = t->heap};
  pthread_t thread;
  assert_int_equal(0,
                   pthread_create(&thread, NULL, tick_all_the_time, &ticker));
  for (int i = 0; i < 100; i++) {
    test_make_table(t->mut, &t->root, 5000);
    test_make_garbage(t->mut, 1 << 20);
    gc_collect(t->mut, GC_COLLECTION_MINOR + i % 3);
    test_check_table(&t->root);
  }
  gc_atomic_store(&ticker.root.next, &t->root);
  pthread_join(thread, NULL);
  test_heap_finish(t);
}

/* Else the kernel would fill in what has gone back to it, in the background.  */
static void slabs_partly_given_back_have_small_pages(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=64m", NULL);
  struct nofl_space *space = &t->heap->space;
  int huge = pages_have_flag(space->base, " hg");
  nofl_space_lock(space);
  space->huge_pages.always = 1;
  nofl_space_unlock(space);
  test_make_table(t->mut, &t->root, 300000);
  t->root.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  while (nofl_space_discard_slice(space, 0)) {
  }
  size_t discarded = 0, slabs = nofl_space_slab_count(space);
  for (size_t i = 0; i < slabs; i++) {
    struct nofl_slab *slab = nofl_space_slab(space, i);
    discarded += slab->discarded_blocks;
    if (slab->discarded_blocks && huge == 1)
      assert_int_equal(pages_have_flag((uintptr_t)slab, " nh"), 1);
  }
  if (TEST_EXACT)
    assert_true(discarded > 50);
  assert_true(discarded <= space->paged_out.count);
  heap_verify_blocks(t->heap);
  /* Use all of it again.  */
  test_make_table(t->mut, &t->root, 500000);
  test_check_table(&t->root);
  size_t with_huge = 0;
  for (size_t i = 0; i < slabs; i++) {
    struct nofl_slab *slab = nofl_space_slab(space, i);
    if (!slab->discarded_blocks && huge == 1)
      with_huge += pages_have_flag((uintptr_t)slab, " hg") == 1;
  }
  if (huge == 1)
    assert_true(with_huge > 0);
  heap_verify_blocks(t->heap);
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_heap_stays_untouched),
      cmocka_unit_test(memory_returns_to_the_system),
      cmocka_unit_test(memory_is_returned_in_slices),
      cmocka_unit_test(metadata_of_large_pages_goes_when_all_has_gone),
      cmocka_unit_test(runs_are_of_neighbours),
      cmocka_unit_test(blocks_are_taken_while_others_go),
      cmocka_unit_test(metadata_of_a_block_that_was_taken_stays),
      cmocka_unit_test(long_ticks_let_others_in),
      cmocka_unit_test(ticks_do_not_disturb_collections),
      cmocka_unit_test(slabs_partly_given_back_have_small_pages),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
