/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of the chain of event listeners, and of the null listener.  */
/* Collectors: mmc */

#include "unit.h"

#include "gc-event-listener-chain.h"
#include "gc-null-event-listener.h"

/* A listener that writes its name and each event to a log.  Its mutator data
   are distinct from its data.  */
struct recorder {
  const char *name;
  char mutator[16];
};

static char event_log[4096];

static void log_event(const char *name, const char *event, uint64_t a,
                      uint64_t b) {
  size_t n = strlen(event_log);
  snprintf(event_log + n, sizeof event_log - n, "%s:%s,%d,%d ", name, event,
           (int)a, (int)b);
}

#define EVENT(event)                                          \
  static void record_##event(void *data) {                    \
    log_event(((struct recorder *)data)->name, #event, 0, 0); \
  }
#define SIZE_EVENT(event)                                        \
  static void record_##event(void *data, size_t size) {          \
    log_event(((struct recorder *)data)->name, #event, size, 0); \
  }
#define MUTATOR_EVENT(event)               \
  static void record_##event(void *data) { \
    log_event(data, #event, 0, 0);         \
  }

SIZE_EVENT(init)
EVENT(requesting_stop)
EVENT(waiting_for_stop)
EVENT(mutators_stopped)
EVENT(roots_traced)
EVENT(heap_traced)
EVENT(ephemerons_traced)
EVENT(finalizers_traced)
EVENT(restarting_mutators)
MUTATOR_EVENT(mutator_cause_gc)
MUTATOR_EVENT(mutator_stopping)
MUTATOR_EVENT(mutator_stopped)
MUTATOR_EVENT(mutator_restarted)
MUTATOR_EVENT(mutator_removed)
SIZE_EVENT(heap_resized)
SIZE_EVENT(live_data_size)

static void record_prepare_gc(void *data, enum gc_collection_kind kind,
                              uint64_t counter) {
  log_event(((struct recorder *)data)->name, "prepare_gc", kind, counter);
}

static void *record_mutator_added(void *data) {
  struct recorder *recorder = data;
  log_event(recorder->name, "mutator_added", 0, 0);
  snprintf(recorder->mutator, sizeof recorder->mutator, "m%s", recorder->name);
  return recorder->mutator;
}

/* Positional, as clients do.  */
static const struct gc_event_listener recording = {
    record_init,
    record_requesting_stop,
    record_waiting_for_stop,
    record_mutators_stopped,
    record_prepare_gc,
    record_roots_traced,
    record_heap_traced,
    record_ephemerons_traced,
    record_finalizers_traced,
    record_restarting_mutators,
    record_mutator_added,
    record_mutator_cause_gc,
    record_mutator_stopping,
    record_mutator_stopped,
    record_mutator_restarted,
    record_mutator_removed,
    record_heap_resized,
    record_live_data_size,
};

static void check_log(const char *expected) {
  assert_string_equal(event_log, expected);
  event_log[0] = '\0';
}

static void test_heap_events(void **state) {
  (void)state;
  struct recorder a = {"a", ""}, b = {"b", ""};
  struct gc_event_listener_chain chain;
  chain = GC_EVENT_LISTENER_CHAIN_DATA(recording, &a, recording, &b);
  struct gc_event_listener l = GC_EVENT_LISTENER_CHAIN;
  l.init(&chain, 5);
  check_log("a:init,5,0 b:init,5,0 ");
#define CHECK(event)                                 \
  do {                                               \
    l.event(&chain);                                 \
    check_log("a:" #event ",0,0 b:" #event ",0,0 "); \
  } while (0)
  CHECK(requesting_stop);
  CHECK(waiting_for_stop);
  CHECK(mutators_stopped);
  l.prepare_gc(&chain, GC_COLLECTION_COMPACTING, 9);
  check_log("a:prepare_gc,3,9 b:prepare_gc,3,9 ");
  CHECK(roots_traced);
  CHECK(heap_traced);
  CHECK(ephemerons_traced);
  CHECK(finalizers_traced);
  CHECK(restarting_mutators);
  l.heap_resized(&chain, 6);
  check_log("a:heap_resized,6,0 b:heap_resized,6,0 ");
  l.live_data_size(&chain, 7);
  check_log("a:live_data_size,7,0 b:live_data_size,7,0 ");
#undef CHECK
}

static void test_mutator_events(void **state) {
  (void)state;
  struct recorder a = {"a", ""}, b = {"b", ""};
  struct gc_event_listener_chain chain =
      GC_EVENT_LISTENER_CHAIN_DATA(recording, &a, recording, &b);
  struct gc_event_listener l = GC_EVENT_LISTENER_CHAIN;
  void *mut = l.mutator_added(&chain);
  void *other = l.mutator_added(&chain);
  assert_ptr_not_equal(mut, other);
  event_log[0] = '\0';
#define CHECK(event)                                   \
  do {                                                 \
    l.event(mut);                                      \
    check_log("ma:" #event ",0,0 mb:" #event ",0,0 "); \
  } while (0)
  CHECK(mutator_cause_gc);
  CHECK(mutator_stopping);
  CHECK(mutator_stopped);
  CHECK(mutator_restarted);
  CHECK(mutator_removed);
#undef CHECK
  l.mutator_removed(other);
  event_log[0] = '\0';
}

static void test_nesting(void **state) {
  (void)state;
  struct recorder a = {"a", ""}, b = {"b", ""}, c = {"c", ""};
  struct gc_event_listener_chain inner =
      GC_EVENT_LISTENER_CHAIN_DATA(recording, &b, recording, &c);
  struct gc_event_listener_chain outer = GC_EVENT_LISTENER_CHAIN_DATA(
      recording, &a, GC_EVENT_LISTENER_CHAIN, &inner);
  struct gc_event_listener l = GC_EVENT_LISTENER_CHAIN;
  void *mut = l.mutator_added(&outer);
  check_log("a:mutator_added,0,0 b:mutator_added,0,0 c:mutator_added,0,0 ");
  l.mutator_removed(mut);
  check_log("ma:mutator_removed,0,0 mb:mutator_removed,0,0 "
            "mc:mutator_removed,0,0 ");
}

static void test_null_listener(void **state) {
  (void)state;
  struct gc_event_listener l = GC_NULL_EVENT_LISTENER;
  void (*const *members)(void) = (void (*const *)(void))(void *)&l;
  for (size_t i = 0; i < sizeof l / sizeof members[0]; i++)
    assert_non_null(members[i]);
  l.init(NULL, 1);
  l.prepare_gc(NULL, GC_COLLECTION_MINOR, 2);
  assert_null(l.mutator_added(NULL));
  l.mutator_removed(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_heap_events),
      cmocka_unit_test(test_mutator_events),
      cmocka_unit_test(test_nesting),
      cmocka_unit_test(test_null_listener),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
