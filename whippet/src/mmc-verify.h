/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The heap verifier: invariants that hold between collections, and that what
   was marked is closed under references; mmc-walk.h compares it with what an
   independent walk reaches.  World stopped.  A violation is reported on stderr,
   then traps.  */

#ifndef MMC_VERIFY_H
#define MMC_VERIFY_H

#include <stdio.h>

#include "mmc-trace.h"

/* Says what the collector knows about ADDR.  HEAP may be NULL: then ADDR is in
   the nofl space.  */
static void verify_describe(struct gc_heap *heap, uintptr_t addr) {
  fprintf(stderr, "%p", (void *)addr);
  if (heap && large_space_contains(&heap->large, addr)) {
    uintptr_t start = gc_ref_value(large_find_object(&heap->large, addr));
    fprintf(stderr, " (large object %p, %zu bytes)", (void *)start,
            start ? large_object_size(&heap->large, gc_ref(start)) : 0);
  } else if (!heap || nofl_space_contains(&heap->space, addr)) {
    fprintf(stderr,
            " (metadata byte 0x%02x, block place %u, class %u, flags "
            "%u",
            *nofl_metadata_byte(addr), nofl_block_of(addr)->place,
            nofl_block_of(addr)->class, nofl_block_of(addr)->flags);
    if (*nofl_metadata_byte(addr) & NOFL_STATE_MASK)
      fprintf(stderr, ", first word 0x%zx",
              (size_t) * (uintptr_t *)(addr & ~(NOFL_GRANULE_SIZE - 1)));
    fputc(')', stderr);
  }
}

static void GC_NEVER_INLINE verify_failed(const char *what, uintptr_t addr) {
  fprintf(stderr, "heap verifier: %s: %p", what, (void *)addr);
  if (addr)
    fprintf(stderr, " (metadata byte 0x%02x, block place %u, flags %u)",
            *nofl_metadata_byte(addr), nofl_block_of(addr)->place,
            nofl_block_of(addr)->flags);
  fputc('\n', stderr);
  GC_CRASH();
}

/* Who holds an edge: an object of the heap, or, with ADDR 0, a root.  */
struct verify_holder {
  uintptr_t addr;
  const char *root;
};

static inline struct verify_holder verify_heap_holder(uintptr_t addr) {
  return (struct verify_holder){addr, NULL};
}

static inline struct verify_holder verify_root_holder(const char *root) {
  return (struct verify_holder){0, root};
}

/* LOC is where the edge is, or 0 if that is not known.  */
static void GC_NEVER_INLINE
verify_edge_failed(struct gc_heap *heap, const struct verify_holder *holder,
                   uintptr_t loc, uintptr_t referent, const char *what) {
  fprintf(stderr, "heap verifier: %s: ", what);
  if (holder->addr) {
    size_t size = heap_object_size(heap, holder->addr);
    fputs("object ", stderr);
    verify_describe(heap, holder->addr);
    if (loc - holder->addr < size)
      fprintf(stderr, ", edge at offset %zu of %zu", loc - holder->addr, size);
    else
      fprintf(stderr, ", temporary edge, %zu bytes", size);
  } else {
    fputs(holder->root, stderr);
    if (loc)
      fprintf(stderr, " at %p", (void *)loc);
  }
  fputs(", to ", stderr);
  verify_describe(heap, referent);
  fputc('\n', stderr);
  GC_CRASH();
}

struct verify_blocks {
  size_t used;
  size_t empty;
  size_t paged_out;
  size_t partly_full;
  size_t to_sweep;
  size_t used_up;
};

static inline uint8_t verify_live_state(const struct nofl_space *space,
                                        const struct nofl_block *block,
                                        uint8_t state) {
  if (state == space->survivor_mark)
    return 1;
  return state == NOFL_STATE_YOUNG && block->place != NOFL_PLACE_TO_SWEEP &&
         block->place != NOFL_PLACE_OLD;
}

/* Each start has its end, and nothing starts inside.  In a block that waits for
   its sweep there is garbage between survivors.  */
