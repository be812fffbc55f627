/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Fork in the middle of what other threads do: the child has a heap that is
   whole, with one mutator; the parent notices nothing.  */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/mmc.c"
#include "await-byte.h"
#include "gc-preempt.h"
#include "test-heap.h"

enum { THREADS = 3 };

struct busy_thread {
  struct gc_heap *heap;
  int stop;
};

static void *busy_attached(struct gc_stack_addr base, void *data) {
  struct busy_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  struct test_handle table = {NULL, NULL};
  struct gc_mutator_roots roots = {.handles = &table};
  gc_mutator_set_roots(mut, &roots);
  while (!__atomic_load_n(&self->stop, __ATOMIC_RELAXED)) {
    test_make_table(mut, &table, 500);
    test_make_bytes(mut, 20000);
    for (int i = 0; i < 200; i++)
      test_store(mut, table.ref, i, test_make_box(mut, i));
    gc_deactivate(mut);
    gc_reactivate(mut);
    test_check_table(&table);
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *busy_main(void *data) {
  return gc_call_with_stack_addr(busy_attached, data);
}

static void *join_busy(struct gc_mutator *mut, void *data) {
  (void)mut;
  for (int i = 0; i < THREADS; i++)
    pthread_join(((pthread_t *)data)[i], NULL);
  return NULL;
}

static void live_in_child(struct test_heap *t) {
  for (int i = 0; i < 3; i++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR + i);
    test_check_table(&t->root);
    test_make_garbage(t->mut, 3 << 20);
    for (int j = 0; j < 1000; j++)
      test_store(t->mut, t->root.ref, j, test_make_box(t->mut, j));
  }
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_check_table(&t->root);
  if (!gc_init_for_thread(gc_empty_stack_addr(), t->heap))
    _exit(2);
  _exit(0);
}

/* It ends without complaint.  */
static void await_child(struct test_heap *t, pid_t pid) {
  int status;
  gc_deactivate(t->mut);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  gc_reactivate(t->mut);
  assert_int_equal(status, 0);
}

static void children_have_a_whole_heap(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size-policy=growable,heap-size=8m,"
                                       "maximum-heap-size=48m,parallelism=3",
                                       "verify");
  int forks = getenv("GC_TEST_QUICK") ? 10 : 40;
  struct busy_thread busy = {t->heap, 0};
  pthread_t threads[THREADS];
  test_make_table(t->mut, &t->root, 2000);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, busy_main, &busy), 0);
  for (int i = 0; i < forks; i++) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      alarm(60);
      live_in_child(t);
    }
    test_make_garbage(t->mut, 1 << 20);
    int status;
    gc_deactivate(t->mut);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    gc_reactivate(t->mut);
    if (!WIFEXITED(status) || WEXITSTATUS(status))
      fail_msg("child %d: %s %d", i, WIFSIGNALED(status) ? "signal" : "status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    test_check_table(&t->root);
  }
  __atomic_store_n(&busy.stop, 1, __ATOMIC_RELAXED);
  gc_deactivate_for_call(t->mut, join_busy, threads);
  test_heap_finish(t);
}

/* A fork from a thread that is no mutator, or an inactive one.  */
static void *fork_foreign(void *data) {
  (void)data;
  pid_t pid = fork();
  if (pid == 0)
    _exit(0);
  int status;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? data : NULL;
}

static void *run_foreign_fork(struct gc_mutator *mut, void *data) {
  (void)mut;
  pthread_t thread;
  void *ret;
  assert_int_equal(pthread_create(&thread, NULL, fork_foreign, data), 0);
  pthread_join(thread, &ret);
  assert_ptr_equal(ret, data);
  return fork_foreign(data);
}

static void other_threads_may_fork(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=4m", NULL);
  assert_ptr_equal(gc_deactivate_for_call(t->mut, run_foreign_fork, t), t);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  test_heap_finish(t);
}

