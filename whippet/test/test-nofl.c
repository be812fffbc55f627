/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The nofl space: sweeping, evacuation, the life of blocks.
   Looks at internals.  */

#include "../src/mmc.c"
#include "pages.h"
#include "test-heap.h"

/* Bulk scans of metadata against the obvious loop.  */
static void wide_scans_agree_with_narrow_ones(void **state) {
  (void)state;
  uint8_t bytes[200];
  uint32_t x = 12345;
  for (int round = 0; round < 2000; round++) {
    for (size_t i = 0; i < sizeof(bytes); i++) {
      x = x * 1664525 + 1013904223;
      bytes[i] = x >> 28 ? 0 : x >> 16;
    }
    size_t start = round % 16, limit = sizeof(bytes) - start - round % 13;
    uint8_t wanted = 1 + round % 7;
    size_t expected = 0, any = 0, traced = 0;
    while (expected < limit && (bytes[start + expected] & 7) != wanted)
      expected++;
    while (any < limit && !(bytes[start + any] & 7))
      any++;
    assert_int_equal(nofl_find_state(bytes + start, limit, wanted), expected);
    assert_int_equal(nofl_find_any_state(bytes + start, limit), any);
    while (traced < limit && (!(bytes[start + traced] & 7) ||
                              (bytes[start + traced] & NOFL_KIND_NONE)))
      traced++;
    assert_int_equal(nofl_find_traced(bytes + start, limit), traced);
  }
}

static void bitmaps_of_starts_and_ends_agree(void **state) {
  (void)state;
  _Alignas(16) uint8_t bytes[64];
  uint32_t x = 54321;
  for (int round = 0; round < 2000; round++) {
    uint8_t wanted = 1 + round % 7;
    uint64_t starts = 0, ends = 0;
    for (unsigned i = 0; i < 64; i++) {
      x = x * 1664525 + 1013904223;
      bytes[i] = x >> 24;
      starts |= (uint64_t)((bytes[i] & NOFL_STATE_MASK) == wanted) << i;
      ends |= (uint64_t)((bytes[i] & NOFL_END) != 0) << i;
    }
    uint64_t s, e;
    nofl_starts_and_ends_portable(bytes, wanted, &s, &e);
    assert_true(s == starts && e == ends);
    nofl_starts_and_ends(bytes, wanted, &s, &e);
    assert_true(s == starts && e == ends);
  }
}

/* Describe at META a block of random objects, of which PER_CENT are survivors, in
   state MARK, and note the granules of these in OCCUPIED.  */
static void make_block_metadata(uint8_t *meta, uint8_t *occupied, uint8_t mark,
                                unsigned per_cent, uint32_t *seed) {
  memset(meta, 0, NOFL_GRANULES_PER_BLOCK);
  memset(occupied, 0, NOFL_GRANULES_PER_BLOCK);
  for (size_t g = 0, size; g < NOFL_GRANULES_PER_BLOCK; g += size) {
    uint32_t x = *seed = *seed * 1664525 + 1013904223;
    size = 1 + (x >> 16) % ((x >> 30) ? 5 : 200);
    if (size > NOFL_GRANULES_PER_BLOCK - g)
      size = NOFL_GRANULES_PER_BLOCK - g;
    int lives = (x >> 8) % 100 < per_cent;
    meta[g] = lives ? mark : nofl_next_mark(mark);
    meta[g + size - 1] |= NOFL_END;
    memset(occupied + g, lives, size);
  }
}

static void bounds_of_holes_agree(void **state) {
  (void)state;
  static _Alignas(64) uint8_t meta[NOFL_GRANULES_PER_BLOCK];
  static uint8_t occupied[NOFL_GRANULES_PER_BLOCK];
  uint32_t seed = 99;
  for (unsigned round = 0; round < 400; round++) {
    uint8_t mark = NOFL_STATE_MARK_0 + round % 3;
    struct nofl_bounds bounds;
    make_block_metadata(meta, occupied, mark, round % 11 * 10, &seed);
    nofl_find_bounds(meta, mark, &bounds);
    for (size_t g = 0; g < NOFL_GRANULES_PER_BLOCK; g++)
      if (occupied[g] != (g ? occupied[g - 1] : 1)) {
        assert_int_equal(nofl_bounds_first(&bounds), g);
        assert_int_equal(nofl_bounds_take(&bounds), g);
      }
    assert_int_equal(nofl_bounds_first(&bounds), NOFL_GRANULES_PER_BLOCK);
    assert_int_equal(nofl_bounds_take(&bounds), NOFL_GRANULES_PER_BLOCK);
  }
}