static void verify_block_objects(struct nofl_space *space,
                                 struct nofl_block *block) {
  const uint8_t *meta = nofl_block_metadata(block);
  uintptr_t start = nofl_block_start(block);
  int swept = block->place != NOFL_PLACE_TO_SWEEP;
  for (size_t g = 0; g < NOFL_GRANULES_PER_BLOCK;) {
    uint8_t byte = meta[g];
    uint8_t state = byte & NOFL_STATE_MASK;
    uintptr_t addr = start + g * NOFL_GRANULE_SIZE;
    if (state == NOFL_STATE_NONE) {
      if (swept && (byte & NOFL_END))
        verify_failed("end without start", addr);
      g++;
      continue;
    }
    if (swept && !verify_live_state(space, block, state))
      verify_failed("dead object in swept block", addr);
    if (state == NOFL_STATE_BUSY)
      verify_failed("object left busy", addr);
    size_t size = nofl_object_granules(meta + g, NOFL_GRANULES_PER_BLOCK - g);
    for (size_t i = 1; i < size; i++)
      if (meta[g + i] & NOFL_STATE_MASK)
        verify_failed("object starts inside another", addr);
    g += size;
  }
}

static void verify_block_is_zero(struct nofl_block *block) {
  const uint64_t *words = (const uint64_t *)nofl_block_start(block);
  for (size_t i = 0; i < NOFL_BLOCK_SIZE / sizeof(*words); i++)
    if (words[i])
      verify_failed("block is not zero as it claims", (uintptr_t)&words[i]);
}

static inline void verify_block(struct nofl_space *space,
                                struct nofl_block *block, void *data) {
  struct verify_blocks *count = data;
  uintptr_t start = nofl_block_start(block);
  if (block->flags & NOFL_BLOCK_EVACUATE)
    verify_failed("candidate outside of compacting collection", start);
  if ((block->flags & NOFL_BLOCK_DISCARDED) &&
      block->place != NOFL_PLACE_PAGED_OUT)
    verify_failed("block is not with the OS as it claims", start);
  if (nofl_block_is_empty(block)) {
    if (block->place == NOFL_PLACE_EMPTY)
      count->empty++;
    else
      count->paged_out++;
    if (block->place == NOFL_PLACE_EMPTY && (block->flags & NOFL_BLOCK_ZERO))
      verify_block_is_zero(block);
    const uint8_t *meta = nofl_block_metadata(block);
    if (!(block->flags & NOFL_BLOCK_DIRTY_METADATA))
      for (size_t i = 0; i < NOFL_GRANULES_PER_BLOCK; i++)
        if (meta[i])
          verify_failed("empty block has metadata", start);
    return;
  }
  count->used++;
  count->partly_full += block->place == NOFL_PLACE_PARTLY_FULL;
  count->to_sweep += block->place == NOFL_PLACE_TO_SWEEP;
  count->used_up +=
      block->place == NOFL_PLACE_FULL || block->place == NOFL_PLACE_PROMOTED;
  if (block->hole_granules > NOFL_GRANULES_PER_BLOCK)
    verify_failed("more free granules than granules", start);
  verify_block_objects(space, block);
}

static void verify_count(const char *what, size_t expected, size_t found) {
  if (expected == found)
    return;
  fprintf(stderr, "heap verifier: %s: expected %zu, found %zu\n", what,
          expected, found);
  GC_CRASH();
}

static size_t verify_list_length(struct nofl_block *block) {
  size_t length = 0;
  for (; block; block = block->next)
    length++;
  return length;
}

/* In order of age, and linked in both directions.  */
static void verify_empty_list(const struct nofl_empty_list *list) {
  size_t length = 0;
  const struct nofl_block *younger = NULL;
  for (const struct nofl_block *b = list->head; b; b = b->next, length++) {
    if (b->prev != younger)
      verify_failed("wrong link of an empty block", nofl_block_start(b));
    if (younger && (int32_t)(younger->empty_since - b->empty_since) < 0)
      verify_failed("empty blocks out of order", nofl_block_start(b));
    younger = b;
  }
  if (list->tail != younger)
    verify_failed("wrong end of the empty blocks", (uintptr_t)list->tail);
  verify_count("length of empty list", list->count, length);
}

/* Each chunk with logged fields has been recorded, once.  */
static void heap_verify_logs(struct gc_heap *heap) {
  size_t recorded = 0;
  for (struct edge_buffer *buf = heap->full_edges; buf; buf = buf->next)
    for (size_t i = 0; i < buf->count; i++)
      recorded +=
          large_space_contains(&heap->large, gc_edge_address(buf->edges[i]));
  verify_count("chunks with logged fields", recorded,
               large_space_logged_chunks(&heap->large));
}

