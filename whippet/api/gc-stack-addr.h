/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Stack addresses: the cold bound of a thread's stack for conservative
   scanning.  Everything between it and the place where the thread stops is
   scanned.  */
#ifndef GC_STACK_ADDR_H
#define GC_STACK_ADDR_H

#include "gc-assert.h"
#include "gc-inline.h"
#include "gc-visibility.h"

#include <stdint.h>

struct gc_stack_addr {
  uintptr_t addr;
};

/* The empty address.  Given to gc_init or gc_init_for_thread it means "ask the
   platform for the stack base of this thread".  */
static inline struct gc_stack_addr gc_empty_stack_addr(void) {
  return (struct gc_stack_addr){0};
}

static inline int gc_stack_addr_is_empty(struct gc_stack_addr addr) {
  return addr.addr == 0;
}

/* ADDR, which must not be empty, as a pointer.  */
static inline char *gc_stack_addr_as_pointer(struct gc_stack_addr addr) {
  GC_ASSERT(!gc_stack_addr_is_empty(addr));
  return (char *)addr.addr;
}

/* The stack address ADDR, which must not be zero.  */
static inline struct gc_stack_addr gc_stack_addr(uintptr_t addr) {
  GC_ASSERT(addr != 0);
  return (struct gc_stack_addr){addr};
}

/* Call F (ADDR, DATA), where ADDR is colder than every frame of F and of what
   it calls, and return what F returns.  The idiom for giving a secondary
   thread a stack base: pass ADDR to gc_init_for_thread.  Any thread.  */
GC_API_ void *gc_call_with_stack_addr(void *(*f)(struct gc_stack_addr addr,
                                                 void *data),
                                      void *data) GC_NEVER_INLINE;

/* Nonzero if A lies nearer the stack base than B.  Neither may be empty.  */
GC_API_ int gc_stack_addr_is_colder(struct gc_stack_addr a,
                                    struct gc_stack_addr b);

#endif /* GC_STACK_ADDR_H */
