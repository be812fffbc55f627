/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Bump allocation into holes, and the lazy sweeping that finds them.

   A hole is a maximal run of granules without a survivor.  Sweeping reads and
   writes metadata only; a hole's memory is cleared a little ahead of the
   allocation pointer, so that it is in the cache when the program writes to
   it.  What is left of a hole when a request does not fit goes to a
   size-segregated set of holes, threaded through the free memory itself, from
   which smaller requests are served later.

   Mutators and trace workers use the same allocator; workers ask for target
   blocks and need no cleared memory.  */

#ifndef NOFL_ALLOCATOR_H
#define NOFL_ALLOCATOR_H

#include "nofl-space.h"

/* How far ahead of the allocation pointer memory is cleared, in bytes.  */
#define NOFL_CLEAR_AHEAD ((uintptr_t)2048)
/* How much of the next hole is fetched while the current one fills, in
   bytes.  */
#define NOFL_FETCH_OF_HOLE ((uintptr_t)512)
/* A tail of at least this many granules makes a block partly full.  */
#define NOFL_MIN_TAIL_GRANULES 32
/* Smaller leftovers are not remembered.  */
#define NOFL_MIN_KEPT_GRANULES 8
/* Generational: a swept block with fewer free granules is promoted.  */
#define NOFL_PROMOTION_GRANULES (NOFL_GRANULES_PER_BLOCK / 20)

/* At most so many blocks does a class keep when those of the other one find no
   room.  */
#define NOFL_KEPT_BLOCKS_MAX ((size_t)16)

/* Mean size of holes, in granules, below which allocation is slow.  */
#define NOFL_SMALL_HOLE_GRANULES 24

#define NOFL_HOLE_BUCKETS 13

/* First granule of a free hole on a set.  */
struct nofl_hole {
  struct nofl_hole *next;
  uintptr_t granules;
};

_Static_assert(sizeof(struct nofl_hole) <= NOFL_GRANULE_SIZE,
               "a hole of one granule holds its own link");

struct nofl_hole_set {
  uint32_t nonempty; /* bit per bucket */
  struct nofl_hole *buckets[NOFL_HOLE_BUCKETS];
};

/* Where holes of a block begin and end: the first granule of each, and the first
   one after it unless that is the block's end.  A bit for each granule, and one
   for each word that is not 0: so the next is found without a loop, whose end no
   processor could predict.  */
struct nofl_bounds {
  uint64_t nonempty;
  uint64_t words[NOFL_GRANULES_PER_BLOCK / 64];
};

_Static_assert(NOFL_GRANULES_PER_BLOCK / 64 <= 64, "one word tells them all");

struct nofl_allocator {
  /* The first two words are read and written by inline allocation.  */
  uintptr_t alloc; /* next free byte */
  uintptr_t limit; /* end of cleared memory; <= hole_end */
  uintptr_t hole_end;
  uintptr_t counted;         /* allocation is counted up to here */
  struct nofl_block *block;  /* being swept, or NULL */
  struct nofl_bounds bounds; /* of its holes that are left to sweep */
  /* Not yet added to the space's counters.  */
  size_t allocated_granules;
  size_t abandoned_granules; /* on the hole set, modulo 2^n */
  enum nofl_class class;
  uint8_t took_empty; /* a block, since it was reset */
  struct nofl_hole_set holes;
};

static inline void nofl_allocator_reset(struct nofl_allocator *a) {
  a->alloc = a->limit = a->hole_end = a->counted = 0;
  a->block = NULL;
  a->bounds.nonempty = 0;
  a->took_empty = 0;
}

static inline void nofl_hole_set_reset(struct nofl_hole_set *set) {
  memset(set, 0, sizeof(*set));
}

static inline void nofl_allocator_init(struct nofl_allocator *a,
                                       enum nofl_class class) {
  memset(a, 0, sizeof(*a));
  a->class = class;
}

static inline unsigned nofl_log2_floor(size_t n) {
  return (sizeof(unsigned long) * 8 - 1) - __builtin_clzl(n);
}

