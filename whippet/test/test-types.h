/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Objects and roots of the test programs, for programs and library.

   The first word of a tagged object is its tag: kind and identity.  Untagged
   objects have no header; who made them knows what they are.  */

#ifndef TEST_TYPES_H
#define TEST_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "gc-config.h"

struct gc_heap;

enum test_kind {
  TEST_LEAF = 1, /* 8 bytes, no edge */
  TEST_BOX,      /* 16 bytes, one edge */
  TEST_NODE,     /* any number of edges, and a payload */
  TEST_BYTES,    /* pointerless */
  TEST_EPHEMERON,
  TEST_FINALIZER,
  TEST_EXTERN /* outside of the heap */
};

#define TEST_TAG(kind, id) \
  (((uintptr_t)(id) << 8) | ((uintptr_t)(kind) << 1) | 1)
#define TEST_TAG_KIND(tag) (((tag) >> 1) & 0x7f)
#define TEST_TAG_ID(tag) ((tag) >> 8)

struct test_leaf {
  uintptr_t tag;
};

struct test_box {
  uintptr_t tag;
  void *edge;
};

struct test_node {
  uintptr_t tag;
  uint32_t edge_count;
  uint32_t payload_words;
  void *edges[]; /* the payload follows */
};

struct test_bytes {
  uintptr_t tag;
  uint64_t size; /* of the object, in bytes */
  uint8_t payload[];
};

#define TEST_EXTERN_EDGES 4

struct test_extern {
  uintptr_t tag;
  uint32_t mark; /* collection of the last visit */
  uint32_t unused;
  void *edges[TEST_EXTERN_EDGES];
};

struct gc_extern_space {
  uint32_t epoch;
  uint32_t visits; /* that returned nonzero */
  uint32_t starts, finishes;
};

static inline size_t test_node_bytes(size_t edge_count, size_t payload_words) {
  return sizeof(struct test_node) +
         (edge_count + payload_words) * sizeof(uintptr_t);
}

static inline uint64_t *test_node_payload(struct test_node *node) {
  return (uint64_t *)&node->edges[node->edge_count];
}

/* A root in a stack frame.  */
struct test_handle {
  void *ref;
  struct test_handle *next;
};

struct test_slots {
  void **slots;
  size_t count;
};

/* Roots of a mutator, or of a set of objects that outlives mutators.  In builds
   with conservative roots PINNED slots are reported as references that must
   not move, and AMBIGUOUS ones as a range of words that may point into objects;
   else both are precise.  */
struct gc_mutator_roots {
  struct test_handle *handles;
  struct test_slots precise, pinned, ambiguous;
  struct gc_mutator_roots *next;
};

struct gc_heap_roots {
  struct test_handle *handles;
  struct gc_mutator_roots *first;
  void *copied; /* an ambiguous root, of which the collector sees a copy */
};

#define TEST_FINALIZER_PRIORITIES 3

#endif // TEST_TYPES_H
