/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the capture of stacks and registers.

   Secrets are words that exist nowhere in memory but inverted.  They are put in
   registers, and must be found in what is captured.  */
/* Collectors: mmc */

#define _GNU_SOURCE
#include "unit.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "gc-stack-addr.h"

#include "../src/gc-platform.h"
#include "../src/gc-stack.h"

#define SECRETS 16

/* Written at run time, so that no constant is inverted at compile time.  */
static volatile uintptr_t inverted[SECRETS];

static int setup(void **state) {
  (void)state;
  for (size_t i = 0; i < SECRETS; i++)
    inverted[i] = ~(UINT64_C(0x5ec2e70000000000) + i * 0x1000008 + 0x10);
  return 0;
}

/* ---- Looking for secrets ---- */

struct search {
  uintptr_t wanted_inverted;
  size_t found;
};

__attribute__((no_sanitize("address", "thread"))) static void
search_range(uintptr_t low, uintptr_t high, struct gc_heap *heap, void *data) {
  (void)heap;
  struct search *search = data;
  if (low % sizeof(uintptr_t) || high % sizeof(uintptr_t) || low > high)
    abort();
  for (const volatile uintptr_t *p = (const volatile uintptr_t *)low;
       p < (const volatile uintptr_t *)high; p++)
    if (~*p == search->wanted_inverted)
      search->found++;
}

static size_t count_secret(struct gc_stack *stack, size_t i) {
  struct search search = {inverted[i], 0};
  gc_stack_visit(stack, search_range, NULL, &search);
  return search.found;
}

static void count_range(uintptr_t low, uintptr_t high, struct gc_heap *heap,
                        void *data) {
  (void)heap;
  *(size_t *)data += high - low;
}

static size_t visited_size(struct gc_stack *stack) {
  size_t size = 0;
  gc_stack_visit(stack, count_range, NULL, &size);
  return size;
}

/* The captures are static: they are not to be found on the stack.  */
static struct gc_stack stack;

/* ---- Secrets in registers ---- */

/* Call F with secrets in all callee-saved registers.  */
#if defined(__x86_64__)
#define CALLEE_SAVED_SECRETS 6
__attribute__((noinline)) static void
call_with_secrets(void (*f)(struct gc_stack *), struct gc_stack *arg) {
  register void (*f_)(struct gc_stack *) __asm__("rax") = f;
  register struct gc_stack *arg_ __asm__("rdi") = arg;
  register const volatile uintptr_t *inv_ __asm__("rsi") = inverted;
  __asm__ __volatile__("pushq %%rbp\n\t"
                       "pushq %%rsp\n\t"
                       "movq (%%rsp), %%rcx\n\t"
                       "subq $256, %%rsp\n\t"
                       "andq $-16, %%rsp\n\t"
                       "pushq %%rcx\n\t"
                       "pushq %%rcx\n\t"
                       "movq 0(%%rsi), %%rbx\n\t"
                       "movq 8(%%rsi), %%rbp\n\t"
                       "movq 16(%%rsi), %%r12\n\t"
                       "movq 24(%%rsi), %%r13\n\t"
                       "movq 32(%%rsi), %%r14\n\t"
                       "movq 40(%%rsi), %%r15\n\t"
                       "notq %%rbx\n\tnotq %%rbp\n\tnotq %%r12\n\t"
                       "notq %%r13\n\tnotq %%r14\n\tnotq %%r15\n\t"
                       "callq *%%rax\n\t"
                       "popq %%rcx\n\t"
                       "movq %%rcx, %%rsp\n\t"
                       "popq %%rbp\n\t"
                       : "+r"(f_), "+r"(arg_), "+r"(inv_)
                       :
                       : "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12",
                         "r13", "r14", "r15", "memory", "cc");
}
#elif defined(__aarch64__)
#define CALLEE_SAVED_SECRETS 10
__attribute__((noinline)) static void
call_with_secrets(void (*f)(struct gc_stack *), struct gc_stack *arg) {
  register void (*f_)(struct gc_stack *) __asm__("x9") = f;
  register struct gc_stack *arg_ __asm__("x0") = arg;
  register const volatile uintptr_t *inv_ __asm__("x10") = inverted;
  __asm__ __volatile__("stp x29, x19, [sp, #-16]!\n\t"
                       "ldp x19, x20, [x10, #0]\n\t"
                       "ldp x21, x22, [x10, #16]\n\t"
                       "ldp x23, x24, [x10, #32]\n\t"
                       "ldp x25, x26, [x10, #48]\n\t"
                       "ldp x27, x28, [x10, #64]\n\t"
                       "mvn x19, x19\n\tmvn x20, x20\n\tmvn x21, x21\n\t"
                       "mvn x22, x22\n\tmvn x23, x23\n\tmvn x24, x24\n\t"
                       "mvn x25, x25\n\tmvn x26, x26\n\tmvn x27, x27\n\t"
                       "mvn x28, x28\n\t"
                       "blr x9\n\t"
                       "ldp x29, x19, [sp], #16\n\t"
                       : "+r"(f_), "+r"(arg_), "+r"(inv_)
                       :
                       : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x11",
                         "x12", "x13", "x14", "x15", "x16", "x17", "x19", "x20",
                         "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28",
                         "x30", "memory", "cc");
}
#else
#define CALLEE_SAVED_SECRETS 0
__attribute__((noinline)) static void
call_with_secrets(void (*f)(struct gc_stack *), struct gc_stack *arg) {
  f(arg);
}
#endif

