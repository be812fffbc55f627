/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Large object space, lower half: the pages.

   The space is the high part of the heap's reservation, [bottom, limit), and
   grows downwards.  The range is tiled by runs of pages, of at most 4 KiB: where the
   system's are larger, an object is not to take as much as one of these.  Then memory
   goes back to the system when all of a system's page is free.  Side tables are committed
   along with it, two indexed by page, and in generational builds one by chunk, which
   is the memory that a word of log bits describes:

     starts[page]  index of the first page of the run that has, or had, the page
     runs[index]   descriptor of the run, at the index of its first page
     logs[chunk]   a bit for each word, set if it is a logged field

   Index 0 belongs to no page and is the null link.

   State of a run; all transitions are in this file:

     from        event                                              to
     (none)      range grows                                        zero
     zero        allocated                                          young
     dirty       allocated; contents cleared                        young
     young, mark reached                                            current mark
     young, mark not reached by the collection                      dirty
     dirty       discarded, after two ticks or on demand            zero
     dirty,zero  merged with the run before it                      absorbed
     (none)      the tail of a run is split off                     young, zero

   Neighbours in the same free state are always merged.  Marks alternate between
   two values: a full collection makes the other one current at its start, a
   minor collection keeps it, so that old objects are already marked.

   Invariants of the tables: for an object, starts[] is right for all of its
   pages; for a free run, for its first and last page.  Between those there may
   be stale entries, but each is the index of a run that lies, or once lay,
   around the page.  So a page belongs to an object iff runs[starts[page]] is an
   object and reaches up to the page.

   Log bits are set for fields of old objects, and every collection leaves all of
   them clear.  So they are when a run becomes an object, and the log of what is free
   can be given back along with it.  A page of log that was never written is no
   memory: it is for the system to provide one when a bit is first set, which needs
   no lock.

   Concurrency.  The space's lock protects the tiling, the free lists and the
   accounting.  No function that is called with the lock held can reach a
   safepoint, and a mutator cannot be parked by a signal inside the library:
   when the world is stopped, the only other holder can be the ticker, for the
   time it takes to give back at most LARGE_DISCARD_SLICE bytes and their log.  During a
   collection no run becomes an object, and runs of objects do not change but
   for the mark; the ticker may still merge free runs.  That is why tracers
   resolve addresses without the lock: relaxed atomic accesses suffice, as an
   entry that is in flux says "free" before and after.  */

#ifndef LARGE_RUNS_H
#define LARGE_RUNS_H

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-config.h"
#include "gc-platform.h"
#include "gc-reservation.h"

/* The range grows by at least this much, to save system calls.  */
#define LARGE_GROWTH_BYTES ((size_t)1024 * 1024)
/* How much is given back to the OS at a time, with the lock held.  */
#define LARGE_DISCARD_SLICE ((size_t)2 * 1024 * 1024)
/* Freed memory stays resident for this many ticks.  */
#define LARGE_QUARANTINE_TICKS 2
/* Side tables are committed in units of this size.  */
#define LARGE_TABLE_UNIT ((size_t)64 * 1024)
/* Of a page of the space; the system's may be larger.  */
#define LARGE_MAX_PAGE_SIZE ((size_t)4096)
/* A word of log bits describes so many bytes, which divide a page.  */
#define LARGE_CHUNK_SIZE (8 * sizeof(uintptr_t) * sizeof(uintptr_t))
/* How many runs of the list of its own size class an allocation looks at.  */
#define LARGE_FIT_PROBES 32

enum large_meta {
  LARGE_ABSORBED = 0, /* not the start of a run */
  LARGE_YOUNG = 1,
  LARGE_MARK_0 = 2,
  LARGE_MARK_1 = 3,
  LARGE_DIRTY = 4, /* free, in quarantine: resident, any contents */
  LARGE_ZERO = 5,  /* free, reads as zero */
  LARGE_STATE_MASK = 7,
  /* Trace kind: the bits of the nofl metadata.  */
  LARGE_KIND_MASK = 24
};

struct large_run {
  uint32_t pages;
  uint8_t meta;
  /* Objects: bytes in the run beyond the size that was asked for.  Dirty runs:
     the clock when they were freed, or their larger part was.  */
  uint16_t slack;
  /* Free runs: neighbours in the list of the size class.  Young objects: next
     is the link of the nursery list.  */
  uint32_t next;
  uint32_t prev;
};

