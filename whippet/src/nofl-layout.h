/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Data layout of the nofl space: granules, blocks, slabs, and the metadata
   byte that is the one source of truth for an object's state.

   A slab is 4 MiB, aligned to its size.  Its first four blocks hold, in the
   order of `struct nofl_slab` below, block marks, block descriptors and one
   metadata byte per granule of the sixty object blocks.  The metadata byte of
   address A is found by masking: slab base + (A mod slab size) / 16.

   Metadata byte

     bits 0-2  state (table below)
     bits 3-4  trace kind; in the second granule of an object, heap-conservative
               builds: which of the collector's own types it is (mmc-own.h)
     bit  5    last granule of an object
     bits 6-7  one "logged" bit per word of the granule: that field is in the
               remembered set (generational builds)

   State machine of the byte of an object's first granule; all transitions
   are in nofl-mark.h, nofl-allocator.h and inline allocation.

     from                 event                                 to
     none                 allocated                             young
     young, survivor      reached, stays in place               current mark
     young, survivor      ambiguous heap edge, before compacting fixed
     fixed                reached                               current mark
     young, survivor      claimed for copying                   busy
     busy                 copied                                forwarded
     busy                 no room for the copy                  current mark
     none                 is the copy                           current mark
     current mark         collection ends                       (is the survivor mark)
     anything else        block swept                           none

   "young" means allocated since the last collection.  In a minor collection
   the current mark equals the survivor mark: old objects are already marked.  */

#ifndef NOFL_LAYOUT_H
#define NOFL_LAYOUT_H

#include <stddef.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "gc-assert.h"
#include "gc-atomics.h"
#include "gc-config.h"
#include "gc-inline.h"

#define NOFL_GRANULE_SIZE ((size_t)16)
#define NOFL_GRANULE_SIZE_LOG_2 4
#define NOFL_BLOCK_SIZE ((size_t)64 * 1024)
#define NOFL_BLOCK_SIZE_LOG_2 16
#define NOFL_SLAB_SIZE ((size_t)4 * 1024 * 1024)
#define NOFL_SLAB_SIZE_LOG_2 22
#define NOFL_BLOCKS_PER_SLAB 64
#define NOFL_META_BLOCKS_PER_SLAB 4
#define NOFL_OBJECT_BLOCKS_PER_SLAB \
  (NOFL_BLOCKS_PER_SLAB - NOFL_META_BLOCKS_PER_SLAB)
#define NOFL_GRANULES_PER_BLOCK (NOFL_BLOCK_SIZE / NOFL_GRANULE_SIZE)
/* Objects above this many bytes belong to the large object space.  */
#define NOFL_LARGE_THRESHOLD ((size_t)8192)
#define NOFL_LARGE_GRANULES (NOFL_LARGE_THRESHOLD / NOFL_GRANULE_SIZE)

enum nofl_metadata {
  NOFL_STATE_NONE = 0,
  NOFL_STATE_YOUNG = 1,
  NOFL_STATE_MARK_0 = 2,
  NOFL_STATE_MARK_1 = 3,
  NOFL_STATE_MARK_2 = 4,
  NOFL_STATE_BUSY = 5,
  NOFL_STATE_FORWARDED = 6,
  /* Live candidate that an ambiguous heap edge may reference: it must not
     move in this collection.  */
  NOFL_STATE_FIXED = 7,
  NOFL_STATE_MASK = 7,

  NOFL_KIND_PRECISE = 0,
  NOFL_KIND_NONE = 8,
  /* In a block of class NOFL_CLASS_AMBIGUOUS, and in heap-conservative builds,
     where tagged objects are born with it: trace conservatively.  Elsewhere:
     trace precisely, never move.  */
  NOFL_KIND_PINNED_OR_CONSERVATIVE = 16,
  NOFL_KIND_NONE_PINNED = 24,
  NOFL_KIND_MASK = 24,
  NOFL_PINNED = 16,

