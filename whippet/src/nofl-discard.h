/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Return of empty blocks to the OS.

   Neighbours that go in one slice go by one system call for their memory and one for
   their metadata.  A page of metadata belongs to one block, or to several where pages
   are larger than usual: then it goes when all of these are with the OS.  */

#ifndef NOFL_DISCARD_H
#define NOFL_DISCARD_H

#include "nofl-space.h"

/* Blocks of SLAB from LOW to before HIGH, counted from the slab's base.  */
struct nofl_block_run {
  struct nofl_slab *slab;
  size_t low, high;
};

/* Make RUN greater by BLOCK, if they are neighbours.  */
static inline int nofl_run_extend(struct nofl_block_run *run,
                                  const struct nofl_block *block) {
  if (run->slab != nofl_slab_of((uintptr_t)block))
    return 0;
  size_t idx = block - run->slab->blocks;
  if (idx == run->high)
    run->high++;
  else if (idx + 1 == run->low)
    run->low--;
  else
    return 0;
  return 1;
}

/* What is PAGED_OUT is on that list, or in quarantine, for whoever holds the lock.  */
static inline int nofl_slab_has_discarded(const struct nofl_slab *slab,
                                          size_t idx) {
  return idx >= NOFL_META_BLOCKS_PER_SLAB && idx < NOFL_BLOCKS_PER_SLAB &&
         gc_atomic_load_relaxed(&slab->blocks[idx].place) ==
             NOFL_PLACE_PAGED_OUT;
}

/* Nobody reads the metadata of a block that is with the OS.  */
static void nofl_run_discard_metadata(const struct nofl_block_run *run,
                                      size_t page_size) {
  size_t per_page = page_size / NOFL_GRANULES_PER_BLOCK;
  if (!per_page)
    per_page = 1;
  size_t low = run->low, high = run->high;
  while (low % per_page && nofl_slab_has_discarded(run->slab, low - 1))
    low--;
  while (high % per_page && nofl_slab_has_discarded(run->slab, high))
    high++;
  low = (low + per_page - 1) / per_page * per_page;
  high = high / per_page * per_page;
  if (low >= high)
    return;
  gc_platform_discard((uint8_t *)run->slab + low * NOFL_GRANULES_PER_BLOCK,
                      (high - low) * NOFL_GRANULES_PER_BLOCK);
  for (size_t i = low; i < high; i++)
    run->slab->blocks[i].flags &= ~NOFL_BLOCK_DIRTY_METADATA;
}

static void nofl_run_discard(const struct nofl_block_run *run,
                             size_t page_size) {
  if (run->low >= run->high)
    return;
  gc_platform_discard((uint8_t *)run->slab + run->low * NOFL_BLOCK_SIZE,
                      (run->high - run->low) * NOFL_BLOCK_SIZE);
  nofl_run_discard_metadata(run, page_size);
}

/* Return the memory of a slice of the blocks that have been empty for TICKS to
   the OS.  Returns nonzero if there are more.  Not during a collection, but there
   may be one, or a fork, between two slices: each is complete in itself, and
   begins with what is the oldest then.  */
static int nofl_space_discard_slice(struct nofl_space *space, uint32_t ticks) {
  struct nofl_block_run run = {NULL, 0, 0};
  nofl_space_lock(space);
  struct nofl_block *block;
  for (size_t n = 0; (block = space->empty.tail) &&
                     space->clock - block->empty_since >= ticks &&
                     n < NOFL_DISCARD_SLICE_BLOCKS;
       n++) {
    struct nofl_slab *slab = nofl_slab_of((uintptr_t)block);
    nofl_empty_remove(&space->empty, block);
    nofl_slab_note_discarded(space, slab);
    block->flags |= NOFL_BLOCK_ZERO | NOFL_BLOCK_DISCARDED;
    block->place = NOFL_PLACE_PAGED_OUT;
    nofl_list_push(&space->paged_out, block);
    if (run.slab && nofl_run_extend(&run, block))
      continue;
    nofl_run_discard(&run, space->page_size);
    size_t idx = block - slab->blocks;
    run = (struct nofl_block_run){slab, idx, idx + 1};
  }
  nofl_run_discard(&run, space->page_size);
  int more = block && space->clock - block->empty_since >= ticks;
  nofl_space_unlock(space);
  return more;
}

#endif // NOFL_DISCARD_H
