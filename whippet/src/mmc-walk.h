/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The verifier's second opinion: one thread walks the heap from the roots, with
   a plain stack and sets of its own, and compares what it reaches with what the
   collection has marked.  World stopped, after the trace and what belongs to
   it, before anything is freed.

   Checked:

     - each edge of each object it reaches leads to the start of an object, which
       is marked, has not moved away, and of which the embedder says that it is
       plausible;
     - each object that it reaches is marked;
     - each marked object was reached, unless the collection is a minor one,
       where old objects keep their marks;
     - each live ephemeron has a live key (not in minor collections);
     - each referent of an ambiguous root is marked that is one both before and
       after the trace.

   Shared with the collector, hence not checked: which objects a bit pattern
   denotes, how an object is traced by its metadata, and the embedder's tracing
   of objects and roots.  What the trace found by ambiguous roots, and the
   objects outside of the heap that it visited, is believed (mmc-walk-log.h).
   That an ephemeron died too early cannot be seen any more.

   Without memory for the walk there is none.  */

#ifndef MMC_WALK_H
#define MMC_WALK_H

#include "mmc-verify.h"

/* An ephemeron whose key has not been reached.  In a list by the key's hash; 0
   is the end.  */
struct walk_ephemeron {
  struct gc_ephemeron *ephemeron;
  uintptr_t key; /* 0 once it was reached */
  size_t next;
};

struct mmc_walk {
  struct gc_heap *heap;
  struct walk_log log;
  /* Referents of ambiguous roots before the trace.  */
  struct walk_set before;
  struct walk_set reached;
  struct walk_array stack;
  struct verify_holder holder; /* of the edges that are being visited */
  struct walk_ephemeron *ephemerons;
  size_t ephemeron_count, ephemeron_capacity;
  size_t *buckets; /* as many as ephemerons fit */
  int out_of_memory;
};

static void walk_shade(struct mmc_walk *walk, uintptr_t addr) {
  if (walk_set_add(&walk->reached, addr) &&
      !walk_array_push(&walk->stack, addr))
    walk->out_of_memory = 1;
}

static int walk_is_in_heap(struct gc_heap *heap, uintptr_t addr) {
  return nofl_space_contains(&heap->space, addr) ||
         large_space_contains(&heap->large, addr);
}

static void walk_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  struct mmc_walk *walk = data;
  struct gc_ref ref = gc_edge_ref(edge);
  if (gc_ref_is_null(ref) || gc_ref_is_immediate(ref))
    return;
  verify_referent(heap, &walk->holder, edge, ref);
  if (walk_is_in_heap(heap, gc_ref_value(ref)))
    walk_shade(walk, gc_ref_value(ref));
}

/* Ephemerons.  */

static inline size_t *walk_bucket(struct mmc_walk *walk, uintptr_t key) {
  uint64_t hash = (key >> 3) * UINT64_C(0x9e3779b97f4a7c15);
  return &walk->buckets[(hash >> 32) & (walk->ephemeron_capacity - 1)];
}

static void walk_release_ephemerons(struct mmc_walk *walk) {
  size_t n = walk->ephemeron_capacity;
  if (walk->ephemerons)
    gc_platform_release(walk->ephemerons, n * sizeof(*walk->ephemerons));
  if (walk->buckets)
    gc_platform_release(walk->buckets, n * sizeof(*walk->buckets));
  walk->ephemerons = NULL;
  walk->buckets = NULL;
  walk->ephemeron_count = walk->ephemeron_capacity = 0;
}

static void walk_link_ephemeron(struct mmc_walk *walk, size_t i) {
  size_t *bucket = walk_bucket(walk, walk->ephemerons[i].key);
  walk->ephemerons[i].next = *bucket;
  *bucket = i;
}

static int walk_grow_ephemerons(struct mmc_walk *walk) {
  size_t count = walk->ephemeron_count;
  size_t capacity =
      walk->ephemeron_capacity ? walk->ephemeron_capacity * 2 : 4096;
  struct walk_ephemeron *bigger = gc_platform_map(capacity * sizeof(*bigger));
  size_t *buckets = gc_platform_map(capacity * sizeof(*buckets));
  if (!bigger || !buckets) {
    if (bigger)
      gc_platform_release(bigger, capacity * sizeof(*bigger));
    return 0;
  }
  if (count)
    memcpy(bigger, walk->ephemerons, count * sizeof(*bigger));
  walk_release_ephemerons(walk);
  walk->ephemerons = bigger;
  walk->buckets = buckets;
  walk->ephemeron_capacity = capacity;
  walk->ephemeron_count = count;
  for (size_t i = 1; i < count; i++)
    walk_link_ephemeron(walk, i);
  return 1;
}

