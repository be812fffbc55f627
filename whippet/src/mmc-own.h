/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* How objects are traced precisely: by the embedder, except for the collector's own two
   types, ephemerons and finalizers, in heap-conservative builds.

   There the embedder may be unable to trace any object: TAGGED ones are traced word by
   word.  Our own have references that are not strong, so they are allocated as
   TAGGED_PINNED, and their type is recorded in the trace-kind bits of the metadata byte
   of their second granule, which are 0 for all other objects.  What the embedder has in
   their headers is traced conservatively.

   Elsewhere the embedder tells our types from its own, because its gc_trace_object is
   called with all objects.  */

#ifndef MMC_OWN_H
#define MMC_OWN_H

#include "gc-ephemeron-internal.h"
#include "gc-finalizer-internal.h"
#include "mmc-heap.h"

enum own_type {
  OWN_NONE = 0, /* the embedder's */
  OWN_EPHEMERON = 8,
  OWN_FINALIZER = 16
};

_Static_assert(((OWN_EPHEMERON | OWN_FINALIZER) & ~NOFL_KIND_MASK) == 0,
               "the type is in the bits of the trace kind");

#define OWN_OBJECT_KIND \
  (GC_CONSERVATIVE_TRACE ? GC_ALLOCATION_TAGGED_PINNED : GC_ALLOCATION_TAGGED)

/* Has an object of BYTES a second granule, in the nofl space?  */
static inline int own_size_is_right(size_t bytes) {
  return !GC_CONSERVATIVE_TRACE ||
         (bytes > NOFL_GRANULE_SIZE && bytes <= NOFL_LARGE_THRESHOLD);
}

/* By the thread that has just allocated the object at ADDR, before its next
   safepoint.  What a handler of allocation failures has returned may be anywhere.  */
static inline void own_object_set_type(struct gc_heap *heap, uintptr_t addr,
                                       enum own_type type) {
  if (!GC_CONSERVATIVE_TRACE || !nofl_space_contains(&heap->space, addr))
    return;
  uint8_t *loc = nofl_metadata_byte(addr) + 1;
  gc_atomic_store_relaxed(loc, (uint8_t)(*loc | type));
}

/* The type of the object at ADDR, which is traced precisely.  */
static inline enum own_type own_object_type(struct gc_heap *heap,
                                            uintptr_t addr) {
  if (!GC_CONSERVATIVE_TRACE || !nofl_space_contains(&heap->space, addr))
    return OWN_NONE;
  uint8_t *loc = nofl_metadata_byte(addr);
  if (gc_atomic_load_relaxed(loc) & NOFL_END)
    return OWN_NONE;
  return (enum own_type)(gc_atomic_load_relaxed(loc + 1) & NOFL_KIND_MASK);
}

/* Is the object of SIZE bytes at ADDR zero all over, as it was allocated?  */
static GC_NEVER_INLINE int object_is_blank(uintptr_t addr, size_t size) {
  for (size_t i = 0; i < size; i += sizeof(uintptr_t))
    if (*(const uintptr_t *)(addr + i))
      return 0;
  return 1;
}

typedef void (*object_visitor)(struct gc_edge edge, struct gc_heap *heap,
                               void *data);
/* The words from LO to HI, both aligned, are to be traced conservatively.  */
typedef void (*object_range_visitor)(uintptr_t lo, uintptr_t hi,
                                     struct gc_heap *heap, void *data);

static GC_NEVER_INLINE size_t own_object_trace(
    struct gc_heap *heap, uintptr_t addr, enum own_type type,
    object_visitor visit, object_range_visitor visit_range, void *data) {
  int is_ephemeron = type == OWN_EPHEMERON;
  size_t header =
      is_ephemeron ? gc_ephemeron_header_size() : gc_finalizer_header_size();
  GC_ASSERT(is_ephemeron || type == OWN_FINALIZER);
  visit_range(addr, addr + (header & ~(sizeof(uintptr_t) - 1)), heap, data);
  if (is_ephemeron) {
    gc_trace_ephemeron((struct gc_ephemeron *)addr, visit, heap, data);
    return gc_ephemeron_size();
  }
  gc_trace_finalizer((struct gc_finalizer *)addr, visit, heap, data);
  return gc_finalizer_size();
}

/* Trace the object at ADDR, in the heap, precisely.  Returns its size in bytes as it
   was allocated, or any size if it is not initialised yet.  */
static inline size_t GC_ALWAYS_INLINE object_trace_precisely(
    struct gc_heap *heap, uintptr_t addr, object_visitor visit,
    object_range_visitor visit_range, void *data);
static inline size_t object_trace_precisely(struct gc_heap *heap,
                                            uintptr_t addr,
                                            object_visitor visit,
                                            object_range_visitor visit_range,
                                            void *data) {
  if (GC_CONSERVATIVE_TRACE) {
    enum own_type type = own_object_type(heap, addr);
    if (type != OWN_NONE)
      return own_object_trace(heap, addr, type, visit, visit_range, data);
    /* Perhaps one of ours, whose type its thread is about to record.  */
    if (!*(const uintptr_t *)addr && nofl_space_contains(&heap->space, addr)) {
      size_t size = nofl_object_size(addr);
      if (object_is_blank(addr, size))
        return size;
    }
  }
  return gc_trace_object(gc_ref(addr), visit, heap, data);
}

#endif // MMC_OWN_H