/* No allocator holds a block.  */
static void heap_verify_blocks(struct gc_heap *heap) {
  struct nofl_space *space = &heap->space;
  struct verify_blocks count = {
      0,
  };
  nofl_visit_blocks(space, verify_block, &count);
  verify_count("blocks in use", space->used_blocks, count.used);
  verify_count("empty blocks", space->empty.count, count.empty);
  verify_empty_list(&space->empty);
  verify_count("length of quarantine", space->quarantine.count,
               verify_list_length(space->quarantine.oldest));
  verify_count("paged-out blocks",
               space->paged_out.count + space->quarantine.count,
               count.paged_out);
  verify_count("length of paged-out list", space->paged_out.count,
               verify_list_length(space->paged_out.head));
  verify_count("all blocks", space->total_blocks,
               count.used + count.empty + count.paged_out);
  size_t partly_full = 0, to_sweep = 0;
  for (int class = 0; class < NOFL_CLASS_COUNT; class ++) {
    partly_full += verify_list_length(space->partly_full[class].head);
    to_sweep += verify_list_length(space->to_sweep[class]);
    to_sweep += verify_list_length(space->to_sweep_last[class]);
  }
  verify_count("partly full blocks", partly_full, count.partly_full);
  verify_count("blocks to sweep", to_sweep, count.to_sweep);
  if (GC_GENERATIONAL)
    verify_count("used blocks", verify_list_length(space->used), count.used_up);
  verify_count("bytes of large objects", space->large_bytes,
               large_space_live_bytes(&heap->large));
  if (GC_GENERATIONAL && !heap->minor_impossible)
    heap_verify_logs(heap);
  gc_finalizer_state_verify(heap->finalizers);
}

/* After tracing: each edge of a marked object leads to a marked object.  */

#if defined(GC_EMBEDDER_CHECKS_REFERENTS) && GC_EMBEDDER_CHECKS_REFERENTS
#define MMC_EMBEDDER_CHECKS_REFERENTS 1
#else
#define MMC_EMBEDDER_CHECKS_REFERENTS 0
#endif

/* What a wrong edge leads to looks like a marked object once it has been traced;
   but it does not come after the end of another, or has no end.  */

static int verify_is_inside_object(const uint8_t *meta, size_t g) {
  return g > 0 && !(meta[g - 1] & NOFL_END) &&
         nofl_object_start(meta, g - 1) >= 0;
}

static int verify_has_end(const uint8_t *meta, size_t g) {
  for (size_t i = g; i < NOFL_GRANULES_PER_BLOCK; i++) {
    if (i > g && (meta[i] & NOFL_STATE_MASK))
      return 0;
    if (meta[i] & NOFL_END)
      return 1;
  }
  return 0;
}

/* What is wrong with a reference to ADDR in the nofl space, or NULL.  */
static const char *verify_small_referent(struct gc_heap *heap, uintptr_t addr) {
  uint8_t state = *nofl_metadata_byte(addr) & NOFL_STATE_MASK;
  if (nofl_block_index(addr) < NOFL_META_BLOCKS_PER_SLAB)
    return "edge into the collector's metadata";
  struct nofl_block *block = nofl_block_of(addr);
  if (nofl_block_is_empty(block))
    return "edge to free memory";
  const uint8_t *meta = nofl_block_metadata(block);
  size_t g = (addr - nofl_block_start(block)) / NOFL_GRANULE_SIZE;
  if (addr % NOFL_GRANULE_SIZE || verify_is_inside_object(meta, g))
    return "edge to the middle of an object";
  if (state == NOFL_STATE_NONE || !verify_has_end(meta, g))
    return "edge to free memory";
  if (state == NOFL_STATE_FORWARDED)
    return "edge to the old copy of a moved object";
  if (state != heap->space.current_mark)
    return "edge to an object that is not marked";
  if (!*nofl_block_mark_of(addr))
    return "edge to a marked object in an unmarked block";
  return NULL;
}

static const char *verify_large_referent(struct gc_heap *heap, uintptr_t addr) {
  struct gc_ref start = large_find_object(&heap->large, addr);
  if (gc_ref_is_null(start))
    return "edge to free memory";
  if (gc_ref_value(start) != addr)
    return "edge to the middle of a large object";
  if (!large_object_is_live(&heap->large, start))
    return "edge to a large object that is not marked";
  return NULL;
}

