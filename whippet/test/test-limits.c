/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A limit on the address space, set before the heap is made or while it is in
   use.  Each test runs in a process of its own, since limits cannot be raised
   again.  */

#include "unit.h"

#include <sys/resource.h>

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-inhibit.h"
#include "gc-limits.h"
#include "gc-null-event-listener.h"
#include "test-types.h"

#define LIMIT ((size_t)192 << 20)

static void limit_address_space(size_t bytes) {
  struct rlimit limit = {bytes, bytes};
  if (setrlimit(RLIMIT_AS, &limit) != 0)
    _exit(3);
}

static void start(struct gc_heap **heap, struct gc_mutator **mut) {
  struct gc_options *options = gc_allocate_options();
  if (!gc_options_parse_and_set_many(options,
                                     "heap-size-policy=growable,parallelism=1"))
    _exit(4);
  if (!gc_init(options, gc_empty_stack_addr(), heap, mut,
               GC_NULL_EVENT_LISTENER, NULL))
    _exit(5);
}

static void *refuse(struct gc_heap *heap, size_t size) {
  (void)heap;
  (void)size;
  return NULL;
}

/* The heap can be filled, and what does not fit is refused.  */
static void fill(struct gc_heap *heap, struct gc_mutator *mut) {
  gc_heap_set_allocation_failure_handler(heap, refuse);
  for (int i = 0; i < 4096; i++)
    if (!gc_allocate(mut, 32 << 10, GC_ALLOCATION_TAGGED_POINTERLESS))
      _exit(6);
  if (gc_allocate(mut, LIMIT, GC_ALLOCATION_TAGGED_POINTERLESS))
    _exit(7);
  if (!gc_allocate(mut, 64, GC_ALLOCATION_TAGGED_POINTERLESS))
    _exit(8);
}

static void limited_from_the_start(void *data) {
  (void)data;
  struct gc_heap *heap;
  struct gc_mutator *mut;
  limit_address_space(LIMIT);
  start(&heap, &mut);
  if (!malloc(LIMIT / 8))
    _exit(9);
  fill(heap, mut);
}

static void limited_later(void *data) {
  (void)data;
  struct gc_heap *heap;
  struct gc_mutator *mut;
  start(&heap, &mut);
  limit_address_space(LIMIT);
  gc_heap_respect_limits(heap);
  if (!malloc(LIMIT / 8))
    _exit(9);
  fill(heap, mut);
}

/* Growth notices the limit too.  */
static void limited_without_telling(void *data) {
  (void)data;
  struct gc_heap *heap;
  struct gc_mutator *mut;
  start(&heap, &mut);
  limit_address_space(LIMIT);
  gc_heap_set_allocation_failure_handler(heap, refuse);
  if (gc_allocate(mut, LIMIT, GC_ALLOCATION_TAGGED_POINTERLESS))
    _exit(7);
  if (!malloc(LIMIT / 8))
    _exit(9);
  fill(heap, mut);
}

/* Of what a limit leaves, which the rest of the program does not want, the heap can
   have most, for objects of any size.  */
static void fill_with(size_t object_size) {
  struct gc_heap *heap;
  struct gc_mutator *mut;
  limit_address_space(LIMIT);
  start(&heap, &mut);
  gc_heap_set_allocation_failure_handler(heap, refuse);
  gc_heap_inhibit_collection(heap);
  size_t total = 0;
  while (total < LIMIT &&
         gc_allocate(mut, object_size, GC_ALLOCATION_TAGGED_POINTERLESS))
    total += object_size;
  if (total < LIMIT / 2 || total > LIMIT)
    _exit(10);
  /* All of that was garbage.  The address space that others of another size had is
     not to be had, but some is left.  */
  gc_heap_allow_collection(heap);
  gc_collect(mut, GC_COLLECTION_MAJOR);
  for (int i = 0; i < 100; i++)
    if (!gc_allocate(mut, LIMIT / 64, GC_ALLOCATION_TAGGED_POINTERLESS) ||
        !gc_allocate(mut, 256, GC_ALLOCATION_TAGGED_POINTERLESS))
      _exit(11);
}

static void fill_with_small_objects(void *data) {
  (void)data;
  fill_with(256);
}

static void fill_with_large_objects(void *data) {
  (void)data;
  fill_with((size_t)256 << 10);
}

/* A heap that could be larger than what is described of it: there is one all
   the same, with as much address space as there can be.  */
static void huge_maximum(void *data) {
  struct gc_options *options = gc_allocate_options();
  struct gc_heap *heap;
  struct gc_mutator *mut;
  if (!gc_options_parse_and_set_many(options, data))
    _exit(4);
  if (!gc_init(options, gc_empty_stack_addr(), &heap, &mut,
               GC_NULL_EVENT_LISTENER, NULL))
    _exit(5);
  gc_heap_set_allocation_failure_handler(heap, refuse);
  for (int i = 0; i < 4096; i++)
    if (!gc_allocate(mut, i % 2 ? 32 << 10 : 64,
                     GC_ALLOCATION_TAGGED_POINTERLESS))
      _exit(6);
  gc_collect(mut, GC_COLLECTION_COMPACTING);
  if (!gc_allocate(mut, LIMIT, GC_ALLOCATION_TAGGED_POINTERLESS))
    _exit(7);
}

static void check(void (*f)(void *)) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  /* Shadow memory alone is beyond any such limit.  */
  (void)f;
  skip();
#else
  int status = unit_run_in_child(f, NULL);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
#endif
}

static void test_limited_from_the_start(void **state) {
  (void)state;
  check(limited_from_the_start);
}

static void test_limited_later(void **state) {
  (void)state;
  check(limited_later);
}

static void test_limited_without_telling(void **state) {
  (void)state;
  check(limited_without_telling);
}

static void test_most_is_for_small_objects(void **state) {
  (void)state;
  check(fill_with_small_objects);
}

static void test_most_is_for_large_objects(void **state) {
  (void)state;
  check(fill_with_large_objects);
}

static void test_huge_maximum(void **state) {
  (void)state;
  static const char *const options[] = {
      "heap-size-policy=growable,parallelism=1,maximum-heap-size=2t",
      "heap-size-policy=growable,parallelism=1,maximum-heap-size=4t",
      "heap-size-policy=growable,parallelism=1,maximum-heap-size=8t",
      "heap-size-policy=adaptive,parallelism=1,maximum-heap-size=8t",
      "heap-size-policy=growable,parallelism=1,maximum-heap-size=16777215t",
      "heap-size=8t,parallelism=1",
  };
#if defined(__SANITIZE_THREAD__)
  /* Its shadow memory leaves no room for the largest heaps.  */
  skip();
#endif
  for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
    int status = unit_run_in_child(huge_maximum, (void *)options[i]);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_limited_from_the_start),
      cmocka_unit_test(test_limited_later),
      cmocka_unit_test(test_limited_without_telling),
      cmocka_unit_test(test_most_is_for_small_objects),
      cmocka_unit_test(test_most_is_for_large_objects),
      cmocka_unit_test(test_huge_maximum),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