  NOFL_END = 32,
  NOFL_LOGGED_0 = 64,
  NOFL_LOGGED_1 = 128,
  NOFL_LOGGED_MASK = 192
};

/* What the objects of a block are.  In a heap in which objects move, those that
   never do, and what is traced conservatively is among them, live in blocks of
   their own.  */
enum nofl_class { NOFL_CLASS_ORDINARY, NOFL_CLASS_AMBIGUOUS, NOFL_CLASS_COUNT };

/* Where a block is; a block is in exactly one place.  */
enum nofl_place {
  NOFL_PLACE_EMPTY,       /* no objects; memory may be dirty */
  NOFL_PLACE_PAGED_OUT,   /* no objects; memory returned to the OS */
  NOFL_PLACE_TO_SWEEP,    /* survived the last collection, not yet swept */
  NOFL_PLACE_OWNED,       /* an allocator is filling it */
  NOFL_PLACE_PARTLY_FULL, /* swept; one hole, at its end */
  NOFL_PLACE_FULL,        /* swept and used up in this cycle */
  NOFL_PLACE_PROMOTED,    /* as FULL, but nearly all survivors */
  NOFL_PLACE_OLD          /* only survivors; not swept before a full GC */
};

enum nofl_block_flags {
  /* Candidate of the compacting collection that is running.  */
  NOFL_BLOCK_EVACUATE = 1,
  /* Free granules are known to be all zero.  */
  NOFL_BLOCK_ZERO = 2,
  /* Metadata bytes are left over from dead objects: clear before use.
     Only for EMPTY and PAGED_OUT blocks.  */
  NOFL_BLOCK_DIRTY_METADATA = 4,
  /* PAGED_OUT: was in use before, and counts in its slab.  */
  NOFL_BLOCK_DISCARDED = 8
};

/* Descriptor of a block.  One cache line each, because different threads own
   different blocks.  Written by the block's owner, by the holder of the
   space's lock for blocks on locked lists, or by the collector in a pause.  */
struct nofl_block {
  struct nofl_block *next;
  struct nofl_block *prev; /* EMPTY: the neighbour that is younger */
  uint8_t place;           /* enum nofl_place */
  uint8_t flags;           /* enum nofl_block_flags */
  uint8_t class;           /* enum nofl_class */
  /* Counts of the last complete sweep, in granules and holes.  For blocks
     filled by evacuation: the part that was not filled.  */
  uint16_t hole_granules;
  uint16_t hole_count;
  /* Granules of holes that were left unused since that sweep.  */
  uint16_t abandoned_granules;
  /* PARTLY_FULL: size of the free tail.  */
  uint16_t tail_granules;
  /* Metadata below this granule index is clean: each start byte there is a
     live or new object.  Stored with release order by a sweeping owner, after
     the bytes are clean; pairs with the acquire load in conservative
     resolution outside of collections.  */
  uint16_t swept_granules;
  /* EMPTY: value of the space's clock when the block became empty.  */
  uint32_t empty_since;
} __attribute__((aligned(64)));

struct nofl_slab {
  /* Set if the block holds an object that the last collection kept.  */
  uint8_t block_marks[NOFL_BLOCKS_PER_SLAB];
  struct nofl_block blocks[NOFL_BLOCKS_PER_SLAB];
  /* How many blocks have NOFL_BLOCK_DISCARDED.  Protected by the space's lock.  */
  uint64_t discarded_blocks;
  uint8_t unused[16384 - 64 - 64 * NOFL_BLOCKS_PER_SLAB - 8];
  uint8_t metadata[NOFL_OBJECT_BLOCKS_PER_SLAB * NOFL_GRANULES_PER_BLOCK];
  uint8_t objects[NOFL_OBJECT_BLOCKS_PER_SLAB][NOFL_BLOCK_SIZE];
};

