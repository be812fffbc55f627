/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The remembered set of generational builds: fields of old objects that may
   reference young ones.

   A field of a small object is logged by a bit in the metadata byte of its
   granule: who sets it appends the edge to his buffer.  A field of a large object
   is logged by a bit in a side table, of which one word describes a chunk of the
   object: who sets the first bit of a word appends the chunk's address to the
   buffer, as if it were an edge, and the collection visits all fields of the chunk
   that were logged until then.  So what is remembered of an array takes at most a
   32nd of its size, however many stores there are.  Fields of objects outside the
   heap go to a hash set.  Every collection empties all of that, since it leaves no
   young object behind.

   If there is no memory to record an edge, the next collection is a full one.  The
   bit of a small object's field stays clear.  That of a large object's field stays
   set, since others may have logged more of the chunk and trust in the record of it:
   that collection clears the whole table.  */

#ifndef MMC_BARRIER_H
#define MMC_BARRIER_H

#include "mmc-heap.h"

static struct edge_buffer *heap_take_edge_buffer(struct gc_heap *heap) {
  pthread_mutex_lock(&heap->edges_lock);
  struct edge_buffer *buf = heap->free_edges;
  if (buf)
    heap->free_edges = buf->next;
  pthread_mutex_unlock(&heap->edges_lock);
  if (!buf)
    buf = gc_platform_map(sizeof(*buf));
  if (buf) {
    buf->next = NULL;
    buf->count = 0;
  }
  return buf;
}

static void heap_add_full_edges(struct gc_heap *heap, struct edge_buffer *buf) {
  struct edge_buffer *head = gc_atomic_load_relaxed(&heap->full_edges);
  do
    buf->next = head;
  while (!gc_atomic_cmpxchg_weak(&heap->full_edges, &head, buf));
}

/* Give up MUT's buffer.  By its thread, or in a pause.  */
static void mutator_release_edges(struct gc_mutator *mut) {
  if (mut->edges)
    heap_add_full_edges(mut->heap, mut->edges);
  mut->edges = NULL;
}

static void heap_free_edge_buffer(struct gc_heap *heap,
                                  struct edge_buffer *buf) {
  pthread_mutex_lock(&heap->edges_lock);
  buf->next = heap->free_edges;
  heap->free_edges = buf;
  pthread_mutex_unlock(&heap->edges_lock);
}

/* Give up MUT's buffer when its thread goes: threads that come and go must not leave
   a buffer each, with an edge or two.  With heap->lock held; edges_lock comes after
   it.  */
static void mutator_bequeath_edges(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  struct edge_buffer *from = mut->edges, *to = heap->bequeathed_edges;
  mut->edges = NULL;
  if (!from)
    return;
  if (!to) {
    heap->bequeathed_edges = from;
    return;
  }
  while (from->count && to->count < EDGE_BUFFER_SIZE)
    to->edges[to->count++] = from->edges[--from->count];
  if (!from->count) {
    heap_free_edge_buffer(heap, from);
    return;
  }
  heap->bequeathed_edges = from;
  heap_add_full_edges(heap, to);
}

/* In a pause.  */
static void heap_release_bequeathed_edges(struct gc_heap *heap) {
  if (heap->bequeathed_edges)
    heap_add_full_edges(heap, heap->bequeathed_edges);
  heap->bequeathed_edges = NULL;
}

static int mutator_remember_edge(struct gc_mutator *mut, struct gc_edge edge) {
  if (mut->edges && mut->edges->count == EDGE_BUFFER_SIZE)
    mutator_release_edges(mut);
  if (!mut->edges)
    mut->edges = heap_take_edge_buffer(mut->heap);
  if (!mut->edges)
    return 0;
  mut->edges->edges[mut->edges->count++] = edge;
  return 1;
}

static inline uint8_t nofl_log_bit(struct gc_edge edge) {
  return gc_edge_address(edge) & sizeof(uintptr_t) ? NOFL_LOGGED_1
                                                   : NOFL_LOGGED_0;
}

/* Returns nonzero if this call set the bit.  */
static int nofl_log_edge(struct gc_edge edge) {
  uint8_t *loc = nofl_metadata_byte(gc_edge_address(edge));
  uint8_t bit = nofl_log_bit(edge);
  uint8_t byte = gc_atomic_load_relaxed(loc);
  while (!(byte & bit))
    if (gc_atomic_cmpxchg_weak(loc, &byte, (uint8_t)(byte | bit)))
      return 1;
  return 0;
}

