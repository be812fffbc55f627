/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Capture of stacks and registers.

   setjmp will not do for the registers: libc scrambles some of them.  They are
   stored by explicit instructions instead.  The compiler may have saved some in
   the frame of the capturing function before that, and put other values there;
   so that frame is copied as well.  What the caller's caller-saved registers
   hold is in the caller's frame.  */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gc-stack.h"

#include "gc-align.h"
#include "gc-assert.h"
#include "gc-platform.h"

#include <string.h>
#include <ucontext.h>

/* Stacks grow towards lower addresses on all supported machines.  */

#if defined(__x86_64__)
#define RED_ZONE_SIZE 128
#else
#define RED_ZONE_SIZE 0
#endif

/* These functions read memory that is none of their variables'.  */
#define NO_SANITIZE __attribute__((no_sanitize("address", "thread")))

int gc_stack_addr_is_colder(struct gc_stack_addr a, struct gc_stack_addr b) {
  GC_ASSERT(!gc_stack_addr_is_empty(a) && !gc_stack_addr_is_empty(b));
  return a.addr > b.addr;
}

void *gc_call_with_stack_addr(void *(*f)(struct gc_stack_addr addr, void *data),
                              void *data) {
  struct gc_stack_addr addr =
      gc_stack_addr((uintptr_t)__builtin_frame_address(0));
  void *result = f(addr, data);
  /* Not a tail call: this frame must outlast F.  */
  __asm__ __volatile__("" : "+r"(result) : : "memory");
  return result;
}

int gc_stack_init(struct gc_stack *stack, struct gc_stack_addr base) {
  memset(stack, 0, sizeof *stack);
  uintptr_t here = (uintptr_t)__builtin_frame_address(0);
  uintptr_t low, high;
  gc_platform_current_thread_stack(&low, &high);
  if (gc_stack_addr_is_empty(base)) {
    if (!high)
      return 0;
    stack->cold = high;
  } else {
    stack->cold = align_down(base.addr, sizeof(uintptr_t));
  }
  /* The program may run on a stack of its own.  */
  if (low <= here && here < high)
    stack->low = low;
  return 1;
}

void gc_stack_extend(struct gc_stack *stack, struct gc_stack_addr base) {
  uintptr_t cold = align_down(base.addr, sizeof(uintptr_t));
  if (cold > stack->cold)
    stack->cold = cold;
}

/* Where the frame of the caller of this function ends.  */
#define CALLER_STACK_POINTER() ((uintptr_t)__builtin_dwarf_cfa())

/* Store the callee-saved registers to REGS, which has room; the number of
   words.  The operand is in a register that a call does not preserve, so that
   the compiler need not have replaced any of those that are stored.  */
#if defined(__x86_64__)
#define SPILL_CALLEE_SAVED(regs, count, sp)            \
  do {                                                 \
    register uintptr_t *regs_ __asm__("rdi") = (regs); \
    __asm__ __volatile__("movq %%rbx, 0(%[r])\n\t"     \
                         "movq %%rbp, 8(%[r])\n\t"     \
                         "movq %%r12, 16(%[r])\n\t"    \
                         "movq %%r13, 24(%[r])\n\t"    \
                         "movq %%r14, 32(%[r])\n\t"    \
                         "movq %%r15, 40(%[r])\n\t"    \
                         "movq %%rsp, %[s]"            \
                         : [s] "=&a"(sp)               \
                         : [r] "r"(regs_)              \
                         : "memory");                  \
    count = 6;                                         \
  } while (0)
#elif defined(__aarch64__)
/* With the low halves of the vector registers 8 to 15, where compilers may keep
   integers too.  */
#define SPILL_CALLEE_SAVED(regs, count, sp)               \
  do {                                                    \
    register uintptr_t *regs_ __asm__("x9") = (regs);     \
    register uintptr_t sp_ __asm__("x10");                \
    __asm__ __volatile__("stp x19, x20, [%[r], #0]\n\t"   \
                         "stp x21, x22, [%[r], #16]\n\t"  \
                         "stp x23, x24, [%[r], #32]\n\t"  \
                         "stp x25, x26, [%[r], #48]\n\t"  \
                         "stp x27, x28, [%[r], #64]\n\t"  \
                         "str x29, [%[r], #80]\n\t"       \
                         "stp d8, d9, [%[r], #88]\n\t"    \
                         "stp d10, d11, [%[r], #104]\n\t" \
                         "stp d12, d13, [%[r], #120]\n\t" \
                         "stp d14, d15, [%[r], #136]\n\t" \
                         "mov %[s], sp"                   \
                         : [s] "=&r"(sp_)                 \
                         : [r] "r"(regs_)                 \
                         : "memory");                     \
    sp = sp_;                                             \
    count = 19;                                           \
  } while (0)
