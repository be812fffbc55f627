/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Large object space: objects of whole pages, which never move.

   Pages, their states, and who may touch what when: large-runs.h.  This file
   is what the collector uses.  It is included after the embedder header.  */

#ifndef LARGE_OBJECT_SPACE_H
#define LARGE_OBJECT_SPACE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-config.h"
#include "gc-displacement.h"
#include "gc-edge.h"
#include "gc-ref.h"
#include "large-runs.h"
#include "mmc-attrs.h"

/* Of an object of at least this size the program may not touch all soon: fresh
   memory is left to page faults.  */
#define LARGE_POPULATE_THRESHOLD ((size_t)64 * 1024 * 1024)
/* And dirty memory is discarded instead of cleared, from this size on: to get the
   pages again takes several times as long, if all are used.  */
#define LARGE_DISCARD_THRESHOLD ((size_t)256 * 1024 * 1024)
/* Value of freed bytes in stress mode.  */
#define LARGE_POISON 0xa5

/* ---- Allocation ---- */

/* Bytes that an object of BYTES occupies; SIZE_MAX if it cannot exist.  */
static inline size_t large_space_size_in_bytes(const struct large_space *space,
                                               size_t bytes) {
  size_t mask = large_page_size(space) - 1;
  return bytes > SIZE_MAX - mask ? SIZE_MAX : (bytes + mask) & ~mask;
}

/* A free run of at least PAGES, or 0.  Resident memory is preferred.  Lock
   held.  */
static inline uint32_t large_obtain_run(struct large_space *space,
                                        uint32_t pages) {
  uint32_t idx = large_find_fit(space, &space->dirty, pages, LARGE_FIT_PROBES);
  if (!idx)
    idx = large_find_fit(space, &space->zero, pages, LARGE_FIT_PROBES);
  if (!idx && large_grow_for(space, pages))
    idx = large_find_fit(space, &space->zero, pages, SIZE_MAX);
  if (idx)
    return idx;
  /* Address space is short: look at all runs, and then let dirty and zero
     neighbours become one.  */
  idx = large_find_fit(space, &space->dirty, pages, SIZE_MAX);
  if (!idx)
    idx = large_find_fit(space, &space->zero, pages, SIZE_MAX);
  if (idx || !space->dirty.pages)
    return idx;
  while (large_discard_slice(space, 0)) {
  }
  idx = large_find_fit(space, &space->zero, pages, SIZE_MAX);
  if (!idx && large_grow_for(space, pages))
    idx = large_find_fit(space, &space->zero, pages, SIZE_MAX);
  return idx;
}

/* Turn the end of the free run at IDX into an object.  Return the index of its
   first page.  Lock held.  */
static inline uint32_t large_carve(struct large_space *space, uint32_t idx,
                                   uint32_t pages, uint16_t slack,
                                   uint8_t kind) {
  struct large_run *run = &space->runs[idx];
  uint32_t rest = run->pages - pages;
  uint32_t obj = idx + rest;
  large_unlink(space, idx);
  if (rest) {
    gc_atomic_store_relaxed(&run->pages, rest);
    large_set_start(space, obj - 1, idx);
    large_link(space, idx);
  }
  for (uint32_t i = 0; i < pages; i++)
    large_set_start(space, obj + i, obj);
  large_run_set(&space->runs[obj], pages, LARGE_YOUNG | kind);
  space->runs[obj].slack = slack;
  if (GC_GENERATIONAL) {
    space->runs[obj].next = space->nursery;
    space->nursery = obj;
  }
  gc_atomic_store_relaxed(&space->live_pages, space->live_pages + pages);
  space->live_objects++;
  return obj;
}

/* Memory for an object of BYTES, young, of TRACE_KIND (bits of the nofl
   metadata); or NULL.  It is for large_space_prepare to make it fit for use;
   *DIRTY is for that.  The caller accounts for it.  In a pause, or an active
   mutator without safepoint.  */