static inline void nofl_hole_set_push(struct nofl_hole_set *set, uintptr_t addr,
                                      size_t granules) {
  struct nofl_hole *hole = (struct nofl_hole *)addr;
  unsigned bucket = nofl_log2_floor(granules);
  GC_ASSERT(bucket < NOFL_HOLE_BUCKETS);
  hole->next = set->buckets[bucket];
  hole->granules = granules;
  set->buckets[bucket] = hole;
  set->nonempty |= 1u << bucket;
}

static struct nofl_hole *nofl_hole_set_unlink(struct nofl_hole_set *set,
                                              unsigned bucket,
                                              struct nofl_hole **loc) {
  struct nofl_hole *hole = *loc;
  *loc = hole->next;
  if (!set->buckets[bucket])
    set->nonempty &= ~(1u << bucket);
  return hole;
}

/* A hole of at least GRANULES, or NULL: from a bucket where each hole fits, or
   among the first few of the bucket where some may.  */
static struct nofl_hole *nofl_hole_set_pop(struct nofl_hole_set *set,
                                           size_t granules) {
  unsigned floor = nofl_log2_floor(granules);
  unsigned fit = (granules & (granules - 1)) ? floor + 1 : floor;
  uint32_t candidates = set->nonempty & ~((1u << fit) - 1);
  if (candidates) {
    unsigned bucket = __builtin_ctz(candidates);
    return nofl_hole_set_unlink(set, bucket, &set->buckets[bucket]);
  }
  struct nofl_hole **loc = &set->buckets[floor];
  for (int i = 0; i < 4 && *loc; i++, loc = &(*loc)->next)
    if ((*loc)->granules >= granules)
      return nofl_hole_set_unlink(set, floor, loc);
  return NULL;
}

static inline void nofl_allocator_count(struct nofl_allocator *a) {
  a->allocated_granules += (a->alloc - a->counted) >> NOFL_GRANULE_SIZE_LOG_2;
  a->counted = a->alloc;
}

/* Add the allocator's counts to the space's; relaxed: they are statistics,
   exact once every allocator has been finished.  */
static void nofl_allocator_flush_counts(struct nofl_space *space,
                                        struct nofl_allocator *a) {
  nofl_allocator_count(a);
  if (a->allocated_granules) {
    gc_atomic_fetch_add_relaxed(&space->allocated_granules,
                                a->allocated_granules);
    gc_atomic_fetch_add_relaxed(&space->total_allocated_granules,
                                (uint64_t)a->allocated_granules);
    a->allocated_granules = 0;
  }
  if (a->abandoned_granules) {
    gc_atomic_fetch_add_relaxed(&space->abandoned_granules,
                                a->abandoned_granules);
    a->abandoned_granules = 0;
  }
}

/* Remember a hole that is too small for the request at hand, unless it is so
   small that finding it again would cost more than it gains.  Until it is used
   it counts as fragmentation.  */
static inline void nofl_allocator_keep_hole(struct nofl_space *space,
                                            struct nofl_allocator *a,
                                            uintptr_t addr, size_t granules) {
  a->abandoned_granules += granules;
  if (granules >= NOFL_MIN_KEPT_GRANULES &&
      granules >= space->min_hole_granules) {
    nofl_block_of(addr)->flags &= ~NOFL_BLOCK_ZERO;
    nofl_hole_set_push(&a->holes, addr, granules);
  }
}

/* Stop using the current hole.  Its rest is kept, unless KEEP is 0.  */
static void nofl_allocator_leave_hole(struct nofl_space *space,
                                      struct nofl_allocator *a, int keep) {
  nofl_allocator_count(a);
  size_t rest = (a->hole_end - a->alloc) >> NOFL_GRANULE_SIZE_LOG_2;
  if (rest && keep)
    nofl_allocator_keep_hole(space, a, a->alloc, rest);
  a->alloc = a->limit = a->hole_end = a->counted = 0;
}

