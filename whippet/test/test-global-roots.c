/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the search for writable data segments, with libraries that come
   and go.  */
/* Collectors: mmc */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "unit.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* The library's calls come to these.  */

static int mincore_error, mincore_calls;

static int call_mincore(void *addr, size_t length, unsigned char *residency) {
  mincore_calls++;
  if (mincore_error) {
    errno = mincore_error;
    return -1;
  }
  return mincore(addr, length, residency);
}

/* After the first object.  */
static void (*during_preparation)(void);

typedef int (*object_visitor)(struct dl_phdr_info *info, size_t size,
                              void *data);

struct iteration {
  object_visitor f;
  void *data;
  int begun;
};

static int iterate(struct dl_phdr_info *info, size_t size, void *data) {
  struct iteration *iteration = data;
  int result = iteration->f(info, size, iteration->data);
  if (!iteration->begun && during_preparation)
    during_preparation();
  iteration->begun = 1;
  return result;
}

static int call_dl_iterate_phdr(object_visitor f, void *data) {
  struct iteration iteration = {f, data, 0};
  return dl_iterate_phdr(iterate, &iteration);
}

#define mincore call_mincore
#define dl_iterate_phdr call_dl_iterate_phdr
#include "../src/gc-platform-gnu-linux.c"
#undef dl_iterate_phdr
#undef mincore

static int initialised = 42;
static int zero;
static const char *const relocated = "constant";
static char excluded[4096];

#define MAX_RANGES 512
struct range {
  uintptr_t low, high;
};
struct ranges {
  size_t count;
  struct range ranges[MAX_RANGES];
};

static void collect_range(uintptr_t low, uintptr_t high, struct gc_heap *heap,
                          void *data) {
  struct ranges *ranges = data;
  if (heap != (struct gc_heap *)data || low >= high || low % sizeof(void *) ||
      high % sizeof(void *) || ranges->count == MAX_RANGES)
    abort();
  ranges->ranges[ranges->count++] = (struct range){low, high};
}

static struct ranges current;
static struct gc_global_roots *roots;

static void visit(void) {
  current.count = 0;
  gc_platform_visit_global_conservative_roots(
      roots, collect_range, (struct gc_heap *)(void *)&current, &current);
}

static size_t times_visited(const void *addr) {
  size_t n = 0;
  for (size_t i = 0; i < current.count; i++)
    n += current.ranges[i].low <= (uintptr_t)addr &&
         (uintptr_t)addr < current.ranges[i].high;
  return n;
}

static void check_own_data(void) {
  int local = 0;
  assert_int_equal(times_visited(&initialised), 1);
  assert_int_equal(times_visited(&zero), 1);
  assert_int_equal(times_visited(&environ), 1);
  assert_int_equal(times_visited(&local), 0);
  assert_int_equal(times_visited("constant"), 0);
  assert_int_equal(times_visited((void *)check_own_data), 0);
  void *p = malloc(64);
  assert_int_equal(times_visited(p), 0);
  free(p);
}

static void test_own_data(void **state) {
  (void)state;
  /* Without preparation too.  */
  visit();
  check_own_data();
  assert_true(gc_platform_prepare_global_roots(roots));
  visit();
  check_own_data();
  assert_true(gc_platform_prepare_global_roots(roots));
  visit();
  check_own_data();
}

static int find_relro(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  struct range *relro = data;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type == PT_GNU_RELRO) {
      relro->low = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
      relro->high = relro->low + info->dlpi_phdr[i].p_memsz;
    }
  }
  return 1; /* the program is the first */
}

/* What the loader has made read-only is left out.  */
static void test_relro(void **state) {
  (void)state;
  struct range relro = {0, 0};
  dl_iterate_phdr(find_relro, &relro);
  uintptr_t addr = (uintptr_t)&relocated;
  if (addr < relro.low || addr >= (relro.high & -gc_platform_page_size()))
    skip();
  visit();
  assert_int_equal(times_visited(&relocated), 0);
}

static void test_exclusion(void **state) {
  (void)state;
  assert_int_equal(times_visited(&excluded[0]), 1);
  gc_platform_exclude_global_root(&excluded[64], 1024);
  visit();
  assert_int_equal(times_visited(&excluded[56]), 1);
  assert_int_equal(times_visited(&excluded[64]), 0);
  assert_int_equal(times_visited(&excluded[1080]), 0);
  assert_int_equal(times_visited(&excluded[1088]), 1);
  check_own_data();
}

/* Readers of one word may look at what belongs to nobody.  */
__attribute__((no_sanitize("address", "thread"))) static void
read_range(uintptr_t low, uintptr_t high, struct gc_heap *heap, void *data) {
  (void)heap;
  for (; low < high; low += sizeof(uintptr_t))
    *(volatile uintptr_t *)data += *(volatile uintptr_t *)low;
}

static volatile uintptr_t sum;

static void read_all(void) {
  gc_platform_visit_global_conservative_roots(roots, read_range, NULL,
                                              (void *)&sum);
}

static void test_all_is_readable(void **state) {
  (void)state;
  read_all();
}

static void test_no_malloc(void **state) {
  (void)state;
  struct mallinfo2 before = mallinfo2();
  gc_platform_prepare_global_roots(roots);
  visit();
  struct mallinfo2 after = mallinfo2();
  assert_int_equal(before.uordblks, after.uordblks);
}

/* ---- Libraries ---- */

struct library {
  struct link_map *map;
  struct range data; /* some writable range */
};

