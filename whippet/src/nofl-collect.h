/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The nofl space at the start and end of a collection, and the choice of
   blocks to evacuate.  World stopped, one thread.  */

#ifndef NOFL_COLLECT_H
#define NOFL_COLLECT_H

#include "gc-collection-kind.h"
#include "nofl-mark.h"

#define NOFL_HISTOGRAM_BUCKETS 33
#define NOFL_HISTOGRAM_GRANULES (NOFL_GRANULES_PER_BLOCK / 32)
/* Of blocks with so few survivors, so many times as much may be copied.  */
#define NOFL_VERY_SPARSE_GRANULES (NOFL_GRANULES_PER_BLOCK / 4)
#define NOFL_VERY_SPARSE_FACTOR 8

static inline int nofl_block_is_empty(const struct nofl_block *block) {
  return block->place == NOFL_PLACE_EMPTY ||
         block->place == NOFL_PLACE_PAGED_OUT;
}

/* Call F on each object block of the space, from high addresses to low, so
   that stacks built by pushing come out in address order.  */
static inline void GC_ALWAYS_INLINE nofl_visit_blocks(
    struct nofl_space *space,
    void (*f)(struct nofl_space *, struct nofl_block *, void *), void *data);
static inline void nofl_visit_blocks(struct nofl_space *space,
                                     void (*f)(struct nofl_space *,
                                               struct nofl_block *, void *),
                                     void *data) {
  for (size_t s = nofl_space_slab_count(space); s-- > 0;) {
    struct nofl_slab *slab = nofl_space_slab(space, s);
    for (size_t i = NOFL_BLOCKS_PER_SLAB; i-- > NOFL_META_BLOCKS_PER_SLAB;)
      f(space, &slab->blocks[i], data);
  }
}

/* Call F on the address of each object of BLOCK, with its state.  */
static inline void GC_ALWAYS_INLINE nofl_visit_objects(
    struct nofl_block *block,
    void (*f)(uintptr_t addr, uint8_t state, void *data), void *data);
static inline void nofl_visit_objects(struct nofl_block *block,
                                      void (*f)(uintptr_t addr, uint8_t state,
                                                void *data),
                                      void *data) {
  uint8_t *meta = nofl_block_metadata(block);
  uintptr_t start = nofl_block_start(block);
  size_t g = 0;
  while (g < NOFL_GRANULES_PER_BLOCK) {
    g += nofl_find_any_state(meta + g, NOFL_GRANULES_PER_BLOCK - g);
    if (g == NOFL_GRANULES_PER_BLOCK)
      return;
    size_t size = nofl_object_granules(meta + g, NOFL_GRANULES_PER_BLOCK - g);
    f(start + g * NOFL_GRANULE_SIZE, meta[g] & NOFL_STATE_MASK, data);
    g += size;
  }
}

/* The same for those that are traced, which takes little time if there are few.  */
static inline void GC_ALWAYS_INLINE nofl_visit_traced_objects(
    struct nofl_block *block,
    void (*f)(uintptr_t addr, uint8_t state, void *data), void *data);
static inline void
nofl_visit_traced_objects(struct nofl_block *block,
                          void (*f)(uintptr_t addr, uint8_t state, void *data),
                          void *data) {
  uint8_t *meta = nofl_block_metadata(block);
  uintptr_t start = nofl_block_start(block);
  for (size_t g = 0; g < NOFL_GRANULES_PER_BLOCK; g++) {
    g += nofl_find_traced(meta + g, NOFL_GRANULES_PER_BLOCK - g);
    if (g == NOFL_GRANULES_PER_BLOCK)
      return;
    f(start + g * NOFL_GRANULE_SIZE, meta[g] & NOFL_STATE_MASK, data);
  }
}

static inline void nofl_prepare_block(struct nofl_space *space,
                                      struct nofl_block *block, void *data) {
  (void)space;
  (void)data;
  GC_ASSERT(block->place != NOFL_PLACE_OWNED);
  GC_ASSERT(block->place != NOFL_PLACE_TO_SWEEP);
  block->flags &= ~NOFL_BLOCK_EVACUATE;
  if (!nofl_block_is_empty(block)) {
    block->next = NULL;
    block->place = NOFL_PLACE_FULL;
  }
}

/* Begin a minor collection.  Every allocator has been finished.  A block that
   waits to be swept, or is old, holds nothing young; one that is partly full
   may.  So only these and those that were used up take part.  */
