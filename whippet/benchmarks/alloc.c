/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Pure allocation: objects of one size, of which none survives.  With --memset
   no objects are made; instead as many bytes are cleared, again and again in a
   region as large as the heap.  That is the price of memory traffic alone, to
   compare with.  */

#include "bench-allocate.h"
#include "bench-main.h"

#include <sys/mman.h>

static size_t object_size = 16;
static size_t total_bytes = (size_t)2 << 30;
static size_t nominal_live = 16 << 20;
static int pointerless = 0;
static int only_memset = 0;
static size_t chunk = 64 << 10;

static const struct bench_option options[] = {
    {"size", "BYTES", "Size of an object.", BENCH_OPTION_SIZE, &object_size, 16,
     1 << 30},
    {"total", "BYTES", "Bytes that each thread allocates.", BENCH_OPTION_SIZE,
     &total_bytes, 1, 1e15},
    {"live", "BYTES", "Nominal live data, for the heap multiplier.",
     BENCH_OPTION_SIZE, &nominal_live, 1 << 10, 1e13},
    {"pointerless", NULL, "Allocate objects that are not traced.",
     BENCH_OPTION_FLAG, &pointerless, 0, 0},
    {"memset", NULL, "Clear the same number of bytes instead.",
     BENCH_OPTION_FLAG, &only_memset, 0, 0},
    {"chunk", "BYTES", "Clear so many at a time.", BENCH_OPTION_SIZE, &chunk,
     16, 1 << 30},
    BENCH_OPTIONS_END};

static size_t live_bytes(const struct bench *bench) {
  (void)bench;
  return nominal_live;
}

/* In the program's own unit, so that sizes that are rounded up count as what
   they take.  */
static uint64_t object_count(const struct bench *bench) {
  uint64_t count = total_bytes / bench_footprint(object_size);
  return bench_scaled(bench, (double)count);
}

static void check_zero(struct cell *cell, size_t size) {
  size_t words = (size - sizeof(struct cell)) / sizeof(uint64_t);
  for (size_t i = 0; i < words; i++)
    BENCH_CHECK(!cell->words[i], "a new object is not zero");
}

#define CHECK_PERIOD 1024

/* Inlined so that the allocator's fast path sees a constant size.  */
static inline void allocate_cells(struct bench_thread *t, size_t size,
                                  enum gc_allocation_kind how) GC_ALWAYS_INLINE;
static inline void allocate_cells(struct bench_thread *t, size_t size,
                                  enum gc_allocation_kind how) {
  uint64_t rest = object_count(t->bench);
  while (rest) {
    uint64_t batch = rest < CHECK_PERIOD ? rest : CHECK_PERIOD;
    struct cell *cell = NULL;
    for (uint64_t i = 0; i < batch; i++)
      cell = allocate_cell(t->mut, size, how);
    check_zero(cell, size);
    rest -= batch;
  }
}

static inline void allocate_kind(struct bench_thread *t,
                                 enum gc_allocation_kind how) GC_ALWAYS_INLINE;
static inline void allocate_kind(struct bench_thread *t,
                                 enum gc_allocation_kind how) {
  switch (object_size) {
  case 16:
    allocate_cells(t, 16, how);
    break;
  case 32:
    allocate_cells(t, 32, how);
    break;
  case 64:
    allocate_cells(t, 64, how);
    break;
  case 256:
    allocate_cells(t, 256, how);
    break;
  default:
    allocate_cells(t, object_size, how);
  }
}

static void clear_memory(struct bench_thread *t) {
  size_t region = t->bench->heap_size / (size_t)t->bench->thread_count;
  size_t piece = chunk < region ? chunk : region;
  region -= region % piece;
  char *memory = mmap(NULL, region, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    abort();
  uint64_t rest = object_count(t->bench) * bench_footprint(object_size);
  for (size_t at = 0; rest; at = (at + piece) % region) {
    size_t n = rest < piece ? (size_t)rest : piece;
    memset(memory + at, 0, n);
    /* The memory is in use, as far as the compiler knows.  */
    __asm__ volatile("" : : "r"(memory) : "memory");
    rest -= n;
  }
  munmap(memory, region);
}

static void run(struct bench_thread *t) {
  if (only_memset)
    clear_memory(t);
  else if (pointerless)
    allocate_kind(t, GC_ALLOCATION_TAGGED_POINTERLESS);
  else
    allocate_kind(t, GC_ALLOCATION_TAGGED);
}

static void report(struct bench *bench, struct bench_results *results) {
  double objects = (double)object_count(bench) * (double)bench->thread_count;
  bench_add_number(results, "object_bytes", (double)object_size);
  bench_add_number(results, "objects", objects);
  bench_add_number(results, "nsec_per_object",
                   (double)bench->run_nsec / objects);
  bench_add_text(results, "mode", only_memset ? "memset" : "allocate");
}

int main(int argc, char **argv) {
  static const struct bench_program program = {
      .name = "alloc",
      .summary = "Pure allocation of small objects.",
      .options = options,
      .live_bytes = live_bytes,
      .run = run,
      .report = report};
  return bench_main(&program, argc, argv);
}