static void test_callee_saved(void **state) {
  (void)state;
  gc_stack_init(&stack, gc_empty_stack_addr());
  for (size_t i = 0; i < CALLEE_SAVED_SECRETS; i++)
    assert_int_equal(count_secret(&stack, i), 0);
  call_with_secrets(gc_stack_capture, &stack);
  for (size_t i = 0; i < CALLEE_SAVED_SECRETS; i++) {
    size_t in_registers = 0;
    for (size_t j = 0; j < stack.nregisters; j++)
      in_registers += ~stack.registers[j] == inverted[i];
    assert_true(in_registers > 0);
    assert_true(count_secret(&stack, i) > 0);
  }
  assert_true(stack.nregisters <= GC_STACK_MAX_REGISTERS);
}

/* Save the caller's registers in this frame, use them, capture, and return.  */
static void __attribute__((noinline)) capture_and_return(struct gc_stack *s) {
#if defined(__x86_64__)
  __asm__ __volatile__("xorl %%ebx, %%ebx\n\t"
                       "xorl %%r12d, %%r12d\n\t"
                       "xorl %%r13d, %%r13d\n\t"
                       "xorl %%r14d, %%r14d\n\t"
                       "xorl %%r15d, %%r15d"
                       :
                       :
                       : "rbx", "r12", "r13", "r14", "r15");
#elif defined(__aarch64__)
  __asm__ __volatile__("mov x19, xzr\n\tmov x20, xzr\n\t"
                       "mov x21, xzr\n\tmov x22, xzr\n\t"
                       "mov x23, xzr\n\tmov x24, xzr\n\t"
                       "mov x25, xzr\n\tmov x26, xzr\n\t"
                       "mov x27, xzr\n\tmov x28, xzr"
                       :
                       :
                       : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",
                         "x27", "x28");
#endif
  gc_stack_capture(s);
  gc_stack_keep_frame(s);
}

static void __attribute__((noinline)) overwrite_stack(void) {
  volatile uintptr_t words[512];
  for (size_t i = 0; i < 512; i++)
    words[i] = 0;
}

static void test_capturing_function_returns(void **state) {
  (void)state;
  gc_stack_init(&stack, gc_empty_stack_addr());
  call_with_secrets(capture_and_return, &stack);
  overwrite_stack();
  for (size_t i = 0; i < CALLEE_SAVED_SECRETS; i++)
    assert_true(count_secret(&stack, i) > 0);
  assert_true(stack.nregisters <= GC_STACK_MAX_REGISTERS);
}

/* ---- Secrets on the stack ---- */

static void test_frames(void **state) {
  (void)state;
  gc_stack_init(&stack, gc_empty_stack_addr());
  volatile uintptr_t local = ~inverted[0];
  gc_stack_capture(&stack);
  assert_true(count_secret(&stack, 0) > 0);
  assert_true(stack.hot <= (uintptr_t)&local);
  assert_true((uintptr_t)&local < stack.cold);
  local = 0;
  gc_stack_clear(&stack);
  assert_int_equal(visited_size(&stack), 0);
}

/* What lies on the cold side of the given base is not captured.  */
static void *capture_from_base(struct gc_stack_addr base, void *data) {
  volatile uintptr_t local = ~inverted[1];
  uintptr_t *outer = data;
  assert_true((uintptr_t)outer > (uintptr_t)&local);
  assert_true(gc_stack_addr_is_colder(base, gc_stack_addr((uintptr_t)&local)));
  assert_true(gc_stack_addr_is_colder(gc_stack_addr((uintptr_t)outer), base));
  gc_stack_init(&stack, base);
  gc_stack_capture(&stack);
  assert_true(count_secret(&stack, 1) > 0);
  assert_int_equal(stack.cold, base.addr);
  local = 0;
  return outer;
}