static void nofl_space_start_minor_gc(struct nofl_space *space) {
  for (int class = 0; class < NOFL_CLASS_COUNT; class ++) {
    struct nofl_block *block;
    while ((block = nofl_list_pop(&space->partly_full[class]))) {
      block->place = NOFL_PLACE_FULL;
      nofl_space_push_used(space, block);
    }
  }
}

/* Begin a collection.  Every allocator has been finished and, unless the
   collection is a minor one, nothing waits to be swept.  */
static void nofl_space_start_gc(struct nofl_space *space,
                                enum gc_collection_kind kind) {
  GC_ASSERT(space->current_mark == space->survivor_mark);
  if (kind == GC_COLLECTION_MINOR) {
    nofl_space_start_minor_gc(space);
    return;
  }
  for (int class = 0; class < NOFL_CLASS_COUNT; class ++) {
    GC_ASSERT(!space->to_sweep[class] && !space->to_sweep_last[class]);
    space->partly_full[class].head = NULL;
    space->partly_full[class].count = 0;
  }
  space->used = NULL;
  nofl_visit_blocks(space, nofl_prepare_block, NULL);
  for (size_t s = 0; s < nofl_space_slab_count(space); s++)
    memset(nofl_space_slab(space, s)->block_marks, 0, NOFL_BLOCKS_PER_SLAB);
  space->current_mark = nofl_next_mark(space->survivor_mark);
}

/* Granules that survived the last collection, as of the last sweep.  What was
   allocated in holes since is expected to die.  But a block that was empty was
   not swept: nothing is known of it, and it may be full.  */
static inline size_t nofl_block_survivors(const struct nofl_block *block) {
  if (block->hole_granules == NOFL_GRANULES_PER_BLOCK)
    return NOFL_GRANULES_PER_BLOCK;
  return NOFL_GRANULES_PER_BLOCK - block->hole_granules;
}

static inline unsigned nofl_survivor_bucket(const struct nofl_block *block) {
  return (nofl_block_survivors(block) + NOFL_HISTOGRAM_GRANULES - 1) /
         NOFL_HISTOGRAM_GRANULES;
}

struct nofl_candidates {
  size_t counts[NOFL_HISTOGRAM_BUCKETS];
  size_t flagged;
};

static inline int nofl_block_can_be_evacuated(const struct nofl_block *block) {
  return !nofl_block_is_empty(block) && block->class == NOFL_CLASS_ORDINARY;
}

static inline void nofl_count_candidate(struct nofl_space *space,
                                        struct nofl_block *block, void *data) {
  (void)space;
  struct nofl_candidates *candidates = data;
  if (nofl_block_can_be_evacuated(block))
    candidates->counts[nofl_survivor_bucket(block)]++;
}

static inline void nofl_flag_candidate(struct nofl_space *space,
                                       struct nofl_block *block, void *data) {
  (void)space;
  struct nofl_candidates *candidates = data;
  if (!nofl_block_can_be_evacuated(block))
    return;
  size_t *count = &candidates->counts[nofl_survivor_bucket(block)];
  if (*count) {
    --*count;
    block->flags |= NOFL_BLOCK_EVACUATE;
    candidates->flagged++;
  }
}

/* Granules of survivors to copy at most, from blocks with up to GRANULES of them: more
   if that empties many blocks.  */
static inline size_t nofl_evacuation_limit(const struct nofl_space *space,
                                           size_t granules) {
  size_t limit = space->evacuation_limit;
  if (granules <= NOFL_VERY_SPARSE_GRANULES)
    return limit < SIZE_MAX / NOFL_VERY_SPARSE_FACTOR
               ? limit * NOFL_VERY_SPARSE_FACTOR
               : SIZE_MAX;
  return limit;
}

/* Would copying the survivors of all blocks with at most MAX_SURVIVORS granules
   of them, up to the limit, need more room than there is?  */
static int nofl_space_lacks_targets(struct nofl_space *space,
                                    size_t max_survivors) {
  struct nofl_candidates candidates = {{
                                           0,
                                       },
                                       0};
  nofl_visit_blocks(space, nofl_count_candidate, &candidates);
  size_t room = nofl_space_available_blocks(space) * NOFL_GRANULES_PER_BLOCK;
  size_t need = 0;
  for (size_t i = 1; i < NOFL_HISTOGRAM_BUCKETS; i++) {
    size_t granules = i * NOFL_HISTOGRAM_GRANULES;
    if (granules <= max_survivors &&
        need < nofl_evacuation_limit(space, granules))
      need += candidates.counts[i] * granules;
  }
  return need > room;
}