/* The first of BOUNDS, or the number of granules if there is none.  */
static inline size_t nofl_bounds_first(const struct nofl_bounds *bounds) {
  if (!bounds->nonempty)
    return NOFL_GRANULES_PER_BLOCK;
  size_t i = __builtin_ctzll(bounds->nonempty);
  return i * 64 + __builtin_ctzll(bounds->words[i]);
}

/* The same, and remove it.  */
static inline size_t nofl_bounds_take(struct nofl_bounds *bounds) {
  if (!bounds->nonempty)
    return NOFL_GRANULES_PER_BLOCK;
  size_t i = __builtin_ctzll(bounds->nonempty);
  uint64_t word = bounds->words[i];
  uint64_t rest = word & (word - 1);
  bounds->words[i] = rest;
  bounds->nonempty ^= (uint64_t)!rest << i;
  return i * 64 + __builtin_ctzll(word);
}

/* Fetch what will be cleared next while the program works: more of the current
   hole, or the beginning of the next one in the block.  */
static inline void nofl_allocator_fetch_ahead(const struct nofl_allocator *a) {
  uintptr_t addr = a->limit;
  uintptr_t end = a->hole_end;
  size_t ahead = NOFL_CLEAR_AHEAD;
  if (addr == end) {
    if (!a->block)
      return;
    size_t g = nofl_bounds_first(&a->bounds);
    addr = nofl_block_start(a->block) + g * NOFL_GRANULE_SIZE;
    end = nofl_block_end(a->block);
    ahead = NOFL_FETCH_OF_HOLE;
  }
  if (end > addr + ahead)
    end = addr + ahead;
  for (; addr < end; addr += 64)
    __builtin_prefetch((void *)addr, 1);
}

/* Clear some of the hole ahead of the allocation pointer, at least GRANULES.
   Without CLEAR the hole is handed out as it is.  */
static inline void nofl_allocator_advance_limit(struct nofl_allocator *a,
                                                size_t granules, int clear) {
  if (!clear || (nofl_block_of(a->alloc)->flags & NOFL_BLOCK_ZERO)) {
    a->limit = a->hole_end;
    return;
  }
  uintptr_t need = a->alloc + (granules << NOFL_GRANULE_SIZE_LOG_2);
  uintptr_t limit = a->alloc + NOFL_CLEAR_AHEAD;
  if (limit < need)
    limit = need;
  if (limit > a->hole_end)
    limit = a->hole_end;
  if (limit > a->limit) {
    memset((void *)a->limit, 0, limit - a->limit);
    a->limit = limit;
    nofl_allocator_fetch_ahead(a);
  }
}

static inline void nofl_allocator_enter_hole(struct nofl_allocator *a,
                                             uintptr_t start, size_t granules) {
  a->alloc = a->limit = a->counted = start;
  a->hole_end = start + (granules << NOFL_GRANULE_SIZE_LOG_2);
}

/* Zero the COUNT bytes at META, at least one.  Most holes are small; a compiler's idea of a
   short memset is "rep stos", whose start costs more than all of this.  */
static inline void nofl_clear_metadata(uint8_t *meta, size_t count) {
  static const uint8_t zeros[16];
  uint8_t *last;
  GC_ASSERT(count);
  if (count > 16 * 16) {
    memset(meta, 0, count);
  } else if (count >= 16) {
    /* The last of these stores may overlap the one before.  */
    for (last = meta + count - 16; meta < last; meta += 16)
      memcpy(meta, zeros, 16);
    memcpy(last, zeros, 16);
  } else if (count >= 8) {
    memcpy(meta, zeros, 8);
    memcpy(meta + count - 8, zeros, 8);
  } else if (count >= 4) {
    memcpy(meta, zeros, 4);
    memcpy(meta + count - 4, zeros, 4);
  } else {
    meta[0] = meta[count / 2] = meta[count - 1] = 0;
  }
}

/* Find the holes between objects in state MARK, in the block with the metadata
   at META.  What is before the block counts as occupied: a hole at its start has
   a bound there.  */