_Static_assert(sizeof(struct large_run) == 16, "four descriptors per line");

/* Four classes per power of two.  */
#define LARGE_CLASSES 128

/* Free runs by size class.  The youngest is at the head.  */
struct large_bins {
  uint64_t nonempty[LARGE_CLASSES / 64];
  uint32_t head[LARGE_CLASSES];
  uint32_t tail[LARGE_CLASSES];
  size_t pages;
};

struct large_space {
  /* Read by tracers for each edge.  `bottom' is stored with release order after
     the tables cover it, under the lock.  */
  uintptr_t bottom;
  uintptr_t limit;
  /* Address of the page with index 0: one page before the reservation.  */
  uintptr_t origin;
  uint8_t page_shift;
  size_t system_page_size;
  /* Changes only at the start of full collections.  */
  uint8_t current_mark;
  /* Stress mode: overwrite the contents of freed objects.  */
  uint8_t poison;
  uint32_t *starts;
  struct large_run *runs;
  uintptr_t *logs; /* NULL if not generational */

  __attribute__((aligned(64))) pthread_mutex_t lock;
  struct gc_reservation *reservation;
  /* Lowest committed addresses of the tables.  */
  uintptr_t starts_committed;
  /* Lowest addresses of the tables that are still reserved.  */
  uintptr_t starts_reserved;
  uintptr_t runs_reserved;
  uintptr_t runs_committed;
  uintptr_t logs_reserved;
  uintptr_t logs_committed;
  size_t table_pages;
  uint32_t nursery;
  uint16_t clock;
  /* Pages of objects.  Stored under the lock; loaded by anyone, relaxed.  */
  size_t live_pages;
  size_t live_objects;
  struct large_bins dirty;
  struct large_bins zero;
};

/* ---- Runs ---- */

static inline size_t large_page_size(const struct large_space *space) {
  return (size_t)1 << space->page_shift;
}

static inline uint32_t large_page_index(const struct large_space *space,
                                        uintptr_t addr) {
  return (addr - space->origin) >> space->page_shift;
}

static inline uintptr_t large_page_address(const struct large_space *space,
                                           uint32_t idx) {
  return space->origin + ((uintptr_t)idx << space->page_shift);
}

/* The log bits of the chunk around ADDR, which may be the end of the space.  */
static inline uintptr_t *large_log_word(const struct large_space *space,
                                        uintptr_t addr) {
  return &space->logs[(addr - space->origin) / LARGE_CHUNK_SIZE];
}

/* Bytes of the table of log bits.  */
static inline size_t large_logs_size(const struct large_space *space) {
  return (space->table_pages << space->page_shift) / LARGE_CHUNK_SIZE *
         sizeof(*space->logs);
}

static inline uintptr_t large_logs_end(const struct large_space *space) {
  return (uintptr_t)space->logs + large_logs_size(space);
}

/* One more than the greatest index.  */
static inline uint32_t large_end_index(const struct large_space *space) {
  return large_page_index(space, space->limit);
}

static inline uint8_t large_meta(const struct large_run *run) {
  return gc_atomic_load_relaxed(&run->meta);
}

static inline uint8_t large_state(const struct large_run *run) {
  return large_meta(run) & LARGE_STATE_MASK;
}

static inline int large_state_is_object(uint8_t state) {
  return LARGE_YOUNG <= state && state <= LARGE_MARK_1;
}

static inline void large_run_set(struct large_run *run, uint32_t pages,
                                 uint8_t meta) {
  gc_atomic_store_relaxed(&run->pages, pages);
  gc_atomic_store_relaxed(&run->meta, meta);
}

static inline void large_set_start(struct large_space *space, uint32_t page,
                                   uint32_t idx) {
  gc_atomic_store_relaxed(&space->starts[page], idx);
}

/* Make the PAGES at IDX a tile of the range.  */
static inline void large_set_tile(struct large_space *space, uint32_t idx,
                                  uint32_t pages, uint8_t meta) {
  large_run_set(&space->runs[idx], pages, meta);
  large_set_start(space, idx, idx);
  large_set_start(space, idx + pages - 1, idx);
}