_Static_assert(sizeof(struct nofl_block) == 64, "one cache line per block");
_Static_assert(sizeof(struct nofl_slab) == NOFL_SLAB_SIZE, "slab layout");
_Static_assert(offsetof(struct nofl_slab, metadata) ==
                   NOFL_META_BLOCKS_PER_SLAB * NOFL_GRANULES_PER_BLOCK,
               "metadata found by masking");
_Static_assert(offsetof(struct nofl_slab, objects) ==
                   NOFL_META_BLOCKS_PER_SLAB * NOFL_BLOCK_SIZE,
               "object blocks follow metadata");

static inline struct nofl_slab *nofl_slab_of(uintptr_t addr) {
  return (struct nofl_slab *)(addr & ~(uintptr_t)(NOFL_SLAB_SIZE - 1));
}

static inline uint8_t *nofl_metadata_byte(uintptr_t addr) {
  uintptr_t base = addr & ~(uintptr_t)(NOFL_SLAB_SIZE - 1);
  uintptr_t granule = (addr & (NOFL_SLAB_SIZE - 1)) >> NOFL_GRANULE_SIZE_LOG_2;
  return (uint8_t *)(base + granule);
}

static inline uintptr_t nofl_metadata_byte_address(const uint8_t *byte) {
  uintptr_t loc = (uintptr_t)byte;
  uintptr_t base = loc & ~(uintptr_t)(NOFL_SLAB_SIZE - 1);
  return base + ((loc & (NOFL_SLAB_SIZE - 1)) << NOFL_GRANULE_SIZE_LOG_2);
}

/* Index of the block of ADDR in its slab: 0..3 are metadata blocks.  */
static inline unsigned nofl_block_index(uintptr_t addr) {
  return (addr & (NOFL_SLAB_SIZE - 1)) >> NOFL_BLOCK_SIZE_LOG_2;
}

static inline struct nofl_block *nofl_block_of(uintptr_t addr) {
  return &nofl_slab_of(addr)->blocks[nofl_block_index(addr)];
}

static inline uint8_t *nofl_block_mark_of(uintptr_t addr) {
  return &nofl_slab_of(addr)->block_marks[nofl_block_index(addr)];
}

/* First object address of BLOCK.  */
static inline uintptr_t nofl_block_start(const struct nofl_block *block) {
  struct nofl_slab *slab = nofl_slab_of((uintptr_t)block);
  uintptr_t idx = block - slab->blocks;
  return (uintptr_t)slab + (idx << NOFL_BLOCK_SIZE_LOG_2);
}

static inline uintptr_t nofl_block_end(const struct nofl_block *block) {
  return nofl_block_start(block) + NOFL_BLOCK_SIZE;
}

static inline uint8_t *nofl_block_metadata(const struct nofl_block *block) {
  return nofl_metadata_byte(nofl_block_start(block));
}

static inline size_t nofl_size_to_granules(size_t bytes) {
  return (bytes + NOFL_GRANULE_SIZE - 1) >> NOFL_GRANULE_SIZE_LOG_2;
}

static inline int nofl_state_is_mark(uint8_t state) {
  return NOFL_STATE_MARK_0 <= state && state <= NOFL_STATE_MARK_2;
}

static inline uint8_t nofl_next_mark(uint8_t mark) {
  return mark == NOFL_STATE_MARK_2 ? NOFL_STATE_MARK_0 : mark + 1;
}

/* Wide scans over metadata bytes, eight at a time.  Each returns the index of
   the first matching byte in [0, LIMIT), or LIMIT.  BYTES + LIMIT lies inside
   the table, and reads are of whole aligned words: BYTES need not be aligned,
   LIMIT need not be a multiple of eight.  */

#define NOFL_BROADCAST(byte) ((uint64_t)0x0101010101010101 * (byte))

/* For reads of metadata that others may be writing to: words of which only bits
   are used that cannot change, and conservative resolution, which checks what
   it has found.  Thread sanitizers cannot know.  */
#if defined(__SANITIZE_THREAD__)
#define NOFL_MAY_RACE __attribute__((noinline, no_sanitize("thread")))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NOFL_MAY_RACE __attribute__((noinline, no_sanitize("thread")))
#endif
#endif
#ifndef NOFL_MAY_RACE
#define NOFL_MAY_RACE
#endif

