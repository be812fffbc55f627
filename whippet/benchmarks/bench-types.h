/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Object layouts of the benchmark programs.

   Every object starts with a tag word `(kind << 1) | 1`.  An odd tag marks a
   whole object; an even one is a forwarding address, zero means that the
   object is being moved or has not been tagged yet.  */

#ifndef BENCH_TYPES_H
#define BENCH_TYPES_H

#include <stddef.h>
#include <stdint.h>

struct gc_ephemeron;
struct gc_finalizer;

/* Kinds whose layout and tracing the benchmarks define themselves.  The names
   are those of the structs below.  */
#define BENCH_FOR_EACH_OWN_KIND(M) \
  M(node, NODE)                    \
  M(hole, HOLE)                    \
  M(quad, QUAD)                    \
  M(cell, CELL)                    \
  M(vertex, VERTEX)                \
  M(adjacency, ADJACENCY)          \
  M(vector, VECTOR)                \
  M(bytes, BYTES)                  \
  M(pair, PAIR)                    \
  M(box, BOX)                      \
  M(item, ITEM)                    \
  M(queue, QUEUE)                  \
  M(entry, ENTRY)                  \
  M(resource, RESOURCE)

enum bench_kind {
#define DECLARE_KIND(name, NAME) BENCH_KIND_##NAME,
  BENCH_FOR_EACH_OWN_KIND(DECLARE_KIND)
#undef DECLARE_KIND
      BENCH_KIND_EPHEMERON,
  BENCH_KIND_FINALIZER
};

#define BENCH_TAG(kind) (((uintptr_t)(kind) << 1) | 1)
#define BENCH_TAG_KIND(tag) ((enum bench_kind)((tag) >> 1))

/* Unit to which both collectors round small sizes, in bytes; live-size
   estimates count in it.  */
#define BENCH_GRANULE 16

/* Finalizer priorities that the embedder reports to the library.  */
#define BENCH_FINALIZER_PRIORITIES 3

/* Members that the embedder puts in front of the library's own objects.  */
#define BENCH_OBJECT_HEADER uintptr_t tag

/* Binary tree: `value` is a function of the node's place in its tree.  */
struct node {
  BENCH_OBJECT_HEADER;
  struct node *left;
  struct node *right;
  uint64_t value;
};

/* Garbage that is never stored anywhere.  */
struct hole {
  BENCH_OBJECT_HEADER;
  uint64_t word_count;
  uintptr_t words[];
};

/* Tree with four children.  `value` is a serial number in leaves; what it means
   in inner nodes is the program's business.  */
struct quad {
  BENCH_OBJECT_HEADER;
  uint64_t value;
  struct quad *kids[4];
};

/* Object of a chosen size without references.  */
struct cell {
  BENCH_OBJECT_HEADER;
  uint64_t byte_count; /* of the whole object */
  uint64_t words[];
};

/* Vertex of the random graph; its edges are a separate object so that mutation
   replaces them while the vertex stays.  */
struct vertex {
  BENCH_OBJECT_HEADER;
  uint64_t id;
  struct adjacency *edges;
};

struct adjacency {
  BENCH_OBJECT_HEADER;
  uint64_t degree;
  uint64_t target_id_sum;
  struct vertex *targets[];
};

/* Array of references, of any type.  */
struct vector {
  BENCH_OBJECT_HEADER;
  uint64_t length;
  void *slots[];
};

/* Array of bytes.  */
struct bytes {
  BENCH_OBJECT_HEADER;
  uint64_t length;
  uint8_t data[];
};

struct pair {
  BENCH_OBJECT_HEADER;
  struct box *head;
  struct pair *tail;
};

struct box {
  BENCH_OBJECT_HEADER;
  uint64_t value;
};

/* Element of a first-in first-out queue.  */
struct item {
  BENCH_OBJECT_HEADER;
  uint64_t serial;
  struct item *next;
  struct bytes *payload;
};

struct queue {
  BENCH_OBJECT_HEADER;
  uint64_t count;
  struct item *front;
  struct item *back;
};

/* Value side of an ephemeron association; `link` may lead back to the key.  */
struct entry {
  BENCH_OBJECT_HEADER;
  uint64_t serial;
  void *link;
};

/* Object with a finalizer; `closure` is the one given to the finalizer too.  */
struct resource {
  BENCH_OBJECT_HEADER;
  uint64_t id;
  struct box *closure;
  struct resource *neighbour;
};

#define DEFINE_FIXED_SIZE(name)                                 \
  static inline size_t name##_size(const struct name *object) { \
    (void)object;                                               \
    return sizeof(struct name);                                 \
  }
DEFINE_FIXED_SIZE(node)
DEFINE_FIXED_SIZE(quad)
DEFINE_FIXED_SIZE(vertex)
DEFINE_FIXED_SIZE(pair)
DEFINE_FIXED_SIZE(box)
DEFINE_FIXED_SIZE(item)
DEFINE_FIXED_SIZE(queue)
DEFINE_FIXED_SIZE(entry)
DEFINE_FIXED_SIZE(resource)
#undef DEFINE_FIXED_SIZE

static inline size_t hole_size_for(size_t word_count) {
  return sizeof(struct hole) + word_count * sizeof(uintptr_t);
}

static inline size_t hole_size(const struct hole *object) {
  return hole_size_for(object->word_count);
}

static inline size_t cell_size(const struct cell *object) {
  return object->byte_count;
}

static inline size_t adjacency_size_for(size_t degree) {
  return sizeof(struct adjacency) + degree * sizeof(struct vertex *);
}

static inline size_t adjacency_size(const struct adjacency *object) {
  return adjacency_size_for(object->degree);
}

static inline size_t vector_size_for(size_t length) {
  return sizeof(struct vector) + length * sizeof(void *);
}

static inline size_t vector_size(const struct vector *object) {
  return vector_size_for(object->length);
}

static inline size_t bytes_size_for(size_t length) {
  return sizeof(struct bytes) + length;
}

static inline size_t bytes_size(const struct bytes *object) {
  return bytes_size_for(object->length);
}

/* Bytes that a small object of SIZE bytes occupies.  */
static inline size_t bench_footprint(size_t size) {
  return (size + BENCH_GRANULE - 1) & ~(size_t)(BENCH_GRANULE - 1);
}

/* The same for an object that may be large and then fills whole pages.  */
static inline size_t bench_large_footprint(size_t size) {
  return size > 8192 ? (size + 4095) & ~(size_t)4095 : bench_footprint(size);
}

#endif /* BENCH_TYPES_H */