/* Fill PER_CENT of the heap with boxes linked to a list, or all of it until
   allocation fails if it is FILL_ALL, then drop every other one: what is free
   is holes of one granule.  Returns the number of boxes kept.  */
#define FILL_ALL 1000
static size_t __attribute__((noinline))
make_small_holes(struct test_heap *t, size_t per_cent) {
  struct nofl_space *space = &t->heap->space;
  size_t room = space->budget_bytes - space->reserve_blocks * NOFL_BLOCK_SIZE;
  size_t count = room / 100 * per_cent / sizeof(struct test_box);
  for (size_t i = 0; i < count; i++) {
    struct test_box *box = test_make_box(t->mut, i);
    if (!box && per_cent == FILL_ALL)
      break;
    assert_non_null(box);
    box->edge = t->root.ref;
    t->root.ref = box;
  }
  size_t kept = 0;
  for (struct test_box *box = t->root.ref; box; box = box->edge, kept++) {
    struct test_box *next =
        box->edge ? ((struct test_box *)box->edge)->edge : NULL;
    if (next)
      gc_write_barrier(t->mut, gc_ref_from_heap_object(box), sizeof(*box),
                       gc_edge(&box->edge), gc_ref_from_heap_object(next));
    box->edge = next;
  }
  return kept;
}

static size_t list_length(struct test_box *box) {
  size_t length = 0;
  for (; box; box = box->edge) {
    assert_int_equal(TEST_TAG_KIND(box->tag), TEST_BOX);
    length++;
  }
  return length;
}

/* A request that no hole fits: compaction satisfies it.  */
static void check_compaction_of_small_holes(size_t per_cent) {
  if (!TEST_MOVES)
    return;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  size_t kept = make_small_holes(t, per_cent);
  struct test_handle list = {NULL, NULL};
  test_push(t, &list);
  size_t count = t->heap->space.budget_bytes / 4 / 32;
  for (size_t i = 0; i < count; i++) {
    struct test_node *node = test_make_node(t->mut, 1, 1);
    assert_non_null(node);
    node->edges[0] = list.ref;
    list.ref = node;
  }
  assert_int_equal(list_length(t->root.ref), kept);
  test_pop(t, &list);
  test_heap_finish(t);
}

static void compaction_satisfies_what_holes_do_not(void **state) {
  (void)state;
  check_compaction_of_small_holes(97);
}

/* Also when not a block is free, and the reserve has been used.  */
static void compaction_needs_no_free_block(void **state) {
  (void)state;
  check_compaction_of_small_holes(FILL_ALL);
}

/* When nothing can be moved, it fails, and does so in bounded time.  */
static void refused_compaction_ends_in_failure(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=8m", "refuse=1000");
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  size_t kept = make_small_holes(t, 97);
  struct test_handle list = {NULL, NULL};
  test_push(t, &list);
  unsigned failed = 0;
  for (int i = 0; i < 2000 && !failed; i++) {
    struct test_node *node = test_make_node(t->mut, 1, 900);
    failed = !node;
    if (failed)
      break;
    node->edges[0] = list.ref;
    list.ref = node;
  }
  uint64_t before = t->heap->started[GC_COLLECTION_ANY];
  assert_true(failed);
  assert_null(test_make_node(t->mut, 0, 900));
  assert_in_range(t->heap->started[GC_COLLECTION_ANY] - before, 1, 6);
  assert_int_equal(list_length(t->root.ref), kept);
  test_pop(t, &list);
  test_heap_finish(t);
}