static inline NOFL_MAY_RACE uint64_t nofl_load_word(const uint8_t *bytes) {
  uint64_t word;
  __builtin_memcpy(&word, bytes, sizeof(word));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = __builtin_bswap64(word);
#endif
  return word;
}

/* High bit of each byte of the result is set iff that byte's state equals
   STATE.  Exact: no carries, since differences are at most seven.  */
static inline uint64_t nofl_match_state(uint64_t word, uint8_t state) {
  uint64_t diff =
      (word & NOFL_BROADCAST(NOFL_STATE_MASK)) ^ NOFL_BROADCAST(state);
  return ~(diff + NOFL_BROADCAST(0x7f)) & NOFL_BROADCAST(0x80);
}

static inline size_t nofl_find_state(const uint8_t *bytes, size_t limit,
                                     uint8_t state) {
  size_t i = 0;
  for (; i + 8 <= limit; i += 8) {
    uint64_t match = nofl_match_state(nofl_load_word(bytes + i), state);
    if (match)
      return i + (__builtin_ctzll(match) >> 3);
  }
  for (; i < limit; i++)
    if ((bytes[i] & NOFL_STATE_MASK) == state)
      return i;
  return limit;
}

static inline size_t nofl_find_any_state(const uint8_t *bytes, size_t limit) {
  size_t i = 0;
  for (; i + 8 <= limit; i += 8) {
    uint64_t word = nofl_load_word(bytes + i) & NOFL_BROADCAST(NOFL_STATE_MASK);
    if (word)
      return i + (__builtin_ctzll(word) >> 3);
  }
  for (; i < limit; i++)
    if (bytes[i] & NOFL_STATE_MASK)
      return i;
  return limit;
}

/* The same for an object's first byte that is not of NOFL_KIND_NONE.  */
static inline size_t nofl_find_traced(const uint8_t *bytes, size_t limit) {
  size_t i = 0;
  for (; i + 8 <= limit; i += 8) {
    uint64_t word = nofl_load_word(bytes + i);
    uint64_t none = word << 4; /* bit 3, which is NOFL_KIND_NONE, to bit 7 */
    uint64_t any =
        (word & NOFL_BROADCAST(NOFL_STATE_MASK)) + NOFL_BROADCAST(0x7f);
    uint64_t match = any & ~none & NOFL_BROADCAST(0x80);
    if (match)
      return i + (__builtin_ctzll(match) >> 3);
  }
  for (; i < limit; i++)
    if ((bytes[i] & NOFL_STATE_MASK) && !(bytes[i] & NOFL_KIND_NONE))
      return i;
  return limit;
}

/* Gather the high bits of the eight bytes of WORD.  */
static inline uint64_t nofl_gather_high_bits(uint64_t word) {
  return ((word >> 7) * 0x0102040810204080u) >> 56;
}

/* Of the 64 metadata bytes at BYTES, aligned to 16: which are in STATE, and which
   have the end bit?  Bit I of the results is for BYTES[I].  */
static inline void nofl_starts_and_ends_portable(const uint8_t *bytes,
                                                 uint8_t state,
                                                 uint64_t *starts,
                                                 uint64_t *ends) {
  *starts = *ends = 0;
  for (unsigned i = 0; i < 64; i += 8) {
    uint64_t word = nofl_load_word(bytes + i);
    *starts |= nofl_gather_high_bits(nofl_match_state(word, state)) << i;
    *ends |= nofl_gather_high_bits((word << 2) & NOFL_BROADCAST(0x80)) << i;
  }
}