static inline void nofl_find_bounds(const uint8_t *meta, uint8_t mark,
                                    struct nofl_bounds *bounds) {
  unsigned inside = 0;
  uint64_t before = 1, nonempty = 0;
  for (size_t i = 0; i < NOFL_GRANULES_PER_BLOCK / 64; i++) {
    uint64_t occupied = nofl_granules_in_state(meta + i * 64, mark, &inside);
    uint64_t word = occupied ^ (occupied << 1 | before);
    before = occupied >> 63;
    bounds->words[i] = word;
    nonempty |= (uint64_t)(word != 0) << i;
  }
  GC_ASSERT(!inside);
  bounds->nonempty = nonempty;
}

/* Begin to sweep the allocator's block: find out what survivors occupy.  */
static void nofl_allocator_start_sweep(struct nofl_space *space,
                                       struct nofl_allocator *a) {
  struct nofl_block *block = a->block;
  nofl_find_bounds(nofl_block_metadata(block), space->survivor_mark,
                   &a->bounds);
  block->hole_count = 0;
  block->hole_granules = 0;
  block->flags &= ~NOFL_BLOCK_ZERO;
}

/* Find the next hole of the block that is being swept and make its metadata
   clean.  Returns its size in granules and stores its first granule to *START;
   0 at the end of the block.  */
static inline size_t nofl_allocator_sweep_hole(struct nofl_space *space,
                                               struct nofl_allocator *a,
                                               size_t *start) {
  struct nofl_block *block = a->block;
  size_t g = nofl_bounds_take(&a->bounds);
  size_t end = NOFL_GRANULES_PER_BLOCK;
  size_t size = 0;
  if (g < NOFL_GRANULES_PER_BLOCK) {
    end = nofl_bounds_take(&a->bounds);
    size = end - g;
    nofl_clear_metadata(nofl_block_metadata(block) + g, size);
    if (GC_UNLIKELY(space->poison))
      memset((void *)(nofl_block_start(block) + g * NOFL_GRANULE_SIZE), 0xda,
             size * NOFL_GRANULE_SIZE);
    block->hole_count++;
    block->hole_granules += size;
    *start = g;
  }
  /* Release: the metadata below is clean.  */
  gc_atomic_store(&block->swept_granules, (uint16_t)end);
  return size;
}

/* Sweep the rest of the block without allocating in it.  */
static void nofl_allocator_finish_sweep(struct nofl_space *space,
                                        struct nofl_allocator *a) {
  size_t start;
  while (nofl_allocator_sweep_hole(space, a, &start))
    continue;
}

/* BLOCK has been swept to its end and is used up.  */
static void nofl_block_retire(struct nofl_space *space,
                              struct nofl_block *block) {
  int promoted =
      GC_GENERATIONAL && block->hole_granules < NOFL_PROMOTION_GRANULES;
  /* Relaxed: nofl-discard.h looks whether it is PAGED_OUT.  */
  gc_atomic_store_relaxed(
      &block->place,
      (uint8_t)(promoted ? NOFL_PLACE_PROMOTED : NOFL_PLACE_FULL));
  if (GC_GENERATIONAL)
    nofl_space_push_used(space, block);
}

/* Sweep BLOCK, which no allocator holds.  */
static void nofl_block_sweep(struct nofl_space *space,
                             struct nofl_block *block) {
  struct nofl_allocator sweeper;
  sweeper.block = block;
  nofl_allocator_start_sweep(space, &sweeper);
  nofl_allocator_finish_sweep(space, &sweeper);
}

/* Sweep every block that still waits for it.  By any number of threads.  */
static void nofl_space_finish_sweeping(struct nofl_space *space) {
  for (int class = 0; class < NOFL_CLASS_COUNT; class ++) {
    struct nofl_block *block;
    while ((block = nofl_space_pop_to_sweep(space, class)) ||
           (block = nofl_space_pop_to_sweep_last(space, class))) {
      nofl_block_sweep(space, block);
      nofl_block_retire(space, block);
    }
  }
}

