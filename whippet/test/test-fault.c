/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Fault injection: one operation of the platform layer fails, for each of them
   in turn; then all from some point on.  Initialisation returns 0, or the
   failure handler is called, or all works; nothing crashes.  Each case runs in
   a process of its own.  */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../src/gc-platform.h"
#include "test-heap.h"

enum { STATUS_OK = 0, STATUS_INIT_FAILED = 3, STATUS_CORRUPT = 4 };

struct fault {
  enum gc_platform_fault_kind kind;
  uint64_t nth;
  int persistent;
};

static void *return_null(struct gc_heap *heap, size_t size) {
  (void)heap;
  (void)size;
  return NULL;
}

/* Lists of two kinds, the last element of which is a leaf or a lost tail.  */
static void grow_lists(struct gc_mutator *mut, struct gc_mutator_roots *roots,
                       unsigned count) {
  struct test_handle *list = roots->handles;
  for (unsigned i = 0; i < count; i++) {
    struct test_node *node = test_make_node(mut, i % 50 ? 2 : 3000, i % 9);
    if (!node)
      continue;
    node->edges[0] = list->ref;
    list->ref = node;
    struct test_box *box = test_make_box(mut, i);
    if (box)
      test_store(mut, list->ref, 1, box);
  }
}

static int lists_are_intact(struct test_node *node) {
  for (; node; node = node->edges[0])
    if (TEST_TAG_KIND(node->tag) != TEST_NODE ||
        (node->edges[1] &&
         TEST_TAG_KIND(*(uintptr_t *)node->edges[1]) != TEST_BOX))
      return 0;
  return 1;
}

struct worker {
  struct gc_heap *heap;
  int status;
};

static void *worker_attached(struct gc_stack_addr base, void *data) {
  struct worker *w = data;
  struct gc_mutator *mut = gc_init_for_thread(base, w->heap);
  struct test_handle list = {NULL, NULL};
  struct gc_mutator_roots roots = {.handles = &list};
  if (!mut)
    return NULL;
  gc_mutator_set_roots(mut, &roots);
  grow_lists(mut, &roots, 300);
  gc_collect(mut, GC_COLLECTION_COMPACTING);
  grow_lists(mut, &roots, 300);
  if (!lists_are_intact(list.ref))
    w->status = STATUS_CORRUPT;
  gc_finish_for_thread(mut);
  return NULL;
}

static void *worker_thread(void *data) {
  return gc_call_with_stack_addr(worker_attached, data);
}

static void add_weak_things(struct gc_mutator *mut, struct test_handle *keep,
                            struct test_handle *chain) {
  for (int i = 0; i < 1500; i++) {
    keep->ref = test_make_box(mut, i);
    struct gc_ephemeron *e = keep->ref ? gc_allocate_ephemeron(mut) : NULL;
    if (e) {
      *(uintptr_t *)e = TEST_TAG(TEST_EPHEMERON, 0);
      gc_ephemeron_init(mut, e, gc_ref((uintptr_t)keep->ref), gc_ref(9));
      gc_ephemeron_chain_push((struct gc_ephemeron **)&chain->ref, e);
    }
    struct gc_finalizer *f = keep->ref ? gc_allocate_finalizer(mut) : NULL;
    if (f) {
      *(uintptr_t *)f = TEST_TAG(TEST_FINALIZER, 0);
      gc_finalizer_attach(mut, f, i % 3, gc_ref((uintptr_t)keep->ref),
                          gc_ref(9));
    }
  }
}

/* The workload; does not return.  */
static void run_workload(struct fault fault) {
  struct gc_options *options = gc_allocate_options();
  gc_options_parse_and_set_many(options, "heap-size-policy=growable,"
                                         "heap-size=2m,maximum-heap-size=24m,"
                                         "parallelism=3");
  struct gc_heap *heap;
  struct gc_mutator *mut;
  gc_platform_init();
  if (fault.persistent)
    gc_platform_fault_inject_from(fault.kind, fault.nth);
  else
    gc_platform_fault_inject(fault.kind, fault.nth);
  if (!gc_init(options, gc_empty_stack_addr(), &heap, &mut,
               GC_NULL_EVENT_LISTENER, NULL))
    _exit(heap ? STATUS_CORRUPT : STATUS_INIT_FAILED);
  gc_heap_set_allocation_failure_handler(heap, return_null);
  struct test_handle chain = {NULL, NULL}, keep = {NULL, &chain};
  struct test_handle list = {NULL, &keep};
  struct gc_mutator_roots roots = {.handles = &list};
  gc_mutator_set_roots(mut, &roots);
  struct worker worker = {heap, STATUS_OK};
  pthread_t thread;
  int threaded = pthread_create(&thread, NULL, worker_thread, &worker) == 0;
  grow_lists(mut, &roots, 4000);
  gc_collect(mut, GC_COLLECTION_MAJOR);
  add_weak_things(mut, &keep, &chain);
  gc_collect(mut, GC_COLLECTION_MINOR);
  grow_lists(mut, &roots, 1000);
  gc_collect(mut, GC_COLLECTION_COMPACTING);
  while (gc_pop_finalizable(mut))
    continue;
  if (threaded)
    gc_deactivate_for_call(mut, test_join, &thread);
  if (!lists_are_intact(list.ref))
    worker.status = STATUS_CORRUPT;
  /* Not more than were counted: the fault has not happened.  */
  _exit(worker.status != STATUS_OK                        ? worker.status
        : gc_platform_fault_count(fault.kind) < fault.nth ? 10
                                                          : STATUS_OK);
}

