/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Switches from the environment that mean nothing are reported, once, and ignored.  In
   processes of their own, whose standard error is read.  */
/* Collectors: mmc parallel-generational-mmc */

#include "unit.h"

#include "gc-api.h"
#include "gc-null-event-listener.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a process says that makes a heap while the variable NAME is VALUE.  */
static const char *warnings(const char *name, const char *value) {
  static char text[1000];
  int fds[2];
  assert_int_equal(pipe(fds), 0);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (!pid) {
    dup2(fds[1], STDERR_FILENO);
    setenv(name, value, 1);
    struct gc_heap *heap;
    struct gc_mutator *mut;
    _exit(!gc_init(NULL, gc_empty_stack_addr(), &heap, &mut,
                   GC_NULL_EVENT_LISTENER, NULL));
  }
  close(fds[1]);
  size_t count = 0;
  for (;;) {
    ssize_t n = read(fds[0], text + count, sizeof(text) - 1 - count);
    if (n <= 0)
      break;
    count += (size_t)n;
  }
  text[count] = 0;
  close(fds[0]);
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_int_equal(status, 0);
  return text;
}

static void test_reported(void **state) {
  (void)state;
  static const char *const switches[][2] = {
      {"GC_MMC_PREFETCH", "x"},    {"GC_MMC_PREFETCH", "10"},
      {"GC_MMC_HUGE_PAGES", "-1"}, {"GC_MMC_HUGE_PAGES", "yes"},
      {"GC_MMC_NURSERY", "1.5"},   {"GC_MMC_STRESS", "frobnicate"},
  };
  for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); i++) {
    const char *text = warnings(switches[i][0], switches[i][1]);
    char start[100];
    snprintf(start, sizeof(start), "warning: %s: ignoring '%s'", switches[i][0],
             switches[i][1]);
    assert_true(strncmp(text, start, strlen(start)) == 0);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
  }
}

static void test_understood(void **state) {
  (void)state;
  static const char *const switches[][2] = {
      {"GC_MMC_PREFETCH", "0"},   {"GC_MMC_PREFETCH", "1"},
      {"GC_MMC_PREFETCH", ""},    {"GC_MMC_HUGE_PAGES", "0"},
      {"GC_MMC_HUGE_PAGES", "1"}, {"GC_MMC_HUGE_PAGES", ""},
      {"GC_MMC_NURSERY", "0"},    {"GC_MMC_NURSERY", ""},
      {"GC_MMC_STRESS", ""},      {"GC_MMC_STRESS", "compact,seed=3"},
  };
  for (size_t i = 0; i < sizeof(switches) / sizeof(*switches); i++)
    assert_string_equal(warnings(switches[i][0], switches[i][1]), "");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reported),
      cmocka_unit_test(test_understood),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
