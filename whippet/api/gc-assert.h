/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Branch hints, traps and assertions.  */
#ifndef GC_ASSERT_H
#define GC_ASSERT_H

#include "gc-config.h"

#define GC_UNLIKELY(e) __builtin_expect(!!(e), 0)
#define GC_LIKELY(e) __builtin_expect(!!(e), 1)

/* Stop the process by a trap.  */
#define GC_CRASH() __builtin_trap()

/* Trap if X is false, when GC_DEBUG is nonzero.  Otherwise X is not
   evaluated.  A statement, not an expression.  */
#if GC_DEBUG
#define GC_ASSERT(x)       \
  do {                     \
    if (GC_UNLIKELY(!(x))) \
      GC_CRASH();          \
  } while (0)
#else
#define GC_ASSERT(x) \
  do {               \
  } while (0)
#endif

#define GC_ASSERT_EQ(a, b) GC_ASSERT((a) == (b))

/* A point that is never reached: a trap when GC_DEBUG is nonzero, otherwise a
   promise to the optimiser.  */
#if GC_DEBUG
#define GC_UNREACHABLE() GC_CRASH()
#else
#define GC_UNREACHABLE() __builtin_unreachable()
#endif

#endif /* GC_ASSERT_H */