/* Choose what to evacuate: the blocks with the fewest survivors, as many as the
   free blocks can take in and the limit allows.  Blocks with more than MAX_SURVIVORS
   granules are left alone.  The referents of ambiguous roots are marked already, and
   stay.  Returns the number of candidates.  */
static size_t nofl_space_start_evacuation(struct nofl_space *space,
                                          size_t max_survivors) {
  struct nofl_candidates candidates = {{
                                           0,
                                       },
                                       0};
  nofl_visit_blocks(space, nofl_count_candidate, &candidates);
  size_t room = nofl_space_available_blocks(space) * NOFL_GRANULES_PER_BLOCK;
  size_t copied = 0;
  space->evacuation_was_cut = 0;
  for (size_t i = 1; i < NOFL_HISTOGRAM_BUCKETS; i++) {
    size_t granules = i * NOFL_HISTOGRAM_GRANULES;
    size_t most = nofl_evacuation_limit(space, granules);
    if (most > room)
      most = room;
    most = most > copied ? most - copied : 0;
    size_t fit = granules <= max_survivors ? most / granules : 0;
    if (fit < candidates.counts[i]) {
      space->evacuation_was_cut |= granules <= max_survivors;
      candidates.counts[i] = fit;
      /* Nothing that has more.  */
      room = 0;
    }
    copied += candidates.counts[i] * granules;
  }
  nofl_visit_blocks(space, nofl_flag_candidate, &candidates);
  space->evacuating = candidates.flagged != 0;
  space->targets_exhausted = 0;
  return candidates.flagged;
}

/* Did the last sweep of BLOCK find little but small holes?  Then a minor
   collection has not made them larger.  */
static inline int nofl_block_has_small_holes(const struct nofl_block *block) {
  return block->hole_granules < block->hole_count * NOFL_SMALL_HOLE_GRANULES ||
         block->hole_granules < NOFL_GRANULES_PER_BLOCK / 8;
}

struct nofl_finish {
  int minor;
  size_t evacuated_empty;
};

static inline void nofl_finish_block(struct nofl_space *space,
                                     struct nofl_block *block, void *data) {
  struct nofl_finish *finish = data;
  switch (block->place) {
  case NOFL_PLACE_EMPTY:
  case NOFL_PLACE_PAGED_OUT:
  case NOFL_PLACE_PARTLY_FULL:
  case NOFL_PLACE_OLD:
    return;
  case NOFL_PLACE_PROMOTED:
    /* Nearly all survivors: make it clean now, so that it need not be swept
       before the next full collection.  */
    GC_ASSERT(finish->minor);
    nofl_block_sweep(space, block);
    block->place = NOFL_PLACE_OLD;
    return;
  default:
    break;
  }
  GC_ASSERT(block->place == NOFL_PLACE_FULL);
  if (*nofl_block_mark_of(nofl_block_start(block))) {
    block->flags &= ~NOFL_BLOCK_EVACUATE;
    nofl_space_push_to_sweep(
        space, block, finish->minor && nofl_block_has_small_holes(block));
  } else {
    finish->evacuated_empty += (block->flags & NOFL_BLOCK_EVACUATE) != 0;
    nofl_space_release_block(space, block);
  }
}

static void nofl_finish_used_blocks(struct nofl_space *space,
                                    struct nofl_finish *finish) {
  struct nofl_block *block = space->used;
  space->used = NULL;
  while (block) {
    struct nofl_block *next = block->next;
    block->next = NULL;
    nofl_finish_block(space, block, finish);
    block = next;
  }
}

/* End a collection: classify the blocks.  Trace workers have given back their
   targets.  Returns the number of candidates that became empty.  */
static size_t nofl_space_finish_gc(struct nofl_space *space,
                                   enum gc_collection_kind kind) {
  struct nofl_finish finish = {kind == GC_COLLECTION_MINOR, 0};
  space->evacuating = space->targets_exhausted = 0;
  space->survivor_mark = space->current_mark;
  if (finish.minor)
    nofl_finish_used_blocks(space, &finish);
  else
    nofl_visit_blocks(space, nofl_finish_block, &finish);
  space->allocated_granules = 0;
  return finish.evacuated_empty;
}

/* Start to count anew what tells whether a compaction is worth while.  */
static void nofl_space_forget_fragmentation(struct nofl_space *space) {
  space->abandoned_granules = 0;
  space->swept_holes = 0;
  space->swept_hole_granules = 0;
}

#endif // NOFL_COLLECT_H
