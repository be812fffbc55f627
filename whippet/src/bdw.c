/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The interface of the library on top of the Boehm-Demers-Weiser collector, as
   a control for measurements.

   Where it falls short of the interface: all objects are traced
   conservatively; an ephemeron holds its value until its key is dead, even if
   only the value refers to the key; finalizers have no priorities; per-thread
   stop events are not reported; stopping is by signal, so that deactivation is
   only of use to keep a thread from being interrupted.  */

#define GC_IMPL 1

#include "gc-allocate.h"
#include "gc-api.h"
#include "gc-barrier.h"
#include "gc-safepoint.h"

#include "bdw-attrs.h"

#include "gc-include-embedder.h"

#include "gc-ephemeron-internal.h"
#include "gc-finalizer-internal.h"
#include "gc-heap-stats.h"
#include "gc-inhibit.h"
#include "gc-limits.h"
#include "gc-moving.h"
#include "gc-options-internal.h"
#include "gc-platform.h"
#include "gc-preempt.h"
#include "gc-tracepoint.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GC_THREADS 1
#define GC_NO_THREAD_REDIRECTS 1
#define GC_DONT_ADD_BYTE 1
#include <gc/gc.h>
#include <gc/gc_inline.h>
#include <gc/gc_mark.h>

#define MIN_HEAP_SIZE ((size_t)1024 * 1024)
#define FREELIST_COUNT 16

/* In memory that the collector scans and does not free: what is on the free
   lists stays allocated.  */
struct gc_mutator {
  void *freelists[FREELIST_COUNT]; /* by size in granules, less one */
  struct gc_heap *heap;
  struct gc_mutator_roots *roots;
  void *event_listener_data;
  int active;
  struct gc_mutator *next;  /* in the heap's list: changed with the */
  struct gc_mutator **prev; /* collector's lock held */
};

struct gc_heap {
  struct gc_mutator *mutators;
  struct gc_heap_roots *roots;
  struct gc_extern_space *extern_space;
  void *(*allocation_failure)(struct gc_heap *, size_t);
  struct gc_event_listener event_listener;
  void *event_listener_data;

  int ephemeron_kind;
  int finalizer_kind;
  /* What is in this table is found by gc_visit_finalizer_roots.  All changes
     to it are made with the lock held.  */
  struct gc_finalizer_state *finalizers;
  pthread_mutex_t finalizers_lock;

  struct gc_heap_statistics statistics;
  uint64_t pause_start_nsec;
  uint64_t trace_start_nsec;
};

/* Callbacks of the collector have no argument to pass it in.  */
static struct gc_heap *the_heap;

