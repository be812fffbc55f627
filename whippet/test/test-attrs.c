/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the attributes and of the inline code that they parameterise:
   allocation, write barrier, safepoint.  The mutator is a piece of memory, and
   the slow paths are ours.  */
/* Collectors: % */

#include "unit.h"

#include <sys/mman.h>

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"
#include "gc-forwarding.h"
#include "gc-safepoint.h"

#ifdef MMC_ATTRS_H
#define IS_MMC 1
#else
#define IS_MMC 0
#endif

#define WORD sizeof(uintptr_t)
#define SLAB ((size_t)4 * 1024 * 1024)

/* ---- Slow paths ---- */

static int slow_calls;
static int safepoint_flag;

void *gc_allocate_slow(struct gc_mutator *mut, size_t bytes,
                       enum gc_allocation_kind kind) {
  (void)mut, (void)bytes, (void)kind;
  slow_calls++;
  return &slow_calls;
}

void gc_write_barrier_slow(struct gc_mutator *mut, struct gc_ref obj,
                           size_t obj_size, struct gc_edge edge,
                           struct gc_ref new_val) {
  (void)mut, (void)obj, (void)obj_size, (void)edge, (void)new_val;
  slow_calls++;
}

int gc_object_is_old_generation_slow(struct gc_mutator *mut,
                                     struct gc_ref obj) {
  (void)mut, (void)obj;
  slow_calls++;
  return 1;
}

int *gc_safepoint_flag_loc(struct gc_mutator *mut) {
  (void)mut;
  return &safepoint_flag;
}

void gc_safepoint_slow(struct gc_mutator *mut) {
  (void)mut;
  slow_calls++;
}

static int inhibited;

void gc_safepoint_signal_inhibit(struct gc_mutator *mut) {
  (void)mut;
  inhibited++;
}

void gc_safepoint_signal_reallow(struct gc_mutator *mut) {
  (void)mut;
  inhibited--;
}

struct gc_heap *gc_mutator_heap(struct gc_mutator *mut) {
  (void)mut;
  return NULL;
}

uintptr_t gc_small_object_nursery_low_address(struct gc_heap *heap) {
  (void)heap;
  return 0;
}

uintptr_t gc_small_object_nursery_high_address(struct gc_heap *heap) {
  (void)heap;
  return 0;
}

/* ---- Values ---- */

#define TRAPS(expression)                       \
  do {                                          \
    unit_assert_traps(call_##expression, NULL); \
  } while (0)

static volatile uintptr_t sink;
#define DEFINE_CALL(name, ...)           \
  static void call_##name(void *data) {  \
    (void)data;                          \
    sink = (uintptr_t)name(__VA_ARGS__); \
  }
DEFINE_CALL(gc_allocator_allocation_pointer_offset)
DEFINE_CALL(gc_allocator_allocation_limit_offset)
DEFINE_CALL(gc_allocator_kind_offset, GC_ALLOCATION_TAGGED)
DEFINE_CALL(gc_allocator_freelist_offset, 16, GC_ALLOCATION_TAGGED)
DEFINE_CALL(gc_allocator_alloc_table_begin_pattern, GC_ALLOCATION_TAGGED)
DEFINE_CALL(gc_allocator_alloc_table_end_pattern)
DEFINE_CALL(gc_old_generation_check_alloc_table_tag_mask)
DEFINE_CALL(gc_old_generation_check_alloc_table_young_tag)
DEFINE_CALL(gc_write_barrier_field_table_alignment)
DEFINE_CALL(gc_write_barrier_field_table_offset)
DEFINE_CALL(gc_write_barrier_field_fields_per_byte)
DEFINE_CALL(gc_write_barrier_field_first_bit_pattern)