/* E, which is alive, was reached.  */
static void walk_ephemeron(struct gc_ephemeron *e, void *data) {
  struct mmc_walk *walk = data;
  struct gc_edge key_edge = gc_ephemeron_key_edge(e);
  struct gc_ref key = gc_edge_ref(key_edge);
  if (!gc_ref_is_immediate(key) &&
      walk_is_in_heap(walk->heap, gc_ref_value(key))) {
    verify_referent(walk->heap, &walk->holder, key_edge, key);
    if (!walk_set_has(&walk->reached, gc_ref_value(key))) {
      if (walk->ephemeron_count == walk->ephemeron_capacity &&
          !walk_grow_ephemerons(walk)) {
        walk->out_of_memory = 1;
        return;
      }
      /* Index 0 is not used.  */
      if (!walk->ephemeron_count)
        walk->ephemeron_count = 1;
      size_t i = walk->ephemeron_count++;
      walk->ephemerons[i] = (struct walk_ephemeron){e, gc_ref_value(key), 0};
      walk_link_ephemeron(walk, i);
      return;
    }
  }
  walk_edge(gc_ephemeron_value_edge(e), walk->heap, walk);
}

/* KEY was reached: so are the values of ephemerons that wait for it.  */
static void walk_resolve_ephemerons(struct mmc_walk *walk, uintptr_t key) {
  if (!walk->ephemeron_count)
    return;
  for (size_t i = *walk_bucket(walk, key); i; i = walk->ephemerons[i].next) {
    struct walk_ephemeron *waiting = &walk->ephemerons[i];
    if (waiting->key != key)
      continue;
    waiting->key = 0;
    walk->holder = verify_heap_holder((uintptr_t)waiting->ephemeron);
    walk_edge(gc_ephemeron_value_edge(waiting->ephemeron), walk->heap, walk);
  }
}

/* Objects.  */

/* WORD, found at LOC, may denote an object, which then is shaded.  */
static inline void walk_ambiguous_word(struct mmc_walk *walk, uintptr_t *loc,
                                       uintptr_t word) {
  struct gc_heap *heap = walk->heap;
  if (word < GC_MIN_OBJECT_ADDRESS ||
      !gc_accepts_displacement(word & (sizeof(uintptr_t) - 1)))
    return;
  uintptr_t addr = 0;
  if (nofl_space_contains(&heap->space, word))
    addr = nofl_resolve_conservative(&heap->space, word, 0);
  else if (large_space_contains(&heap->large, word))
    addr = trace_resolve_large(heap, word, 0);
  if (!addr)
    return;
  verify_referent(heap, &walk->holder, gc_edge(loc), gc_ref(addr));
  walk_shade(walk, addr);
}

static void walk_ambiguous_object(struct mmc_walk *walk, uintptr_t addr,
                                  size_t bytes) {
  for (uintptr_t p = addr; p < addr + bytes; p += sizeof(uintptr_t))
    walk_ambiguous_word(walk, (uintptr_t *)p, trace_load_ambiguous(p));
}

static void walk_header(uintptr_t lo, uintptr_t hi, struct gc_heap *heap,
                        void *data) {
  (void)heap;
  walk_ambiguous_object(data, lo, hi - lo);
}

static void walk_object(struct mmc_walk *walk, uintptr_t addr) {
  struct gc_heap *heap = walk->heap;
  uint8_t kind = heap_object_trace_kind(heap, addr);
  walk_resolve_ephemerons(walk, addr);
  walk->holder = verify_heap_holder(addr);
  if (kind == NOFL_KIND_PRECISE)
    object_trace_precisely(heap, addr, walk_edge, walk_header, walk);
  else if (kind != NOFL_KIND_NONE)
    walk_ambiguous_object(walk, addr, heap_object_size(heap, addr));
}

static void walk_drain(struct mmc_walk *walk) {
  while (walk->stack.count)
    walk_object(walk, walk->stack.items[--walk->stack.count]);
}

/* Roots.  */

struct walk_ambiguous {
  struct mmc_walk *walk;
  void (*f)(struct mmc_walk *walk, uintptr_t addr);
};

