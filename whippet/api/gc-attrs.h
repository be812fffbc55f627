/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What programs, inline fast paths and just-in-time compilers may know of the
   collector they are compiled for.  All of these are constants; those that
   mean nothing in a configuration trap when called.

   Programs see the definitions through the macro GC_ATTRS, a string literal
   that names the attributes header of the collector.  Collector sources define
   GC_IMPL to 1 and include that header themselves.  */
#ifndef GC_ATTRS_H
#define GC_ATTRS_H

#include "gc-allocation-kind.h"
#include "gc-inline.h"

#include <stddef.h>
#include <stdint.h>

enum gc_inline_allocator_kind {
  GC_INLINE_ALLOCATOR_BUMP_POINTER,
  GC_INLINE_ALLOCATOR_FREELIST,
  GC_INLINE_ALLOCATOR_NONE
};

enum gc_old_generation_check_kind {
  GC_OLD_GENERATION_CHECK_NONE,
  GC_OLD_GENERATION_CHECK_ALLOC_TABLE,
  GC_OLD_GENERATION_CHECK_SMALL_OBJECT_NURSERY,
  GC_OLD_GENERATION_CHECK_SLOW
};

enum gc_write_barrier_kind {
  GC_WRITE_BARRIER_NONE,
  GC_WRITE_BARRIER_FIELD,
  GC_WRITE_BARRIER_SLOW
};

enum gc_safepoint_mechanism {
  GC_SAFEPOINT_MECHANISM_COOPERATIVE,
  GC_SAFEPOINT_MECHANISM_SIGNAL
};

enum gc_cooperative_safepoint_kind {
  GC_COOPERATIVE_SAFEPOINT_NONE,
  GC_COOPERATIVE_SAFEPOINT_MUTATOR_FLAG,
  GC_COOPERATIVE_SAFEPOINT_HEAP_FLAG
};

/* How gc_allocate_fast finds memory for an object of KIND.  */
static inline enum gc_inline_allocator_kind
gc_inline_allocator_kind(enum gc_allocation_kind kind) GC_ALWAYS_INLINE;

/* Objects of more than this many bytes are large: always the slow path.  */
static inline size_t gc_allocator_large_threshold(void) GC_ALWAYS_INLINE;

/* Unit of size and alignment of small objects: bytes, a power of two.  */
static inline size_t gc_allocator_small_granule_size(void) GC_ALWAYS_INLINE;

/* Bump-pointer allocation: byte offsets in the mutator of the words that hold
   the address of the next object and the end of the usable memory...  */
static inline size_t
gc_allocator_allocation_pointer_offset(void) GC_ALWAYS_INLINE;
static inline size_t
gc_allocator_allocation_limit_offset(void) GC_ALWAYS_INLINE;

/* ... and what to add to both for objects of KIND.  */
static inline size_t
gc_allocator_kind_offset(enum gc_allocation_kind kind) GC_ALWAYS_INLINE;

/* Free-list allocation: byte offset in the mutator of the head of the list for
   objects of SIZE bytes and of KIND.  The first word of a free object is the
   link to the next one.  */
static inline size_t
gc_allocator_freelist_offset(size_t size,
                             enum gc_allocation_kind kind) GC_ALWAYS_INLINE;

/* Allocation table: 0 if there is none.  Otherwise it has one byte per
   granule, and with alignment A and granule G the byte for address P is at
   (P & ~(A - 1)) + (P & (A - 1)) / G.  */
static inline size_t gc_allocator_alloc_table_alignment(void) GC_ALWAYS_INLINE;

/* What to store for the first granule of an object of KIND...  */
static inline uint8_t gc_allocator_alloc_table_begin_pattern(
    enum gc_allocation_kind kind) GC_ALWAYS_INLINE;

/* ... and for the last one; 0 if ends are not recorded.  The bytes of an
   object of one granule are combined.  */
static inline uint8_t
gc_allocator_alloc_table_end_pattern(void) GC_ALWAYS_INLINE;

/* How to tell whether an object of OBJ_SIZE bytes is old.  By ALLOC_TABLE: it
   is, if the bits TAG_MASK of its table byte differ from YOUNG_TAG.  */
static inline enum gc_old_generation_check_kind
gc_old_generation_check_kind(size_t obj_size) GC_ALWAYS_INLINE;
static inline uint8_t
gc_old_generation_check_alloc_table_tag_mask(void) GC_ALWAYS_INLINE;
static inline uint8_t
gc_old_generation_check_alloc_table_young_tag(void) GC_ALWAYS_INLINE;

/* What to do before storing a reference in an object of OBJ_SIZE bytes.  */
static inline enum gc_write_barrier_kind
gc_write_barrier_kind(size_t obj_size) GC_ALWAYS_INLINE;

/* Field-logging barrier.  With T = alignment, the log bit of the field at
   address P is number f = (P mod T) / word size: in byte f / fields_per_byte
   after (P rounded down to T) + offset, with mask
   first_bit_pattern << (f mod fields_per_byte).  */
static inline size_t
gc_write_barrier_field_table_alignment(void) GC_ALWAYS_INLINE;
static inline ptrdiff_t
gc_write_barrier_field_table_offset(void) GC_ALWAYS_INLINE;
static inline size_t
gc_write_barrier_field_fields_per_byte(void) GC_ALWAYS_INLINE;
static inline uint8_t
gc_write_barrier_field_first_bit_pattern(void) GC_ALWAYS_INLINE;

/* How running mutators are stopped.  */
static inline enum gc_safepoint_mechanism
gc_safepoint_mechanism(void) GC_ALWAYS_INLINE;
static inline enum gc_cooperative_safepoint_kind
gc_cooperative_safepoint_kind(void) GC_ALWAYS_INLINE;

/* Nonzero if gc_pin_object may be called; if objects may ever move.  */
static inline int gc_can_pin_objects(void) GC_ALWAYS_INLINE;
static inline int gc_can_move_objects(void) GC_ALWAYS_INLINE;

#if !defined(GC_IMPL) || !GC_IMPL
#ifdef GC_ATTRS
#include GC_ATTRS
#else
#error "GC_ATTRS must be defined to the name of an attributes header"
#endif
#else
/* A library source need not use, nor define, all of these.  GCC looks at the
   state of this option at the end of the translation unit.  */
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

#endif /* GC_ATTRS_H */