#else
/* Have the compiler save them all in this frame, which is copied.  */
#define SPILL_CALLEE_SAVED(regs, count, sp)                              \
  do {                                                                   \
    __builtin_unwind_init();                                             \
    (void)(regs);                                                        \
    count = 0;                                                           \
    sp = (uintptr_t)__builtin_frame_address(0) - 64 * sizeof(uintptr_t); \
  } while (0)
#endif

/* Room for the frame of a capturing function.  They are small.  */
#define MAX_FRAME_WORDS 48

/* Append the words of [LOW, HIGH), a frame, to the registers.  */
NO_SANITIZE static inline void copy_frame(struct gc_stack *stack, uintptr_t low,
                                          uintptr_t high) GC_ALWAYS_INLINE;
NO_SANITIZE static inline void copy_frame(struct gc_stack *stack, uintptr_t low,
                                          uintptr_t high) {
  const volatile uintptr_t *from = (const volatile uintptr_t *)low;
  const volatile uintptr_t *to = (const volatile uintptr_t *)high;
  size_t n = stack->nregisters;
  if (to - from > MAX_FRAME_WORDS ||
      n + (size_t)(to - from) > GC_STACK_MAX_REGISTERS)
    GC_CRASH();
  while (from < to)
    stack->registers[n++] = *from++;
  stack->nregisters = n;
}

NO_SANITIZE void gc_stack_capture(struct gc_stack *stack) {
  uintptr_t sp;
  SPILL_CALLEE_SAVED(stack->registers, stack->nregisters, sp);
  stack->hot = CALLER_STACK_POINTER();
  copy_frame(stack, sp, stack->hot);
  stack->signal_low = stack->signal_high = 0;
}

/* Where the frame ends, compilers do not tell reliably.  */
NO_SANITIZE void gc_stack_keep_frame(struct gc_stack *stack) {
  uintptr_t low = stack->hot;
  uintptr_t high = low + MAX_FRAME_WORDS * sizeof(uintptr_t);
  if (high > stack->cold)
    high = stack->cold;
  if (low < high)
    copy_frame(stack, low, high);
}

void gc_stack_visit(struct gc_stack *stack,
                    void (*visit)(uintptr_t low, uintptr_t high,
                                  struct gc_heap *heap, void *data),
                    struct gc_heap *heap, void *data) {
  if (stack->nregisters)
    visit((uintptr_t)stack->registers,
          (uintptr_t)(stack->registers + stack->nregisters), heap, data);
  if (stack->hot && stack->hot < stack->cold)
    visit(stack->hot, stack->cold, heap, data);
  if (stack->signal_low < stack->signal_high)
    visit(stack->signal_low, stack->signal_high, heap, data);
}

/* ---- Signal frames ---- */

static uintptr_t min(uintptr_t a, uintptr_t b) {
  return a < b ? a : b;
}

static uintptr_t max(uintptr_t a, uintptr_t b) {
  return a > b ? a : b;
}

/* In a signal frame, what a context points to follows so soon.  If it is
   elsewhere, then the context is a copy, and what it points to may be gone.  */
#define MAX_FRAME_GAP ((uintptr_t)4096)

static inline int is_in_frame_of(const ucontext_t *uc, uintptr_t addr) {
  return addr - (uintptr_t)uc < sizeof *uc + MAX_FRAME_GAP;
}

/* The end of the memory that belongs to UC.  The vector registers are in the
   signal frame: they can hold the only copy of a word that memmove is about to
   store.  */
#if defined(__x86_64__)

