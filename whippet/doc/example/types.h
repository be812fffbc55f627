/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The example's objects and roots, as program and collector both know them.  */
#ifndef TYPES_H
#define TYPES_H

#include <stddef.h>
#include <stdint.h>

enum kind { PAIR = 1, STRING };

struct object {
  uintptr_t kind; /* set right after allocation */
};

struct pair {
  struct object header;
  struct object *car, *cdr; /* NULL at the end of a list */
};

struct string {
  struct object header;
  size_t size; /* of the object, in bytes */
  char chars[];
};

/* A root: a variable of a C function that holds a reference across an
   allocation.  The collector updates it when the object moves.  */
struct root {
  struct object *ref;
  struct root *next;
};

/* What the collector calls the roots of a mutator is up to the program.  */
struct gc_mutator_roots {
  struct root *first;
};

#endif /* TYPES_H */