static const char *verify_what_embedder_says(struct gc_heap *heap,
                                             struct gc_ref ref) {
#if MMC_EMBEDDER_CHECKS_REFERENTS
  uintptr_t addr = gc_ref_value(ref);
  uint8_t kind;
  if (!nofl_space_contains(&heap->space, addr))
    kind = large_object_trace_kind(&heap->large, ref);
  else if (nofl_object_trace_kind(addr) == NOFL_KIND_PRECISE)
    kind = NOFL_KIND_PRECISE; /* perhaps pinned */
  else
    kind = *nofl_metadata_byte(addr) & NOFL_KIND_MASK;
  /* A pointerless tagged object that is pinned looks like an untagged one.  */
  return kind & NOFL_PINNED ? NULL
                            : gc_check_referent(ref, kind == NOFL_KIND_NONE);
#else
  (void)heap;
  (void)ref;
  return NULL;
#endif
}

static const char *verify_fault_of_referent(struct gc_heap *heap,
                                            struct gc_ref ref) {
  uintptr_t addr = gc_ref_value(ref);
  const char *fault = NULL;
  if (nofl_space_contains(&heap->space, addr))
    fault = verify_small_referent(heap, addr);
  else if (large_space_contains(&heap->large, addr))
    fault = verify_large_referent(heap, addr);
  else if (addr - heap->reservation.base <
           heap->reservation.limit - heap->reservation.base)
    return "edge to unused address space";
  else
    return NULL;
  return fault ? fault : verify_what_embedder_says(heap, ref);
}

/* After the trace: EDGE of HOLDER, which is live, holds REF.  */
static inline void verify_referent(struct gc_heap *heap,
                                   const struct verify_holder *holder,
                                   struct gc_edge edge, struct gc_ref ref) {
  const char *fault = verify_fault_of_referent(heap, ref);
  if (GC_UNLIKELY(fault != NULL))
    verify_edge_failed(heap, holder, gc_edge_address(edge), gc_ref_value(ref),
                       fault);
}

static inline void verify_root_referent(struct gc_heap *heap,
                                        const struct verify_holder *holder,
                                        struct gc_ref ref) {
  const char *fault = verify_fault_of_referent(heap, ref);
  if (GC_UNLIKELY(fault != NULL))
    verify_edge_failed(heap, holder, 0, gc_ref_value(ref), fault);
}

struct verify_object {
  struct gc_heap *heap;
  struct verify_holder holder;
};

static void verify_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  struct verify_object *object = data;
  struct gc_ref ref = gc_edge_ref(edge);
  if (!gc_ref_is_null(ref) && !gc_ref_is_immediate(ref))
    verify_referent(heap, &object->holder, edge, ref);
}

/* Words that are traced conservatively may be anything.  */
static void verify_header(uintptr_t lo, uintptr_t hi, struct gc_heap *heap,
                          void *data) {
  (void)lo;
  (void)hi;
  (void)heap;
  (void)data;
}

static void verify_precise_object(struct gc_heap *heap, uintptr_t addr,
                                  size_t size) {
  struct verify_object object = {heap, verify_heap_holder(addr)};
  size_t bytes =
      object_trace_precisely(heap, addr, verify_edge, verify_header, &object);
  if (trace_size_is_right(addr, size, bytes))
    return;
  fprintf(stderr,
          "heap verifier: embedder disagrees about the size of object ");
  verify_describe(heap, addr);
  fprintf(stderr, ": %zu bytes instead of %zu\n", bytes, size);
  GC_CRASH();
}

static void verify_marked_object(uintptr_t addr, uint8_t state, void *data) {
  struct gc_heap *heap = data;
  if (state == NOFL_STATE_BUSY)
    verify_failed("object left busy", addr);
  if (state == heap->space.current_mark &&
      nofl_object_trace_kind(addr) == NOFL_KIND_PRECISE)
    verify_precise_object(heap, addr, nofl_object_size(addr));
}

static void verify_marked_large_object(uintptr_t start, size_t bytes,
                                       uint8_t kind, int live, void *data) {
  if (live && kind == NOFL_KIND_PRECISE)
    verify_precise_object(data, start, bytes);
}

static inline void verify_marked_block(struct nofl_space *space,
                                       struct nofl_block *block, void *data) {
  (void)space;
  if (!nofl_block_is_empty(block))
    nofl_visit_objects(block, verify_marked_object, data);
}

static void heap_verify_marks(struct gc_heap *heap) {
  gc_pending_ephemerons_inspect(heap->pending_ephemerons, 1);
  nofl_visit_blocks(&heap->space, verify_marked_block, heap);
  large_space_visit_objects(&heap->large, verify_marked_large_object, heap);
  gc_pending_ephemerons_inspect(heap->pending_ephemerons, 0);
}

#endif // MMC_VERIFY_H