/* Fork while a mutator that was parked by a signal holds a lock of malloc.  */

static __thread volatile sig_atomic_t in_foreign_code;

static int may_park(uintptr_t pc, void *ucontext, void *data) {
  (void)pc;
  (void)ucontext;
  (void)data;
  return in_foreign_code;
}

static void *malloc_attached(struct gc_stack_addr base, void *data) {
  struct busy_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->heap);
  struct test_handle table = {NULL, NULL};
  struct gc_mutator_roots roots = {.handles = &table};
  gc_mutator_set_roots(mut, &roots);
  test_make_table(mut, &table, 100);
  while (!__atomic_load_n(&self->stop, __ATOMIC_RELAXED)) {
    in_foreign_code = 1;
    /* Too large for a cache without lock.  */
    void *blocks[64];
    for (int round = 0; round < 100; round++) {
      for (int i = 0; i < 64; i++)
        blocks[i] = malloc(2000 + 400 * i);
      for (int i = 0; i < 64; i++)
        free(blocks[i * 29 % 64]);
    }
    in_foreign_code = 0;
    test_check_table(&table);
    test_make_table(mut, &table, 100);
    gc_safepoint(mut);
  }
  gc_finish_for_thread(mut);
  return NULL;
}

static void *malloc_main(void *data) {
  return gc_call_with_stack_addr(malloc_attached, data);
}

static void parked_threads_do_not_block_fork(void **state) {
  (void)state;
  if (!GC_CONSERVATIVE_ROOTS)
    skip();
  struct test_heap *t = test_heap_make("heap-size=16m", NULL);
  assert_true(gc_heap_enable_preemption(t->heap, 0, 50, may_park, NULL));
  int forks = getenv("GC_TEST_QUICK") ? 100 : 400;
  struct busy_thread busy = {t->heap, 0};
  pthread_t threads[THREADS];
  test_make_table(t->mut, &t->root, 2000);
  for (int i = 0; i < THREADS; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, malloc_main, &busy), 0);
  alarm(240);
  for (int i = 0; i < forks; i++) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      alarm(60);
      if (i % 20 == 0)
        live_in_child(t);
      free(malloc(100000));
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
      _exit(0);
    }
    await_child(t, pid);
    if (i % 8 == 0)
      gc_collect(t->mut, GC_COLLECTION_MAJOR);
  }
  alarm(0);
  __atomic_store_n(&busy.stop, 1, __ATOMIC_RELAXED);
  gc_deactivate_for_call(t->mut, join_busy, threads);
  test_check_table(&t->root);
  test_heap_finish(t);
}

/* A thread that is parked in "read" when the world stops for a fork, and goes on to
   store a young object to an old one while the fork is on its way.  */

enum { STORED_FIELD = 7 };

struct storing_thread {
  struct test_heap *t;
  int pipe[2];
  pid_t id;
  sem_t is_ready, is_storing;
};

static struct storing_thread *awaited_in_fork;

static void init_storing_thread(struct storing_thread *self,
                                struct test_heap *t) {
  *self = (struct storing_thread){.t = t};
  assert_int_equal(pipe(self->pipe), 0);
  assert_int_equal(sem_init(&self->is_ready, 0, 0), 0);
  assert_int_equal(sem_init(&self->is_storing, 0, 0), 0);
}

static void await(sem_t *semaphore) {
  while (sem_wait(semaphore) != 0)
    continue;
}

/* Tell that SELF has come so far, and wait for a byte in its pipe.  */
static void stay_until_told(struct storing_thread *self) {
  sem_post(&self->is_ready);
  await_byte(self->pipe[0]);
}

static int is_asleep(pid_t thread) {
  char name[64], state;
  snprintf(name, sizeof(name), "/proc/self/task/%d/stat", (int)thread);
  FILE *file = fopen(name, "r");
  assert_non_null(file);
  assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
  fclose(file);
  return state == 'S';
}

/* Handlers that were registered earlier than those of the library run when it has
   stopped the world.  */
