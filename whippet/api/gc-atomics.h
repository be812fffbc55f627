/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Atomic accesses to plain (not _Atomic) objects.

   LOC and EXPECTED are pointers; EXPECTED is updated when a compare-and-swap
   fails.  The order is acquire for loads, release for stores and both for
   read-modify-write operations, unless the name says otherwise.  */
#ifndef GC_ATOMICS_H
#define GC_ATOMICS_H

#include <stdatomic.h>

#define gc_atomic(verb, ...) __atomic_##verb(__VA_ARGS__)

#define gc_atomic_load(loc) gc_atomic(load_n, loc, __ATOMIC_ACQUIRE)
#define gc_atomic_load_relaxed(loc) gc_atomic(load_n, loc, __ATOMIC_RELAXED)

#define gc_atomic_store(loc, val) gc_atomic(store_n, loc, val, __ATOMIC_RELEASE)
#define gc_atomic_store_relaxed(loc, val) \
  gc_atomic(store_n, loc, val, __ATOMIC_RELAXED)

#define gc_atomic_cmpxchg_weak(loc, expected, val)                       \
  gc_atomic(compare_exchange_n, loc, expected, val, 1, __ATOMIC_ACQ_REL, \
            __ATOMIC_ACQUIRE)
#define gc_atomic_cmpxchg_strong(loc, expected, val)                     \
  gc_atomic(compare_exchange_n, loc, expected, val, 0, __ATOMIC_ACQ_REL, \
            __ATOMIC_ACQUIRE)
#define gc_atomic_cmpxchg_weak_seq_cst(loc, expected, val)               \
  gc_atomic(compare_exchange_n, loc, expected, val, 1, __ATOMIC_SEQ_CST, \
            __ATOMIC_SEQ_CST)
#define gc_atomic_cmpxchg_strong_seq_cst(loc, expected, val)             \
  gc_atomic(compare_exchange_n, loc, expected, val, 0, __ATOMIC_SEQ_CST, \
            __ATOMIC_SEQ_CST)

#define gc_atomic_swap(loc, val) \
  gc_atomic(exchange_n, loc, val, __ATOMIC_ACQ_REL)
#define gc_atomic_swap_relaxed(loc, val) \
  gc_atomic(exchange_n, loc, val, __ATOMIC_RELAXED)

#define gc_atomic_fetch_add(loc, val) \
  gc_atomic(fetch_add, loc, val, __ATOMIC_ACQ_REL)
#define gc_atomic_fetch_add_relaxed(loc, val) \
  gc_atomic(fetch_add, loc, val, __ATOMIC_RELAXED)
#define gc_atomic_fetch_sub(loc, val) \
  gc_atomic(fetch_sub, loc, val, __ATOMIC_ACQ_REL)
#define gc_atomic_fetch_sub_relaxed(loc, val) \
  gc_atomic(fetch_sub, loc, val, __ATOMIC_RELAXED)
#define gc_atomic_fetch_and_relaxed(loc, val) \
  gc_atomic(fetch_and, loc, val, __ATOMIC_RELAXED)
#define gc_atomic_fetch_or_relaxed(loc, val) \
  gc_atomic(fetch_or, loc, val, __ATOMIC_RELAXED)

#endif /* GC_ATOMICS_H */