static int find_data(struct dl_phdr_info *info, size_t size, void *data) {
  (void)size;
  struct library *library = data;
  if (info->dlpi_addr != library->map->l_addr ||
      strcmp(info->dlpi_name, library->map->l_name) != 0)
    return 0;
  struct range relro = {0, 0}, load = {0, 0};
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    struct range r = {info->dlpi_addr + p->p_vaddr,
                      info->dlpi_addr + p->p_vaddr + p->p_memsz};
    if (p->p_type == PT_GNU_RELRO)
      relro = r;
    if (p->p_type == PT_LOAD && (p->p_flags & PF_W))
      load = r;
  }
  if (relro.high > load.low)
    load.low = relro.high;
  load.low = (load.low + 15) & ~(uintptr_t)15;
  load.high &= ~(uintptr_t)15;
  library->data = load;
  return 1;
}

/* Libraries of libc that programs are not linked with, of which one has data of
   its own.  */
static int load_library(struct library *library) {
  static const char *const names[] = {"libthread_db.so.1", "libresolv.so.2",
                                      "libnss_compat.so.2", "libanl.so.1"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD))
      continue;
    library->map = dlopen(names[i], RTLD_LAZY);
    if (!library->map)
      continue;
    library->data = (struct range){0, 0};
    dl_iterate_phdr(find_data, library);
    if (library->data.low < library->data.high)
      return 1;
    dlclose(library->map);
  }
  return 0;
}

static int is_loaded(struct library *library) {
  return times_visited((void *)library->data.low) == 1;
}

static void test_library_with_preparation(void **state) {
  (void)state;
  struct library library;
  if (!load_library(&library))
    skip();
  gc_platform_prepare_global_roots(roots);
  visit();
  assert_true(is_loaded(&library));
  dlclose(library.map);
  gc_platform_prepare_global_roots(roots);
  visit();
  assert_false(is_loaded(&library));
  check_own_data();
}

/* A thread loads a library between preparation and stop.  */
static void test_library_without_preparation(void **state) {
  (void)state;
  struct library library;
  gc_platform_prepare_global_roots(roots);
  if (!load_library(&library))
    skip();
  visit();
  assert_true(is_loaded(&library));
  check_own_data();
  static struct ranges before;
  before = current;

  /* Both ways find the same.  */
  gc_platform_prepare_global_roots(roots);
  visit();
  assert_int_equal(before.count, current.count);
  assert_memory_equal(before.ranges, current.ranges,
                      before.count * sizeof before.ranges[0]);

  dlclose(library.map);
  visit();
  assert_false(is_loaded(&library));
  check_own_data();
}

/* While this heap's world is stopped, a thread of another heap loads a library and
   prepares a collection.  */
static void test_preparation_for_another_heap(void **state) {
  (void)state;
  struct gc_global_roots *other = gc_platform_make_global_roots();
  assert_non_null(other);
  gc_platform_prepare_global_roots(other);
  gc_platform_prepare_global_roots(roots);
  struct library library;
  if (!load_library(&library))
    skip();
  current.count = 0;
  during_preparation = visit;
  gc_platform_prepare_global_roots(other);
  during_preparation = NULL;
  assert_true(is_loaded(&library));
  check_own_data();
  dlclose(library.map);
  gc_platform_free_global_roots(other);
}

/* A thread is stopped while it unloads a library: its segments are gone, but
   it is in the list.  */
static void unload_half(void *data) {
  struct library *library = data;
  uintptr_t page = gc_platform_page_size();
  uintptr_t low = library->data.low & -page;
  uintptr_t high = (library->data.high + page - 1) & -page;
  _r_debug.r_state = RT_DELETE;
  if (munmap((void *)low, high - low) != 0)
    _exit(1);
  visit();
  if (is_loaded(library))
    _exit(2);
  read_all();
}

static void test_library_half_unloaded(void **state) {
  (void)state;
  struct library library;
  if (!load_library(&library))
    skip();
  gc_platform_prepare_global_roots(roots);
  assert_int_equal(unit_run_in_child(unload_half, &library), 0);
  dlclose(library.map);
}

/* The table cannot grow: visits work all the same.  */
static void test_no_memory_for_table(void **state) {
  (void)state;
  gc_platform_fault_inject_from(GC_PLATFORM_FAULT_MAP, 1);
  gc_platform_prepare_global_roots(roots);
  visit();
  check_own_data();
  gc_platform_fault_inject(GC_PLATFORM_FAULT_MAP, 0);
}

/* The system is not asked about what cannot have changed.  */
static void test_no_system_calls(void **state) {
  (void)state;
  gc_platform_prepare_global_roots(roots);
  mincore_calls = 0;
  visit();
  check_own_data();
  assert_int_equal(mincore_calls, 0);
}

/* Where the system does not let us ask what is mapped, nothing is left out.  */
static void test_mincore_forbidden(void **state) {
  (void)state;
  _r_debug.r_state = RT_DELETE;
  mincore_error = EPERM;
  for (int prepared = 0; prepared < 2; prepared++) {
    visit();
    check_own_data();
    gc_platform_prepare_global_roots(roots);
  }
  mincore_error = ENOMEM;
  visit();
  assert_int_equal(times_visited(&initialised), 0);
  mincore_error = 0;
  _r_debug.r_state = RT_CONSISTENT;
}

int main(void) {
  gc_platform_init();
  roots = gc_platform_make_global_roots();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_own_data),
      cmocka_unit_test(test_relro),
      cmocka_unit_test(test_exclusion),
      cmocka_unit_test(test_all_is_readable),
      cmocka_unit_test(test_no_malloc),
      cmocka_unit_test(test_library_with_preparation),
      cmocka_unit_test(test_library_without_preparation),
      cmocka_unit_test(test_preparation_for_another_heap),
      cmocka_unit_test(test_no_memory_for_table),
      cmocka_unit_test(test_no_system_calls),
      cmocka_unit_test(test_mincore_forbidden),
      cmocka_unit_test(test_library_half_unloaded),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