/* The counter is of bytes handed out.  */
static void allocation_counter_is_exact_after_collections(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m", NULL);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  uint64_t before = gc_allocation_counter(t->heap);
  for (int i = 0; i < 1000; i++) {
    test_make_node(t->mut, 0, 6); /* 64 bytes */
    if (i % 100 == 99)
      gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  }
  assert_int_equal(gc_allocation_counter(t->heap) - before, 64000);
  test_make_bytes(t->mut, 100000);
  uint64_t large = gc_allocation_counter(t->heap) - before - 64000;
  assert_in_range(large, 100000, 100000 + 65536);
  test_heap_finish(t);
}

static void count_survivors(struct nofl_space *space, struct nofl_block *block,
                            void *data) {
  (void)space;
  if (!nofl_block_is_empty(block))
    *(size_t *)data += nofl_block_survivors(block);
}

/* Blocks that a compaction has filled are not thought to be empty by the next
   one.  */
static void targets_count_as_full(void **state) {
  (void)state;
  if (!TEST_MOVES)
    skip();
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  test_make_table(t->mut, &t->root, 60000);
  for (uint32_t i = 0; i < 60000; i++)
    if (i % 3)
      ((struct test_node *)t->root.ref)->edges[i] = NULL;
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  for (int i = 0; i < 4; i++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    nofl_space_finish_sweeping(&t->heap->space);
    size_t survivors = 0;
    nofl_visit_blocks(&t->heap->space, count_survivors, &survivors);
    assert_in_range(survivors, 20000, 24000);
    assert_in_range(t->heap->space.used_blocks, 5, 10);
  }
  test_check_table(&t->root);
  test_heap_finish(t);
}

static void forget_candidate(struct nofl_space *space, struct nofl_block *block,
                             void *data) {
  size_t *unknown = data;
  if (!(block->flags & NOFL_BLOCK_EVACUATE))
    return;
  *unknown += block->hole_granules == NOFL_GRANULES_PER_BLOCK;
  block->flags &= ~NOFL_BLOCK_EVACUATE;
}

/* What would be evacuated, as of the last sweep?  UNKNOWN: of these, blocks that
   have been filled since.  */
static size_t choose_candidates(struct test_heap *t, size_t max,
                                size_t *unknown) {
  struct nofl_space *space = &t->heap->space;
  size_t count = nofl_space_start_evacuation(space, max);
  *unknown = 0;
  nofl_visit_blocks(space, forget_candidate, unknown);
  space->evacuating = 0;
  return count;
}

/* Blocks that were empty at the last collection may be full of live objects:
   they are not taken for the cheapest to evacuate.  */
static void new_blocks_are_no_candidates(void **state) {
  (void)state;
  if (!TEST_MOVES)
    skip();
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  struct test_handle recent = {NULL, NULL};
  test_push(t, &recent);
  test_make_table(t->mut, &t->root, 60000);
  for (uint32_t i = 0; i < 60000; i++)
    if (i % 3)
      ((struct test_node *)t->root.ref)->edges[i] = NULL;
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  nofl_space_finish_sweeping(&t->heap->space);
  test_make_table(t->mut, &recent, 60000);
  heap_finish_allocators(t->heap);
  size_t unknown;
  size_t count = choose_candidates(t, MMC_SPARSE_GRANULES, &unknown);
  assert_true(count > 5);
  assert_int_equal(unknown, 0);
  assert_false(nofl_space_lacks_targets(&t->heap->space, MMC_SPARSE_GRANULES));
  /* Stress: they are taken, too, but count as full.  */
  count = choose_candidates(t, NOFL_GRANULES_PER_BLOCK, &unknown);
  assert_in_range(unknown, 5, count - 5);
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  test_check_table(&t->root);
  test_check_table(&recent);
  test_pop(t, &recent);
  test_heap_finish(t);
}

/* When evacuation has not found a block, it does not ask again, but its next
   cycle does.  A request that is refused for stress says nothing of others.  */
