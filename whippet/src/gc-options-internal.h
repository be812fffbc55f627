/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Representation of options.  All collectors share one: it is complete, so
   that gc-options.c compiles without knowing the collector.  */
#ifndef GC_OPTIONS_INTERNAL_H
#define GC_OPTIONS_INTERNAL_H

#include "gc-options.h"

#include <stddef.h>

struct gc_common_options {
  enum gc_heap_size_policy heap_size_policy;
  size_t heap_size;             /* bytes */
  size_t maximum_heap_size;     /* bytes; 0 = no bound */
  size_t heap_double_threshold; /* bytes, at least 1 */
  double heap_expansiveness;    /* 0.0 to 50.0 */
  int parallelism;              /* 1 to 64, including the collecting thread */
};

struct gc_options {
  struct gc_common_options common;
};

/* Fill in the defaults.  */
GC_INTERNAL void gc_init_common_options(struct gc_common_options *options);

/* Copy OPTIONS, or the defaults if it is NULL, to *OUT.  */
GC_INTERNAL void gc_common_options_copy(struct gc_common_options *out,
                                        const struct gc_options *options);

#endif /* GC_OPTIONS_INTERNAL_H */