static inline void *large_space_allocate(struct large_space *space,
                                         size_t bytes, uint8_t trace_kind,
                                         int *dirty) {
  GC_ASSERT(bytes && !(trace_kind & ~LARGE_KIND_MASK));
  size_t size = large_space_size_in_bytes(space, bytes);
  if (size > space->limit - space->origin)
    return NULL;
  uint32_t pages = size >> space->page_shift;
  pthread_mutex_lock(&space->lock);
  uint32_t idx = large_obtain_run(space, pages);
  if (idx) {
    *dirty = large_state(&space->runs[idx]) == LARGE_DIRTY;
    idx = large_carve(space, idx, pages, size - bytes, trace_kind);
  }
  pthread_mutex_unlock(&space->lock);
  return idx ? (void *)large_page_address(space, idx) : NULL;
}

/* Make the object of BYTES at MEM, which nobody else knows yet and no collection
   has seen, all zero if CLEAR, else only its first granule.  This may take
   long: not in a pause, and not with a lock held.  */
static inline void large_space_prepare(const struct large_space *space,
                                       void *mem, size_t bytes, int dirty,
                                       int clear) {
  GC_ASSERT(
      large_state(&space->runs[large_page_index(space, (uintptr_t)mem)]) ==
      LARGE_YOUNG);
  size_t size = large_space_size_in_bytes(space, bytes);
  struct large_range range = {(uintptr_t)mem, (uintptr_t)mem + size};
  if (dirty && !clear)
    memset(mem, 0, gc_allocator_small_granule_size());
  else if (dirty && size >= LARGE_DISCARD_THRESHOLD)
    large_make_zero(space, range, range);
  else if (dirty)
    memset(mem, 0, size);
}

/* ---- Queries ---- */

/* The run of the object at REF.  */
static inline struct large_run *
large_object_run(const struct large_space *space, struct gc_ref ref) {
  GC_ASSERT(!(gc_ref_value(ref) & (large_page_size(space) - 1)));
  struct large_run *run =
      &space->runs[large_page_index(space, gc_ref_value(ref))];
  GC_ASSERT(large_state_is_object(large_state(run)));
  return run;
}

/* Any thread, any address.  */
static inline int large_space_contains(const struct large_space *space,
                                       uintptr_t addr) {
  uintptr_t bottom = gc_atomic_load(&space->bottom);
  return addr - bottom < space->limit - bottom;
}

/* Bytes in pages of all objects.  Any thread.  */
static inline size_t large_space_live_bytes(const struct large_space *space) {
  return gc_atomic_load_relaxed(&space->live_pages) << space->page_shift;
}

/* Bytes of freed memory that is still resident.  A snapshot.  */
static inline size_t large_space_quarantined_bytes(struct large_space *space) {
  pthread_mutex_lock(&space->lock);
  size_t ret = space->dirty.pages << space->page_shift;
  pthread_mutex_unlock(&space->lock);
  return ret;
}

/* The following take the start of an object that the caller holds.  Any thread,
   without lock.  */

/* As given to large_space_allocate.  */
static inline size_t large_object_size(const struct large_space *space,
                                       struct gc_ref ref) {
  struct large_run *run = large_object_run(space, ref);
  return ((size_t)run->pages << space->page_shift) - run->slack;
}

/* Whole pages.  */
static inline size_t large_object_rounded_size(const struct large_space *space,
                                               struct gc_ref ref) {
  return (size_t)large_object_run(space, ref)->pages << space->page_shift;
}

static inline uint8_t large_object_trace_kind(const struct large_space *space,
                                              struct gc_ref ref) {
  return large_meta(large_object_run(space, ref)) & LARGE_KIND_MASK;
}

/* Survived a collection.  Also valid during minor collections, where it means
   marked.  */
static inline int large_object_is_old(const struct large_space *space,
                                      struct gc_ref ref) {
  return large_state(large_object_run(space, ref)) == space->current_mark;
}

/* During a collection: marked, or old in a minor one.  */
static inline int large_object_is_live(const struct large_space *space,
                                       struct gc_ref ref) {
  return large_object_is_old(space, ref);
}

/* During a collection; only one thread traces.  1 if newly marked.  */
static inline int large_object_try_mark_nonatomic(struct large_space *space,
                                                  struct gc_ref ref) {
  struct large_run *run = large_object_run(space, ref);
  uint8_t meta = large_meta(run);
  if ((meta & LARGE_STATE_MASK) == space->current_mark)
    return 0;
  gc_atomic_store_relaxed(&run->meta,
                          (meta & LARGE_KIND_MASK) | space->current_mark);
  return 1;
}

