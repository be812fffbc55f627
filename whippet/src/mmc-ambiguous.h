/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Ambiguous references: words, of roots or of objects that are traced conservatively,
   that may denote an object.  */

#ifndef MMC_AMBIGUOUS_H
#define MMC_AMBIGUOUS_H

#include "mmc-visit.h"

static uintptr_t trace_resolve_large(struct gc_heap *heap, uintptr_t word,
                                     int interior) {
  struct gc_ref ref =
      large_space_resolve_conservative(&heap->large, word, interior, 1);
  return gc_ref_value(ref);
}

/* WORD may denote an object: if so, mark it where it is.  */
static inline void trace_ambiguous_word(struct trace_worker *worker,
                                        uintptr_t word, int interior) {
  struct gc_heap *heap = worker->heap;
  if (nofl_space_contains(&heap->space, word)) {
    uintptr_t addr = nofl_resolve_conservative(&heap->space, word, interior);
    if (!addr)
      return;
    if (GC_UNLIKELY(worker->log != NULL))
      walk_set_add(&worker->log->ambiguous, addr);
    trace_mark_nofl(worker, addr);
  } else if (large_space_contains(&heap->large, word)) {
    uintptr_t addr = trace_resolve_large(heap, word, interior);
    if (!addr)
      return;
    if (GC_UNLIKELY(worker->log != NULL))
      walk_set_add(&worker->log->ambiguous, addr);
    trace_mark_large(worker, addr);
  }
}

/* Ranges include memory that a sanitizer regards as off limits, and words that
   running threads write, such as statistics.  */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MMC_NO_SANITIZE \
  __attribute__((no_sanitize("address"), no_sanitize("thread")))
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define MMC_NO_SANITIZE \
  __attribute__((no_sanitize("address"), no_sanitize("thread")))
#endif
#endif
#ifndef MMC_NO_SANITIZE
#define MMC_NO_SANITIZE
#endif

static inline MMC_NO_SANITIZE uintptr_t trace_load_ambiguous(uintptr_t addr) {
  return *(volatile uintptr_t *)addr;
}

/* How many words are looked at before those among them that may be references
   are traced.  */
#define TRACE_AMBIGUOUS_BATCH 256

/* Store to CANDIDATES those of the COUNT words at ADDR that lie in the
   reservation of EXTENT bytes at BASE, and return their number.  About one word
   in eight does, of the static data of a program, at no place that a branch
   predictor could learn: hence no branch.  */
static inline MMC_NO_SANITIZE size_t
trace_filter_ambiguous(uintptr_t addr, size_t count, uintptr_t base,
                       uintptr_t extent, uintptr_t *candidates) {
  size_t found = 0;
  for (size_t i = 0; i < count; i++) {
    uintptr_t word = trace_load_ambiguous(addr + i * sizeof(uintptr_t));
    candidates[found] = word;
    found += word - base < extent;
  }
  return found;
}

static void trace_ambiguous_range(struct trace_worker *worker, uintptr_t lo,
                                  uintptr_t hi, int interior) {
  const struct gc_reservation *res = &worker->heap->reservation;
  uintptr_t candidates[TRACE_AMBIGUOUS_BATCH];
  lo = (lo + sizeof(uintptr_t) - 1) & ~(sizeof(uintptr_t) - 1);
  hi &= ~(sizeof(uintptr_t) - 1);
  while (lo < hi) {
    size_t count = (hi - lo) / sizeof(uintptr_t);
    if (count > TRACE_AMBIGUOUS_BATCH)
      count = TRACE_AMBIGUOUS_BATCH;
    size_t found = trace_filter_ambiguous(lo, count, res->base,
                                          res->limit - res->base, candidates);
    for (size_t i = 0; i < found; i++) {
      uintptr_t word = candidates[i];
      if (interior || gc_accepts_displacement(word & (sizeof(uintptr_t) - 1)))
        trace_ambiguous_word(worker, word, interior);
    }
    lo += count * sizeof(uintptr_t);
  }
}

static void trace_ambiguous_root(uintptr_t lo, uintptr_t hi,
                                 int possibly_interior, struct gc_heap *heap,
                                 void *data) {
  struct trace_worker *worker = data;
  worker->log = heap->walk_log;
  trace_ambiguous_range(worker, lo, hi, possibly_interior);
  worker->log = NULL;
}

static void trace_interior_range(uintptr_t lo, uintptr_t hi,
                                 struct gc_heap *heap, void *data) {
  trace_ambiguous_root(lo, hi, 1, heap, data);
}

static void trace_pinned_root(struct gc_ref ref, struct gc_heap *heap,
                              void *data) {
  struct trace_worker *worker = data;
  if (gc_ref_is_null(ref) || gc_ref_is_immediate(ref))
    return;
  uintptr_t addr = gc_ref_value(ref);
  if (nofl_space_contains(&heap->space, addr))
    trace_mark_nofl(worker, addr);
  else
    trace_visit_foreign(worker, gc_edge(&ref), addr);
}

#endif // MMC_AMBIGUOUS_H
