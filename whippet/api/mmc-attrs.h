/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Attributes of the mostly-marking collector.  The collector checks statically
   that they agree with its layouts.  */
#ifndef MMC_ATTRS_H
#define MMC_ATTRS_H

#include "gc-assert.h"
#include "gc-attrs.h"
#include "gc-config.h"

/* Where objects move, those that never do have an allocator, and blocks, of their
   own: one of them among others would keep its block from being emptied.  */
static inline int mmc_lives_apart(enum gc_allocation_kind kind) {
  return !GC_CONSERVATIVE_TRACE &&
         (kind == GC_ALLOCATION_UNTAGGED_CONSERVATIVE ||
          kind == GC_ALLOCATION_UNTAGGED_POINTERLESS ||
          kind == GC_ALLOCATION_TAGGED_PINNED);
}

/* Where that allocator is in a mutator.  */
#define MMC_SECOND_ALLOCATOR_OFFSET 1024

static inline enum gc_inline_allocator_kind
gc_inline_allocator_kind(enum gc_allocation_kind kind) {
  /* Conservatively traced objects are rare where tracing is precise.  */
  if (kind == GC_ALLOCATION_UNTAGGED_CONSERVATIVE && !GC_CONSERVATIVE_TRACE)
    return GC_INLINE_ALLOCATOR_NONE;
  return GC_INLINE_ALLOCATOR_BUMP_POINTER;
}

static inline size_t gc_allocator_large_threshold(void) {
  return 8192;
}

static inline size_t gc_allocator_small_granule_size(void) {
  return 16;
}

static inline size_t gc_allocator_allocation_pointer_offset(void) {
  return 0;
}

static inline size_t gc_allocator_allocation_limit_offset(void) {
  return sizeof(uintptr_t);
}

static inline size_t gc_allocator_kind_offset(enum gc_allocation_kind kind) {
  return mmc_lives_apart(kind) ? MMC_SECOND_ALLOCATOR_OFFSET : 0;
}

static inline size_t
gc_allocator_freelist_offset(size_t size, enum gc_allocation_kind kind) {
  (void)size;
  (void)kind;
  GC_CRASH();
}

static inline size_t gc_allocator_alloc_table_alignment(void) {
  return (size_t)4 * 1024 * 1024;
}

/* Bits 0 to 2 are the mark state, 1 meaning young; bits 3 and 4 say how the
   object is traced.  */
static inline uint8_t
gc_allocator_alloc_table_begin_pattern(enum gc_allocation_kind kind) {
  switch (kind) {
  case GC_ALLOCATION_TAGGED:
    return GC_CONSERVATIVE_TRACE ? 1 + 16 : 1;
  case GC_ALLOCATION_TAGGED_PINNED:
    return 1;
  case GC_ALLOCATION_TAGGED_POINTERLESS:
    return 1 + 8;
  case GC_ALLOCATION_UNTAGGED_CONSERVATIVE:
    return 1 + 16;
  case GC_ALLOCATION_UNTAGGED_POINTERLESS:
    return 1 + 16 + 8;
  }
  GC_CRASH();
}

static inline uint8_t gc_allocator_alloc_table_end_pattern(void) {
  return 32;
}

static inline enum gc_old_generation_check_kind
gc_old_generation_check_kind(size_t obj_size) {
  if (!GC_GENERATIONAL)
    return GC_OLD_GENERATION_CHECK_NONE;
  if (obj_size <= gc_allocator_large_threshold())
    return GC_OLD_GENERATION_CHECK_ALLOC_TABLE;
  return GC_OLD_GENERATION_CHECK_SLOW;
}

static inline uint8_t gc_old_generation_check_alloc_table_tag_mask(void) {
  return 7;
}

static inline uint8_t gc_old_generation_check_alloc_table_young_tag(void) {
  return 1;
}

static inline enum gc_write_barrier_kind
gc_write_barrier_kind(size_t obj_size) {
  if (!GC_GENERATIONAL)
    return GC_WRITE_BARRIER_NONE;
  if (obj_size <= gc_allocator_large_threshold())
    return GC_WRITE_BARRIER_FIELD;
  return GC_WRITE_BARRIER_SLOW;
}

/* The log bits are the two top bits of the allocation table's bytes.  */
static inline size_t gc_write_barrier_field_table_alignment(void) {
  return gc_allocator_alloc_table_alignment();
}

static inline ptrdiff_t gc_write_barrier_field_table_offset(void) {
  return 0;
}

static inline size_t gc_write_barrier_field_fields_per_byte(void) {
  return 2;
}

static inline uint8_t gc_write_barrier_field_first_bit_pattern(void) {
  return 64;
}

static inline enum gc_safepoint_mechanism gc_safepoint_mechanism(void) {
  return GC_SAFEPOINT_MECHANISM_COOPERATIVE;
}

static inline enum gc_cooperative_safepoint_kind
gc_cooperative_safepoint_kind(void) {
  return GC_COOPERATIVE_SAFEPOINT_HEAP_FLAG;
}

static inline int gc_can_pin_objects(void) {
  return 1;
}

static inline int gc_can_move_objects(void) {
  return !GC_CONSERVATIVE_TRACE;
}

#endif /* MMC_ATTRS_H */
