/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Edges: the location of a reference, in a heap object or in a root.  Loads
   and stores are plain, for use with the world stopped, or on memory that only one
   thread touches.  An edge to an object that has moved is redirected by an atomic
   store, since several workers may visit it.  */
#ifndef GC_EDGE_H
#define GC_EDGE_H

#include "gc-ref.h"

struct gc_edge {
  struct gc_ref *dst;
};

/* The edge at ADDR, a word-aligned location that holds a reference.  */
static inline struct gc_edge gc_edge(void *addr) {
  return (struct gc_edge){(struct gc_ref *)addr};
}

static inline struct gc_ref gc_edge_ref(struct gc_edge edge) {
  return *edge.dst;
}

static inline struct gc_ref *gc_edge_loc(struct gc_edge edge) {
  return edge.dst;
}

static inline uintptr_t gc_edge_address(struct gc_edge edge) {
  return (uintptr_t)edge.dst;
}

static inline void gc_edge_update(struct gc_edge edge, struct gc_ref ref) {
  *edge.dst = ref;
}

#endif /* GC_EDGE_H */