static void test_values(void **state) {
  (void)state;
  enum gc_inline_allocator_kind by_kind[5];
  for (int kind = 0; kind < 5; kind++)
    by_kind[kind] = gc_inline_allocator_kind((enum gc_allocation_kind)kind);

  if (IS_MMC) {
    assert_int_equal(by_kind[0], GC_INLINE_ALLOCATOR_BUMP_POINTER);
    assert_int_equal(by_kind[1], GC_INLINE_ALLOCATOR_BUMP_POINTER);
    assert_int_equal(by_kind[2], GC_CONSERVATIVE_TRACE
                                     ? GC_INLINE_ALLOCATOR_BUMP_POINTER
                                     : GC_INLINE_ALLOCATOR_NONE);
    assert_int_equal(by_kind[3], GC_INLINE_ALLOCATOR_BUMP_POINTER);
    assert_int_equal(by_kind[4], GC_INLINE_ALLOCATOR_BUMP_POINTER);
    assert_int_equal(gc_allocator_small_granule_size(), 16);
    assert_int_equal(gc_allocator_large_threshold(), 8192);
    assert_int_equal(gc_allocator_allocation_pointer_offset(), 0);
    assert_int_equal(gc_allocator_allocation_limit_offset(), WORD);
    /* Where some objects move, those that never do are allocated apart.  */
    static const uint8_t never_moves[] = {0, 0, 1, 1, 1};
    for (int kind = 0; kind < 5; kind++)
      assert_int_equal(gc_allocator_kind_offset((enum gc_allocation_kind)kind),
                       never_moves[kind] && !GC_CONSERVATIVE_TRACE ? 1024 : 0);
    TRAPS(gc_allocator_freelist_offset);
    assert_int_equal(gc_allocator_alloc_table_alignment(), SLAB);
    static const uint8_t patterns[] = {GC_CONSERVATIVE_TRACE ? 17 : 1, 9, 17,
                                       25, 1};
    for (int kind = 0; kind < 5; kind++)
      assert_int_equal(
          gc_allocator_alloc_table_begin_pattern((enum gc_allocation_kind)kind),
          patterns[kind]);
    assert_int_equal(gc_allocator_alloc_table_end_pattern(), 32);
    assert_int_equal(gc_old_generation_check_alloc_table_tag_mask(), 7);
    assert_int_equal(gc_old_generation_check_alloc_table_young_tag(), 1);
    assert_int_equal(gc_write_barrier_field_table_alignment(), SLAB);
    assert_int_equal(gc_write_barrier_field_table_offset(), 0);
    assert_int_equal(gc_write_barrier_field_fields_per_byte(), 2);
    assert_int_equal(gc_write_barrier_field_first_bit_pattern(), 64);
    assert_int_equal(gc_safepoint_mechanism(),
                     GC_SAFEPOINT_MECHANISM_COOPERATIVE);
    assert_int_equal(gc_cooperative_safepoint_kind(),
                     GC_COOPERATIVE_SAFEPOINT_HEAP_FLAG);
    assert_int_equal(gc_can_pin_objects(), 1);
    assert_int_equal(gc_can_move_objects(), !GC_CONSERVATIVE_TRACE);
  } else {
    assert_int_equal(by_kind[0], GC_INLINE_ALLOCATOR_FREELIST);
    assert_int_equal(by_kind[1], GC_INLINE_ALLOCATOR_NONE);
    assert_int_equal(by_kind[2], GC_INLINE_ALLOCATOR_FREELIST);
    assert_int_equal(by_kind[3], GC_INLINE_ALLOCATOR_NONE);
    assert_int_equal(by_kind[4], GC_INLINE_ALLOCATOR_FREELIST);
    assert_int_equal(gc_allocator_small_granule_size(), 2 * WORD);
    assert_int_equal(gc_allocator_large_threshold(), 256);
    TRAPS(gc_allocator_allocation_pointer_offset);
    TRAPS(gc_allocator_allocation_limit_offset);
    TRAPS(gc_allocator_kind_offset);
    for (size_t size = 1; size <= 256; size++)
      assert_int_equal(gc_allocator_freelist_offset(size, GC_ALLOCATION_TAGGED),
                       WORD * ((size - 1) / (2 * WORD)));
    assert_int_equal(gc_allocator_alloc_table_alignment(), 0);
    TRAPS(gc_allocator_alloc_table_begin_pattern);
    TRAPS(gc_allocator_alloc_table_end_pattern);
    TRAPS(gc_old_generation_check_alloc_table_tag_mask);
    TRAPS(gc_old_generation_check_alloc_table_young_tag);
    TRAPS(gc_write_barrier_field_table_alignment);
    TRAPS(gc_write_barrier_field_table_offset);
    TRAPS(gc_write_barrier_field_fields_per_byte);
    TRAPS(gc_write_barrier_field_first_bit_pattern);
    assert_int_equal(gc_safepoint_mechanism(), GC_SAFEPOINT_MECHANISM_SIGNAL);
    assert_int_equal(gc_cooperative_safepoint_kind(),
                     GC_COOPERATIVE_SAFEPOINT_NONE);
    assert_int_equal(gc_can_pin_objects(), 1);
    assert_int_equal(gc_can_move_objects(), 0);
  }

  static const size_t sizes[] = {1, 16, 8192, 8193, 1 << 20};
  for (size_t i = 0; i < 5; i++) {
    int small = sizes[i] <= 8192;
    assert_int_equal(gc_old_generation_check_kind(sizes[i]),
                     !GC_GENERATIONAL ? GC_OLD_GENERATION_CHECK_NONE
                     : small          ? GC_OLD_GENERATION_CHECK_ALLOC_TABLE
                                      : GC_OLD_GENERATION_CHECK_SLOW);
    assert_int_equal(gc_write_barrier_kind(sizes[i]),
                     !GC_GENERATIONAL ? GC_WRITE_BARRIER_NONE
                     : small          ? GC_WRITE_BARRIER_FIELD
                                      : GC_WRITE_BARRIER_SLOW);
  }
}