/* Continue in the current block.  */
static int nofl_allocator_next_hole(struct nofl_space *space,
                                    struct nofl_allocator *a, size_t granules) {
  size_t start, size;
  size_t least = space->min_hole_granules;
  if (least < granules)
    least = granules;
  uintptr_t base = nofl_block_start(a->block);
  while ((size = nofl_allocator_sweep_hole(space, a, &start))) {
    uintptr_t addr = base + start * NOFL_GRANULE_SIZE;
    if (size >= least) {
      nofl_allocator_enter_hole(a, addr, size);
      return 1;
    }
    nofl_allocator_keep_hole(space, a, addr, size);
  }
  gc_atomic_fetch_add_relaxed(&space->swept_holes,
                              (size_t)a->block->hole_count);
  gc_atomic_fetch_add_relaxed(&space->swept_hole_granules,
                              (size_t)a->block->hole_granules);
  nofl_block_retire(space, a->block);
  nofl_allocator_flush_counts(space, a);
  a->block = NULL;
  return 0;
}

static int nofl_allocator_use_hole_set(struct nofl_allocator *a,
                                       size_t granules) {
  struct nofl_hole *hole = nofl_hole_set_pop(&a->holes, granules);
  if (!hole)
    return 0;
  size_t size = hole->granules;
  hole->next = NULL;
  hole->granules = 0;
  a->abandoned_granules -= size;
  nofl_allocator_enter_hole(a, (uintptr_t)hole, size);
  return 1;
}

static int nofl_allocator_sweep_block(struct nofl_space *space,
                                      struct nofl_allocator *a, size_t granules,
                                      int last) {
  struct nofl_block *block = last
                                 ? nofl_space_pop_to_sweep_last(space, a->class)
                                 : nofl_space_pop_to_sweep(space, a->class);
  if (!block)
    return -1;
  a->block = block;
  nofl_allocator_start_sweep(space, a);
  return nofl_allocator_next_hole(space, a, granules);
}

/* Use a block whose only hole is its tail of GRANULES.  */
static void nofl_allocator_use_tail(struct nofl_allocator *a,
                                    struct nofl_block *block, size_t tail) {
  a->block = block;
  a->bounds.nonempty = 0;
  nofl_allocator_enter_hole(a, nofl_block_end(block) - tail * NOFL_GRANULE_SIZE,
                            tail);
}

static int nofl_allocator_use_partly_full(struct nofl_space *space,
                                          struct nofl_allocator *a,
                                          size_t granules) {
  struct nofl_block *block =
      nofl_space_take_partly_full(space, a->class, granules);
  if (!block)
    return 0;
  nofl_allocator_use_tail(a, block, block->tail_granules);
  return 1;
}

static int nofl_allocator_use_empty(struct nofl_space *space,
                                    struct nofl_allocator *a, int use_reserve) {
  struct nofl_block *block =
      nofl_space_take_empty(space, a->class, use_reserve);
  if (!block)
    return 0;
  /* An allocator that has filled a block will fill the next.  The first one is
     left to page faults: a thread may need little of it.  */
  if (a->took_empty && (block->flags & NOFL_BLOCK_ZERO))
    gc_platform_populate((void *)nofl_block_start(block), NOFL_BLOCK_SIZE);
  a->took_empty = 1;
  nofl_allocator_use_tail(a, block, NOFL_GRANULES_PER_BLOCK);
  return 1;
}

/* BLOCK, which the caller owns, is from now on of class "ambiguous": what is in it
   stays there, pinned or not, and a pin would mean that an object is to be traced
   conservatively.  Who pins one at the same time may set that bit still, which
   is safe.  */
static void nofl_block_make_ambiguous(struct nofl_block *block) {
  uint8_t *meta = nofl_block_metadata(block);
  gc_atomic_store_relaxed(&block->class, (uint8_t)NOFL_CLASS_AMBIGUOUS);
  for (size_t g = 0; g < NOFL_GRANULES_PER_BLOCK; g++)
    /* Relaxed: the next collection reads it, after a handshake.  */
    if (gc_atomic_load_relaxed(&meta[g]) & NOFL_PINNED)
      gc_atomic_fetch_and_relaxed(&meta[g], (uint8_t)~NOFL_PINNED);
}

