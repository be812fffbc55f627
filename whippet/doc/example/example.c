/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A program that embeds the collector: it makes lists, drops most of them, and
   reports.  The argument is options, such as heap-size=2m,parallelism=2.  */

#include "types.h"

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"
#include "gc-basic-stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct gc_mutator *mut;
static struct gc_mutator_roots roots;

/* A root for as long as the function is active that has it.  */
#define PUSH_ROOT(name, value)                                \
  struct root name = {(struct object *)(value), roots.first}; \
  roots.first = &name
#define POP_ROOT(name) (roots.first = (name).next)

static struct string *make_string(const char *chars) {
  size_t size = sizeof(struct string) + strlen(chars) + 1;
  struct string *string =
      gc_allocate(mut, size, GC_ALLOCATION_TAGGED_POINTERLESS);
  string->header.kind = STRING;
  string->size = size;
  strcpy(string->chars, chars);
  return string;
}

/* Any allocation may collect and move objects: what is needed afterwards must be
   in a root.  Stores that initialise a new object need no write barrier.  */
static struct pair *make_pair(void *car, void *cdr) {
  PUSH_ROOT(car_root, car);
  PUSH_ROOT(cdr_root, cdr);
  struct pair *pair = gc_allocate(mut, sizeof *pair, GC_ALLOCATION_TAGGED);
  pair->header.kind = PAIR;
  pair->car = car_root.ref;
  pair->cdr = cdr_root.ref;
  POP_ROOT(cdr_root);
  POP_ROOT(car_root);
  return pair;
}

/* All other stores do.  */
static void set_car(struct pair *pair, void *value) {
  gc_write_barrier(mut, gc_ref_from_heap_object(pair), sizeof *pair,
                   gc_edge(&pair->car), gc_ref_from_heap_object(value));
  pair->car = value;
}

static struct pair *make_list(int length) {
  PUSH_ROOT(list, NULL);
  for (int i = 0; i < length; i++) {
    char chars[16];
    snprintf(chars, sizeof chars, "%d", i);
    list.ref = (struct object *)make_pair(make_string(chars), list.ref);
  }
  POP_ROOT(list);
  return (struct pair *)list.ref;
}

static long sum(struct pair *list) {
  long total = 0;
  for (; list; list = (struct pair *)list->cdr)
    total += atol(((struct string *)list->car)->chars);
  return total;
}

int main(int argc, char *argv[]) {
  struct gc_options *options = gc_allocate_options();
  if (argc > 1 && !gc_options_parse_and_set_many(options, argv[1])) {
    fprintf(stderr, "usage: %s [OPTION=VALUE,...]\n", argv[0]);
    return 2;
  }

  struct gc_heap *heap;
  struct gc_basic_stats stats;
  if (!gc_init(options, gc_empty_stack_addr(), &heap, &mut, GC_BASIC_STATS,
               &stats))
    return 1;
  gc_mutator_set_roots(mut, &roots);

  PUSH_ROOT(kept, make_list(1000));
  for (int i = 0; i < 1000; i++) {
    make_list(100);
    struct string *string = make_string("1");
    set_car((struct pair *)kept.ref, string);
  }
  printf("The sum is %ld.\n", sum((struct pair *)kept.ref));
  POP_ROOT(kept);

  gc_basic_stats_finish(&stats);
  gc_basic_stats_print(&stats, stdout);
  return 0;
}