static MMC_NO_SANITIZE void walk_ambiguous_root(uintptr_t lo, uintptr_t hi,
                                                int interior,
                                                struct gc_heap *heap,
                                                void *data) {
  struct walk_ambiguous *ambiguous = data;
  lo = (lo + sizeof(uintptr_t) - 1) & ~(sizeof(uintptr_t) - 1);
  for (; lo + sizeof(uintptr_t) <= hi; lo += sizeof(uintptr_t)) {
    uintptr_t word = trace_load_ambiguous(lo), addr = 0;
    if (word < GC_MIN_OBJECT_ADDRESS ||
        !(interior || gc_accepts_displacement(word & (sizeof(uintptr_t) - 1))))
      continue;
    if (nofl_space_contains(&heap->space, word))
      addr = nofl_resolve_conservative(&heap->space, word, interior);
    else if (large_space_contains(&heap->large, word))
      addr = trace_resolve_large(heap, word, interior);
    if (addr)
      ambiguous->f(ambiguous->walk, addr);
  }
}

static void walk_interior_root(uintptr_t lo, uintptr_t hi, struct gc_heap *heap,
                               void *data) {
  walk_ambiguous_root(lo, hi, 1, heap, data);
}

static void walk_ignore_pinned_root(struct gc_ref ref, struct gc_heap *heap,
                                    void *data) {
  (void)ref;
  (void)heap;
  (void)data;
}

static void walk_pinned_root(struct gc_ref ref, struct gc_heap *heap,
                             void *data) {
  struct walk_ambiguous *ambiguous = data;
  walk_edge(gc_edge(&ref), heap, ambiguous->walk);
}

static void walk_ambiguous_roots(struct mmc_walk *walk,
                                 void (*f)(struct mmc_walk *, uintptr_t),
                                 void (*pinned)(struct gc_ref, struct gc_heap *,
                                                void *)) {
#if GC_CONSERVATIVE_ROOTS
  struct gc_heap *heap = walk->heap;
  struct walk_ambiguous data = {walk, f};
  for (struct gc_mutator *m = heap->mutators; m; m = m->next) {
    walk->holder = verify_root_holder("stack of a thread");
    gc_stack_visit(&m->stack, walk_interior_root, heap, &data);
    walk->holder = verify_root_holder("pinned root of a thread");
    if (m->roots)
      gc_trace_mutator_pinned_roots(m->roots, pinned, walk_ambiguous_root, heap,
                                    &data);
  }
  walk->holder = verify_root_holder("data of the program");
  gc_platform_visit_global_conservative_roots(heap->global_roots,
                                              walk_interior_root, heap, &data);
  walk->holder = verify_root_holder("pinned root of the heap");
  if (heap->roots)
    gc_trace_heap_pinned_roots(heap->roots, pinned, walk_ambiguous_root, heap,
                               &data);
#else
  (void)walk;
  (void)f;
  (void)pinned;
#endif
}

static void walk_note_before(struct mmc_walk *walk, uintptr_t addr) {
  walk_set_add(&walk->before, addr);
}

static void walk_shade_if_there_before(struct mmc_walk *walk, uintptr_t addr) {
  if (!walk_set_has(&walk->before, addr))
    return;
  verify_root_referent(walk->heap, &walk->holder, gc_ref(addr));
  walk_shade(walk, addr);
}

static void walk_roots(struct mmc_walk *walk) {
  struct gc_heap *heap = walk->heap;
  walk_ambiguous_roots(walk, walk_shade_if_there_before, walk_pinned_root);
  walk->holder = verify_root_holder("root of a thread");
  for (struct gc_mutator *m = heap->mutators; m; m = m->next)
    if (m->roots)
      gc_trace_mutator_roots(m->roots, walk_edge, heap, walk);
  walk->holder = verify_root_holder("root of the heap");
  if (heap->roots)
    gc_trace_heap_roots(heap->roots, walk_edge, heap, walk);
  walk->holder = verify_root_holder("list of finalizers");
  gc_visit_finalizer_roots(heap->finalizers, 0, walk_edge, heap, walk);
  walk->holder = verify_root_holder("object outside of the heap");
  for (size_t i = 0; i < walk->log.externs.count; i++)
    gc_trace_object(gc_ref(walk->log.externs.items[i]), walk_edge, heap, walk);
}