/* ---- Allocation ---- */

static char *slab; /* aligned memory, the first part of which is a table */
static uintptr_t mutator_words[2048 / sizeof(uintptr_t)];
static struct gc_mutator *mut = (struct gc_mutator *)mutator_words;

static int setup(void **state) {
  (void)state;
  char *p = mmap(NULL, 2 * SLAB, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    return -1;
  slab = (char *)(((uintptr_t)p + SLAB - 1) & ~(uintptr_t)(SLAB - 1));
  return 0;
}

static uint8_t *table_byte(void *addr) {
  return (uint8_t *)slab + ((char *)addr - slab) / 16;
}

/* The words that are bumped for objects of KIND.  */
static uintptr_t *bump_words(enum gc_allocation_kind kind) {
  return mutator_words + gc_allocator_kind_offset(kind) / sizeof(uintptr_t);
}

static void bump_from(enum gc_allocation_kind kind, char *start, size_t size) {
  memset(mutator_words, 0, sizeof mutator_words);
  bump_words(kind)[0] = (uintptr_t)start;
  bump_words(kind)[1] = (uintptr_t)start + size;
}

static void check_table(char *start, size_t bytes, uint8_t begin) {
  size_t granules = (bytes + 15) / 16;
  for (size_t i = 0; i < granules; i++) {
    uint8_t expected = (i == 0 ? begin : 0) | (i == granules - 1 ? 32 : 0);
    assert_int_equal(*table_byte(start + i * 16), expected);
  }
  assert_int_equal(*table_byte(start + granules * 16), 0);
}

static void test_bump_pointer(void **state) {
  (void)state;
  if (!IS_MMC)
    skip();
  static const uint8_t patterns[] = {GC_CONSERVATIVE_TRACE ? 17 : 1, 9, 17, 25,
                                     1};
  static const size_t sizes[] = {1, 8, 15, 16, 17, 32, 33, 100, 8191, 8192};
  for (enum gc_allocation_kind kind = 0; kind < 5; kind++) {
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
      char *start = slab + 1024 * 1024;
      memset(slab, 0, SLAB / 16);
      bump_from(kind, start, 64 * 1024);
      slow_calls = 0;
      char *p = gc_allocate(mut, sizes[i], kind);
      if (gc_inline_allocator_kind(kind) == GC_INLINE_ALLOCATOR_NONE) {
        assert_int_equal(slow_calls, 1);
        continue;
      }
      assert_int_equal(slow_calls, 0);
      assert_ptr_equal(p, start);
      check_table(start, sizes[i], patterns[kind]);
      size_t rounded = (sizes[i] + 15) & ~(size_t)15;
      assert_ptr_equal((char *)bump_words(kind)[0], start + rounded);
      assert_ptr_equal((char *)bump_words(kind)[1], start + 64 * 1024);
      assert_ptr_equal(gc_allocate_fast(mut, 8, kind), start + rounded);
    }
  }
}

