/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Finalizers: objects, their registration, and their part in a collection.

   How the collector uses this: gc-finalizer-internal.h.

   State of a finalizer; all transitions are in this file:

     from    event                                                   to
     new     attached: pushed on a young list                        active
     active  object found live by a collection: moved to an old list active
     active  object found dead: object visited, pushed on the queue  fired
     fired   popped: off the queue                                   fired

   Each active finalizer is in one list, each fired one in the queue or with the
   program.  The lists are linked through the finalizers, because attaching must
   not fail.  Heads and links are strong edges: the trace follows a list from
   its head, and several lists per priority let several workers do so.

   Stores into finalizers have no write barrier.  What a collection leaves in
   the old lists and the queue is old, so are its links.  A finalizer in a young
   list normally is young, but may be old if there was a collection between
   allocation and attachment.  Therefore minor collections do not rely on the
   trace for the young lists, but visit links and closures one by one.  */

#define GC_IMPL 1

#include "gc-finalizer.h"

#include <stddef.h>
#include <stdint.h>

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-finalizer-internal.h"
#include "gc-platform.h"

#include "gc-include-embedder.h"

#ifndef GC_EMBEDDER_FINALIZER_HEADER
#error Embedder should define GC_EMBEDDER_FINALIZER_HEADER
#endif

enum finalizer_state { FINALIZER_NEW, FINALIZER_ACTIVE, FINALIZER_FIRED };

struct gc_finalizer {
  GC_EMBEDDER_FINALIZER_HEADER
  uintptr_t state;
  /* Weak while active.  Null while new.  */
  struct gc_ref object;
  struct gc_ref closure;
  /* Next in the list or the queue.  */
  struct gc_finalizer *next;
};

/* Part of the contract: programs size their heaps by it.  */
_Static_assert(sizeof(struct gc_finalizer) -
                       offsetof(struct gc_finalizer, state) ==
                   4 * sizeof(uintptr_t),
               "size of a finalizer");

#define FINALIZER_LISTS 16

struct finalizer_table {
  /* Attached since the last collection.  Pushed by mutators, with release
     order; taken by the collector only.  */
  struct gc_finalizer *young[FINALIZER_LISTS];
  /* Survivors of a collection.  Collector only.  */
  struct gc_finalizer *old[FINALIZER_LISTS];
};

struct gc_finalizer_state {
  /* The queue.  Pushed by the collector only, popped by mutators only.  */
  struct gc_finalizer *fired;
  /* Since the last notification.  */
  size_t fired_count;
  gc_finalizer_callback callback;
  size_t priorities;
  struct finalizer_table tables[];
};

/* ---- Mutators ---- */

size_t gc_finalizer_size(void) {
  return sizeof(struct gc_finalizer);
}

size_t gc_finalizer_header_size(void) {
  return offsetof(struct gc_finalizer, state);
}

struct gc_ref gc_finalizer_object(struct gc_finalizer *f) {
  return f->object;
}

struct gc_ref gc_finalizer_closure(struct gc_finalizer *f) {
  return f->closure;
}

/* Threads allocate from different blocks: by the block's number they mostly get
   different lists.  The multiplication is for programs with few blocks.  */
static inline size_t finalizer_list_index(const struct gc_finalizer *f) {
  uint64_t hash = ((uintptr_t)f >> 16) * UINT64_C(0x9e3779b97f4a7c15);
  return (hash >> 32) % FINALIZER_LISTS;
}

void gc_finalizer_attach_internal(struct gc_finalizer_state *state,
                                  struct gc_finalizer *f, unsigned priority,
                                  struct gc_ref object, struct gc_ref closure) {
  if (f->state != FINALIZER_NEW || gc_ref_is_null(object) ||
      priority >= state->priorities)
    GC_CRASH();
  f->state = FINALIZER_ACTIVE;
  f->object = object;
  f->closure = closure;
  struct gc_finalizer **loc =
      &state->tables[priority].young[finalizer_list_index(f)];
  struct gc_finalizer *head = gc_atomic_load_relaxed(loc);
  do {
    f->next = head;
  } while (!gc_atomic_cmpxchg_weak(loc, &head, f));
}

struct gc_finalizer *gc_finalizer_state_pop(struct gc_finalizer_state *state) {
  /* Between collections the queue only loses members, each once: no ABA.
     Another thread may take the head, and clear its link, between the two
     loads: then the exchange fails.  */
  struct gc_finalizer *head = gc_atomic_load(&state->fired);
  while (head) {
    struct gc_finalizer *next = gc_atomic_load_relaxed(&head->next);
    if (gc_atomic_cmpxchg_weak(&state->fired, &head, next)) {
      gc_atomic_store_relaxed(&head->next, NULL);
      return head;
    }
  }
  return NULL;
}

/* ---- The collector ---- */

static size_t finalizer_state_size(size_t priorities) {
  return sizeof(struct gc_finalizer_state) +
         priorities * sizeof(struct finalizer_table);
}

struct gc_finalizer_state *gc_make_finalizer_state(size_t priorities) {
  GC_ASSERT(priorities);
  struct gc_finalizer_state *state =
      gc_platform_map(finalizer_state_size(priorities));
  if (state)
    state->priorities = priorities;
  return state;
}

void gc_free_finalizer_state(struct gc_finalizer_state *state) {
  gc_platform_release(state, finalizer_state_size(state->priorities));
}

void gc_finalizer_state_set_callback(struct gc_finalizer_state *state,
                                     gc_finalizer_callback callback) {
  state->callback = callback;
}

