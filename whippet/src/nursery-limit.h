/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Whether to limit how much is allocated between minor collections, by
   measurement.

   With sticky mark bits the nursery is no place, but whatever is allocated
   between two collections: if nothing limits it, all that is free.  A program
   whose data die young runs faster with a nursery no larger than the processor's
   own cache, because then it allocates where it did before.  On the other hand
   each collection has fixed costs, fewer objects have had the time to die in a
   small nursery, and what remains of them leaves smaller holes.  So it is measured
   how much of the processors' time goes by for a byte that is allocated, pauses
   included, with the limit and without; the heap does what is faster, and now
   and then tries the other, the less often the worse that was.  When both cost
   the same there is a limit, since pauses are shorter with it.

   Used in pauses only.  */

#ifndef NURSERY_LIMIT_H
#define NURSERY_LIMIT_H

#include <stddef.h>
#include <stdint.h>

/* Windows of measurement from trial to trial; those with the limit are small.  */
#define NURSERY_INTERVAL_MIN 4
#define NURSERY_INTERVAL_MAX 16
#define NURSERY_INTERVAL_MIN_LIMITED 16
#define NURSERY_INTERVAL_MAX_LIMITED 64
/* Minor collections to a window with the limit; without it, one.  */
#define NURSERY_WINDOW 8
/* Collections at the begin of a trial of the limit that do not count: the blocks
   that will be used again and again are not in the cache yet.  */
#define NURSERY_WARM_UP 12
/* Windows to a trial of the limit.  The cost falls for some dozens of
   collections, so the last one counts; but a trial ends at once if the limit is
   faster already, or so much slower.  */
#define NURSERY_TRIAL_WINDOWS 4
#define NURSERY_TRIAL_SLOWER 1.15
/* Costs that are so many times others are clearly less.  */
#define NURSERY_FASTER 0.95
/* What differs by more need not be doubted for long: after a trial of the limit, and
   of none, whose window is large and hence more certain.  */
#define NURSERY_DIFFERENT 0.15
#define NURSERY_DIFFERENT_UNLIMITED 0.08

struct nursery_limit {
  uint8_t limiting;     /* now */
  uint8_t better;       /* to limit, by what is known */
  uint32_t interval;    /* windows from trial to trial */
  uint32_t until_trial; /* windows left */
  uint32_t tried;       /* windows of the running trial that are over */
  double cost[2];       /* nanoseconds per byte; [1]: with the limit */
  uint32_t warm_up;     /* collections left that do not count */
  uint32_t samples;     /* of the window, and their sums */
  double bytes;
  double nsec;
};

static inline void nursery_init(struct nursery_limit *nursery) {
  *nursery = (struct nursery_limit){.interval = NURSERY_INTERVAL_MIN,
                                    .until_trial = 1};
}

static inline void nursery_set_limiting(struct nursery_limit *nursery,
                                        int limiting) {
  if (limiting && !nursery->limiting)
    nursery->warm_up = NURSERY_WARM_UP;
  nursery->limiting = limiting;
}

/* A window of a trial is over.  Is that enough?  */
static inline int nursery_knows_enough(const struct nursery_limit *nursery) {
  double better = nursery->cost[nursery->better];
  double other = nursery->cost[!nursery->better];
  return nursery->better || nursery->tried == NURSERY_TRIAL_WINDOWS ||
         other < better * NURSERY_FASTER ||
         other > better * NURSERY_TRIAL_SLOWER;
}

static inline void nursery_end_trial(struct nursery_limit *nursery) {
  double better = nursery->cost[nursery->better];
  double other = nursery->cost[!nursery->better];
  double different =
      nursery->better ? NURSERY_DIFFERENT_UNLIMITED : NURSERY_DIFFERENT;
  int changes = other < better * (nursery->better ? NURSERY_FASTER : 1);
  nursery->better ^= changes;
  uint32_t min = NURSERY_INTERVAL_MIN, max = NURSERY_INTERVAL_MAX;
  if (nursery->better) {
    min = NURSERY_INTERVAL_MIN_LIMITED;
    max = NURSERY_INTERVAL_MAX_LIMITED;
  }
  nursery->interval = changes ? min : nursery->interval * 2;
  if (other < better * (1 - different) || other > better * (1 + different) ||
      nursery->interval > max)
    nursery->interval = max;
  nursery_set_limiting(nursery, nursery->better);
  nursery->until_trial = nursery->interval;
}

static inline void nursery_end_window(struct nursery_limit *nursery) {
  int way = nursery->limiting;
  double cost = nursery->nsec / nursery->bytes;
  double before = nursery->cost[way];
  nursery->samples = 0;
  nursery->bytes = nursery->nsec = 0;
  if (way != nursery->better) {
    /* What trials found before this one is out of date.  */
    nursery->cost[way] = cost;
    nursery->tried++;
    if (nursery_knows_enough(nursery))
      nursery_end_trial(nursery);
    return;
  }
  nursery->cost[way] = before > 0 ? (before + cost) / 2 : cost;
  /* The program does something else now: see soon.  */
  if (before > 0 && cost > before * 1.5 &&
      nursery->until_trial > NURSERY_INTERVAL_MIN)
    nursery->until_trial = NURSERY_INTERVAL_MIN;
  if (--nursery->until_trial == 0) {
    nursery->tried = 0;
    nursery_set_limiting(nursery, !way);
  }
}

/* A minor collection is over.  BYTES were allocated since the one before, in
   NSEC of the processors, which count its pause and what it will cost later to
   have promoted objects.  */
static inline void nursery_learn(struct nursery_limit *nursery, double bytes,
                                 double nsec) {
  if (nursery->limiting && nursery->warm_up) {
    nursery->warm_up--;
    return;
  }
  nursery->samples++;
  nursery->bytes += bytes;
  nursery->nsec += nsec;
  if (!nursery->limiting || nursery->samples == NURSERY_WINDOW)
    nursery_end_window(nursery);
}

#endif // NURSERY_LIMIT_H