static void test_bump_pointer_limit(void **state) {
  (void)state;
  if (!IS_MMC)
    skip();
  char *start = slab + 2 * 1024 * 1024;
  bump_from(GC_ALLOCATION_TAGGED, start, 48);
  assert_null(gc_allocate_fast(mut, 49, GC_ALLOCATION_TAGGED));
  assert_ptr_equal((char *)mutator_words[0], start);
  assert_ptr_equal(gc_allocate_fast(mut, 33, GC_ALLOCATION_TAGGED), start);
  assert_null(gc_allocate_fast(mut, 1, GC_ALLOCATION_TAGGED));
  slow_calls = 0;
  assert_ptr_equal(gc_allocate(mut, 1, GC_ALLOCATION_TAGGED), &slow_calls);
  assert_int_equal(slow_calls, 1);

  /* A mutator without memory has two zero words.  */
  bump_from(GC_ALLOCATION_TAGGED, NULL, 0);
  assert_null(gc_allocate_fast(mut, 16, GC_ALLOCATION_TAGGED));
  bump_from(GC_ALLOCATION_TAGGED, start, 64 * 1024);
  assert_null(gc_allocate_fast(mut, 8193, GC_ALLOCATION_TAGGED));
  assert_null(gc_allocate_fast(mut, SIZE_MAX, GC_ALLOCATION_TAGGED));
}

static void test_freelist(void **state) {
  (void)state;
  if (IS_MMC)
    skip();
  memset(mutator_words, 0, sizeof mutator_words);
  static uintptr_t a[4], b[4];
  a[0] = (uintptr_t)b;
  mutator_words[1] = (uintptr_t)a;
  assert_null(gc_allocate_fast(mut, 16, GC_ALLOCATION_TAGGED));
  assert_null(gc_allocate_fast(mut, 33, GC_ALLOCATION_TAGGED));
  assert_null(gc_allocate_fast(mut, 17, GC_ALLOCATION_TAGGED_POINTERLESS));
  assert_null(gc_allocate_fast(mut, 257, GC_ALLOCATION_TAGGED));
  slow_calls = 0;
  assert_ptr_equal(gc_allocate(mut, 17, GC_ALLOCATION_TAGGED), a);
  assert_int_equal(a[0], 0);
  assert_ptr_equal(gc_allocate(mut, 32, GC_ALLOCATION_UNTAGGED_CONSERVATIVE),
                   b);
  assert_int_equal(slow_calls, 0);
  assert_int_equal(mutator_words[1], 0);
  gc_allocate(mut, 32, GC_ALLOCATION_TAGGED);
  assert_int_equal(slow_calls, 1);
}

/* ---- Barrier ---- */

static int barrier_calls(struct gc_ref obj, size_t size, void *field) {
  slow_calls = 0;
  gc_write_barrier(mut, obj, size, gc_edge(field),
                   gc_ref_from_heap_object(slab));
  return slow_calls;
}

