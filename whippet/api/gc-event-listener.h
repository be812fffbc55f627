/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Callbacks by which a program follows what the collector does.

   DATA is what was given to gc_init; MUTATOR_DATA is what mutator_added
   returned for that mutator.  No member may be NULL.  Clients initialise the
   table positionally: the order of its members is part of the interface.
   Callbacks must be quick, must not call the collector and must not touch heap
   objects.  Those marked (M) run on the mutator's own thread, the others on
   the collecting thread, within a collection in the order of the members
   unless stated.  */
#ifndef GC_EVENT_LISTENER_H
#define GC_EVENT_LISTENER_H

#include "gc-collection-kind.h"

#include <stddef.h>
#include <stdint.h>

struct gc_event_listener {
  /* The heap was made, with HEAP_SIZE bytes.  During gc_init.  */
  void (*init)(void *data, size_t heap_size);

  /* The stop flag is about to be raised.  */
  void (*requesting_stop)(void *data);
  /* The stop flag is raised.  Also without a collection: when the process is
     about to fork.  */
  void (*waiting_for_stop)(void *data);
  void (*mutators_stopped)(void *data);

  /* Once per collection.  KIND is never ANY; ALLOCATION_COUNTER is in bytes
     since heap creation.  A collection announced as MAJOR may find the heap so
     sparse that it compacts it before mutators are restarted.  */
  void (*prepare_gc)(void *data, enum gc_collection_kind kind,
                     uint64_t allocation_counter);
  void (*roots_traced)(void *data);
  void (*heap_traced)(void *data);
  void (*ephemerons_traced)(void *data);
  void (*finalizers_traced)(void *data);
  void (*restarting_mutators)(void *data);

  /* A mutator was attached: returns its MUTATOR_DATA.  (M)  */
  void *(*mutator_added)(void *data);

  /* This mutator triggered a collection; before requesting_stop.  (M)  */
  void (*mutator_cause_gc)(void *mutator_data);

  /* Around the stop of each active mutator but the collecting one.  (M)  */
  void (*mutator_stopping)(void *mutator_data);
  void (*mutator_stopped)(void *mutator_data);
  void (*mutator_restarted)(void *mutator_data);

  /* A mutator was detached.  (M)  */
  void (*mutator_removed)(void *mutator_data);

  /* The heap is now SIZE bytes.  In a collection before restarting_mutators;
     also outside of one, from an allocating mutator or a background thread,
     with the heap lock held.  */
  void (*heap_resized)(void *data, size_t size);

  /* SIZE bytes survived the last collection.  After prepare_gc, about the
     previous collection, or near its end about this one.  */
  void (*live_data_size)(void *data, size_t size);
};

#endif /* GC_EVENT_LISTENER_H */
