/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Run-time options of a heap.  An options object belongs to the thread that
   fills it in; nothing here is synchronised.  */
#ifndef GC_OPTIONS_H
#define GC_OPTIONS_H

#include "gc-visibility.h"

#include <stddef.h>

enum gc_heap_size_policy {
  GC_HEAP_SIZE_FIXED,    /* never grows */
  GC_HEAP_SIZE_GROWABLE, /* grows with the live data */
  GC_HEAP_SIZE_ADAPTIVE  /* grows and shrinks with the rate of allocation */
};

enum {
  GC_OPTION_HEAP_SIZE_POLICY,      /* int: enum gc_heap_size_policy */
  GC_OPTION_HEAP_SIZE,             /* size: initial size, bytes */
  GC_OPTION_MAXIMUM_HEAP_SIZE,     /* size: bound for growth, bytes; 0 = none */
  GC_OPTION_HEAP_DOUBLE_THRESHOLD, /* size: growable policy: the heap size, in
                                      bytes, that is twice the live data */
  GC_OPTION_HEAP_EXPANSIVENESS,    /* double: adaptive policy, 0.0 to 50.0 */
  GC_OPTION_PARALLELISM            /* int: tracing threads including the
                                      collecting one, 1 to 64 */
};

struct gc_options;

/* The option named STR ("heap-size-policy", "heap-size", "maximum-heap-size",
   "heap-double-threshold", "heap-expansiveness", "parallelism"), or -1.  */
GC_API_ int gc_option_from_string(const char *str);

/* A new options object with the defaults, or NULL if there is no memory.
   There is no function to free it; it may be used for several heaps.  */
GC_API_ struct gc_options *gc_allocate_options(void);

/* Set OPTION to VALUE.  Return 1, or 0 and leave the option as it is if it is
   not of this type or VALUE is out of range.  */
GC_API_ int gc_options_set_int(struct gc_options *options, int option,
                               int value);
GC_API_ int gc_options_set_size(struct gc_options *options, int option,
                                size_t value);
GC_API_ int gc_options_set_double(struct gc_options *options, int option,
                                  double value);

/* Set OPTION from the string VALUE, all of which must be understood: for int a
   C integer (the policy also as "fixed", "growable" or "adaptive"); for size a
   nonnegative C integer with optional suffix k, m, g or t in either case
   (powers of 1024); for double a C floating-point number.  White space and a
   plus sign may come before a number.  Return 1, or 0 and leave the option as it
   is.  */
GC_API_ int gc_options_parse_and_set(struct gc_options *options, int option,
                                     const char *value);

/* Set several options from a string "key=value{,key=value}", where a key is
   made of a-z and -, and a value of a-z, 0-9, -, + and dot.  The empty string
   is fine.  Return 1, or 0 at the first error; the assignments before it
   stay.  */
GC_API_ int gc_options_parse_and_set_many(struct gc_options *options,
                                          const char *str);

#endif /* GC_OPTIONS_H */