/* What the trace has found by ambiguous roots.  */
static void walk_logged_range(struct mmc_walk *walk,
                              const struct walk_range *range) {
  size_t words = walk_range_bytes(range) / sizeof(uint64_t);
  for (size_t i = 0; i < words; i++)
    for (uint64_t bits = range->bits[i]; bits; bits &= bits - 1) {
      size_t place = i * 64 + __builtin_ctzll(bits);
      uintptr_t addr = range->base + (place << range->shift);
      verify_root_referent(walk->heap, &walk->holder, gc_ref(addr));
      walk_shade(walk, addr);
    }
}

/* Comparison.  */

static void walk_compare_object(uintptr_t addr, uint8_t state, void *data) {
  struct mmc_walk *walk = data;
  if (state == walk->heap->space.current_mark &&
      !walk_set_has(&walk->reached, addr))
    verify_failed("object is marked and cannot be reached", addr);
}

static inline void walk_compare_block(struct nofl_space *space,
                                      struct nofl_block *block, void *data) {
  (void)space;
  if (!nofl_block_is_empty(block))
    nofl_visit_objects(block, walk_compare_object, data);
}

static void walk_compare_large_object(uintptr_t start, size_t bytes,
                                      uint8_t kind, int live, void *data) {
  (void)bytes;
  (void)kind;
  struct mmc_walk *walk = data;
  if (live && !walk_set_has(&walk->reached, start))
    verify_failed("large object is marked and cannot be reached", start);
}

static void walk_compare(struct mmc_walk *walk) {
  struct gc_heap *heap = walk->heap;
  for (size_t i = 1; i < walk->ephemeron_count; i++)
    if (walk->ephemerons[i].key)
      verify_failed("ephemeron has outlived its key",
                    (uintptr_t)walk->ephemerons[i].ephemeron);
  nofl_visit_blocks(&heap->space, walk_compare_block, walk);
  large_space_visit_objects(&heap->large, walk_compare_large_object, walk);
}

/* Not a cancellation point: the world is stopped.  */
static void walk_report_lack_of_memory(void) {
  int cancel_state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  fprintf(stderr, "heap verifier: no memory for the walk\n");
  pthread_setcancelstate(cancel_state, NULL);
}

/* Before the trace.  */
static void heap_begin_walk(struct gc_heap *heap) {
  struct mmc_walk *walk = heap->walk;
  if (!walk)
    return;
  walk->heap = heap;
  walk->out_of_memory = 0;
  if (!walk_set_init(&walk->log.ambiguous, &heap->space, &heap->large) ||
      !walk_set_init(&walk->before, &heap->space, &heap->large)) {
    walk_set_release(&walk->before);
    walk_set_release(&walk->log.ambiguous);
    return;
  }
  walk_ambiguous_roots(walk, walk_note_before, walk_ignore_pinned_root);
  heap->walk_log = &walk->log;
}

static void heap_end_walk(struct gc_heap *heap, enum gc_collection_kind kind) {
  struct mmc_walk *walk = heap->walk;
  if (!walk || !walk->before.small.bits)
    return;
  heap->walk_log = NULL;
  if (walk_set_init(&walk->reached, &heap->space, &heap->large)) {
    gc_pending_ephemerons_walk(heap->pending_ephemerons, walk_ephemeron);
    walk_roots(walk);
    walk_drain(walk);
    walk->holder = verify_root_holder("ambiguous root");
    walk_logged_range(walk, &walk->log.ambiguous.small);
    walk_logged_range(walk, &walk->log.ambiguous.large);
    walk_drain(walk);
    gc_pending_ephemerons_walk(heap->pending_ephemerons, NULL);
    if (walk->out_of_memory)
      walk_report_lack_of_memory();
    else if (kind != GC_COLLECTION_MINOR)
      walk_compare(walk);
  }
  walk_set_release(&walk->reached);
  walk_set_release(&walk->before);
  walk_set_release(&walk->log.ambiguous);
  walk_array_release(&walk->log.externs);
  walk_array_release(&walk->stack);
  walk_release_ephemerons(walk);
}

/* Without memory there will be no walks.  */
static void heap_init_walk(struct gc_heap *heap) {
  heap->walk = gc_platform_map(sizeof(*heap->walk));
  if (heap->walk)
    pthread_mutex_init(&heap->walk->log.lock, NULL);
}

static void heap_release_walk(struct gc_heap *heap) {
  if (heap->walk)
    gc_platform_release(heap->walk, sizeof(*heap->walk));
}

#endif // MMC_WALK_H