#define HEAP_EVENT(heap, event, ...)                                          \
  do {                                                                        \
    (heap)->event_listener.event((heap)->event_listener_data, ##__VA_ARGS__); \
    GC_TRACEPOINT(event, ##__VA_ARGS__);                                      \
  } while (0)

/* ---- Roots ---- */

static void push_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  (void)heap;
  (void)data;
  struct gc_ref *loc = gc_edge_loc(edge);
  GC_push_all_eager(loc, loc + 1);
}

static void push_pinned(struct gc_ref ref, struct gc_heap *heap, void *data) {
  (void)heap;
  (void)data;
  GC_push_all_eager(&ref, &ref + 1);
}

static void push_ambiguous(uintptr_t start, uintptr_t end,
                           int possibly_interior, struct gc_heap *heap,
                           void *data) {
  (void)possibly_interior;
  (void)heap;
  (void)data;
  GC_push_all_eager((void *)start, (void *)end);
}

static GC_push_other_roots_proc push_default_roots;

static void GC_CALLBACK push_roots(void) {
  struct gc_heap *heap = the_heap;
  if (push_default_roots)
    push_default_roots();
  if (heap->roots) {
    gc_trace_heap_roots(heap->roots, push_edge, heap, NULL);
    gc_trace_heap_pinned_roots(heap->roots, push_pinned, push_ambiguous, heap,
                               NULL);
  }
  for (struct gc_mutator *mut = heap->mutators; mut; mut = mut->next) {
    if (mut->roots) {
      gc_trace_mutator_roots(mut->roots, push_edge, heap, NULL);
      gc_trace_mutator_pinned_roots(mut->roots, push_pinned, push_ambiguous,
                                    heap, NULL);
    }
  }
  gc_visit_finalizer_roots(heap->finalizers, 0, push_edge, heap, NULL);
}

/* ---- Allocation ---- */

static void *default_allocation_failure(struct gc_heap *heap, size_t size) {
  (void)heap;
  (void)size;
  fprintf(stderr, "ran out of space, heap size %zu\n", GC_get_heap_size());
  GC_CRASH();
}

static void *allocate_small_many(struct gc_mutator *mut, size_t bytes,
                                 enum gc_allocation_kind kind) {
  size_t size = gc_allocate_round_up_to_granule(bytes);
  void **freelist =
      (void **)((char *)mut + gc_allocator_freelist_offset(bytes, kind));
  GC_ASSERT(!*freelist);
  GC_generic_malloc_many(size, GC_I_NORMAL, freelist);
  return gc_allocate_small_fast_freelist(mut, bytes, kind);
}

static void *allocate(struct gc_mutator *mut, size_t bytes,
                      enum gc_allocation_kind kind) {
  void *obj = NULL;
  switch (kind) {
  case GC_ALLOCATION_TAGGED:
  case GC_ALLOCATION_TAGGED_PINNED:
  case GC_ALLOCATION_UNTAGGED_CONSERVATIVE:
    if (bytes <= gc_allocator_large_threshold())
      obj = allocate_small_many(mut, bytes, kind);
    else
      obj = GC_malloc(bytes);
    break;
  case GC_ALLOCATION_TAGGED_POINTERLESS:
  case GC_ALLOCATION_UNTAGGED_POINTERLESS:
    obj = GC_malloc_atomic(bytes);
    if (obj)
      memset(obj, 0, bytes);
    break;
  default:
    GC_CRASH();
  }
  return obj;
}

/* Having failed to grow its heap, the collector does not always collect before
   it fails again.  */

void *gc_allocate_slow(struct gc_mutator *mut, size_t bytes,
                       enum gc_allocation_kind kind) {
  GC_ASSERT(bytes != 0);
  void *obj = allocate(mut, bytes, kind);
  if (GC_UNLIKELY(!obj)) {
    GC_gcollect();
    obj = allocate(mut, bytes, kind);
  }
  if (GC_UNLIKELY(!obj))
    return mut->heap->allocation_failure(mut->heap, bytes);
  return obj;
}

void *gc_allocate_uncleared_slow(struct gc_mutator *mut, size_t bytes,
                                 enum gc_allocation_kind kind) {
  return gc_allocate_slow(mut, bytes, kind);
}

static void *allocate_of_kind(struct gc_mutator *mut, size_t bytes, int kind) {
  void *obj = GC_generic_malloc(bytes, kind);
  if (GC_UNLIKELY(!obj)) {
    GC_gcollect();
    obj = GC_generic_malloc(bytes, kind);
  }
  if (GC_UNLIKELY(!obj))
    return mut->heap->allocation_failure(mut->heap, bytes);
  return obj;
}

/* Failure is dealt with by our callers, with none of its locks held.  */
static void *GC_CALLBACK out_of_memory(size_t bytes) {
  (void)bytes;
  return NULL;
}

void gc_heap_set_allocation_failure_handler(struct gc_heap *heap,
                                            void *(*handler)(struct gc_heap *,
                                                             size_t)) {
  heap->allocation_failure = handler;
}

uint64_t gc_allocation_counter(struct gc_heap *heap) {
  (void)heap;
  return GC_get_total_bytes();
}

/* ---- Ephemerons ---- */

/* All fields but the key are strong; of a dead ephemeron, not the value.  */
static struct GC_ms_entry *mark_ephemeron(GC_word *addr,
                                          struct GC_ms_entry *stack,
                                          struct GC_ms_entry *limit,
                                          GC_word env) {
  (void)env;
  struct gc_ephemeron *ephemeron = (struct gc_ephemeron *)addr;
  /* Cut dead ones out of the chain: programs need not get to its end.  */
  gc_ephemeron_chain_next(ephemeron);
  struct gc_ref *key = gc_edge_loc(gc_ephemeron_key_edge(ephemeron));
  struct gc_ref *value = gc_edge_loc(gc_ephemeron_value_edge(ephemeron));
  int dead = gc_ref_is_null(gc_ephemeron_key(ephemeron));
  struct gc_ref *end =
      (struct gc_ref *)((char *)ephemeron + gc_ephemeron_size());
  /* The first word may be the link of a free list.  */
  for (struct gc_ref *loc = (struct gc_ref *)addr + 1; loc < end; loc++) {
    if (loc == key || (dead && loc == value))
      continue;
    void *obj = (void *)gc_ref_value(*loc);
    stack = GC_MARK_AND_PUSH(obj, stack, limit, (void **)loc);
  }
  return stack;
}

struct gc_ephemeron *gc_allocate_ephemeron(struct gc_mutator *mut) {
  return allocate_of_kind(mut, gc_ephemeron_size(), mut->heap->ephemeron_kind);
}

void gc_ephemeron_init(struct gc_mutator *mut, struct gc_ephemeron *ephemeron,
                       struct gc_ref key, struct gc_ref value) {
  gc_ephemeron_init_internal(mut->heap, ephemeron, key, value);
  /* A link that survives the resurrection of the key by a finalizer.  */
  if (gc_ref_is_heap_object(key) && GC_is_heap_ptr(gc_ref_heap_object(key)))
    GC_register_long_link(
        (void **)gc_edge_loc(gc_ephemeron_key_edge(ephemeron)),
        gc_ref_heap_object(key));
}

int gc_visit_ephemeron_key(struct gc_edge edge, struct gc_heap *heap) {
  (void)edge;
  (void)heap;
  GC_CRASH();
}

/* No generations.  */
void gc_ephemeron_chain_barrier(struct gc_ephemeron *e, struct gc_edge link,
                                struct gc_ref tail) {
  (void)e;
  (void)link;
  (void)tail;
}

struct gc_pending_ephemerons *gc_heap_pending_ephemerons(struct gc_heap *heap) {
  (void)heap;
  GC_CRASH();
}

unsigned gc_heap_ephemeron_trace_epoch(struct gc_heap *heap) {
  (void)heap;
  return 1;
}

/* ---- Finalizers ---- */

/* Our finalizers have two more words than the interface knows.

   The other collector holds an attached object weakly in a table of its own,
   with the finalizer as data.  When it finds the object dead it calls
   finalizer_is_ready, on whatever thread; the object is held by the finalizer
   from then on.  Then gc_resolve_finalizers is told of the finalizers that are
   ready, and puts them on the queue.  */
struct finalizer_extension {
  void *ready_object;           /* null: not ready */
  struct gc_finalizer *sibling; /* another finalizer of the same object */
};

static struct finalizer_extension *
get_finalizer_extension(struct gc_finalizer *finalizer) {
  uintptr_t end = (uintptr_t)finalizer + gc_finalizer_size();
  return (struct finalizer_extension *)end;
}

struct mark_closure {
  struct GC_ms_entry *stack;
  struct GC_ms_entry *limit;
};

static void mark_edge(struct gc_edge edge, struct gc_heap *heap, void *data) {
  (void)heap;
  struct mark_closure *closure = data;
  void *obj = (void *)gc_ref_value(gc_edge_ref(edge));
  closure->stack = GC_MARK_AND_PUSH(obj, closure->stack, closure->limit,
                                    (void **)gc_edge_loc(edge));
}

static struct GC_ms_entry *mark_finalizer(GC_word *addr,
                                          struct GC_ms_entry *stack,
                                          struct GC_ms_entry *limit,
                                          GC_word env) {
  (void)env;
  struct gc_finalizer *finalizer = (struct gc_finalizer *)addr;
  struct finalizer_extension *extension = get_finalizer_extension(finalizer);
  struct mark_closure closure = {stack, limit};
  gc_trace_finalizer(finalizer, mark_edge, the_heap, &closure);
  mark_edge(gc_edge(&extension->ready_object), the_heap, &closure);
  mark_edge(gc_edge(&extension->sibling), the_heap, &closure);
  return closure.stack;
}

struct gc_finalizer *gc_allocate_finalizer(struct gc_mutator *mut) {
  return allocate_of_kind(
      mut, gc_finalizer_size() + sizeof(struct finalizer_extension),
      mut->heap->finalizer_kind);
}

static void GC_CALLBACK finalizer_is_ready(void *obj, void *data) {
  struct gc_heap *heap = the_heap;
  pthread_mutex_lock(&heap->finalizers_lock);
  for (struct gc_finalizer *finalizer = data; finalizer;) {
    struct finalizer_extension *extension = get_finalizer_extension(finalizer);
    extension->ready_object = obj;
    finalizer = extension->sibling;
    extension->sibling = NULL;
  }
  pthread_mutex_unlock(&heap->finalizers_lock);
}

int gc_visit_finalizer_object(struct gc_edge edge, struct gc_heap *heap) {
  (void)heap;
  struct gc_finalizer *finalizer = GC_base(gc_edge_loc(edge));
  return get_finalizer_extension(finalizer)->ready_object == NULL;
}

void gc_note_waiting_finalizer(struct gc_heap *heap) {
  (void)heap;
}

static void visit_nothing(struct gc_edge edge, struct gc_heap *heap,
                          void *data) {
  (void)edge;
  (void)heap;
  (void)data;
}

/* Put the finalizers that are ready on the queue.  */
static void resolve_finalizers(struct gc_heap *heap) {
  if (!GC_should_invoke_finalizers() || !GC_invoke_finalizers())
    return;
  pthread_mutex_lock(&heap->finalizers_lock);
  for (size_t i = 0; i < gc_finalizer_priority_count(); i++)
    gc_resolve_finalizers(heap->finalizers, i, 0, visit_nothing, heap, NULL);
  gc_notify_finalizers(heap->finalizers, heap);
  pthread_mutex_unlock(&heap->finalizers_lock);
}

/* Called with no lock held, on a thread that allocates or collects.  */
static void GC_CALLBACK finalizers_are_ready(void) {
  resolve_finalizers(the_heap);
}

void gc_finalizer_attach(struct gc_mutator *mut, struct gc_finalizer *finalizer,
                         unsigned priority, struct gc_ref object,
                         struct gc_ref closure) {
  struct gc_heap *heap = mut->heap;
  pthread_mutex_lock(&heap->finalizers_lock);
  gc_finalizer_attach_internal(heap->finalizers, finalizer, priority, object,
                               closure);
  pthread_mutex_unlock(&heap->finalizers_lock);

  if (gc_ref_is_immediate(object) ||
      !GC_is_heap_ptr(gc_ref_heap_object(object)))
    return;
  /* libgc stores nothing there if it has no memory.  */
  GC_finalization_proc old_proc = NULL;
  void *old_data = NULL;
  GC_register_finalizer_no_order(gc_ref_heap_object(object), finalizer_is_ready,
                                 finalizer, &old_proc, &old_data);
  if (old_proc)
    get_finalizer_extension(finalizer)->sibling = old_data;
}

struct gc_finalizer *gc_pop_finalizable(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  resolve_finalizers(heap);
  pthread_mutex_lock(&heap->finalizers_lock);
  struct gc_finalizer *finalizer = gc_finalizer_state_pop(heap->finalizers);
  if (finalizer)
    get_finalizer_extension(finalizer)->ready_object = NULL;
  pthread_mutex_unlock(&heap->finalizers_lock);
  return finalizer;
}

void gc_set_finalizer_callback(struct gc_heap *heap,
                               gc_finalizer_callback callback) {
  gc_finalizer_state_set_callback(heap->finalizers, callback);
}

/* ---- Collections ---- */

/* Bytes in use, not counting those that are found free by sweeping, which is
   lazy.  With the collector's lock held.  */
static size_t live_data_size(void) {
  struct GC_prof_stats_s stats;
  GC_get_prof_stats_unsafe(&stats, sizeof stats);
  return stats.heapsize_full - stats.free_bytes_full;
}

static uint64_t allocation_counter_unlocked(void) {
  struct GC_prof_stats_s stats;
  GC_get_prof_stats_unsafe(&stats, sizeof stats);
  return stats.allocd_bytes_before_gc + stats.bytes_allocd_since_gc;
}

/* With the collector's lock held.  */
static void GC_CALLBACK on_collection_event(GC_EventType event) {
  struct gc_heap *heap = the_heap;
  uint64_t now = gc_platform_monotonic_nanoseconds();
  switch (event) {
  case GC_EVENT_START:
    heap->pause_start_nsec = now;
    HEAP_EVENT(heap, requesting_stop);
    HEAP_EVENT(heap, waiting_for_stop);
    break;
  case GC_EVENT_MARK_START:
    heap->trace_start_nsec = now;
    HEAP_EVENT(heap, mutators_stopped);
    HEAP_EVENT(heap, prepare_gc, GC_COLLECTION_MAJOR,
               allocation_counter_unlocked());
    gc_extern_space_start_gc(heap->extern_space, 0);
    break;
  case GC_EVENT_MARK_END:
    heap->statistics.trace_nsec += now - heap->trace_start_nsec;
    gc_extern_space_finish_gc(heap->extern_space, 0);
    HEAP_EVENT(heap, roots_traced);
    HEAP_EVENT(heap, heap_traced);
    break;
  case GC_EVENT_RECLAIM_START:
    HEAP_EVENT(heap, ephemerons_traced);
    break;
  case GC_EVENT_END: {
    uint64_t pause = now - heap->pause_start_nsec;
    heap->statistics.collections_major++;
    heap->statistics.pause_total_nsec += pause;
    if (heap->statistics.pause_max_nsec < pause)
      heap->statistics.pause_max_nsec = pause;
    heap->statistics.live_size = live_data_size();
    HEAP_EVENT(heap, live_data_size, heap->statistics.live_size);
    HEAP_EVENT(heap, restarting_mutators);
    break;
  }
  default:
    break;
  }
}

static void GC_CALLBACK on_heap_resize(GC_word size) {
  HEAP_EVENT(the_heap, heap_resized, (size_t)size);
}

void gc_collect(struct gc_mutator *mut,
                enum gc_collection_kind requested_kind) {
  (void)mut;
  (void)requested_kind;
  GC_gcollect();
}

static void *copy_statistics(void *data) {
  struct gc_heap_statistics *stats = data;
  *stats = the_heap->statistics;
  return NULL;
}

void gc_heap_statistics(struct gc_heap *heap,
                        struct gc_heap_statistics *stats) {
  GC_call_with_alloc_lock(copy_statistics, stats);
  stats->heap_size = GC_get_heap_size();
  stats->allocated_bytes = gc_allocation_counter(heap);
}

/* ---- Heap and mutators ---- */

static void *link_mutator(void *data) {
  struct gc_mutator *mut = data;
  struct gc_heap *heap = mut->heap;
  mut->next = heap->mutators;
  mut->prev = &heap->mutators;
  if (mut->next)
    mut->next->prev = &mut->next;
  heap->mutators = mut;
  return NULL;
}

static void *unlink_mutator(void *data) {
  struct gc_mutator *mut = data;
  *mut->prev = mut->next;
  if (mut->next)
    mut->next->prev = mut->prev;
  return NULL;
}

static struct gc_mutator *make_mutator(void) {
  return GC_malloc_uncollectable(sizeof(struct gc_mutator));
}

static void add_mutator(struct gc_heap *heap, struct gc_mutator *mut) {
  mut->heap = heap;
  mut->active = 1;
  GC_call_with_alloc_lock(link_mutator, mut);
  mut->event_listener_data =
      heap->event_listener.mutator_added(heap->event_listener_data);
  GC_TRACEPOINT(mutator_added);
}

static void check_attributes(void) {
  if (FREELIST_COUNT * gc_allocator_small_granule_size() !=
      gc_allocator_large_threshold())
    GC_CRASH();
  size_t last = gc_allocator_large_threshold();
  if (gc_allocator_freelist_offset(1, GC_ALLOCATION_TAGGED) !=
          offsetof(struct gc_mutator, freelists[0]) ||
      gc_allocator_freelist_offset(last, GC_ALLOCATION_TAGGED) !=
          offsetof(struct gc_mutator, freelists[FREELIST_COUNT - 1]))
    GC_CRASH();
}

static void set_up_collector(const struct gc_common_options *options,
                             struct gc_stack_addr base) {
  /* Not again, after a gc_init that failed, what holds for the life of the
     collector: objects made by then would not be recognised any more.  */
  if (!GC_is_init_called()) {
    /* Objects have no byte of padding; pointers into their middle, from other
       objects, do not count.  */
    GC_set_all_interior_pointers(0);
    GC_set_handle_fork(1);
    GC_set_markers_count((unsigned)options->parallelism);
  }
  GC_set_finalize_on_demand(1);
  if (!gc_stack_addr_is_empty(base)) {
    struct GC_stack_base stack_base = {gc_stack_addr_as_pointer(base)};
    GC_set_stackbottom(NULL, &stack_base);
  }
  GC_init();
  GC_set_warn_proc(GC_ignore_warn_proc);
  GC_set_oom_fn(out_of_memory);
  GC_allow_register_threads();
  for (size_t i = 1; i < gc_allocator_small_granule_size(); i++)
    if (gc_is_valid_conservative_ref_displacement(i))
      GC_register_displacement(i);
}

/* 1, or 0 if there is no memory.  */
static int set_heap_size(const struct gc_common_options *options) {
  size_t size = options->heap_size;
  if (size < MIN_HEAP_SIZE)
    size = MIN_HEAP_SIZE;
  size_t maximum = options->maximum_heap_size;
  if (maximum && maximum < MIN_HEAP_SIZE)
    maximum = MIN_HEAP_SIZE;
  if (options->heap_size_policy == GC_HEAP_SIZE_FIXED)
    maximum = size;
  if (maximum && maximum < size)
    size = maximum;
  size_t current = GC_get_heap_size();
  if (current < size && !GC_expand_hp(size - current))
    return 0;
  if (maximum)
    GC_set_max_heap_size(maximum);
  return 1;
}

/* A heap of OPTIONS with the state of its finalizers, and *MUTATOR; NULL, and
   nothing is left behind, if there is no memory.  */
static struct gc_heap *make_heap(const struct gc_common_options *options,
                                 struct gc_mutator **mutator) {
  struct gc_heap *heap = GC_malloc_uncollectable(sizeof *heap);
  struct gc_mutator *mut = make_mutator();
  struct gc_finalizer_state *finalizers =
      gc_make_finalizer_state(gc_finalizer_priority_count());
  if (heap && mut && finalizers && set_heap_size(options)) {
    heap->finalizers = finalizers;
    *mutator = mut;
    return heap;
  }
  if (finalizers)
    gc_free_finalizer_state(finalizers);
  GC_free(mut);
  GC_free(heap);
  return NULL;
}

int gc_init(const struct gc_options *options, struct gc_stack_addr base,
            struct gc_heap **heap, struct gc_mutator **mutator,
            struct gc_event_listener event_listener,
            void *event_listener_data) {
  *heap = NULL;
  *mutator = NULL;
  /* The other collector has one heap per process.  */
  if (the_heap)
    return 0;
  check_attributes();
  gc_platform_init();

  struct gc_common_options common;
  gc_common_options_copy(&common, options);
  set_up_collector(&common, base);
  struct gc_mutator *mut = NULL;
  struct gc_heap *h = make_heap(&common, &mut);
  if (!h)
    return 0;
  pthread_mutex_init(&h->finalizers_lock, NULL);
  h->allocation_failure = default_allocation_failure;
  h->event_listener = event_listener;
  h->event_listener_data = event_listener_data;
  h->ephemeron_kind = (int)GC_new_kind(
      GC_new_free_list(), GC_MAKE_PROC(GC_new_proc(mark_ephemeron), 0), 0, 1);
  h->finalizer_kind = (int)GC_new_kind(
      GC_new_free_list(), GC_MAKE_PROC(GC_new_proc(mark_finalizer), 0), 0, 1);
  the_heap = h;

  HEAP_EVENT(h, init, GC_get_heap_size());
  GC_set_on_collection_event(on_collection_event);
  GC_set_on_heap_resize(on_heap_resize);
  push_default_roots = GC_get_push_other_roots();
  GC_set_push_other_roots(push_roots);
  GC_set_finalizer_notifier(finalizers_are_ready);
  add_mutator(h, mut);
  *mutator = mut;
  *heap = h;
  return 1;
}

struct gc_mutator *gc_init_for_thread(struct gc_stack_addr base,
                                      struct gc_heap *heap) {
  struct GC_stack_base stack_base;
  if (GC_get_stack_base(&stack_base) != GC_SUCCESS)
    GC_CRASH();
  if (!gc_stack_addr_is_empty(base))
    stack_base.mem_base = gc_stack_addr_as_pointer(base);
  int result = GC_register_my_thread(&stack_base);
  if (result != GC_SUCCESS && result != GC_DUPLICATE)
    GC_CRASH();
  struct gc_mutator *mut = make_mutator();
  if (mut)
    add_mutator(heap, mut);
  else if (result == GC_SUCCESS)
    GC_unregister_my_thread();
  return mut;
}

void gc_finish_for_thread(struct gc_mutator *mut) {
  struct gc_heap *heap = mut->heap;
  heap->event_listener.mutator_removed(mut->event_listener_data);
  GC_TRACEPOINT(mutator_removed);
  GC_call_with_alloc_lock(unlink_mutator, mut);
  GC_free(mut);
  GC_unregister_my_thread();
}

void gc_mutator_set_roots(struct gc_mutator *mut,
                          struct gc_mutator_roots *roots) {
  mut->roots = roots;
}

void gc_heap_set_roots(struct gc_heap *heap, struct gc_heap_roots *roots) {
  heap->roots = roots;
}

void gc_heap_set_extern_space(struct gc_heap *heap,
                              struct gc_extern_space *space) {
  heap->extern_space = space;
}

struct gc_heap *gc_mutator_heap(struct gc_mutator *mut) {
  return mut->heap;
}

void gc_deactivate(struct gc_mutator *mut) {
  GC_ASSERT(mut->active);
  mut->active = 0;
}

void gc_reactivate(struct gc_mutator *mut) {
  GC_ASSERT(!mut->active);
  mut->active = 1;
}

struct call {
  struct gc_mutator *mut;
  void *(*f)(struct gc_mutator *, void *);
  void *data;
};

static void *GC_CALLBACK perform_call(void *data) {
  struct call *call = data;
  return call->f(call->mut, call->data);
}

void *gc_deactivate_for_call(struct gc_mutator *mut,
                             void *(*f)(struct gc_mutator *, void *),
                             void *data) {
  struct call call = {mut, f, data};
  gc_deactivate(mut);
  void *result = GC_do_blocking(perform_call, &call);
  gc_reactivate(mut);
  return result;
}

void *gc_reactivate_for_call(struct gc_mutator *mut,
                             void *(*f)(struct gc_mutator *, void *),
                             void *data) {
  struct call call = {mut, f, data};
  int was_active = mut->active;
  mut->active = 1;
  void *result = GC_call_with_gc_active(perform_call, &call);
  mut->active = was_active;
  return result;
}

static void *GC_CALLBACK extend_stack(void *data) {
  struct gc_stack_addr *base = data;
  struct GC_stack_base known;
  void *thread = GC_get_my_stackbottom(&known);
  if (!gc_stack_addr_is_colder(*base, gc_stack_addr((uintptr_t)known.mem_base)))
    return NULL;
  known.mem_base = gc_stack_addr_as_pointer(*base);
  GC_set_stackbottom(thread, &known);
  return NULL;
}

void gc_mutator_extend_stack(struct gc_mutator *mut,
                             struct gc_stack_addr base) {
  GC_ASSERT(mut->active);
  GC_call_with_alloc_lock(extend_stack, &base);
}

/* ---- Objects ---- */

int gc_heap_contains(struct gc_heap *heap, struct gc_ref ref) {
  (void)heap;
  GC_ASSERT(gc_ref_is_heap_object(ref));
  return GC_is_heap_ptr(gc_ref_heap_object(ref));
}

size_t gc_object_size(struct gc_heap *heap, struct gc_ref ref) {
  (void)heap;
  void *obj = gc_ref_heap_object(ref);
  return GC_base(obj) == obj ? GC_size(obj) : 0;
}

struct gc_ref gc_resolve_conservative_ref(struct gc_heap *heap,
                                          struct gc_conservative_ref ref,
                                          int possibly_interior) {
  (void)heap;
  uintptr_t value = gc_conservative_ref_value(ref);
  uintptr_t base = (uintptr_t)GC_base((void *)value);
  if (!base)
    return gc_ref_null();
  if (!possibly_interior && value != base &&
      !(value - base < gc_allocator_small_granule_size() &&
        gc_is_valid_conservative_ref_displacement(value - base)))
    return gc_ref_null();
  return gc_ref(base);
}

void gc_pin_object(struct gc_mutator *mut, struct gc_ref obj) {
  (void)mut;
  (void)obj;
}

/* ---- Barriers and safepoints ---- */

void gc_write_barrier_slow(struct gc_mutator *mut, struct gc_ref obj,
                           size_t obj_size, struct gc_edge edge,
                           struct gc_ref new_val) {
  (void)mut;
  (void)obj;
  (void)obj_size;
  (void)edge;
  (void)new_val;
}

int gc_object_is_old_generation_slow(struct gc_mutator *mut,
                                     struct gc_ref obj) {
  (void)mut;
  (void)obj;
  GC_CRASH();
}

uintptr_t gc_small_object_nursery_low_address(struct gc_heap *heap) {
  (void)heap;
  GC_CRASH();
}

uintptr_t gc_small_object_nursery_high_address(struct gc_heap *heap) {
  (void)heap;
  GC_CRASH();
}

int *gc_safepoint_flag_loc(struct gc_mutator *mut) {
  (void)mut;
  GC_CRASH();
}

void gc_safepoint_slow(struct gc_mutator *mut) {
  (void)mut;
}

int gc_safepoint_signal_number(void) {
  return GC_get_suspend_signal();
}

static void change_signal_mask(int how) {
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, gc_safepoint_signal_number());
  pthread_sigmask(how, &mask, NULL);
}