size_t gc_notify_finalizers(struct gc_finalizer_state *state,
                            struct gc_heap *heap) {
  size_t count = state->fired_count;
  state->fired_count = 0;
  if (count && state->callback)
    state->callback(heap, count);
  return count;
}

void gc_trace_finalizer(struct gc_finalizer *f, gc_finalizer_visitor visit,
                        struct gc_heap *heap, void *trace_data) {
  if (f->state != FINALIZER_ACTIVE)
    visit(gc_edge(&f->object), heap, trace_data);
  if (f->state == FINALIZER_FIRED)
    gc_note_waiting_finalizer(heap);
  visit(gc_edge(&f->closure), heap, trace_data);
  visit(gc_edge(&f->next), heap, trace_data);
}

static void finalizer_visit_heads(struct gc_finalizer **heads,
                                  gc_finalizer_visitor visit,
                                  struct gc_heap *heap, void *trace_data) {
  for (size_t i = 0; i < FINALIZER_LISTS; i++)
    if (heads[i])
      visit(gc_edge(&heads[i]), heap, trace_data);
}

/* Minor collection: nothing moves, and so VISIT may put off its work.  */
static void finalizer_visit_young(struct gc_finalizer **heads,
                                  gc_finalizer_visitor visit,
                                  struct gc_heap *heap, void *trace_data) {
  for (size_t i = 0; i < FINALIZER_LISTS; i++)
    for (struct gc_finalizer **loc = &heads[i]; *loc; loc = &(*loc)->next) {
      visit(gc_edge(loc), heap, trace_data);
      visit(gc_edge(&(*loc)->closure), heap, trace_data);
    }
}

void gc_visit_finalizer_roots(struct gc_finalizer_state *state, int is_minor,
                              gc_finalizer_visitor visit, struct gc_heap *heap,
                              void *trace_data) {
  for (size_t i = 0; i < state->priorities; i++) {
    struct finalizer_table *table = &state->tables[i];
    if (is_minor) {
      finalizer_visit_young(table->young, visit, heap, trace_data);
    } else {
      finalizer_visit_heads(table->young, visit, heap, trace_data);
      finalizer_visit_heads(table->old, visit, heap, trace_data);
    }
  }
  if (!is_minor && state->fired)
    visit(gc_edge(&state->fired), heap, trace_data);
}

/* Move the finalizers of the list at LOC whose objects are dead to the list at
   FIRED.  Return where the end of the list is stored.  */
static struct gc_finalizer **finalizer_filter_list(struct gc_finalizer **loc,
                                                   struct gc_finalizer **fired,
                                                   struct gc_heap *heap) {
  for (struct gc_finalizer *f = *loc; f; f = *loc) {
    GC_ASSERT_EQ(f->state, FINALIZER_ACTIVE);
    if (gc_visit_finalizer_object(gc_edge(&f->object), heap)) {
      loc = &f->next;
    } else {
      *loc = f->next;
      f->state = FINALIZER_FIRED;
      f->next = *fired;
      *fired = f;
    }
  }
  return loc;
}

/* Visit the objects of the list of FIRED finalizers, and put it on the queue.
   Return their number.  */
static size_t finalizer_enqueue(struct gc_finalizer_state *state,
                                struct gc_finalizer *fired,
                                gc_finalizer_visitor visit,
                                struct gc_heap *heap, void *trace_data) {
  size_t count = 0;
  struct gc_finalizer *last = NULL;
  for (struct gc_finalizer *f = fired; f; f = f->next) {
    visit(gc_edge(&f->object), heap, trace_data);
    last = f;
    count++;
  }
  if (last) {
    last->next = state->fired;
    gc_atomic_store(&state->fired, fired);
  }
  return count;
}

size_t gc_resolve_finalizers(struct gc_finalizer_state *state, size_t priority,
                             int is_minor, gc_finalizer_visitor visit,
                             struct gc_heap *heap, void *trace_data) {
  GC_ASSERT(priority < state->priorities);
  struct finalizer_table *table = &state->tables[priority];
  struct gc_finalizer *fired = NULL;
  for (size_t i = 0; i < FINALIZER_LISTS; i++) {
    if (!is_minor)
      finalizer_filter_list(&table->old[i], &fired, heap);
    if (!table->young[i])
      continue;
    /* What is left of the young list goes before the old one.  */
    struct gc_finalizer **end =
        finalizer_filter_list(&table->young[i], &fired, heap);
    *end = table->old[i];
    table->old[i] = table->young[i];
    table->young[i] = NULL;
  }
  /* Only now that all of the priority are decided: visiting may make objects
     live.  */
  size_t count = finalizer_enqueue(state, fired, visit, heap, trace_data);
  state->fired_count += count;
  return count;
}

static size_t finalizer_verify_list(const struct gc_finalizer *f,
                                    uintptr_t state) {
  size_t count = 0;
  for (; f; f = f->next, count++)
    if (f->state != state || gc_ref_is_null(f->object))
      GC_CRASH();
  return count;
}

size_t gc_finalizer_state_verify(const struct gc_finalizer_state *state) {
  size_t count = 0;
  for (size_t i = 0; i < state->priorities; i++)
    for (size_t j = 0; j < FINALIZER_LISTS; j++)
      count +=
          finalizer_verify_list(state->tables[i].young[j], FINALIZER_ACTIVE) +
          finalizer_verify_list(state->tables[i].old[j], FINALIZER_ACTIVE);
  finalizer_verify_list(state->fired, FINALIZER_FIRED);
  return count;
}