uintptr_t gc_ucontext_program_counter(void *ucontext) {
  const ucontext_t *uc = ucontext;
  return (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
}

uintptr_t gc_ucontext_stack_pointer(void *ucontext) {
  const ucontext_t *uc = ucontext;
  return (uintptr_t)uc->uc_mcontext.gregs[REG_RSP];
}

/* What the kernel writes to the reserved bytes of the saved vector state: its
   full size if it is more than the original 512 bytes.  */
#define XSTATE_OFFSET 464
#define XSTATE_MAGIC UINT32_C(0x46505853)
struct xstate_description {
  uint32_t magic;
  uint32_t extended_size;
};

static uintptr_t ucontext_end(const ucontext_t *uc) {
  uintptr_t end = (uintptr_t)uc + sizeof *uc;
  const char *state = (const char *)uc->uc_mcontext.fpregs;
  if (!is_in_frame_of(uc, (uintptr_t)state))
    return end;
  struct xstate_description xstate;
  memcpy(&xstate, state + XSTATE_OFFSET, sizeof xstate);
  uintptr_t state_end =
      (uintptr_t)state +
      (xstate.magic == XSTATE_MAGIC ? xstate.extended_size : 512);
  return max(end, state_end);
}

static size_t copy_general_registers(uintptr_t *to, const ucontext_t *uc) {
  for (size_t i = 0; i < NGREG; i++)
    to[i] = (uintptr_t)uc->uc_mcontext.gregs[i];
  return NGREG;
}
#define GENERAL_REGISTERS NGREG

#elif defined(__aarch64__)

uintptr_t gc_ucontext_program_counter(void *ucontext) {
  const ucontext_t *uc = ucontext;
  return (uintptr_t)uc->uc_mcontext.pc;
}

uintptr_t gc_ucontext_stack_pointer(void *ucontext) {
  const ucontext_t *uc = ucontext;
  return (uintptr_t)uc->uc_mcontext.sp;
}

/* The reserved bytes hold records, each with a magic number and its size.  One
   of them may tell that there are more elsewhere in the frame.  */
#define EXTRA_MAGIC UINT32_C(0x45585401)
struct context_record {
  uint32_t magic;
  uint32_t size;
  uint64_t extra_data;
  uint32_t extra_size;
};

static uintptr_t ucontext_end(const ucontext_t *uc) {
  uintptr_t end = (uintptr_t)uc + sizeof *uc;
  const unsigned char *p = (const unsigned char *)uc->uc_mcontext.__reserved;
  const unsigned char *limit = p + sizeof uc->uc_mcontext.__reserved;
  struct context_record record;
  while (p + sizeof record <= limit) {
    memcpy(&record, p, sizeof record);
    if (record.magic == 0 || record.size == 0)
      break;
    if (record.magic == EXTRA_MAGIC && is_in_frame_of(uc, record.extra_data))
      return max(end, (uintptr_t)record.extra_data + record.extra_size);
    p += record.size;
  }
  return end;
}

#define GENERAL_REGISTERS 31
static size_t copy_general_registers(uintptr_t *to, const ucontext_t *uc) {
  for (size_t i = 0; i < GENERAL_REGISTERS; i++)
    to[i] = (uintptr_t)uc->uc_mcontext.regs[i];
  return GENERAL_REGISTERS;
}

#else

uintptr_t gc_ucontext_program_counter(void *ucontext) {
  (void)ucontext;
  return 0;
}

uintptr_t gc_ucontext_stack_pointer(void *ucontext) {
  (void)ucontext;
  return 0;
}

static uintptr_t ucontext_end(const ucontext_t *uc) {
  return (uintptr_t)uc + sizeof *uc;
}

#define GENERAL_REGISTERS 0
static size_t copy_general_registers(uintptr_t *to, const ucontext_t *uc) {
  (void)to;
  (void)uc;
  return 0;
}

#endif

_Static_assert(19 + 2 * MAX_FRAME_WORDS + GENERAL_REGISTERS <=
                   GC_STACK_MAX_REGISTERS,
               "room for all registers");

/* Farther apart, a handler and what it interrupted run on different stacks.  */
#define MAX_SIGNAL_FRAME ((uintptr_t)1024 * 1024)

/* HERE is the stack pointer of the handler.  */
static int add_interrupted_state(struct gc_stack *stack, const ucontext_t *uc,
                                 uintptr_t here) GC_NEVER_INLINE;
static int add_interrupted_state(struct gc_stack *stack, const ucontext_t *uc,
                                 uintptr_t here) {
  uintptr_t sp = gc_ucontext_stack_pointer((void *)uc);
  if (sp < stack->low + RED_ZONE_SIZE || sp >= stack->cold) {
    gc_stack_clear(stack);
    return 0;
  }
  stack->nregisters +=
      copy_general_registers(stack->registers + stack->nregisters, uc);

  uintptr_t hot = align_down(sp - RED_ZONE_SIZE, sizeof(uintptr_t));
  uintptr_t frame_low = align_down((uintptr_t)uc, sizeof(uintptr_t));
  uintptr_t frame_high = align_up(ucontext_end(uc), sizeof(uintptr_t));
  int same_stack =
      here >= stack->low && here < stack->cold &&
      (stack->low || max(sp, here) - min(sp, here) < MAX_SIGNAL_FRAME);
  if (same_stack) {
    /* The handler's frame is usually the hotter one.  Not so if a wrapper
       delivers the signal late, with a copy of the context.  */
    stack->hot = min(hot, here);
    if (stack->hot <= frame_low && frame_high <= stack->cold)
      return 1;
  } else {
    stack->hot = hot;
    frame_low = min(frame_low, here);
    frame_high = max(frame_high, here);
  }
  stack->signal_low = frame_low;
  stack->signal_high = frame_high;
  return 1;
}

NO_SANITIZE int gc_stack_capture_from_ucontext(struct gc_stack *stack,
                                               void *ucontext) {
  gc_stack_capture(stack);
  uintptr_t here = CALLER_STACK_POINTER();
  copy_frame(stack, stack->hot, here);
  return add_interrupted_state(stack, ucontext, here);
}