static void test_call_with_stack_addr(void **state) {
  (void)state;
  uintptr_t local = 0;
  assert_ptr_equal(gc_call_with_stack_addr(capture_from_base, &local), &local);
}

/* From a base in a deeper frame, the stack extends to a colder one, and does not
   become shorter.  */
static void *init_at_base(struct gc_stack_addr base, void *data) {
  struct gc_stack_addr *base_out = data;
  *base_out = base;
  gc_stack_init(&stack, base);
  return NULL;
}

static void *capture_extended(struct gc_stack_addr base, void *data) {
  struct gc_stack_addr hot_base;
  volatile uintptr_t local = ~inverted[3];
  (void)data;
  gc_call_with_stack_addr(init_at_base, &hot_base);
  assert_true(gc_stack_addr_is_colder(base, hot_base));
  gc_stack_capture(&stack);
  assert_int_equal(visited_size(&stack), stack.nregisters * sizeof(uintptr_t));
  gc_stack_extend(&stack, base);
  assert_int_equal(stack.cold, base.addr);
  gc_stack_capture(&stack);
  assert_true(count_secret(&stack, 3) > 0);
  gc_stack_extend(&stack, hot_base);
  assert_int_equal(stack.cold, base.addr);
  local = 0;
  return NULL;
}

static void test_extend(void **state) {
  (void)state;
  gc_call_with_stack_addr(capture_extended, NULL);
}

static void test_colder(void **state) {
  (void)state;
  struct gc_stack_addr a = gc_stack_addr(0x2000), b = gc_stack_addr(0x1000);
  assert_true(gc_stack_addr_is_colder(a, b));
  assert_false(gc_stack_addr_is_colder(b, a));
  assert_false(gc_stack_addr_is_colder(a, a));
}

static void *thread_body(void *data) {
  struct gc_stack *thread_stack = data;
  volatile uintptr_t local = ~inverted[2];
  gc_stack_init(thread_stack, gc_empty_stack_addr());
  gc_stack_capture(thread_stack);
  assert_true(thread_stack->low < (uintptr_t)&local);
  assert_true((uintptr_t)&local < thread_stack->cold);
  assert_true(count_secret(thread_stack, 2) > 0);
  local = 0;
  return NULL;
}

static void test_thread(void **state) {
  (void)state;
  static struct gc_stack thread_stack;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, thread_body, &thread_stack),
                   0);
  pthread_join(thread, NULL);
}

/* ---- Signal frames ---- */

/* A sanitizer that delays signals gives the handler another context; emulators
   and unknown machines are left out where registers matter.  */
#if (defined(__x86_64__) || defined(__aarch64__)) && \
    !defined(__SANITIZE_THREAD__)
#define TEST_SIGNALS 1
#else
#define TEST_SIGNALS 0
#endif

static volatile int capture_result;
static volatile size_t secrets_found[SECRETS];
static volatile uintptr_t interrupted_pc;

/* By now the signal frame is the only place where the registers are.  */
static void handle_signal(int signal, siginfo_t *info, void *ucontext) {
  (void)signal;
  (void)info;
  capture_result = gc_stack_capture_from_ucontext(&stack, ucontext);
  interrupted_pc = gc_ucontext_program_counter(ucontext);
  for (size_t i = 0; i < SECRETS; i++)
    secrets_found[i] = count_secret(&stack, i);
}

static void install(int signal, int flags,
                    void (*handler)(int, siginfo_t *, void *)) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  assert_int_equal(sigaction(signal, &action, NULL), 0);
}

/* Send SIGUSR1 to this thread while secrets are in general registers, in a
   vector register, and below the stack pointer.  */