static void lack_of_targets_lasts(void **state) {
  (void)state;
  if (!TEST_MOVES)
    skip();
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  struct nofl_space *space = &t->heap->space;
  struct nofl_allocator target;
  size_t budget = space->budget_bytes, used = space->used_blocks;
  nofl_allocator_init(&target, NOFL_CLASS_ORDINARY);
  space->collecting = space->evacuating = 1;
  space->refuse_blocks_per_mille = 1000;
  assert_false(nofl_target_refill(space, &target, 1));
  assert_false(space->targets_exhausted);
  space->refuse_blocks_per_mille = 0;
  space->budget_bytes = 0;
  size_t reserve = space->reserve_blocks;
  space->reserve_blocks = 0;
  assert_false(nofl_target_refill(space, &target, 1));
  assert_true(space->targets_exhausted);
  space->budget_bytes = budget;
  space->reserve_blocks = reserve;
  /* This would wait for ever.  */
  nofl_space_lock(space);
  for (int i = 0; i < 100; i++)
    assert_false(nofl_target_refill(space, &target, 1));
  nofl_space_unlock(space);
  assert_int_equal(space->used_blocks, used);
  nofl_space_start_evacuation(space, 0);
  assert_true(nofl_target_refill(space, &target, 1));
  assert_int_equal(space->used_blocks, used + 1);
  /* Nor do mutators suffer.  */
  nofl_target_retire(&target);
  space->collecting = space->evacuating = 0;
  test_make_table(t->mut, &t->root, 10000);
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  test_check_table(&t->root);
  test_heap_finish(t);
}

static void check_no_candidate(struct nofl_space *space,
                               struct nofl_block *block, void *data) {
  (void)space;
  (void)data;
  assert_int_equal(block->flags & NOFL_BLOCK_EVACUATE, 0);
}

/* No block stays marked as a candidate, whatever became of it.  */
static void candidates_are_forgotten(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m", "verify");
  test_make_table(t->mut, &t->root, 20000);
  test_make_garbage(t->mut, 4 << 20);
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  nofl_visit_blocks(&t->heap->space, check_no_candidate, NULL);
  t->root.ref = NULL;
  gc_collect(t->mut, GC_COLLECTION_COMPACTING);
  nofl_visit_blocks(&t->heap->space, check_no_candidate, NULL);
  test_heap_finish(t);
}

/* Two workers that reach the same objects move each once.  */
static void objects_are_moved_once(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=64m,parallelism=4",
                                       "verify,compact,refuse=300");
  enum { N = 3000 };
  struct test_handle shared = {NULL, NULL};
  test_push(t, &shared);
  test_make_table(t->mut, &shared, N);
  t->root.ref = test_make_node(t->mut, N, 0);
  for (uint32_t i = 0; i < N; i++) {
    struct test_node *node = test_make_node(t->mut, 40, 0);
    test_store(t->mut, t->root.ref, i, node);
    struct test_node *table = shared.ref;
    for (uint32_t j = 0; j < 40; j++)
      node->edges[j] = table->edges[(i + j * 7) % N];
  }
  for (int round = 0; round < 12; round++) {
    gc_collect(t->mut, GC_COLLECTION_COMPACTING);
    test_check_table(&shared);
    for (uint32_t i = 0; i < N; i++) {
      struct test_node *node = ((struct test_node *)t->root.ref)->edges[i];
      struct test_node *table = shared.ref;
      for (uint32_t j = 0; j < 40; j++)
        assert_ptr_equal(node->edges[j], table->edges[(i + j * 7) % N]);
    }
  }
  test_pop(t, &shared);
  test_heap_finish(t);
}

/* Recycled memory is zero, with free memory overwritten.  */
static void recycled_memory_is_zero(void **state) {
  (void)state;
  static const size_t sizes[] = {8, 16, 24, 64, 1000, 8192, 8200, 70000};
  struct test_heap *t = test_heap_make("heap-size=4m", "poison");
  for (int i = 0; i < 20000; i++) {
    size_t size = sizes[i % (i % 64 ? 5 : 8)];
    char *bytes = gc_allocate(t->mut, size, GC_ALLOCATION_UNTAGGED_POINTERLESS);
    for (size_t j = 0; j < size; j++)
      if (bytes[j])
        fail_msg("byte %zu of %zu is not zero", j, size);
    memset(bytes, 0x55, size);
  }
  test_heap_finish(t);
}