/* ---- Free lists; lock held ---- */

/* Sizes below 8 have a class each; others share their three leading bits.  */
static inline unsigned large_size_class(uint32_t pages) {
  if (pages < 8)
    return pages;
  unsigned log = 31 - __builtin_clz(pages);
  return 8 + (log - 3) * 4 + ((pages >> (log - 2)) & 3);
}

static inline struct large_bins *large_bins_of(struct large_space *space,
                                               uint8_t state) {
  GC_ASSERT(state == LARGE_DIRTY || state == LARGE_ZERO);
  return state == LARGE_DIRTY ? &space->dirty : &space->zero;
}

static inline void large_link(struct large_space *space, uint32_t idx) {
  struct large_run *run = &space->runs[idx];
  struct large_bins *bins = large_bins_of(space, large_state(run));
  unsigned class = large_size_class(run->pages);
  run->prev = 0;
  run->next = bins->head[class];
  if (run->next)
    space->runs[run->next].prev = idx;
  else
    bins->tail[class] = idx;
  bins->head[class] = idx;
  bins->nonempty[class / 64] |= (uint64_t)1 << (class % 64);
  bins->pages += run->pages;
}

static inline void large_unlink(struct large_space *space, uint32_t idx) {
  struct large_run *run = &space->runs[idx];
  struct large_bins *bins = large_bins_of(space, large_state(run));
  unsigned class = large_size_class(run->pages);
  if (run->prev)
    space->runs[run->prev].next = run->next;
  else
    bins->head[class] = run->next;
  if (run->next)
    space->runs[run->next].prev = run->prev;
  else
    bins->tail[class] = run->prev;
  if (!bins->head[class])
    bins->nonempty[class / 64] &= ~((uint64_t)1 << (class % 64));
  bins->pages -= run->pages;
}

/* Least nonempty class that is at least CLASS, or LARGE_CLASSES.  */
static inline unsigned large_next_class(const struct large_bins *bins,
                                        unsigned class) {
  for (unsigned i = class / 64; i < LARGE_CLASSES / 64; i++) {
    uint64_t word = bins->nonempty[i];
    if (i == class / 64)
      word &= ~(uint64_t)0 << (class % 64);
    if (word)
      return i * 64 + __builtin_ctzll(word);
  }
  return LARGE_CLASSES;
}

/* A run of at least PAGES, or 0.  Not all of those in the class of PAGES are
   long enough; look at PROBES of them.  */
static inline uint32_t large_find_fit(const struct large_space *space,
                                      const struct large_bins *bins,
                                      uint32_t pages, size_t probes) {
  unsigned class = large_size_class(pages);
  for (uint32_t idx = bins->head[class]; idx && probes;
       idx = space->runs[idx].next, probes--)
    if (space->runs[idx].pages >= pages)
      return idx;
  unsigned bigger = large_next_class(bins, class + 1);
  return bigger < LARGE_CLASSES ? bins->head[bigger] : 0;
}

/* The run at IDX + PAGES, if it is in STATE; else 0.  */
static inline uint32_t large_free_successor(const struct large_space *space,
                                            uint32_t idx, uint32_t pages,
                                            uint8_t state) {
  uint32_t next = idx + pages;
  return next < large_end_index(space) &&
                 large_state(&space->runs[next]) == state
             ? next
             : 0;
}

/* The run that ends at IDX, if it is in STATE; else 0.  */
static inline uint32_t large_free_predecessor(const struct large_space *space,
                                              uint32_t idx, uint8_t state) {
  if (idx <= large_page_index(space, space->bottom))
    return 0;
  uint32_t prev = space->starts[idx - 1];
  GC_ASSERT(prev + space->runs[prev].pages == idx);
  return large_state(&space->runs[prev]) == state ? prev : 0;
}

/* Make the PAGES at IDX, which are in no free list, a free run in STATE, merged
   with its neighbours in that state.  FREED is the clock for dirty runs.
   Return the index of the merged run.  */
