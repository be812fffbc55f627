/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* References: one word that is null, an immediate, or the address of a heap
   object.  Null is neither an immediate nor a heap object; test for it first.

   struct gc_ref is layout-compatible with a pointer, and programs make edges
   from the addresses of plain pointer variables: library and program are to be
   compiled with -fno-strict-aliasing.  */
#ifndef GC_REF_H
#define GC_REF_H

#include "gc-assert.h"
#include "gc-config.h"

#include <stddef.h>
#include <stdint.h>

struct gc_ref {
  uintptr_t value;
};

static inline struct gc_ref gc_ref(uintptr_t value) {
  return (struct gc_ref){value};
}

static inline uintptr_t gc_ref_value(struct gc_ref ref) {
  return ref.value;
}

static inline struct gc_ref gc_ref_null(void) {
  return gc_ref(0);
}

static inline int gc_ref_is_null(struct gc_ref ref) {
  return ref.value == 0;
}

/* Nonzero if REF, which must not be null, is an immediate.  */
static inline int gc_ref_is_immediate(struct gc_ref ref) {
  GC_ASSERT(!gc_ref_is_null(ref));
  return GC_HAS_IMMEDIATES && (ref.value & (sizeof(void *) - 1)) != 0;
}

/* The immediate with bit pattern VAL, some low bits of which are set.  */
static inline struct gc_ref gc_ref_immediate(uintptr_t val) {
  GC_ASSERT(GC_HAS_IMMEDIATES);
  GC_ASSERT((val & (sizeof(void *) - 1)) != 0);
  return gc_ref(val);
}

/* Nonzero if REF, which must not be null, is the address of an object.  */
static inline int gc_ref_is_heap_object(struct gc_ref ref) {
  return !gc_ref_is_immediate(ref);
}

static inline struct gc_ref gc_ref_from_heap_object_or_null(void *obj) {
  return gc_ref((uintptr_t)obj);
}

/* The reference to OBJ, which must not be NULL.  */
static inline struct gc_ref gc_ref_from_heap_object(void *obj) {
  GC_ASSERT(obj != NULL);
  return gc_ref_from_heap_object_or_null(obj);
}

/* The address of the object that REF, neither null nor immediate, denotes.  */
static inline void *gc_ref_heap_object(struct gc_ref ref) {
  GC_ASSERT(gc_ref_is_heap_object(ref));
  return (void *)gc_ref_value(ref);
}

#endif /* GC_REF_H */