static void random_lifetimes_fit(void **state) {
  (void)state;
  /* A mark-and-sweep life with half of everything surviving stays bounded.  */
  struct test_heap *t = test_heap_make("heap-size=16m", "verify");
  gc_heap_set_allocation_failure_handler(t->heap, test_return_null);
  test_failures = 0;
  t->root.ref = test_make_node(t->mut, 20000, 0);
  uint32_t x = 1;
  for (int i = 0; i < 200000; i++) {
    x = x * 1664525 + 1013904223;
    struct test_node *node = test_make_node(t->mut, 0, 1 + (x >> 20) % 60);
    test_store(t->mut, t->root.ref, (x >> 8) % 20000, node);
  }
  assert_int_equal(test_failures, 0);
  test_heap_finish(t);
}

static int first_slab_asks_for_huge_pages(const char *options) {
  struct test_heap *t = test_heap_make(options, NULL);
  int ret = pages_have_flag(t->heap->space.base, " hg");
  test_heap_finish(t);
  return ret;
}

/* The first slab is there before anything else of the heap.  */
static void first_slab_is_like_others(void **state) {
  (void)state;
  /* Of a system without huge pages, it must not have any.  */
  int yes = pages_show_huge();
  assert_int_not_equal(first_slab_asks_for_huge_pages("heap-size=8m"), 1);
  assert_int_equal(first_slab_asks_for_huge_pages("heap-size=64m") == 1, yes);
  setenv("GC_MMC_HUGE_PAGES", "0", 1);
  assert_int_not_equal(first_slab_asks_for_huge_pages("heap-size=64m"), 1);
  setenv("GC_MMC_HUGE_PAGES", "1", 1);
  assert_int_equal(first_slab_asks_for_huge_pages("heap-size=8m") == 1, yes);
  unsetenv("GC_MMC_HUGE_PAGES");
}

/* When huge pages have proved to be expensive, new slabs have small ones.  */
static void expensive_huge_pages_are_not_asked_for(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=32m", NULL);
  struct nofl_space *space = &t->heap->space;
  test_make_table(t->mut, &t->root, 1000);
  assert_true(space->huge_pages.from <= space->budget_bytes);
  int wanted = pages_have_flag(space->base, " hg");
  nofl_space_lock(space);
  space->huge_pages.huge_ns = UINT64_MAX / 2;
  space->huge_pages.small_ns = 0;
  space->huge_pages.wait = 1;
  uintptr_t slab = space->base + space->extent;
  nofl_space_unlock(space);
  for (int n = 1000; space->base + space->extent < slab + 2 * NOFL_SLAB_SIZE;
       n += n < 300000 ? n : 0)
    test_make_table(t->mut, &t->root, n);
  assert_true(space->huge_pages.small_ns > 0);
  if (wanted == 1) {
    assert_int_equal(pages_have_flag(slab, " nh"), 1);
    assert_int_equal(pages_have_flag(slab + NOFL_SLAB_SIZE, " hg"), 1);
  }
  test_check_table(&t->root);
  test_make_garbage(t->mut, 64 << 20);
  test_check_table(&t->root);
  test_heap_finish(t);
}

static size_t block_resident_pages(const struct nofl_block *block) {
  return pages_resident((void *)nofl_block_start(block), NOFL_BLOCK_SIZE);
}

/* A thread that allocates little touches little; one that goes on gets the pages
   of a new block all at once.  */
static void second_block_is_populated(void **state) {
  (void)state;
  pages_forbid_huge(1);
  /* With pages as large as blocks, both bounds are one page.  */
  size_t pages = NOFL_BLOCK_SIZE / gc_platform_page_size();
  size_t few = (pages + 1) / 2;
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  struct nofl_block *first = nofl_block_of((uintptr_t)test_make_box(t->mut, 0));
  assert_in_range(block_resident_pages(first), 1, few);
  struct nofl_block *second = first;
  for (uint64_t i = 1; second == first; i++)
    second = nofl_block_of((uintptr_t)test_make_box(t->mut, i));
  assert_int_equal(block_resident_pages(first), pages);
  if (pages_can_be_populated())
    assert_int_equal(block_resident_pages(second), pages);
  else
    assert_in_range(block_resident_pages(second), 1, few);
  test_heap_finish(t);
  pages_forbid_huge(0);
}