static inline uint32_t large_add_free(struct large_space *space, uint32_t idx,
                                      uint32_t pages, uint8_t state,
                                      uint16_t freed) {
  uint32_t largest = pages;
  uint32_t next = large_free_successor(space, idx, pages, state);
  uint32_t prev = large_free_predecessor(space, idx, state);
  uint32_t start = prev ? prev : idx;
  uint32_t total = pages;
  uint32_t parts[2] = {prev, next};
  for (int i = 0; i < 2; i++) {
    if (!parts[i])
      continue;
    struct large_run *part = &space->runs[parts[i]];
    large_unlink(space, parts[i]);
    total += part->pages;
    if (part->pages > largest) {
      largest = part->pages;
      freed = part->slack;
    }
  }
  if (next)
    large_run_set(&space->runs[next], 0, LARGE_ABSORBED);
  if (prev)
    large_run_set(&space->runs[idx], 0, LARGE_ABSORBED);
  large_set_tile(space, start, total, state);
  space->runs[start].slack = freed;
  large_link(space, start);
  return start;
}

/* ---- Growth; lock held ---- */

/* Commit TABLE down to LOC.  *RESERVED is how far it is reserved, which may have
   been trimmed, and *COMMITTED how far it is committed.  */
static inline int large_commit_table(void *table, void *loc,
                                     uintptr_t *reserved,
                                     uintptr_t *committed) {
  uintptr_t low = (uintptr_t)loc & ~(uintptr_t)(LARGE_TABLE_UNIT - 1);
  if (low < (uintptr_t)table)
    low = (uintptr_t)table;
  if (low >= *committed)
    return 1;
  if (low < *reserved) {
    if (!gc_platform_reserve_at((void *)low, *reserved - low))
      return 0;
    *reserved = low;
  }
  if (!gc_platform_commit((void *)low, *committed - low))
    return 0;
  *committed = low;
  return 1;
}

/* Grow downwards by BYTES.  0 on failure.  */
static inline int large_grow(struct large_space *space, size_t bytes) {
  uintptr_t bottom = space->bottom;
  if (bytes > bottom - gc_reservation_low_top(space->reservation))
    return 0;
  uint32_t pages = bytes >> space->page_shift;
  uint32_t idx = large_page_index(space, bottom - bytes);
  /* Tables first: memory once taken from the reservation is not returned.  */
  if (!large_commit_table(space->starts, &space->starts[idx],
                          &space->starts_reserved, &space->starts_committed) ||
      !large_commit_table(space->runs, &space->runs[idx], &space->runs_reserved,
                          &space->runs_committed) ||
      (GC_GENERATIONAL &&
       !large_commit_table(space->logs, large_log_word(space, bottom - bytes),
                           &space->logs_reserved, &space->logs_committed)) ||
      !gc_reservation_extend_high(space->reservation, bytes))
    return 0;
  for (uint32_t i = 0; i < pages; i++)
    large_set_start(space, idx + i, idx);
  large_set_tile(space, idx, pages, LARGE_ABSORBED);
  gc_atomic_store(&space->bottom, bottom - bytes);
  large_add_free(space, idx, pages, LARGE_ZERO, 0);
  return 1;
}

/* Grow such that a run of PAGES is free.  0 on failure.  */
static inline int large_grow_for(struct large_space *space, uint32_t pages) {
  if (space->bottom < space->limit) {
    struct large_run *first =
        &space->runs[large_page_index(space, space->bottom)];
    if (large_state(first) == LARGE_ZERO)
      pages = pages > first->pages ? pages - first->pages : 1;
  }
  size_t mask = space->system_page_size - 1;
  size_t bytes = (((size_t)pages << space->page_shift) + mask) & ~mask;
  return (bytes < LARGE_GROWTH_BYTES &&
          large_grow(space, LARGE_GROWTH_BYTES)) ||
         large_grow(space, bytes);
}

/* ---- Returning memory to the OS ---- */

struct large_range {
  uintptr_t low, high;
};

/* Discard the system's pages around PART that are in WHOLE; returns what they
   cover, which may be nothing.  */
static inline struct large_range
large_discard_within(const struct large_space *space, struct large_range part,
                     struct large_range whole) {
  uintptr_t mask = space->system_page_size - 1;
  uintptr_t low = part.low & ~mask, high = (part.high + mask) & ~mask;
  if (low < whole.low)
    low = (whole.low + mask) & ~mask;
  if (high > whole.high)
    high = whole.high & ~mask;
  if (low >= high)
    return (struct large_range){part.low, part.low};
  gc_platform_discard((void *)low, high - low);
  return (struct large_range){low, high};
}