#ifdef __SSE2__
static inline NOFL_MAY_RACE void nofl_starts_and_ends(const uint8_t *bytes,
                                                      uint8_t state,
                                                      uint64_t *starts,
                                                      uint64_t *ends) {
  const __m128i mask = _mm_set1_epi8(NOFL_STATE_MASK);
  const __m128i wanted = _mm_set1_epi8((char)state);
  *starts = *ends = 0;
#pragma GCC unroll 4
  for (unsigned i = 0; i < 64; i += 16) {
    __m128i v = _mm_load_si128((const __m128i *)(bytes + i));
    __m128i match = _mm_cmpeq_epi8(_mm_and_si128(v, mask), wanted);
    *starts |= (uint64_t)(unsigned)_mm_movemask_epi8(match) << i;
    /* Bit 5 moves to bit 7; what crosses into the next byte is not looked at.  */
    *ends |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_slli_epi16(v, 2)) << i;
  }
}
#else
static inline void nofl_starts_and_ends(const uint8_t *bytes, uint8_t state,
                                        uint64_t *starts, uint64_t *ends) {
  nofl_starts_and_ends_portable(bytes, state, starts, ends);
}
#endif

/* Which of 64 granules belong to objects in STATE?  Bit I of the result is for
   the granule of BYTES[I].  *INSIDE is 1 if such an object reaches in from
   before, and is set to whether one reaches beyond.

   S: starts of such objects; E: ends of any.  Adding S to the complement of E
   carries each start up to its end, which gives the ends L that count; the
   granules between are then (2L - S), since the objects are disjoint.  */
static inline uint64_t nofl_granules_in_state(const uint8_t *bytes,
                                              uint8_t state, unsigned *inside) {
  uint64_t starts, ends;
  nofl_starts_and_ends(bytes, state, &starts, &ends);
  if (*inside)
    starts |= 1;
  uint64_t sum;
  /* A carry out of the word is an object whose end lies beyond.  */
  *inside = __builtin_add_overflow(~ends, starts, &sum);
  uint64_t live_ends = sum & ends;
  return (live_ends << 1) - starts;
}

/* Granules of the object whose first metadata byte is BYTES[0].  The end bit
   is there by construction; LIMIT bounds the scan.  */
static inline size_t nofl_object_granules(const uint8_t *bytes, size_t limit) {
  if (GC_LIKELY(bytes[0] & NOFL_END))
    return 1;
  size_t i = 1;
  for (; i + 8 <= limit; i += 8) {
    uint64_t word = nofl_load_word(bytes + i) & NOFL_BROADCAST(NOFL_END);
    if (word)
      return i + (__builtin_ctzll(word) >> 3) + 1;
  }
  for (; i < limit; i++)
    if (bytes[i] & NOFL_END)
      return i + 1;
  GC_CRASH();
}

/* The same while the object may be about to be allocated by another thread, whose
   stores may arrive in any order: 0 if its end is not to be seen.  */
static inline size_t nofl_object_granules_if_complete(const uint8_t *bytes,
                                                      size_t limit) {
  for (size_t i = 0; i < limit; i++) {
    uint8_t byte = gc_atomic_load_relaxed(&bytes[i]);
    if (i && (byte & NOFL_STATE_MASK))
      return 0;
    if (byte & NOFL_END)
      return i + 1;
  }
  return 0;
}

/* Granules from ADDR to the end of its block.  */
static inline size_t nofl_granules_to_block_end(uintptr_t addr) {
  return (NOFL_BLOCK_SIZE - (addr & (NOFL_BLOCK_SIZE - 1))) >>
         NOFL_GRANULE_SIZE_LOG_2;
}

static inline size_t nofl_object_size(uintptr_t addr) {
  return nofl_object_granules(nofl_metadata_byte(addr),
                              nofl_granules_to_block_end(addr))
         << NOFL_GRANULE_SIZE_LOG_2;
}

static inline size_t nofl_object_size_if_complete(uintptr_t addr) {
  return nofl_object_granules_if_complete(nofl_metadata_byte(addr),
                                          nofl_granules_to_block_end(addr))
         << NOFL_GRANULE_SIZE_LOG_2;
}

#endif // NOFL_LAYOUT_H
