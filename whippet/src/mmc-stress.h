/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Switches for testing and measuring, from the environment.  They cost nothing
   when they are off.

     GC_MMC_STRESS      comma-separated, each with "=NUMBER" or without for 1:
       collect-every    collect at every n-th slow path of allocation
       random-collect   collect at one in n slow paths, at random
       seed             of all that is random here
       compact          full collections evacuate all they can
       random-kind      choose the kind of collection at random
       verify           verify the heap before and after each collection, and
                        compare what is marked with an independent walk
       poison           overwrite free and vacated memory
       protect          make blocks inaccessible when they become empty, until
                        they are used again; a number above 1: use new memory
                        as long as there are fewer such blocks
       refuse           per mille of evacuation's requests for a target block
                        that are refused
       min-hole         sweeping passes over holes of fewer bytes, at most half
                        a block: slow paths, which rates count, become fewer;
                        a request that would fail uses them all the same
       mark-stack       at most so many items on a tracing thread's stack
       delay            microseconds, at most, of random delay when stopping
     GC_MMC_PREFETCH    0: trace without prefetching; 1: with it; else what is
                        measured to be faster
     GC_MMC_NURSERY     generational: bytes to allocate between collections; 0:
                        never a limit; else what is measured to be faster
     GC_MMC_HUGE_PAGES  0 or 1: never or always ask for huge pages; without,
                        for slabs added to heaps of at least 16 MiB, or
                        what the embedder says, as long as they are cheap

   An unknown or malformed switch is reported on stderr and ignored.  */

#ifndef MMC_STRESS_H
#define MMC_STRESS_H

#include <stdio.h>
#include <stdlib.h>

#include "mmc-nursery.h"

/* From which size of the heap on slabs ask for huge pages; an embedder may know
   better.  */
#ifdef GC_EMBEDDER_HUGE_PAGE_HEAP_SIZE
#define MMC_HUGE_PAGE_HEAP_SIZE ((size_t)GC_EMBEDDER_HUGE_PAGE_HEAP_SIZE)
#else
#define MMC_HUGE_PAGE_HEAP_SIZE ((size_t)16 * 1024 * 1024)
#endif

static int stress_set(struct mmc_stress *stress, const char *name,
                      size_t length, unsigned long value) {
#define STRESS_IS(str) (length == strlen(str) && !strncmp(name, str, length))
  if (STRESS_IS("collect-every"))
    stress->collect_every = value;
  else if (STRESS_IS("random-collect"))
    stress->random_collect = value;
  else if (STRESS_IS("seed"))
    stress->seed = value;
  else if (STRESS_IS("compact"))
    stress->compact = value != 0;
  else if (STRESS_IS("random-kind"))
    stress->random_kind = value != 0;
  else if (STRESS_IS("verify"))
    stress->verify = value != 0;
  else if (STRESS_IS("poison"))
    stress->poison = value != 0;
  else if (STRESS_IS("protect"))
    stress->quarantine = value == 1 ? NOFL_QUARANTINE_DEFAULT : value;
  else if (STRESS_IS("refuse"))
    stress->refuse_per_mille = value > 1000 ? 1000 : value;
  else if (STRESS_IS("min-hole"))
    stress->min_hole =
        value > NOFL_BLOCK_SIZE / 2 ? NOFL_BLOCK_SIZE / 2 : value;
  else if (STRESS_IS("mark-stack"))
    stress->stack_limit = value;
  else if (STRESS_IS("delay"))
    stress->delay_usec = value;
  else
    return 0;
  return 1;
#undef STRESS_IS
}

static void stress_parse(struct mmc_stress *stress, const char *str) {
  while (str && *str) {
    size_t length = strcspn(str, ",=");
    unsigned long value = 1;
    const char *end = str + length;
    int ok = length > 0;
    if (*end == '=') {
      char *after;
      value = strtoul(end + 1, &after, 10);
      ok = ok && after != end + 1 && (*after == ',' || !*after);
      end = after + strcspn(after, ",");
    }
    if (!ok || !stress_set(stress, str, length, value))
      fprintf(stderr, "warning: GC_MMC_STRESS: ignoring '%.*s'\n",
              (int)(end - str), str);
    str = *end ? end + 1 : end;
  }
}

/* 1 or 0, as the variable NAME of the environment says; -1 if it is not set, or
   empty.  */
static int stress_environment_switch(const char *name) {
  const char *value = getenv(name);
  if (!value || !*value)
    return -1;
  if (strcmp(value, "0") == 0 || strcmp(value, "1") == 0)
    return *value == '1';
  fprintf(stderr, "warning: %s: ignoring '%s', which is neither 0 nor 1\n",
          name, value);
  return -1;
}

static void heap_init_stress(struct gc_heap *heap) {
  heap->stress.seed = 42;
  stress_parse(&heap->stress, getenv("GC_MMC_STRESS"));
  int prefetch = stress_environment_switch("GC_MMC_PREFETCH");
  if (prefetch >= 0)
    heap->tracer.prefetching =
        prefetch ? TRACE_PREFETCHING_ALWAYS : TRACE_PREFETCHING_NEVER;
  const char *nursery = getenv("GC_MMC_NURSERY");
  if (nursery && *nursery) {
    char *end;
    unsigned long long bytes = strtoull(nursery, &end, 10);
    if (end != nursery && !*end)
      heap_fix_nursery(heap, bytes);
    else
      fprintf(stderr, "warning: GC_MMC_NURSERY: ignoring '%s'\n", nursery);
  }
  tracer_limit_stacks(&heap->tracer, heap->stress.stack_limit);
  heap->random_state = heap->stress.seed;
}

/* After nofl_space_init.  */
static void heap_apply_stress(struct gc_heap *heap) {
  heap->space.poison = heap->stress.poison;
  heap->large.poison = heap->stress.poison;
  heap->space.min_hole_granules = nofl_size_to_granules(heap->stress.min_hole);
  heap->space.refuse_blocks_per_mille = heap->stress.refuse_per_mille;
  heap->space.refuse_seed = heap->stress.seed - 42;
  heap->space.quarantine.capacity = heap->stress.quarantine;
  if (heap->stress.verify)
    heap_init_walk(heap);
}

static void heap_choose_huge_pages(struct nofl_huge_pages *pages) {
  int choice = stress_environment_switch("GC_MMC_HUGE_PAGES");
  size_t from = MMC_HUGE_PAGE_HEAP_SIZE;
  if (choice >= 0)
    from = choice ? 0 : SIZE_MAX;
  nofl_huge_pages_init(pages, from, choice >= 0);
}

#endif // MMC_STRESS_H