#if defined(__x86_64__)
#define GENERAL_SECRETS 10
#define VECTOR_SECRETS 12
#define RED_ZONE_SECRETS 13
__attribute__((noinline)) static void interrupt_with_secrets(void) {
  long this_pid = getpid();
  long this_tid = syscall(SYS_gettid);
  register long number __asm__("rax") = SYS_tgkill;
  register long pid __asm__("rdi") = this_pid;
  register long tid __asm__("rsi") = this_tid;
  register long sig __asm__("rdx") = SIGUSR1;
  register const volatile uintptr_t *inv __asm__("r10") = inverted;
  __asm__ __volatile__("pcmpeqd %%xmm9, %%xmm9\n\t"
                       "movdqu 80(%%r10), %%xmm8\n\t"
                       "pxor %%xmm9, %%xmm8\n\t"
                       "pushq %%rbp\n\t"
                       "movq 0(%%r10), %%rbx\n\tnotq %%rbx\n\t"
                       "movq 8(%%r10), %%rbp\n\tnotq %%rbp\n\t"
                       "movq 16(%%r10), %%r12\n\tnotq %%r12\n\t"
                       "movq 24(%%r10), %%r13\n\tnotq %%r13\n\t"
                       "movq 32(%%r10), %%r14\n\tnotq %%r14\n\t"
                       "movq 40(%%r10), %%r15\n\tnotq %%r15\n\t"
                       "movq 48(%%r10), %%r8\n\tnotq %%r8\n\t"
                       "movq 56(%%r10), %%r9\n\tnotq %%r9\n\t"
                       /* In the red zone of a function that uses it.  */
                       "movq 96(%%r10), %%rcx\n\tnotq %%rcx\n\t"
                       "movq %%rcx, -120(%%rsp)\n\t"
                       "movq 72(%%r10), %%rcx\n\t"
                       "movq 64(%%r10), %%r10\n\tnotq %%r10\n\t"
                       "syscall\n\t"
                       "movq $0, -120(%%rsp)\n\t"
                       "popq %%rbp\n\t"
                       : "+r"(number), "+r"(pid), "+r"(tid), "+r"(sig),
                         "+r"(inv)
                       :
                       : "rbx", "rcx", "r8", "r9", "r11", "r12", "r13", "r14",
                         "r15", "xmm8", "xmm9", "memory", "cc");
}
#elif defined(__aarch64__)
#define GENERAL_SECRETS 10
#define VECTOR_SECRETS 12
#define RED_ZONE_SECRETS 12
__attribute__((noinline)) static void interrupt_with_secrets(void) {
  long this_pid = getpid();
  long this_tid = syscall(SYS_gettid);
  register long number __asm__("x8") = SYS_tgkill;
  register long pid __asm__("x0") = this_pid;
  register long tid __asm__("x1") = this_tid;
  register long sig __asm__("x2") = SIGUSR1;
  register const volatile uintptr_t *inv __asm__("x10") = inverted;
  __asm__ __volatile__("ldr q8, [x10, #80]\n\t"
                       "mvn v8.16b, v8.16b\n\t"
                       "ldp x19, x20, [x10, #0]\n\t"
                       "ldp x21, x22, [x10, #16]\n\t"
                       "ldp x23, x24, [x10, #32]\n\t"
                       "ldp x25, x26, [x10, #48]\n\t"
                       "ldr x27, [x10, #64]\n\t"
                       "mvn x19, x19\n\tmvn x20, x20\n\tmvn x21, x21\n\t"
                       "mvn x22, x22\n\tmvn x23, x23\n\tmvn x24, x24\n\t"
                       "mvn x25, x25\n\tmvn x26, x26\n\tmvn x27, x27\n\t"
                       "svc #0\n\t"
                       : "+r"(number), "+r"(pid), "+r"(tid), "+r"(sig),
                         "+r"(inv)
                       :
                       : "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26",
                         "x27", "v8", "memory", "cc");
}
#else
#define GENERAL_SECRETS 0
#define VECTOR_SECRETS 0
#define RED_ZONE_SECRETS 0
__attribute__((noinline)) static void interrupt_with_secrets(void) {
}
#endif

static void check_interruption(void) {
  for (size_t i = 0; i < SECRETS; i++)
    secrets_found[i] = 0;
  capture_result = -1;
  interrupt_with_secrets();
  assert_int_equal(capture_result, 1);
  for (size_t i = 0; i < 9; i++)
    assert_true(secrets_found[i] > 0);
  for (size_t i = GENERAL_SECRETS; i < VECTOR_SECRETS; i++)
    assert_true(secrets_found[i] > 0);
  for (size_t i = VECTOR_SECRETS; i < RED_ZONE_SECRETS; i++)
    assert_true(secrets_found[i] > 0);
  /* Nothing is found that is not there.  */
  assert_int_equal(secrets_found[RED_ZONE_SECRETS], 0);
  uintptr_t pc = (uintptr_t)interrupt_with_secrets;
  assert_true(interrupted_pc > pc && interrupted_pc < pc + 4096);
}