static void test_barrier(void **state) {
  (void)state;
  char *start = slab + 3 * 1024 * 1024;
  struct gc_ref obj = gc_ref_from_heap_object(start);
  if (!GC_GENERATIONAL) {
    assert_int_equal(barrier_calls(obj, 64, start + 8), 0);
    assert_int_equal(barrier_calls(obj, 10000, start + 8), 0);
    return;
  }

  memset(slab, 0, SLAB / 16);
  for (uint8_t state = 1; state < 8; state++) {
    for (int field = 0; field < 8; field++) {
      *table_byte(start) = state | 8;
      uint8_t *log = table_byte(start + 8 * field);
      uint8_t before = *log;
      /* Young objects have no log.  */
      assert_int_equal(gc_object_is_old_generation(mut, obj, 64), state != 1);
      assert_int_equal(barrier_calls(obj, 64, start + 8 * field), state != 1);
      /* Even fields have bit 6, odd ones bit 7 of their granule's byte; the
         other bit is that of the neighbour.  */
      *log = before | (field % 2 ? 64 : 128);
      assert_int_equal(barrier_calls(obj, 64, start + 8 * field), state != 1);
      *log = before | (field % 2 ? 128 : 64);
      assert_int_equal(barrier_calls(obj, 64, start + 8 * field), 0);
      *log = before & 63;
    }
  }
  /* Large objects: always slow.  */
  assert_int_equal(barrier_calls(obj, 8193, start), 1);
}

static void ask_whether_old(void *data) {
  sink = gc_object_is_old_generation(mut, gc_ref_from_heap_object(data), 16);
}
static void test_nongenerational_question_traps(void **state) {
  (void)state;
  if (GC_GENERATIONAL)
    skip();
  unit_assert_traps(ask_whether_old, slab);
}

/* ---- Safepoints ---- */

static void test_safepoint(void **state) {
  (void)state;
  slow_calls = 0;
  safepoint_flag = 0;
  gc_safepoint(mut);
  assert_int_equal(slow_calls, 0);
  assert_false(gc_should_stop_for_safepoint(mut));
  safepoint_flag = 1;
  gc_safepoint(mut);
  assert_int_equal(slow_calls, IS_MMC);
  assert_int_equal(!!gc_should_stop_for_safepoint(mut), IS_MMC);

  gc_inhibit_preemption(mut);
  assert_int_equal(inhibited, !IS_MMC);
  gc_reallow_preemption(mut);
  assert_int_equal(inhibited, 0);
}

/* ---- References ---- */

static void test_references(void **state) {
  (void)state;
  int x;
  assert_true(gc_ref_is_null(gc_ref_null()));
  assert_true(gc_ref_is_null(gc_ref_from_heap_object_or_null(NULL)));
  struct gc_ref ref = gc_ref_from_heap_object(&slab);
  assert_false(gc_ref_is_null(ref));
  assert_true(gc_ref_is_heap_object(ref));
  assert_false(gc_ref_is_immediate(ref));
  assert_ptr_equal(gc_ref_heap_object(ref), &slab);
  for (uintptr_t bits = 1; bits < WORD; bits++) {
    struct gc_ref imm = gc_ref_immediate(0x120 | bits);
    assert_true(gc_ref_is_immediate(imm));
    assert_false(gc_ref_is_heap_object(imm));
    assert_int_equal(gc_ref_value(imm), 0x120 | bits);
  }
  void *field = &x;
  struct gc_edge edge = gc_edge(&field);
  assert_ptr_equal(gc_edge_loc(edge), &field);
  assert_int_equal(gc_edge_address(edge), (uintptr_t)&field);
  assert_int_equal(gc_ref_value(gc_edge_ref(edge)), (uintptr_t)&x);
  gc_edge_update(edge, gc_ref_null());
  assert_null(field);
  assert_int_equal(sizeof(struct gc_ref), sizeof(void *));
  assert_int_equal(offsetof(struct gc_atomic_forward, ref), 0);
  assert_int_equal(offsetof(struct gc_atomic_forward, data), WORD);
  assert_int_equal(offsetof(struct gc_atomic_forward, state), 2 * WORD);
  assert_true(gc_stack_addr_is_empty(gc_empty_stack_addr()));
  assert_false(gc_stack_addr_is_empty(gc_stack_addr(8)));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_bump_pointer),
      cmocka_unit_test(test_bump_pointer_limit),
      cmocka_unit_test(test_freelist),
      cmocka_unit_test(test_barrier),
      cmocka_unit_test(test_nongenerational_question_traps),
      cmocka_unit_test(test_safepoint),
      cmocka_unit_test(test_references),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