static void prepare_before_library(void) {
  struct storing_thread *self = awaited_in_fork;
  if (!self)
    return;
  assert_int_equal(write(self->pipe[1], "", 1), 1);
  await(&self->is_storing);
  /* Until it waits for this thread, of which only the system can tell.  */
  while (!is_asleep(self->id))
    sched_yield();
}

static void *storing_attached(struct gc_stack_addr base, void *data) {
  struct storing_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->t->heap);
  struct test_box *box = test_make_box(mut, STORED_FIELD);
  self->id = gettid();
  in_foreign_code = 1;
  stay_until_told(self);
  in_foreign_code = 0;
  sem_post(&self->is_storing);
  test_store(mut, self->t->root.ref, STORED_FIELD, box);
  gc_finish_for_thread(mut);
  return NULL;
}

static void *storing_main(void *data) {
  return gc_call_with_stack_addr(storing_attached, data);
}

static void __attribute__((noinline)) store_in_child(struct test_heap *t) {
  test_store(t->mut, t->root.ref, STORED_FIELD,
             test_make_box(t->mut, STORED_FIELD));
}

/* Leave nothing of it on the stack.  */
static void __attribute__((noinline)) clear_stack(void) {
  volatile char frame[8192];
  memset((void *)frame, 0, sizeof(frame));
}

static void remember_in_the_child(uint32_t field_count) {
  if (!GC_CONSERVATIVE_ROOTS)
    skip();
  struct test_heap *t = test_heap_make("heap-size=16m,parallelism=1", NULL);
  assert_true(gc_heap_enable_preemption(t->heap, 0, 50, may_park, NULL));
  test_make_table(t->mut, &t->root, field_count);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  struct storing_thread self;
  pthread_t thread;
  init_storing_thread(&self, t);
  assert_int_equal(pthread_create(&thread, NULL, storing_main, &self), 0);
  await(&self.is_ready);
  awaited_in_fork = &self;
  pid_t pid = fork();
  awaited_in_fork = NULL;
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(60);
    for (int i = 0; i < 5; i++) {
      store_in_child(t);
      clear_stack();
      gc_collect(t->mut, GC_COLLECTION_MINOR);
      clear_stack();
      test_make_garbage(t->mut, 20 << 20);
      test_check_table(&t->root);
    }
    _exit(0);
  }
  await_child(t, pid);
  gc_deactivate_for_call(t->mut, test_join, &thread);
  close(self.pipe[0]);
  close(self.pipe[1]);
  test_check_table(&t->root);
  test_heap_finish(t);
}

static void fields_are_remembered_in_the_child(void **state) {
  (void)state;
  remember_in_the_child(100);
}

static void large_fields_are_remembered_in_the_child(void **state) {
  (void)state;
  remember_in_the_child(3000);
}

/* What this thread and another one have stored into a large object before the fork,
   is remembered on both sides.  */

static void *half_attached(struct gc_stack_addr base, void *data) {
  struct storing_thread *self = data;
  struct gc_mutator *mut = gc_init_for_thread(base, self->t->heap);
  for (uint32_t i = 0; i < 3000; i += 2) {
    struct test_box *box = test_make_box(mut, i);
    test_store(mut, self->t->root.ref, i, box);
  }
  gc_deactivate(mut);
  stay_until_told(self);
  gc_reactivate(mut);
  gc_finish_for_thread(mut);
  return NULL;
}

static void *half_main(void *data) {
  return gc_call_with_stack_addr(half_attached, data);
}

static void *await_half(struct gc_mutator *mut, void *data) {
  struct storing_thread *self = data;
  (void)mut;
  await(&self->is_ready);
  return NULL;
}

static void remember_all(struct test_heap *t) {
  for (int i = 0; i < 3; i++) {
    gc_collect(t->mut, GC_COLLECTION_MINOR);
    test_make_garbage(t->mut, 20 << 20);
    test_check_table(&t->root);
    for (uint32_t j = 0; j < 3000; j++)
      test_store(t->mut, t->root.ref, j, test_make_box(t->mut, j));
  }
}