static void nofl_unlog_edge(struct gc_edge edge) {
  uint8_t *loc = nofl_metadata_byte(gc_edge_address(edge));
  uint8_t bit = nofl_log_bit(edge);
  uint8_t byte = gc_atomic_load_relaxed(loc);
  while (!gc_atomic_cmpxchg_weak(loc, &byte, (uint8_t)(byte & ~bit)))
    continue;
}

/* May REF be young?  If another thread has just made it, and published it without
   ordering that this thread would see, it may look like free memory, or like an
   address to which the heap has not grown yet: then it is.  */
static int heap_ref_is_young(struct gc_heap *heap, struct gc_ref ref) {
  uintptr_t addr = gc_ref_value(ref);
  if (nofl_space_contains(&heap->space, addr)) {
    uint8_t byte = gc_atomic_load_relaxed(nofl_metadata_byte(addr));
    return (byte & NOFL_STATE_MASK) != heap->space.survivor_mark;
  }
  if (large_space_contains(&heap->large, addr))
    return !large_object_is_old(&heap->large, ref);
  const struct gc_reservation *range = &heap->reservation;
  return addr - range->base < range->limit - range->base;
}

/* EDGE is a field of the large object OBJ, which is old.  Returns 0 if there was no
   memory.  */
static int mutator_log_large_field(struct gc_mutator *mut, struct gc_ref obj,
                                   struct gc_edge edge) {
  struct large_space *space = &mut->heap->large;
  uintptr_t addr = gc_edge_address(edge);
  GC_ASSERT(addr - gc_ref_value(obj) < large_object_rounded_size(space, obj));
  (void)obj;
  return !large_log_field(space, addr) ||
         mutator_remember_edge(mut, gc_edge((void *)large_chunk(addr)));
}

/* Is EDGE a field of a large object that was logged before?  That is worth to be
   known at once.  Not to be relied on when a safepoint has passed, as little as the
   same answer of the inline path.  */
static inline int heap_large_field_is_logged(struct gc_heap *heap,
                                             struct gc_edge edge) {
  uintptr_t addr = gc_edge_address(edge);
  return large_space_contains(&heap->large, addr) &&
         large_field_is_logged(&heap->large, addr);
}

static void mutator_write_barrier(struct gc_mutator *mut, struct gc_ref obj,
                                  struct gc_edge edge, struct gc_ref new_val) {
  struct gc_heap *heap = mut->heap;
  if (gc_ref_is_null(new_val) || gc_ref_is_immediate(new_val) ||
      !heap_ref_is_young(heap, new_val))
    return;
  uintptr_t addr = gc_ref_value(obj);
  int recorded;
  if (nofl_space_contains(&heap->space, addr)) {
    if (!nofl_object_is_old(addr) || !nofl_log_edge(edge))
      return;
    recorded = mutator_remember_edge(mut, edge);
    if (!recorded)
      nofl_unlog_edge(edge);
  } else if (large_space_contains(&heap->large, addr)) {
    if (!large_object_is_old(&heap->large, obj))
      return;
    recorded = mutator_log_large_field(mut, obj, edge);
  } else {
    recorded = gc_edge_set_add(&heap->foreign_edges, edge);
  }
  if (!recorded)
    gc_atomic_store_relaxed(&heap->minor_impossible, 1u);
}

static void heap_forget_remembered_edge(struct gc_heap *heap,
                                        struct gc_edge edge) {
  uintptr_t addr = gc_edge_address(edge);
  if (nofl_space_contains(&heap->space, addr))
    nofl_unlog_edge(edge);
  else if (large_space_contains(&heap->large, addr))
    large_chunk_clear_log(&heap->large, addr);
}

/* End of a collection, world stopped: empty the remembered set.  Objects may
   have died or moved: the bits of dead ones are cleared by sweeping, and
   copies start without.  */
static void heap_forget_remembered_edges(struct gc_heap *heap) {
  struct edge_buffer *buf = heap->full_edges;
  heap->full_edges = NULL;
  while (buf) {
    struct edge_buffer *next = buf->next;
    for (size_t i = 0; i < buf->count; i++)
      heap_forget_remembered_edge(heap, buf->edges[i]);
    buf->next = heap->free_edges;
    heap->free_edges = buf;
    buf = next;
  }
  gc_edge_set_clear(&heap->foreign_edges);
  if (GC_UNLIKELY(heap->minor_impossible))
    large_space_clear_logs(&heap->large);
  heap->minor_impossible = 0;
}

#endif // MMC_BARRIER_H
