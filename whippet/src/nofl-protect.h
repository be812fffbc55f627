/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The quarantine of emptied blocks, for tests: their memory goes back to the
   operating system and cannot be accessed until they are handed out again, so
   that a stale reference to an object that has moved or died faults where it is
   used.  Blocks leave in the order in which they came.

   While the quarantine is not full, the space rather takes new blocks.  Each
   quarantined block may cost the process two mappings, of which there is a
   limited number: hence a maximum, beyond which blocks are released as usual.
   A block in quarantine is PAGED_OUT.  Protected by the space's lock.  */

#ifndef NOFL_PROTECT_H
#define NOFL_PROTECT_H

#include "gc-platform.h"
#include "nofl-layout.h"

/* In blocks: when it is full unless set otherwise, and the most it takes.  */
#define NOFL_QUARANTINE_DEFAULT 2048
#define NOFL_QUARANTINE_MAX 12288

struct nofl_quarantine {
  size_t capacity; /* 0: off */
  size_t count;
  struct nofl_block *oldest, *newest;
};

static inline int nofl_quarantine_is_full(const struct nofl_quarantine *q) {
  return q->count >= q->capacity;
}

/* BLOCK holds no live object any more.  1, or 0 if the block has to be released
   as usual.  In a pause.  */
static int nofl_quarantine_add(struct nofl_quarantine *q,
                               struct nofl_block *block) {
  void *start = (void *)nofl_block_start(block);
  if (!q->capacity || q->count >= NOFL_QUARANTINE_MAX)
    return 0;
  gc_platform_discard(start, NOFL_BLOCK_SIZE);
  if (!gc_platform_protect(start, NOFL_BLOCK_SIZE, 0))
    return 0;
  block->place = NOFL_PLACE_PAGED_OUT;
  block->flags = NOFL_BLOCK_ZERO | NOFL_BLOCK_DIRTY_METADATA;
  block->class = NOFL_CLASS_ORDINARY;
  block->hole_granules = NOFL_GRANULES_PER_BLOCK;
  block->next = NULL;
  if (q->newest)
    q->newest->next = block;
  else
    q->oldest = block;
  q->newest = block;
  q->count++;
  return 1;
}

/* The block that has been here the longest, accessible, or NULL.  */
static struct nofl_block *nofl_quarantine_remove(struct nofl_quarantine *q) {
  struct nofl_block *block = q->oldest;
  if (!block ||
      !gc_platform_protect((void *)nofl_block_start(block), NOFL_BLOCK_SIZE, 1))
    return NULL;
  q->oldest = block->next;
  if (!q->oldest)
    q->newest = NULL;
  q->count--;
  block->next = NULL;
  return block;
}

#endif // NOFL_PROTECT_H