/* So is a large object that is fresh, unless it is very large, or the thread is
   to stop.  */
static void large_objects_are_populated(void **state) {
  (void)state;
  pages_forbid_huge(1);
  size_t size = (size_t)4 << 20, page = gc_platform_page_size();
  size_t all = pages_can_be_populated() ? size / page : 0;
  struct test_heap *t = test_heap_make("heap-size=256m", NULL);
  void *large = gc_allocate(t->mut, size, GC_ALLOCATION_UNTAGGED_POINTERLESS);
  assert_int_equal(pages_resident(large, size), all);
  large = gc_allocate(t->mut, LARGE_POPULATE_THRESHOLD,
                      GC_ALLOCATION_UNTAGGED_POINTERLESS);
  assert_int_equal(pages_resident(large, LARGE_POPULATE_THRESHOLD), 0);
  void *mem = gc_platform_map(size);
  gc_atomic_store(&t->heap->stop_flag, 1);
  mutator_populate(t->mut, mem, size);
  gc_atomic_store(&t->heap->stop_flag, 0);
  assert_int_equal(pages_resident(mem, size), 0);
  mutator_populate(t->mut, mem, size);
  assert_int_equal(pages_resident(mem, size), all);
  gc_platform_release(mem, size);
  test_heap_finish(t);
  pages_forbid_huge(0);
}

/* Of a run of any length, at any place, all is zeroed and nothing besides.  */
static void runs_of_metadata_are_cleared(void **state) {
  (void)state;
  uint8_t bytes[400], expected[400];
  for (size_t start = 1; start < 34; start++)
    for (size_t count = 1; start + count < sizeof(bytes); count++) {
      memset(bytes, 0xff, sizeof(bytes));
      memset(expected, 0xff, sizeof(expected));
      memset(expected + start, 0, count);
      nofl_clear_metadata(bytes + start, count);
      assert_memory_equal(bytes, expected, sizeof(bytes));
    }
}

/* An object without end, whose stores have not all arrived, has no size.  */
static void incomplete_objects_have_no_size(void **state) {
  (void)state;
  enum { LIMIT = 20 };
  uint8_t bytes[LIMIT];
  for (size_t size = 1; size <= LIMIT; size++) {
    memset(bytes, 0, sizeof(bytes));
    bytes[0] = NOFL_STATE_YOUNG;
    bytes[size - 1] |= NOFL_END;
    assert_int_equal(nofl_object_granules_if_complete(bytes, LIMIT), size);
    assert_int_equal(nofl_object_granules(bytes, LIMIT), size);
    bytes[size - 1] &= ~NOFL_END;
    assert_int_equal(nofl_object_granules_if_complete(bytes, LIMIT), 0);
    if (size < LIMIT) {
      bytes[size] = NOFL_STATE_YOUNG | NOFL_END;
      assert_int_equal(nofl_object_granules_if_complete(bytes, LIMIT), 0);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(wide_scans_agree_with_narrow_ones),
      cmocka_unit_test(bitmaps_of_starts_and_ends_agree),
      cmocka_unit_test(bounds_of_holes_agree),
      cmocka_unit_test(runs_of_metadata_are_cleared),
      cmocka_unit_test(incomplete_objects_have_no_size),
      cmocka_unit_test(compaction_satisfies_what_holes_do_not),
      cmocka_unit_test(compaction_needs_no_free_block),
      cmocka_unit_test(refused_compaction_ends_in_failure),
      cmocka_unit_test(allocation_counter_is_exact_after_collections),
      cmocka_unit_test(targets_count_as_full),
      cmocka_unit_test(new_blocks_are_no_candidates),
      cmocka_unit_test(lack_of_targets_lasts),
      cmocka_unit_test(candidates_are_forgotten),
      cmocka_unit_test(objects_are_moved_once),
      cmocka_unit_test(second_block_is_populated),
      cmocka_unit_test(large_objects_are_populated),
      cmocka_unit_test(first_slab_is_like_others),
      cmocka_unit_test(expensive_huge_pages_are_not_asked_for),
      cmocka_unit_test(recycled_memory_is_zero),
      cmocka_unit_test(random_lifetimes_fit),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