static void large_fields_are_remembered_across_fork(void **state) {
  (void)state;
  struct test_heap *t = test_heap_make("heap-size=16m,parallelism=1", "poison");
  test_make_table(t->mut, &t->root, 3000);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  struct storing_thread self;
  pthread_t thread;
  init_storing_thread(&self, t);
  assert_int_equal(pthread_create(&thread, NULL, half_main, &self), 0);
  gc_deactivate_for_call(t->mut, await_half, &self);
  for (uint32_t i = 1; i < 3000; i += 2)
    test_store(t->mut, t->root.ref, i, test_make_box(t->mut, i));
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(60);
    remember_all(t);
    _exit(0);
  }
  remember_all(t);
  await_child(t, pid);
  assert_int_equal(write(self.pipe[1], "", 1), 1);
  gc_deactivate_for_call(t->mut, test_join, &thread);
  close(self.pipe[0]);
  close(self.pipe[1]);
  test_heap_finish(t);
}

/* What an inline allocation in a thread that is not in the child has stored: of the
   object's begin and its end, one.  */

struct half_allocation {
  struct storing_thread thread;
  size_t granule;
  uint8_t byte;
};

static void *allocating_attached(struct gc_stack_addr base, void *data) {
  struct half_allocation *self = data;
  struct storing_thread *thread = &self->thread;
  struct gc_mutator *mut = gc_init_for_thread(base, thread->t->heap);
  test_make_box(mut, 1);
  uintptr_t alloc = mut->allocator.alloc;
  assert_true(mut->allocator.limit - alloc > 3 * NOFL_GRANULE_SIZE);
  uint8_t *byte = nofl_metadata_byte(alloc + self->granule * NOFL_GRANULE_SIZE);
  gc_deactivate(mut);
  *byte = self->byte;
  stay_until_told(thread);
  *byte = 0;
  gc_reactivate(mut);
  gc_finish_for_thread(mut);
  return NULL;
}

static void *allocating_main(void *data) {
  return gc_call_with_stack_addr(allocating_attached, data);
}

static void abandon_half_allocation(size_t granule, uint8_t byte) {
  struct test_heap *t = test_heap_make("heap-size=8m,parallelism=1", "verify");
  test_make_table(t->mut, &t->root, 1000);
  struct half_allocation self = {.granule = granule, .byte = byte};
  pthread_t thread;
  init_storing_thread(&self.thread, t);
  assert_int_equal(pthread_create(&thread, NULL, allocating_main, &self), 0);
  gc_deactivate_for_call(t->mut, await_half, &self.thread);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(60);
    live_in_child(t);
  }
  assert_int_equal(write(self.thread.pipe[1], "", 1), 1);
  gc_deactivate_for_call(t->mut, test_join, &thread);
  await_child(t, pid);
  test_check_table(&t->root);
  close(self.thread.pipe[0]);
  close(self.thread.pipe[1]);
  test_heap_finish(t);
}

static void half_allocations_are_abandoned(void **state) {
  (void)state;
  abandon_half_allocation(2, NOFL_END);
  abandon_half_allocation(0, NOFL_STATE_YOUNG);
  abandon_half_allocation(0, NOFL_STATE_YOUNG | NOFL_END);
}

int main(void) {
  pthread_atfork(prepare_before_library, NULL, NULL);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(other_threads_may_fork),
      cmocka_unit_test(children_have_a_whole_heap),
      cmocka_unit_test(parked_threads_do_not_block_fork),
      cmocka_unit_test(fields_are_remembered_in_the_child),
      cmocka_unit_test(large_fields_are_remembered_in_the_child),
      cmocka_unit_test(large_fields_are_remembered_across_fork),
      cmocka_unit_test(half_allocations_are_abandoned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