/* Are more than COUNT blocks of CLASS left to sweep?  The lists may change meanwhile:
   an estimate, which reads links of blocks that others have taken.  Descriptors are
   never freed.  Acquire: the first one's is readable; what follows was pushed before
   it, in a pause.  */
static int nofl_space_has_to_sweep(struct nofl_space *space,
                                   enum nofl_class class, size_t count) {
  struct nofl_block *block = gc_atomic_load(&space->to_sweep[class]);
  for (; block && count; count--)
    block = gc_atomic_load_relaxed(&block->next);
  if (GC_GENERATIONAL && !block) {
    block = gc_atomic_load(&space->to_sweep_last[class]);
    for (; block && count; count--)
      block = gc_atomic_load_relaxed(&block->next);
  }
  return block != NULL;
}

/* Find a hole in a block of the other class.  Objects that may move can live among
   those that never do; the other way around the block changes its class.  The other
   class keeps some blocks: who handles lack of memory of one kind needs some of the
   other.  */
static int nofl_allocator_use_other_class(struct nofl_space *space,
                                          struct nofl_allocator *a,
                                          size_t granules) {
  enum nofl_class other = a->class == NOFL_CLASS_ORDINARY ? NOFL_CLASS_AMBIGUOUS
                                                          : NOFL_CLASS_ORDINARY;
  size_t kept = space->reserve_blocks < NOFL_KEPT_BLOCKS_MAX
                    ? space->reserve_blocks
                    : NOFL_KEPT_BLOCKS_MAX;
  while (nofl_space_has_to_sweep(space, other, kept)) {
    struct nofl_block *block = nofl_space_pop_to_sweep(space, other);
    if (!block)
      block = nofl_space_pop_to_sweep_last(space, other);
    if (!block)
      break;
    if (other == NOFL_CLASS_ORDINARY)
      nofl_block_make_ambiguous(block);
    a->block = block;
    nofl_allocator_start_sweep(space, a);
    if (nofl_allocator_next_hole(space, a, granules))
      return 1;
  }
  return 0;
}

/* How many blocks a request sweeps to find a hole.  What is too small for it is lost
   to other requests, or nearly so.  */
enum nofl_effort {
  NOFL_SWEEP_NONE, /* take what is known, and empty blocks */
  NOFL_SWEEP_SOME, /* the more, the smaller it is */
  NOFL_SWEEP_ALL,  /* some between empty blocks, until there is nothing left */
  NOFL_SWEEP_BOTH_CLASSES /* then blocks of the other class, too */
};

/* Make the allocator's current hole one with room for GRANULES.  Returns 0 if it
   takes more than EFFORT, or, after all of it, a collection.  */
static int nofl_allocator_find_hole(struct nofl_space *space,
                                    struct nofl_allocator *a, size_t granules,
                                    int use_reserve, enum nofl_effort effort) {
  nofl_allocator_leave_hole(space, a, 1);
  if (a->block && nofl_allocator_next_hole(space, a, granules))
    return 1;
  if (nofl_allocator_use_hole_set(a, granules))
    return 1;
  int thorough = effort >= NOFL_SWEEP_ALL;
  unsigned sweeps =
      effort == NOFL_SWEEP_NONE
          ? 0
          : nofl_log2_floor(NOFL_GRANULES_PER_BLOCK / granules) + 1;
  for (;;) {
    int exhausted = 0;
    for (unsigned i = 0; i < sweeps && !exhausted; i++) {
      int found = nofl_allocator_sweep_block(space, a, granules, 0);
      if (found > 0)
        return 1;
      exhausted = found < 0;
    }
    if (nofl_allocator_use_partly_full(space, a, granules))
      return 1;
    if (nofl_allocator_use_empty(space, a, use_reserve))
      return 1;
    if (exhausted)
      break;
    if (!thorough)
      return 0;
  }
  int found = 0;
  for (unsigned i = 0; !found && (i < sweeps || thorough); i++)
    found = nofl_allocator_sweep_block(space, a, granules, 1);
  return found > 0 || (effort == NOFL_SWEEP_BOTH_CLASSES &&
                       nofl_allocator_use_other_class(space, a, granules));
}

