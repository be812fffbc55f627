/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Log-linear histograms.

   With precision P, each value below 2^P has a bucket of its own; above that,
   each power of two is divided into 2^P buckets.  The last bucket counts all
   values that are too large for the others.  Recording is not synchronised.  */
#ifndef GC_HISTOGRAM_H
#define GC_HISTOGRAM_H

#include "gc-assert.h"

#include <stddef.h>
#include <stdint.h>

/* The bucket of VAL in a histogram with (MAX_VALUE_BITS << PRECISION) + 1
   buckets.  */
static inline size_t gc_histogram_bucket(uint64_t max_value_bits,
                                         uint64_t precision, uint64_t val) {
  uint64_t bucket_count = max_value_bits << precision;
  uint64_t major = 0;
  uint64_t minor = val;
  if (val >> precision) {
    uint64_t log2 = 63 - (uint64_t)__builtin_clzll(val);
    major = log2 - precision + 1;
    minor = (val >> (major - 1)) & ((UINT64_C(1) << precision) - 1);
  }
  uint64_t idx = (major << precision) | minor;
  return (size_t)(idx < bucket_count ? idx : bucket_count);
}

/* The least value that is counted in bucket IDX.  */
static inline uint64_t gc_histogram_bucket_min_val(uint64_t precision,
                                                   size_t idx) {
  uint64_t major = (uint64_t)idx >> precision;
  uint64_t minor = (uint64_t)idx & ((UINT64_C(1) << precision) - 1);
  if (major == 0)
    return minor;
  return ((UINT64_C(1) << precision) | minor) << (major - 1);
}

/* Define struct NAME and, for it, functions with the prefix NAME_:

     NAME_size              number of buckets
     NAME_bucket_min_val    lower bound of a bucket
     make_NAME              an empty histogram
     NAME_record            count one value
     NAME_ref               how many values a bucket counted
     NAME_min               lower bound of the first nonempty bucket, or
                            UINT64_MAX
     NAME_max               upper bound of the last nonempty bucket, UINT64_MAX
                            if that is the overflow bucket, 0 if there is none
     NAME_count             how many values were counted
     NAME_percentile        upper bound of the first bucket at which the
                            running count reaches the fraction P (0.0 to 1.0)
                            of the total, UINT64_MAX for the overflow bucket
     NAME_median            NAME_percentile of 0.5

   To be followed by a semicolon, at file scope.  */
#define GC_DEFINE_HISTOGRAM(name, max_value_bits, precision)               \
  struct name {                                                            \
    uint32_t buckets[((max_value_bits) << (precision)) + 1];               \
  };                                                                       \
  static inline size_t name##_size(void) {                                 \
    return ((size_t)(max_value_bits) << (precision)) + 1;                  \
  }                                                                        \
  static inline uint64_t name##_bucket_min_val(size_t idx) {               \
    GC_ASSERT(idx < name##_size());                                        \
    return gc_histogram_bucket_min_val((precision), idx);                  \
  }                                                                        \
  static inline struct name make_##name(void) {                            \
    return (struct name){{0}};                                             \
  }                                                                        \
  static inline void name##_record(struct name *h, uint64_t val) {         \
    h->buckets[gc_histogram_bucket((max_value_bits), (precision), val)]++; \
  }                                                                        \
  static inline uint64_t name##_ref(struct name *h, size_t idx) {          \
    GC_ASSERT(idx < name##_size());                                        \
    return h->buckets[idx];                                                \
  }                                                                        \
  static inline uint64_t name##_upper_bound(size_t idx) {                  \
    if (idx == name##_size() - 1)                                          \
      return UINT64_MAX;                                                   \
    return gc_histogram_bucket_min_val((precision), idx + 1);              \
  }                                                                        \
  static inline uint64_t name##_min(struct name *h) {                      \
    for (size_t i = 0; i < name##_size(); i++)                             \
      if (h->buckets[i])                                                   \
        return name##_bucket_min_val(i);                                   \
    return UINT64_MAX;                                                     \
  }                                                                        \
  static inline uint64_t name##_max(struct name *h) {                      \
    for (size_t i = name##_size(); i > 0; i--)                             \
      if (h->buckets[i - 1])                                               \
        return name##_upper_bound(i - 1);                                  \
    return 0;                                                              \
  }                                                                        \
  static inline uint64_t name##_count(struct name *h) {                    \
    uint64_t sum = 0;                                                      \
    for (size_t i = 0; i < name##_size(); i++)                             \
      sum += h->buckets[i];                                                \
    return sum;                                                            \
  }                                                                        \
  static inline uint64_t name##_percentile(struct name *h, double p) {     \
    uint64_t limit = (uint64_t)((double)name##_count(h) * p);              \
    uint64_t sum = 0;                                                      \
    for (size_t i = 0; i < name##_size(); i++) {                           \
      sum += h->buckets[i];                                                \
      if (sum >= limit)                                                    \
        return name##_upper_bound(i);                                      \
    }                                                                      \
    return UINT64_MAX;                                                     \
  }                                                                        \
  static inline uint64_t name##_median(struct name *h) {                   \
    return name##_percentile(h, 0.5);                                      \
  }                                                                        \
  struct name

#endif /* GC_HISTOGRAM_H */
