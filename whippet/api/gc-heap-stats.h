/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Extension: what a heap has done so far.  */
#ifndef GC_HEAP_STATS_H
#define GC_HEAP_STATS_H

#include "gc-visibility.h"

#include <stddef.h>
#include <stdint.h>

struct gc_heap;

/* All counts are since the heap was made.  Times are elapsed nanoseconds,
   sizes are bytes.  What a collector does not measure is 0.  */
struct gc_heap_statistics {
  /* Collections by kind; a compacting one counts as compacting only.  */
  uint64_t collections_major;
  uint64_t collections_minor;
  uint64_t collections_compacting;

  /* From the request to stop until mutators are restarted.  */
  uint64_t pause_total_nsec;
  uint64_t pause_max_nsec;

  /* Current size of the heap; at the end of the last collection: live data,
     the part of it in large objects, and free memory in holes between live
     objects.  */
  size_t heap_size;
  size_t live_size;
  size_t large_size;
  size_t fragmentation_bytes;

  /* As gc_allocation_counter.  */
  uint64_t allocated_bytes;

  /* Compaction: what was moved, blocks chosen to be emptied, and those that
     became empty.  */
  uint64_t objects_evacuated;
  uint64_t bytes_evacuated;
  uint64_t blocks_evacuation_candidates;
  uint64_t blocks_evacuated_empty;

  /* Tracing: elapsed time in the trace phases of all collections.  */
  uint64_t objects_traced;
  uint64_t bytes_traced;
  uint64_t trace_nsec;

  /* Ephemerons that died because a collection found their keys dead.  */
  uint64_t ephemerons_died;
};

/* Fill in *STATS.  Any thread; may wait for a collection to end.  */
GC_API_ void gc_heap_statistics(struct gc_heap *heap,
                                struct gc_heap_statistics *stats);

#endif /* GC_HEAP_STATS_H */