/* The collector waits for the thread.  In the section it must not allocate.  */
void gc_safepoint_signal_inhibit(struct gc_mutator *mut) {
  (void)mut;
  change_signal_mask(SIG_BLOCK);
}

void gc_safepoint_signal_reallow(struct gc_mutator *mut) {
  (void)mut;
  change_signal_mask(SIG_UNBLOCK);
}

/* There is no need for it: threads are always stopped by a signal.  */
int gc_heap_enable_preemption(struct gc_heap *heap, int signal_number,
                              uint64_t grace_usec,
                              gc_may_park_predicate may_park, void *data) {
  (void)heap;
  (void)signal_number;
  (void)grace_usec;
  (void)may_park;
  (void)data;
  return 0;
}

int gc_preemption_signal(struct gc_heap *heap) {
  (void)heap;
  return 0;
}

void gc_heap_inhibit_collection(struct gc_heap *heap) {
  (void)heap;
  GC_disable();
}

void gc_heap_allow_collection(struct gc_heap *heap) {
  (void)heap;
  GC_enable();
}

void gc_heap_forbid_moving(struct gc_heap *heap) {
  (void)heap;
}

void gc_heap_mark_before_moving(struct gc_heap *heap) {
  (void)heap;
}

/* It has no reserved range.  */
void gc_heap_respect_limits(struct gc_heap *heap) {
  (void)heap;
}
