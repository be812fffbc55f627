/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Arithmetic on powers of two.  */
#ifndef GC_ALIGN_H
#define GC_ALIGN_H

#include "gc-assert.h"

#include <stddef.h>
#include <stdint.h>

static inline int is_power_of_two(size_t x) {
  return x != 0 && (x & (x - 1)) == 0;
}

static inline uintptr_t align_down(uintptr_t addr, size_t alignment) {
  GC_ASSERT(is_power_of_two(alignment));
  return addr & ~(uintptr_t)(alignment - 1);
}

/* Wraps around to 0 if there is no such address.  */
static inline uintptr_t align_up(uintptr_t addr, size_t alignment) {
  return align_down(addr + alignment - 1, alignment);
}

static inline int is_aligned(uintptr_t addr, size_t alignment) {
  return align_down(addr, alignment) == addr;
}

/* The least power of two that is not less than X; 0 if there is none.  */
static inline size_t round_up_to_power_of_two(size_t x) {
  if (x <= 1)
    return 1;
  unsigned bits = sizeof(unsigned long) * 8 - __builtin_clzl(x - 1);
  return bits < sizeof(size_t) * 8 ? (size_t)1 << bits : 0;
}

/* Floor of the binary logarithm of X, which must not be 0.  */
static inline unsigned log2_floor(size_t x) {
  GC_ASSERT(x != 0);
  return sizeof(unsigned long) * 8 - 1 - __builtin_clzl(x);
}

#endif /* GC_ALIGN_H */