/* During a collection.  1 for exactly one of the threads that call.  */
static inline int large_object_try_mark_atomic(struct large_space *space,
                                               struct gc_ref ref) {
  struct large_run *run = large_object_run(space, ref);
  uint8_t meta = large_meta(run);
  if ((meta & LARGE_STATE_MASK) == space->current_mark)
    return 0;
  /* All who get here store the same value.  Acquire and release, because the
     ephemeron protocol orders this change against the table of pending
     ephemerons (gc-ephemeron-internal.h); the rest is up to its fences.  */
  uint8_t marked = (meta & LARGE_KIND_MASK) | space->current_mark;
  return gc_atomic_swap(&run->meta, marked) != marked;
}

/* Start of the object that contains ADDR, or null.  During a collection
   without lock, otherwise with it held.  */
static inline struct gc_ref large_find_object(const struct large_space *space,
                                              uintptr_t addr) {
  uint32_t page = large_page_index(space, addr);
  uint32_t idx = gc_atomic_load_relaxed(&space->starts[page]);
  const struct large_run *run = &space->runs[idx];
  if (!large_state_is_object(large_state(run)) ||
      page - idx >= gc_atomic_load_relaxed(&run->pages))
    return gc_ref_null();
  return gc_ref(large_page_address(space, idx));
}

/* The object that ADDR may denote: if POSSIBLY_INTERIOR, the one around it;
   else the one that starts on its page, if the embedder accepts the
   displacement.  Null if there is none.  The result is young or survived the
   last collection, since sweeping is part of the collection.  During a
   collection: any tracing thread; otherwise any active mutator.  */
static inline struct gc_ref
large_space_resolve_conservative(struct large_space *space, uintptr_t addr,
                                 int possibly_interior, int during_collection) {
  if (!large_space_contains(space, addr))
    return gc_ref_null();
  uintptr_t displacement = addr & (large_page_size(space) - 1);
  if (!possibly_interior && !gc_accepts_displacement(displacement))
    return gc_ref_null();
  if (!during_collection)
    pthread_mutex_lock(&space->lock);
  struct gc_ref ret = large_find_object(space, addr);
  if (!during_collection)
    pthread_mutex_unlock(&space->lock);
  if (!possibly_interior && gc_ref_value(ret) != addr - displacement)
    return gc_ref_null();
  return ret;
}

/* ---- Collection; world stopped, one thread ---- */

static inline void large_space_start_gc(struct large_space *space,
                                        int is_minor) {
  GC_ASSERT(GC_GENERATIONAL || !is_minor);
  if (!is_minor)
    space->current_mark =
        space->current_mark == LARGE_MARK_0 ? LARGE_MARK_1 : LARGE_MARK_0;
}

/* Free the object at IDX if it is not marked.  Return the first page after it,
   and after the free run that it becomes part of.  Lock held.  */
static inline uint32_t large_sweep_run(struct large_space *space,
                                       uint32_t idx) {
  struct large_run *run = &space->runs[idx];
  uint8_t state = large_state(run);
  uint32_t pages = run->pages;
  if (!large_state_is_object(state) || state == space->current_mark)
    return idx + pages;
  if (GC_UNLIKELY(space->poison))
    memset((void *)large_page_address(space, idx), LARGE_POISON,
           (size_t)pages << space->page_shift);
  gc_atomic_store_relaxed(&space->live_pages, space->live_pages - pages);
  space->live_objects--;
  uint32_t start = large_add_free(space, idx, pages, LARGE_DIRTY, space->clock);
  return start + space->runs[start].pages;
}

/* Sweep.  Return how many bytes, in whole pages, were freed.  */
static inline size_t large_space_finish_gc(struct large_space *space,
                                           int is_minor) {
  pthread_mutex_lock(&space->lock);
  size_t before = space->live_pages;
  if (is_minor) {
    for (uint32_t idx = space->nursery; idx;) {
      /* Freeing reuses the link.  */
      uint32_t next = space->runs[idx].next;
      large_sweep_run(space, idx);
      idx = next;
    }
  } else {
    uint32_t end = large_end_index(space);
    for (uint32_t idx = large_page_index(space, space->bottom); idx < end;)
      idx = large_sweep_run(space, idx);
  }
  space->nursery = 0;
  size_t freed = before - space->live_pages;
  pthread_mutex_unlock(&space->lock);
  return freed << space->page_shift;
}