static void test_interrupted(void **state) {
  (void)state;
  if (!TEST_SIGNALS)
    skip();
  gc_stack_init(&stack, gc_empty_stack_addr());
  install(SIGUSR1, 0, handle_signal);
  check_interruption();
}

#define SIGNAL_STACK_SIZE ((size_t)64 * 1024)

static char *use_signal_stack(void) {
  stack_t alternate;
  memset(&alternate, 0, sizeof alternate);
  alternate.ss_sp = mmap(NULL, SIGNAL_STACK_SIZE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  alternate.ss_size = SIGNAL_STACK_SIZE;
  assert_int_equal(sigaltstack(&alternate, NULL), 0);
  return alternate.ss_sp;
}

/* The handler on a stack of its own: the signal frame is there.  */
static void test_interrupted_with_signal_stack(void **state) {
  (void)state;
  if (!TEST_SIGNALS)
    skip();
  char *low = use_signal_stack();
  gc_stack_init(&stack, gc_empty_stack_addr());
  install(SIGUSR1, SA_ONSTACK, handle_signal);
  check_interruption();
  assert_true(stack.signal_low >= (uintptr_t)low);
  assert_true(stack.signal_high <= (uintptr_t)low + SIGNAL_STACK_SIZE);

  /* The same if the thread does not know where its stack can end.  */
  stack.low = 0;
  check_interruption();
  assert_true(stack.signal_low >= (uintptr_t)low);
}

static void interrupt_in_handler(int signal, siginfo_t *info, void *ucontext) {
  (void)signal;
  (void)info;
  (void)ucontext;
  interrupt_with_secrets();
}

/* A handler that runs on a signal stack is interrupted: where the hot end of
   the thread's stack is, is not known.  */
static void test_interrupted_on_signal_stack(void **state) {
  (void)state;
  if (!TEST_SIGNALS)
    skip();
  use_signal_stack();
  gc_stack_init(&stack, gc_empty_stack_addr());
  install(SIGUSR1, SA_ONSTACK, handle_signal);
  install(SIGUSR2, SA_ONSTACK, interrupt_in_handler);
  capture_result = -1;
  raise(SIGUSR2);
  assert_int_equal(capture_result, 0);
  assert_int_equal(visited_size(&stack), 0);
}

static void *copied_context;

static void capture_from_copy(int signal, siginfo_t *info, void *ucontext) {
  (void)signal;
  (void)info;
  memcpy(copied_context, ucontext, sizeof(ucontext_t));
  capture_result = gc_stack_capture_from_ucontext(&stack, copied_context);
}

/* Something between the kernel and the handler, such as a sanitizer, delivers a
   copy of the context, which is in another mapping, below the stack: what it
   points to in the frame does not follow it.  */
static void test_copied_context(void **state) {
  (void)state;
  gc_stack_init(&stack, gc_empty_stack_addr());
  size_t page = sysconf(_SC_PAGESIZE);
  size_t size = (sizeof(ucontext_t) + page - 1) & ~(page - 1);
  void *hint = (void *)(stack.cold / 2 & ~(page - 1));
  char *map = mmap(hint, size + page, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_ptr_not_equal(map, MAP_FAILED);
  assert_true((uintptr_t)map < stack.cold);
  assert_int_equal(munmap(map + size, page), 0);
  copied_context = map + (size - sizeof(ucontext_t)) / 64 * 64;
  install(SIGUSR1, 0, capture_from_copy);
  capture_result = -1;
  raise(SIGUSR1);
  assert_int_equal(capture_result, 1);
  assert_true(stack.signal_low >= (uintptr_t)map);
  assert_true(stack.signal_high <= (uintptr_t)map + size);
  assert_true(stack.signal_high >= stack.signal_low + sizeof(mcontext_t));
  assert_true(stack.hot >= stack.low && stack.hot < stack.cold);
  assert_int_equal(munmap(map, size), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_callee_saved),
      cmocka_unit_test(test_capturing_function_returns),
      cmocka_unit_test(test_frames),
      cmocka_unit_test(test_call_with_stack_addr),
      cmocka_unit_test(test_extend),
      cmocka_unit_test(test_colder),
      cmocka_unit_test(test_thread),
      cmocka_unit_test(test_interrupted),
      cmocka_unit_test(test_interrupted_with_signal_stack),
      cmocka_unit_test(test_interrupted_on_signal_stack),
      cmocka_unit_test(test_copied_context),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
