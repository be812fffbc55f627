/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Whether to prefetch, by measurement.

   Prefetching lets many cache misses be under way at once, and costs some
   instructions and the order of the trace.  A graph that is in the caches, or
   that lies in memory depth first, is traced up to twice as fast without; any
   other up to four times as fast with it.  Nothing about a heap tells which it
   is, and parts of it differ.  So each worker measures, sample by sample of some
   thousand objects, what it costs to trace an object with and without, does what
   is cheaper, and now and then tries the other, the less often the worse that
   was.  What was learnt serves the next collection too.

   A worker's own state: no other thread looks at it.  */

#ifndef TRACE_PACE_H
#define TRACE_PACE_H

#include <stddef.h>
#include <stdint.h>

#define TRACE_PACE_SAMPLE 2048 /* objects */
#define TRACE_PACE_SAMPLE_MIN 512
#define TRACE_PACE_INTERVAL_MIN 8 /* samples */
#define TRACE_PACE_INTERVAL_MAX 128

struct trace_pace {
  uint64_t start_nsec;  /* of the running sample */
  size_t start_work;    /* work done at that time */
  uint64_t cost[2];     /* with [1] and without [0]; 0: not known */
  uint32_t interval;    /* samples from trial to trial */
  uint32_t until_trial; /* samples left */
  uint8_t better;       /* index of the lower cost */
  uint8_t prefetch;     /* what the running sample does */
};

static inline void trace_pace_init(struct trace_pace *pace) {
  *pace = (struct trace_pace){.interval = TRACE_PACE_INTERVAL_MIN,
                              .until_trial = 1,
                              .better = 1,
                              .prefetch = 1};
}

/* A sample begins, at time NSEC, when WORK has been done.  */
static inline void trace_pace_start(struct trace_pace *pace, uint64_t nsec,
                                    size_t work) {
  pace->start_nsec = nsec;
  pace->start_work = work;
}

/* One sample more or less means little: the thread may have lost the processor
   meanwhile.  */
static inline void trace_pace_learn(uint64_t *cost, uint64_t sample) {
  if (*cost && sample > 2 * *cost)
    sample = 2 * *cost;
  *cost = *cost ? (*cost + sample + 1) / 2 : sample + 1;
}

/* The sample ends, at time NSEC, when WORK has been done, which is more than at
   its start.  Returns whether to prefetch from now on.  */
static inline int trace_pace_sample(struct trace_pace *pace, uint64_t nsec,
                                    size_t work) {
  uint64_t sample =
      ((nsec - pace->start_nsec) << 10) / (work - pace->start_work);
  uint64_t *cost = pace->cost;
  /* Another part of the heap, or something else has changed: see soon.  */
  if (sample > cost[pace->better] * 3 / 2 &&
      pace->until_trial > TRACE_PACE_INTERVAL_MIN)
    pace->until_trial = TRACE_PACE_INTERVAL_MIN;
  trace_pace_learn(&cost[pace->prefetch], sample);
  if (pace->prefetch == pace->better) {
    if (--pace->until_trial == 0)
      pace->prefetch = !pace->better;
    return pace->prefetch;
  }
  if (cost[pace->prefetch] < cost[pace->better] * 7 / 8) {
    pace->better = pace->prefetch;
    pace->interval = TRACE_PACE_INTERVAL_MIN;
  } else if (cost[pace->prefetch] > cost[pace->better] * 2) {
    pace->interval = TRACE_PACE_INTERVAL_MAX;
  } else if (pace->interval < TRACE_PACE_INTERVAL_MAX) {
    pace->interval *= 2;
  }
  pace->until_trial = pace->interval;
  pace->prefetch = pace->better;
  return pace->prefetch;
}

#endif /* TRACE_PACE_H */