/* Call F for each object, in order of address.  LIVE: it is marked, or old
   outside of a full collection.  World stopped; the tiling does not change but
   for free runs, which the lock keeps still.  F must not enter the space but
   for the queries without lock.  */
static inline void
large_space_visit_objects(struct large_space *space,
                          void (*f)(uintptr_t start, size_t bytes,
                                    uint8_t trace_kind, int live, void *data),
                          void *data) {
  pthread_mutex_lock(&space->lock);
  uint32_t end = large_end_index(space);
  uint32_t idx = large_page_index(space, space->bottom);
  for (; idx < end; idx += space->runs[idx].pages) {
    struct large_run *run = &space->runs[idx];
    uint8_t state = large_state(run);
    if (!large_state_is_object(state))
      continue;
    f(large_page_address(space, idx),
      ((size_t)run->pages << space->page_shift) - run->slack,
      large_meta(run) & LARGE_KIND_MASK, state == space->current_mark, data);
  }
  pthread_mutex_unlock(&space->lock);
}

/* ---- Log bits; generational builds ---- */

static inline uintptr_t large_log_bit(uintptr_t addr) {
  return (uintptr_t)1 << (addr / sizeof(uintptr_t) %
                          (LARGE_CHUNK_SIZE / sizeof(uintptr_t)));
}

/* The first byte of the chunk around ADDR.  */
static inline uintptr_t large_chunk(uintptr_t addr) {
  return addr & ~(uintptr_t)(LARGE_CHUNK_SIZE - 1);
}

/* Has the field at ADDR, in the space, been logged since the last collection?  Any
   active mutator.  Relaxed: bits are cleared in pauses only, which order that before
   what mutators do next, and a stale clear bit only costs an attempt to set it.  */
static inline int large_field_is_logged(const struct large_space *space,
                                        uintptr_t addr) {
  return (gc_atomic_load_relaxed(large_log_word(space, addr)) &
          large_log_bit(addr)) != 0;
}

/* Log the field at ADDR, of an old object; again does no harm.  Returns 1 to the one
   caller who finds the chunk without a logged field: that one has to see to it that
   the next collection visits the chunk, without a safepoint in between, or that it
   is a full one and then clears all logs.  Any active mutator.

   Relaxed: the bits tell something about no other memory.  They, the record of the
   chunk, and the field itself are read in the next pause, and stopping a mutator
   orders all that it has done before.  */
static inline int large_log_field(struct large_space *space, uintptr_t addr) {
  GC_ASSERT(!(addr & (sizeof(uintptr_t) - 1)));
  GC_ASSERT(large_space_contains(space, addr));
  return gc_atomic_fetch_or_relaxed(large_log_word(space, addr),
                                    large_log_bit(addr)) == 0;
}

/* Visit the logged fields of CHUNK, in order of address.  World stopped.  */
static inline void large_chunk_visit_logged_fields(
    struct large_space *space, uintptr_t chunk,
    void (*visit)(struct gc_edge edge, struct gc_heap *heap, void *data),
    struct gc_heap *heap, void *data) {
  for (uintptr_t bits = *large_log_word(space, chunk); bits; bits &= bits - 1)
    visit(gc_edge((uintptr_t *)chunk + __builtin_ctzll(bits)), heap, data);
}

/* World stopped; also if the object around CHUNK is gone.  */
static inline void large_chunk_clear_log(struct large_space *space,
                                         uintptr_t chunk) {
  *large_log_word(space, chunk) = 0;
}

/* Chunks with logged fields.  Looks at the whole table, for verification.  World
   stopped.  */
static inline size_t large_space_logged_chunks(struct large_space *space) {
  size_t count = 0;
  pthread_mutex_lock(&space->lock);
  uintptr_t *end = (uintptr_t *)large_logs_end(space);
  for (uintptr_t *word = (uintptr_t *)space->logs_committed; word < end; word++)
    count += *word != 0;
  pthread_mutex_unlock(&space->lock);
  return count;
}

