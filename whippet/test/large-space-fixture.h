/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A large object space on its own, for tests of it.  */

#ifndef LARGE_SPACE_FIXTURE_H
#define LARGE_SPACE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The hook of the embedder: two low bits are a tag.  */
static inline int
gc_is_valid_conservative_ref_displacement(uintptr_t displacement) {
  return displacement == 0 || displacement == 3;
}

#include "../src/gc-edge-set.h"
#include "../src/large-object-space.h"
#include "pages.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

struct fixture {
  struct gc_reservation res;
  struct large_space space;
};

/* If it is not to be what it is.  */
static size_t system_page_size;

static struct fixture *make_fixture(size_t size) {
  /* More aligned than what test_calloc returns.  */
  struct fixture *f = aligned_alloc(_Alignof(struct fixture), sizeof(*f));
  assert_non_null(f);
  memset(f, 0, sizeof(*f));
  assert_true(gc_reservation_init(&f->res, size, size));
  assert_true(large_space_init(&f->space, &f->res));
  if (system_page_size)
    f->space.system_page_size = system_page_size;
  return f;
}

static void free_fixture(struct fixture *f) {
  large_space_destroy(&f->space);
  gc_reservation_destroy(&f->res);
  free(f);
}

static struct gc_ref as_ref(void *p) {
  return gc_ref((uintptr_t)p);
}

static int is_zero(const void *mem, size_t bytes) {
  const uint64_t *p = mem;
  for (size_t i = 0; i < bytes / 8; i++)
    if (p[i])
      return 0;
  const char *tail = (const char *)mem + bytes / 8 * 8;
  for (size_t i = 0; i < bytes % 8; i++)
    if (tail[i])
      return 0;
  return 1;
}

static void *allocate(struct large_space *space, size_t bytes, uint8_t kind,
                      int clear) {
  int dirty;
  void *mem = large_space_allocate(space, bytes, kind, &dirty);
  if (mem)
    large_space_prepare(space, mem, bytes, dirty, clear);
  return mem;
}

/* An object, zero to the end of its last page, then filled.  */
static char *allocate_filled(struct large_space *space, size_t bytes,
                             uint8_t kind) {
  char *p = allocate(space, bytes, kind, 1);
  if (p) {
    assert_true(is_zero(p, large_space_size_in_bytes(space, bytes)));
    memset(p, 0x77, large_space_size_in_bytes(space, bytes));
  }
  return p;
}

/* What ADDR denotes, during a collection and otherwise.  */
static uintptr_t resolve(struct large_space *s, uintptr_t addr, int interior) {
  uintptr_t a =
      gc_ref_value(large_space_resolve_conservative(s, addr, interior, 0));
  uintptr_t b =
      gc_ref_value(large_space_resolve_conservative(s, addr, interior, 1));
  assert_int_equal(a, b);
  return a;
}

#endif // LARGE_SPACE_FIXTURE_H