/* Make PART zero, where possible by discarding pages that are in WHOLE, all of which
   is free.  */
static inline void large_make_zero(const struct large_space *space,
                                   struct large_range part,
                                   struct large_range whole) {
  struct large_range gone = large_discard_within(space, part, whole);
  if (part.low < gone.low)
    memset((void *)part.low, 0, gone.low - part.low);
  if (gone.high < part.high)
    memset((void *)gone.high, 0, part.high - gone.high);
}

static inline struct large_range
large_page_range(const struct large_space *space, uint32_t idx,
                 uint32_t pages) {
  return (struct large_range){large_page_address(space, idx),
                              large_page_address(space, idx + pages)};
}

static inline struct large_range
large_log_range(const struct large_space *space, struct large_range range) {
  return (struct large_range){(uintptr_t)large_log_word(space, range.low),
                              (uintptr_t)large_log_word(space, range.high)};
}

/* The PAGES at IDX are to go back to the system: those of the system that are in
   the free run at START, whose other pages are zero already, and those pages of log
   that describe some of them, and nothing outside of the run.  Who allocates there
   later waits for the lock.  */
static inline void large_discard_pages(struct large_space *space,
                                       uint32_t start, uint32_t idx,
                                       uint32_t pages) {
  struct large_range part = large_page_range(space, idx, pages);
  struct large_range whole =
      large_page_range(space, start, space->runs[start].pages);
  large_make_zero(space, part, whole);
  if (GC_GENERATIONAL)
    large_discard_within(space, large_log_range(space, part),
                         large_log_range(space, whole));
}

/* Discard up to one slice of a run that has been dirty for TICKS.  Return 0 if
   there is none; lists are roughly in order of age, the oldest at the tail.
   Lock held.  */
static inline int large_discard_slice(struct large_space *space,
                                      uint16_t ticks) {
  struct large_bins *bins = &space->dirty;
  for (unsigned class = large_next_class(bins, 0); class < LARGE_CLASSES;
       class = large_next_class(bins, class + 1)) {
    uint32_t idx = bins->tail[class];
    struct large_run *run = &space->runs[idx];
    if ((uint16_t)(space->clock - run->slack) < ticks)
      continue;
    uint32_t pages = run->pages;
    uint32_t slice = LARGE_DISCARD_SLICE >> space->page_shift;
    uint16_t freed = run->slack;
    if (slice > pages)
      slice = pages;
    large_unlink(space, idx);
    if (slice < pages) {
      large_set_tile(space, idx, slice, LARGE_ABSORBED);
      large_add_free(space, idx + slice, pages - slice, LARGE_DIRTY, freed);
    }
    uint32_t start = large_add_free(space, idx, slice, LARGE_ZERO, 0);
    large_discard_pages(space, start, idx, slice);
    return 1;
  }
  return 0;
}

/* The lock is released between slices, for mutators that wait to allocate.  */
static inline void large_discard_older(struct large_space *space,
                                       uint16_t ticks) {
  for (int more = 1; more;) {
    pthread_mutex_lock(&space->lock);
    more = large_discard_slice(space, ticks);
    pthread_mutex_unlock(&space->lock);
    if (more)
      sched_yield();
  }
}

/* A slice of freed memory goes back to the OS now.  Any thread.  */
static inline void large_space_return_slice(struct large_space *space) {
  pthread_mutex_lock(&space->lock);
  large_discard_slice(space, 0);
  pthread_mutex_unlock(&space->lock);
}

/* To be called about once a second, by any one thread: freed memory that was
   not used again for two calls goes back to the OS.  */
static inline void large_space_age(struct large_space *space) {
  pthread_mutex_lock(&space->lock);
  space->clock++;
  pthread_mutex_unlock(&space->lock);
  large_discard_older(space, LARGE_QUARANTINE_TICKS);
}

/* All freed memory goes back to the OS now.  Any thread.  */
static inline void large_space_release_all(struct large_space *space) {
  large_discard_older(space, 0);
}

#endif // LARGE_RUNS_H
