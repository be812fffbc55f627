/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Where a stopped thread may hold references: its stack and registers.

   A struct gc_stack belongs to one thread.  Its owner captures it, and the
   collector visits it while the owner is stopped or inactive; the stop protocol
   orders the two.  */
#ifndef GC_STACK_H
#define GC_STACK_H

#include "gc-inline.h"
#include "gc-stack-addr.h"
#include "gc-visibility.h"

#include <stddef.h>
#include <stdint.h>

struct gc_heap;

/* Enough for the general registers of an interrupted thread, those that the
   handler preserves, and the frames of the functions that capture them.  */
#define GC_STACK_MAX_REGISTERS 160

struct gc_stack {
  uintptr_t cold; /* the end of the range next to the stack base */
  uintptr_t hot;  /* the other end, included; 0 = nothing is captured */
  uintptr_t low;  /* where the thread's stack can at most extend; 0 = unknown */
  /* What is captured on another, signal stack: empty if both are 0.  */
  uintptr_t signal_low, signal_high;
  size_t nregisters;
  uintptr_t registers[GC_STACK_MAX_REGISTERS];
};

/* Start with no capture.  BASE is the cold end; if it is empty, ask the
   platform for the base of the calling thread's stack.  On the thread that
   owns the stack.  Returns 0 if the platform does not know it.  */
GC_INTERNAL int gc_stack_init(struct gc_stack *stack,
                              struct gc_stack_addr base);

/* Move the cold end to BASE, if that is colder.  On the thread that owns the
   stack, while no collector can visit it.  */
GC_INTERNAL void gc_stack_extend(struct gc_stack *stack,
                                 struct gc_stack_addr base);

/* Capture the callee-saved registers of the calling thread, as they are in the
   caller, and its stack up to and including the caller's frame.  Valid for as
   long as the caller does not return.  */
GC_INTERNAL void gc_stack_capture(struct gc_stack *stack) GC_NEVER_INLINE;

/* For a caller that does return: what it has saved in its frame goes to the
   registers.  After gc_stack_capture, in the same function, which is small and not
   inlined.  */
GC_INTERNAL void gc_stack_keep_frame(struct gc_stack *stack);

/* Capture from a signal handler: all registers of the interrupted code, and its
   stack with the red zone.  UCONTEXT is the third argument of the handler.
   1; or 0, nothing captured, if the interrupted code did not run on the stack
   that is known to be the thread's.  Valid for as long as the caller does not
   return.  Async-signal-safe.  */
GC_INTERNAL int gc_stack_capture_from_ucontext(struct gc_stack *stack,
                                               void *ucontext) GC_NEVER_INLINE;

/* Forget what was captured.  */
static inline void gc_stack_clear(struct gc_stack *stack) {
  stack->hot = stack->signal_low = stack->signal_high = 0;
  stack->nregisters = 0;
}

/* The address of the instruction at which UCONTEXT was interrupted, and the
   stack pointer there; 0 if the machine is not known.  Async-signal-safe.  */
GC_INTERNAL uintptr_t gc_ucontext_program_counter(void *ucontext);
GC_INTERNAL uintptr_t gc_ucontext_stack_pointer(void *ucontext);

/* Call VISIT (low, high, HEAP, DATA) for each word-aligned range, low included
   and high not, that holds what was captured.  */
GC_INTERNAL void gc_stack_visit(struct gc_stack *stack,
                                void (*visit)(uintptr_t low, uintptr_t high,
                                              struct gc_heap *heap, void *data),
                                struct gc_heap *heap, void *data);

#endif /* GC_STACK_H */
