/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Roots of the benchmark programs.

   In a build with precise roots every local variable that lives across an
   allocation is a *handle*: a slot in the stack frame, linked into a list that
   the embedder enumerates and whose slot the collector updates when it moves
   the object.  In a build with conservative roots the list stays empty and the
   same variable is found by scanning the stack.  */

#ifndef BENCH_ROOTS_H
#define BENCH_ROOTS_H

#include "gc-config.h"
#include "gc-edge.h"

struct gc_heap;

struct bench_handle {
  void *slot;
  struct bench_handle *next;
};

/* Per-mutator roots: the innermost handle first.  */
struct gc_mutator_roots {
  struct bench_handle *handles;
};

/* Roots that belong to no thread; no benchmark needs any.  */
struct gc_heap_roots {
  struct bench_handle *handles;
};

/* Type of a handle on a TYPE; read and write its `v` member.  */
#define BENCH_HANDLE(type)      \
  union {                       \
    type *v;                    \
    struct bench_handle handle; \
  }

/* Declare a local handle, initialised to VALUE, not yet pushed.  */
#define BENCH_LOCAL(type, name, value) BENCH_HANDLE(type) name = {.v = (value)}

/* Handles are popped in the reverse order of pushing.  */
#define BENCH_PUSH(roots, name) bench_push_handle((roots), &(name).handle)
#define BENCH_POP(roots, name) bench_pop_handle((roots), &(name).handle)

static inline void bench_push_handle(struct gc_mutator_roots *roots,
                                     struct bench_handle *handle) {
#if GC_PRECISE_ROOTS
  handle->next = roots->handles;
  roots->handles = handle;
#else
  (void)roots;
  (void)handle;
#endif
}

static inline void bench_pop_handle(struct gc_mutator_roots *roots,
                                    struct bench_handle *handle) {
#if GC_PRECISE_ROOTS
  GC_ASSERT(roots->handles == handle);
  roots->handles = handle->next;
#else
  (void)roots;
  (void)handle;
#endif
}

static inline void bench_visit_handles(struct bench_handle *handles,
                                       void (*visit)(struct gc_edge edge,
                                                     struct gc_heap *heap,
                                                     void *data),
                                       struct gc_heap *heap, void *data) {
  for (struct bench_handle *h = handles; h; h = h->next)
    visit(gc_edge(&h->slot), heap, data);
}

#endif /* BENCH_ROOTS_H */