/* For chunks that nobody has recorded.  World stopped.  */
static inline void large_space_clear_logs(struct large_space *space) {
  pthread_mutex_lock(&space->lock);
  uintptr_t end = large_logs_end(space);
  if (space->logs_committed < end)
    gc_platform_discard((void *)space->logs_committed,
                        end - space->logs_committed);
  pthread_mutex_unlock(&space->lock);
}

/* ---- Life cycle ---- */

/* For fork handlers.  */
static inline void large_space_lock(struct large_space *space) {
  pthread_mutex_lock(&space->lock);
}

static inline void large_space_unlock(struct large_space *space) {
  pthread_mutex_unlock(&space->lock);
}

static inline void large_release_table(uintptr_t *reserved, uintptr_t end) {
  if (*reserved < end)
    gc_platform_release((void *)*reserved, end - *reserved);
  *reserved = end;
}

/* Give up what TABLE has reserved and not committed below LOC.  */
static inline void large_trim_table(void *loc, uintptr_t *reserved,
                                    uintptr_t committed) {
  uintptr_t low = (uintptr_t)loc & ~(uintptr_t)(LARGE_TABLE_UNIT - 1);
  if (low > *reserved && low <= committed)
    large_release_table(reserved, low);
}

/* After the reservation has been trimmed: give back the parts of the tables that
   describe pages which are not the space's now.  */
static inline void large_space_trim_tables(struct large_space *space) {
  pthread_mutex_lock(&space->lock);
  uintptr_t floor = gc_reservation_high_floor(space->reservation);
  uint32_t idx = large_page_index(space, floor);
  large_trim_table(&space->starts[idx], &space->starts_reserved,
                   space->starts_committed);
  large_trim_table(&space->runs[idx], &space->runs_reserved,
                   space->runs_committed);
  if (GC_GENERATIONAL)
    large_trim_table(large_log_word(space, floor), &space->logs_reserved,
                     space->logs_committed);
  pthread_mutex_unlock(&space->lock);
}

/* Give back what large_space_init obtained, but for the reservation.  */
static inline void large_space_destroy(struct large_space *space) {
  if (space->starts)
    large_release_table(&space->starts_reserved,
                        (uintptr_t)(space->starts + space->table_pages));
  if (space->runs)
    large_release_table(&space->runs_reserved,
                        (uintptr_t)(space->runs + space->table_pages));
  if (space->logs)
    large_release_table(&space->logs_reserved, large_logs_end(space));
  pthread_mutex_destroy(&space->lock);
  space->starts = NULL;
  space->runs = NULL;
  space->logs = NULL;
}

/* Of a space to be made.  */
static inline size_t large_default_page_size(void) {
  size_t size = gc_platform_page_size();
  return size < LARGE_MAX_PAGE_SIZE ? size : LARGE_MAX_PAGE_SIZE;
}

/* Bytes of the largest reservation whose pages an index can count.  */
static inline size_t large_space_max_reservation(void) {
  size_t pages = UINT32_MAX - 2;
  size_t page_size = large_default_page_size();
  size_t most = pages > SIZE_MAX / page_size ? SIZE_MAX : pages * page_size;
  return most & ~(GC_RESERVATION_UNIT - 1);
}

/* RESERVATION has no high part yet.  0 if there is no memory, or if the
   reservation is larger than large_space_max_reservation.  */
static inline int large_space_init(struct large_space *space,
                                   struct gc_reservation *res) {
  size_t system_page = gc_platform_page_size();
  size_t page_size = large_default_page_size();
  size_t pages = gc_reservation_size(res) / page_size + 1;
  *space = (struct large_space){0};
  if (gc_reservation_size(res) > large_space_max_reservation())
    return 0;
  space->reservation = res;
  space->page_shift = __builtin_ctzll(page_size);
  space->system_page_size = system_page;
  space->limit = space->bottom = res->limit;
  space->origin = res->base - page_size;
  space->current_mark = LARGE_MARK_0;
  if (pthread_mutex_init(&space->lock, NULL) != 0)
    return 0;
  /* The tables are committed from their ends, which must lie between pages of the
     system.  */
  space->table_pages = (pages + system_page - 1) & ~(system_page - 1);
  size_t starts_size = space->table_pages * sizeof(*space->starts);
  size_t runs_size = space->table_pages * sizeof(*space->runs);
  space->starts = gc_platform_reserve(starts_size, system_page);
  space->runs = gc_platform_reserve(runs_size, system_page);
  space->starts_reserved = (uintptr_t)space->starts;
  space->runs_reserved = (uintptr_t)space->runs;
  if (GC_GENERATIONAL)
    space->logs = gc_platform_reserve(large_logs_size(space), system_page);
  space->logs_reserved = (uintptr_t)space->logs;
  if (!space->starts || !space->runs || (GC_GENERATIONAL && !space->logs)) {
    large_space_destroy(space);
    return 0;
  }
  space->starts_committed = (uintptr_t)space->starts + starts_size;
  space->runs_committed = (uintptr_t)space->runs + runs_size;
  space->logs_committed = large_logs_end(space);
  return 1;
}

