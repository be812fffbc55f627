/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The embedder of test-own.c: it traces no object in heap-conservative builds.  Headers
   of ephemerons and finalizers have a reference, and so many words that the two have
   the same size in the heap.  */

#ifndef TEST_OWN_EMBEDDER_H
#define TEST_OWN_EMBEDDER_H

#define gc_trace_object test_trace_object
#include "test-embedder.h"
#undef gc_trace_object

struct own_header {
  uintptr_t tag;
  void *extra;
};

#undef GC_EMBEDDER_EPHEMERON_HEADER
#undef GC_EMBEDDER_FINALIZER_HEADER
#define GC_EMBEDDER_EPHEMERON_HEADER struct own_header header;
#define GC_EMBEDDER_FINALIZER_HEADER \
  struct own_header header;          \
  uint64_t more[2];

GC_EMBEDDER_API inline size_t gc_trace_object(struct gc_ref ref,
                                              test_visitor visit,
                                              struct gc_heap *heap,
                                              void *trace_data) {
#if GC_CONSERVATIVE_TRACE
  GC_CRASH();
#endif
  struct own_header *header = gc_ref_heap_object(ref);
  unsigned kind = TEST_TAG_KIND(header->tag);
  if (!header->tag)
    return sizeof(*header);
  if (visit && (kind == TEST_EPHEMERON || kind == TEST_FINALIZER))
    visit(gc_edge(&header->extra), heap, trace_data);
  return test_trace_object(ref, visit, heap, trace_data);
}

#endif // TEST_OWN_EMBEDDER_H