/* Returns 0 if the workload was over before the fault happened.  */
static int try_fault(struct fault fault) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    alarm(120);
    run_workload(fault);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (!WIFEXITED(status))
    fail_msg("kind %d, %s %llu: signal %d", fault.kind,
             fault.persistent ? "from" : "number",
             (unsigned long long)fault.nth, WTERMSIG(status));
  if (WEXITSTATUS(status) == STATUS_CORRUPT)
    fail_msg("kind %d, %s %llu: heap corrupt", fault.kind,
             fault.persistent ? "from" : "number",
             (unsigned long long)fault.nth);
  return WEXITSTATUS(status) != 10;
}

static void inject(enum gc_platform_fault_kind kind, int persistent) {
  uint64_t step = getenv("GC_TEST_QUICK") ? 3 : 1, n = 0;
  for (struct fault fault = {kind, 1, persistent}; try_fault(fault);
       fault.nth += step, n++)
    if (fault.nth >= 40)
      step = fault.nth / 8;
  print_message("# %llu faults\n", (unsigned long long)n);
}

static void each_mapping_fails(void **state) {
  (void)state;
  inject(GC_PLATFORM_FAULT_MAP, 0);
}

static void all_mappings_fail(void **state) {
  (void)state;
  inject(GC_PLATFORM_FAULT_MAP, 1);
}

static void each_protection_fails(void **state) {
  (void)state;
  inject(GC_PLATFORM_FAULT_PROTECT, 0);
}

static void all_protections_fail(void **state) {
  (void)state;
  inject(GC_PLATFORM_FAULT_PROTECT, 1);
}

static void threads_fail(void **state) {
  (void)state;
  inject(GC_PLATFORM_FAULT_THREAD, 0);
  inject(GC_PLATFORM_FAULT_THREAD, 1);
}

/* A thread that could not be created once is created later.  */

#if GC_PARALLEL
static unsigned count_threads(void) {
  DIR *dir = opendir("/proc/self/task");
  unsigned count = 0;
  struct dirent *entry;
  assert_non_null(dir);
  while ((entry = readdir(dir)))
    count += entry->d_name[0] != '.';
  closedir(dir);
  return count;
}

static void *do_nothing(void *data) {
  return data;
}

static void threads_are_made_later(void **state) {
  (void)state;
  gc_platform_init();
  /* A sanitizer makes one of its own along with the first.  */
  pthread_t first;
  assert_int_equal(pthread_create(&first, NULL, do_nothing, NULL), 0);
  assert_int_equal(pthread_join(first, NULL), 0);
  struct test_heap *t = test_heap_make("heap-size=64m,parallelism=3", NULL);
  grow_lists(t->mut, &t->roots, 100000);
  unsigned before = count_threads();
  gc_platform_fault_inject(GC_PLATFORM_FAULT_THREAD, 1);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_int_equal(count_threads(), before);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_int_equal(count_threads(), before + 2);
  gc_collect(t->mut, GC_COLLECTION_MAJOR);
  assert_true(lists_are_intact(t->root.ref));
  test_heap_finish(t);
}
#endif

/* The library's calls come here.  */
static int stacks_are_unknown;
int pthread_getattr_np(pthread_t thread, pthread_attr_t *attr) {
  static int (*real)(pthread_t, pthread_attr_t *);
  if (stacks_are_unknown)
    return ENOMEM;
  if (!real)
    real = (int (*)(pthread_t, pthread_attr_t *))dlsym(RTLD_NEXT,
                                                       "pthread_getattr_np");
  return real(thread, attr);
}

/* On a thread that cannot tell where its stack ends, and cannot be told either,
   nothing is attached.  */

static void *attach_with_base(struct gc_stack_addr base, void *data) {
  struct gc_mutator *mut = gc_init_for_thread(base, data);
  if (!mut)
    return NULL;
  gc_collect(mut, GC_COLLECTION_MAJOR);
  gc_finish_for_thread(mut);
  return data;
}

static void *attach_without_base(void *heap) {
  return attach_with_base(gc_empty_stack_addr(), heap);
}

static void *attach_with_own_base(void *heap) {
  return gc_call_with_stack_addr(attach_with_base, heap);
}

static void *join(struct gc_mutator *mut, void *thread) {
  void *result;
  (void)mut;
  pthread_join(*(pthread_t *)thread, &result);
  return result;
}

static void unknown_stacks_are_refused(void **state) {
  (void)state;
  gc_platform_init();
  struct test_heap *t = test_heap_make("heap-size=8m", NULL);
  pthread_t thread;
  stacks_are_unknown = 1;
  pthread_create(&thread, NULL, attach_without_base, t->heap);
  void *attached = gc_deactivate_for_call(t->mut, join, &thread);
  assert_int_equal(attached != NULL, !GC_CONSERVATIVE_ROOTS);
  pthread_create(&thread, NULL, attach_with_own_base, t->heap);
  assert_non_null(gc_deactivate_for_call(t->mut, join, &thread));
  stacks_are_unknown = 0;
  test_heap_finish(t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(each_mapping_fails),
    cmocka_unit_test(all_mappings_fail),
    cmocka_unit_test(each_protection_fails),
    cmocka_unit_test(all_protections_fail),
    cmocka_unit_test(threads_fail),
#if GC_PARALLEL
    cmocka_unit_test(threads_are_made_later),
#endif
    cmocka_unit_test(unknown_stacks_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