/* Make room for GRANULES at the allocation pointer, cleared.  Returns 0 if it takes
   more than EFFORT, or, after all of it, a collection.  */
static int nofl_allocator_refill(struct nofl_space *space,
                                 struct nofl_allocator *a, size_t granules,
                                 int use_reserve, enum nofl_effort effort) {
  size_t bytes = granules << NOFL_GRANULE_SIZE_LOG_2;
  if (a->hole_end - a->alloc < bytes &&
      !nofl_allocator_find_hole(space, a, granules, use_reserve, effort))
    return 0;
  if (a->limit - a->alloc < bytes)
    nofl_allocator_advance_limit(a, granules, 1);
  GC_ASSERT(a->limit - a->alloc >= bytes);
  return 1;
}

/* Give back what a mutator's allocator holds, before a collection or when the
   thread goes.  The hole set is dropped: before a collection because sweeping
   finds the space again; at exit its holes stay unused until then.  */
static void nofl_allocator_finish(struct nofl_space *space,
                                  struct nofl_allocator *a) {
  struct nofl_block *block = a->block;
  if (block) {
    size_t tail = (a->hole_end - a->alloc) >> NOFL_GRANULE_SIZE_LOG_2;
    int at_end = a->hole_end == nofl_block_end(block);
    nofl_allocator_finish_sweep(space, a);
    if (at_end && tail >= NOFL_MIN_TAIL_GRANULES && !space->collecting) {
      nofl_allocator_count(a);
      nofl_space_add_partly_full(space, block, tail);
    } else {
      nofl_allocator_leave_hole(space, a, 0);
      nofl_block_retire(space, block);
    }
  } else {
    nofl_allocator_leave_hole(space, a, 0);
  }
  nofl_allocator_flush_counts(space, a);
  nofl_hole_set_reset(&a->holes);
  nofl_allocator_reset(a);
}

/* Evacuation targets: only blocks that were empty, or that a worker of this
   collection left partly full.  The collector marks them as it fills them.  */

static void nofl_target_retire(struct nofl_allocator *a) {
  struct nofl_block *block = a->block;
  size_t tail = (a->hole_end - a->alloc) >> NOFL_GRANULE_SIZE_LOG_2;
  block->hole_granules = tail;
  block->hole_count = tail ? 1 : 0;
  block->flags &= ~NOFL_BLOCK_ZERO;
  block->place = NOFL_PLACE_OLD;
  a->abandoned_granules += tail;
  nofl_allocator_reset(a);
  a->took_empty = 1;
}

static int nofl_target_refill(struct nofl_space *space,
                              struct nofl_allocator *a, size_t granules) {
  /* All candidates that are left come here: spare them the lock.  What room the
     present target has is for smaller objects.  */
  if (gc_atomic_load_relaxed(&space->targets_exhausted))
    return 0;
  if (a->block)
    nofl_target_retire(a);
  if (!nofl_allocator_use_partly_full(space, a, granules) &&
      !nofl_allocator_use_empty(space, a, 1))
    return 0;
  /* The rest of a target is handed on with unknown contents.  */
  a->block->flags &= ~NOFL_BLOCK_ZERO;
  nofl_allocator_advance_limit(a, granules, 0);
  return 1;
}

static void nofl_target_finish(struct nofl_space *space,
                               struct nofl_allocator *a) {
  struct nofl_block *block = a->block;
  if (!block)
    return;
  size_t tail = (a->hole_end - a->alloc) >> NOFL_GRANULE_SIZE_LOG_2;
  if (tail < NOFL_MIN_TAIL_GRANULES) {
    nofl_target_retire(a);
    return;
  }
  block->hole_granules = tail;
  block->hole_count = 1;
  nofl_space_add_partly_full(space, block, tail);
  nofl_allocator_reset(a);
}

#endif // NOFL_ALLOCATOR_H