/* ---- Verification ---- */

static inline void large_check(int ok) {
  if (GC_UNLIKELY(!ok))
    GC_CRASH();
}

/* Every run of the lists is where it should be.  Return the number of runs.  */
static inline size_t large_verify_bins(const struct large_space *space,
                                       const struct large_bins *bins,
                                       uint8_t state) {
  size_t count = 0, pages = 0;
  for (unsigned class = 0; class < LARGE_CLASSES; class ++) {
    uint32_t prev = 0;
    int bit = (bins->nonempty[class / 64] >> (class % 64)) & 1;
    large_check(bit == (bins->head[class] != 0));
    for (uint32_t idx = bins->head[class]; idx; idx = space->runs[idx].next) {
      const struct large_run *run = &space->runs[idx];
      large_check(large_state(run) == state && run->prev == prev);
      large_check(large_size_class(run->pages) == class);
      pages += run->pages;
      count++;
      prev = idx;
    }
    large_check(bins->tail[class] == prev);
  }
  large_check(pages == bins->pages);
  return count;
}

/* One run and its entries in the side table.  */
static inline void large_verify_run(const struct large_space *space,
                                    uint32_t idx) {
  const struct large_run *run = &space->runs[idx];
  uint8_t state = large_state(run);
  large_check(run->pages && run->pages <= large_end_index(space) - idx);
  large_check(space->starts[idx] == idx &&
              space->starts[idx + run->pages - 1] == idx);
  if (large_state_is_object(state)) {
    large_check(state == LARGE_YOUNG || state == space->current_mark);
    large_check(run->slack < large_page_size(space));
    for (uint32_t i = 0; i < run->pages; i++)
      large_check(space->starts[idx + i] == idx);
  } else {
    large_check(state == LARGE_DIRTY || state == LARGE_ZERO);
  }
}

/* Outside of collections: trap if something is inconsistent.  Return the number
   of objects.  */
static inline size_t large_space_verify(struct large_space *space) {
  size_t counts[LARGE_STATE_MASK + 1] = {0}, live = 0, nursery = 0;
  pthread_mutex_lock(&space->lock);
  uint32_t end = large_end_index(space);
  uint8_t last_state = LARGE_ABSORBED;
  uint32_t idx = large_page_index(space, space->bottom);
  for (; idx < end; idx += space->runs[idx].pages) {
    large_verify_run(space, idx);
    uint8_t state = large_state(&space->runs[idx]);
    counts[state]++;
    if (large_state_is_object(state))
      live += space->runs[idx].pages;
    else
      large_check(state != last_state);
    last_state = state;
  }
  large_check(idx == end);
  large_check(space->bottom == gc_reservation_high_bottom(space->reservation));
  large_check(live == space->live_pages);
  size_t objects =
      counts[LARGE_YOUNG] + counts[LARGE_MARK_0] + counts[LARGE_MARK_1];
  large_check(objects == space->live_objects);
  large_check(large_verify_bins(space, &space->dirty, LARGE_DIRTY) ==
              counts[LARGE_DIRTY]);
  large_check(large_verify_bins(space, &space->zero, LARGE_ZERO) ==
              counts[LARGE_ZERO]);
  for (uint32_t i = space->nursery; i; i = space->runs[i].next, nursery++)
    large_check(large_state(&space->runs[i]) == LARGE_YOUNG);
  large_check(!GC_GENERATIONAL || nursery == counts[LARGE_YOUNG]);
  pthread_mutex_unlock(&space->lock);
  return objects;
}

#endif // LARGE_OBJECT_SPACE_H
