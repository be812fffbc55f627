/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Two event listeners combined: each event goes to the head, then to the tail.
   Pass GC_EVENT_LISTENER_CHAIN and a pointer to a struct
   gc_event_listener_chain, which must outlive the heap, to gc_init.  Chains
   nest.  */
#ifndef GC_EVENT_LISTENER_CHAIN_H
#define GC_EVENT_LISTENER_CHAIN_H

#include "gc-event-listener.h"

#include <stdlib.h>

struct gc_event_listener_chain {
  struct gc_event_listener head;
  void *head_data;
  struct gc_event_listener tail;
  void *tail_data;
};

/* A struct gc_event_listener_chain, as an initialiser or an expression.  */
#define GC_EVENT_LISTENER_CHAIN_DATA(head, head_data, tail, tail_data) \
  ((struct gc_event_listener_chain){head, head_data, tail, tail_data})

/* One per mutator, made by mutator_added and freed by mutator_removed.  */
struct gc_event_listener_chain_mutator {
  struct gc_event_listener_chain *chain;
  void *head_mutator_data;
  void *tail_mutator_data;
};

#define GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(event)                \
  static inline void gc_event_listener_chain_##event(void *data) { \
    struct gc_event_listener_chain *chain =                        \
        (struct gc_event_listener_chain *)data;                    \
    chain->head.event(chain->head_data);                           \
    chain->tail.event(chain->tail_data);                           \
  }

#define GC_EVENT_LISTENER_CHAIN_DEFINE_SIZE_EVENT(event)            \
  static inline void gc_event_listener_chain_##event(void *data,    \
                                                     size_t size) { \
    struct gc_event_listener_chain *chain =                         \
        (struct gc_event_listener_chain *)data;                     \
    chain->head.event(chain->head_data, size);                      \
    chain->tail.event(chain->tail_data, size);                      \
  }

#define GC_EVENT_LISTENER_CHAIN_DEFINE_MUTATOR_EVENT(event)                \
  static inline void gc_event_listener_chain_##event(void *mutator_data) { \
    struct gc_event_listener_chain_mutator *mutator =                      \
        (struct gc_event_listener_chain_mutator *)mutator_data;            \
    mutator->chain->head.event(mutator->head_mutator_data);                \
    mutator->chain->tail.event(mutator->tail_mutator_data);                \
  }

GC_EVENT_LISTENER_CHAIN_DEFINE_SIZE_EVENT(init)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(requesting_stop)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(waiting_for_stop)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(mutators_stopped)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(roots_traced)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(heap_traced)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(ephemerons_traced)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(finalizers_traced)
GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT(restarting_mutators)
GC_EVENT_LISTENER_CHAIN_DEFINE_MUTATOR_EVENT(mutator_cause_gc)
GC_EVENT_LISTENER_CHAIN_DEFINE_MUTATOR_EVENT(mutator_stopping)
GC_EVENT_LISTENER_CHAIN_DEFINE_MUTATOR_EVENT(mutator_stopped)
GC_EVENT_LISTENER_CHAIN_DEFINE_MUTATOR_EVENT(mutator_restarted)
GC_EVENT_LISTENER_CHAIN_DEFINE_SIZE_EVENT(heap_resized)
GC_EVENT_LISTENER_CHAIN_DEFINE_SIZE_EVENT(live_data_size)

#undef GC_EVENT_LISTENER_CHAIN_DEFINE_EVENT
#undef GC_EVENT_LISTENER_CHAIN_DEFINE_SIZE_EVENT
#undef GC_EVENT_LISTENER_CHAIN_DEFINE_MUTATOR_EVENT

static inline void
gc_event_listener_chain_prepare_gc(void *data, enum gc_collection_kind kind,
                                   uint64_t allocation_counter) {
  struct gc_event_listener_chain *chain =
      (struct gc_event_listener_chain *)data;
  chain->head.prepare_gc(chain->head_data, kind, allocation_counter);
  chain->tail.prepare_gc(chain->tail_data, kind, allocation_counter);
}

static inline void *gc_event_listener_chain_mutator_added(void *data) {
  struct gc_event_listener_chain *chain =
      (struct gc_event_listener_chain *)data;
  struct gc_event_listener_chain_mutator *mutator =
      (struct gc_event_listener_chain_mutator *)malloc(sizeof *mutator);
  if (!mutator)
    abort();
  mutator->chain = chain;
  mutator->head_mutator_data = chain->head.mutator_added(chain->head_data);
  mutator->tail_mutator_data = chain->tail.mutator_added(chain->tail_data);
  return mutator;
}

static inline void gc_event_listener_chain_mutator_removed(void *mutator_data) {
  struct gc_event_listener_chain_mutator *mutator =
      (struct gc_event_listener_chain_mutator *)mutator_data;
  mutator->chain->head.mutator_removed(mutator->head_mutator_data);
  mutator->chain->tail.mutator_removed(mutator->tail_mutator_data);
  free(mutator);
}

/* An expression of type struct gc_event_listener.  */
#define GC_EVENT_LISTENER_CHAIN                                           \
  ((struct gc_event_listener){                                            \
      .init = gc_event_listener_chain_init,                               \
      .requesting_stop = gc_event_listener_chain_requesting_stop,         \
      .waiting_for_stop = gc_event_listener_chain_waiting_for_stop,       \
      .mutators_stopped = gc_event_listener_chain_mutators_stopped,       \
      .prepare_gc = gc_event_listener_chain_prepare_gc,                   \
      .roots_traced = gc_event_listener_chain_roots_traced,               \
      .heap_traced = gc_event_listener_chain_heap_traced,                 \
      .ephemerons_traced = gc_event_listener_chain_ephemerons_traced,     \
      .finalizers_traced = gc_event_listener_chain_finalizers_traced,     \
      .restarting_mutators = gc_event_listener_chain_restarting_mutators, \
      .mutator_added = gc_event_listener_chain_mutator_added,             \
      .mutator_cause_gc = gc_event_listener_chain_mutator_cause_gc,       \
      .mutator_stopping = gc_event_listener_chain_mutator_stopping,       \
      .mutator_stopped = gc_event_listener_chain_mutator_stopped,         \
      .mutator_restarted = gc_event_listener_chain_mutator_restarted,     \
      .mutator_removed = gc_event_listener_chain_mutator_removed,         \
      .heap_resized = gc_event_listener_chain_heap_resized,               \
      .live_data_size = gc_event_listener_chain_live_data_size,           \
  })

#endif /* GC_EVENT_LISTENER_CHAIN_H */
