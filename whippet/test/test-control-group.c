/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What control groups grant, of both versions, by files that look like theirs.  */
/* Collectors: mmc */

#include "unit.h"

#include <sys/stat.h>

static char directory[64];
#define CONTROL_GROUP_MOUNT directory
#define CONTROL_GROUP_SELF "self"
#include "../src/gc-platform-control-group.h"

/* Write TEXT to the file NAME of the test's directory.  */
static void put(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s", name);
  for (char *p = path; (p = strchr(p, '/')); p++) {
    *p = '\0';
    mkdir(path, 0700);
    *p = '/';
  }
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

static int enter_directory(void **state) {
  (void)state;
  strcpy(directory, "/tmp/test-control-group.XXXXXX");
  return !mkdtemp(directory) || chdir(directory) != 0;
}

static int remove_directory(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf '%s'", directory);
  return chdir("/") != 0 || system(command) != 0;
}

static size_t memory(void) {
  return control_group_least(&control_group_memory);
}
static size_t processors(void) {
  return control_group_least(&control_group_processors);
}

static void no_groups(void **state) {
  (void)state;
  assert_true(memory() == SIZE_MAX);
  assert_true(processors() == SIZE_MAX);
  put("self", "nonsense\n\n:\n1:\n");
  assert_true(memory() == SIZE_MAX);
  put("self", "0::/nowhere\n");
  assert_true(memory() == SIZE_MAX);
  assert_true(processors() == SIZE_MAX);
}

static void version_2(void **state) {
  (void)state;
  put("self", "0::/outer/inner\n");
  put("outer/inner/memory.max", "max\n");
  put("outer/inner/cpu.max", "max 100000\n");
  assert_true(memory() == SIZE_MAX);
  assert_true(processors() == SIZE_MAX);
  /* The least on the way counts.  */
  put("outer/memory.max", "67108864\n");
  put("outer/cpu.max", "250000 100000\n");
  assert_int_equal(memory(), 67108864);
  assert_int_equal(processors(), 3);
  put("outer/inner/memory.max", "1048576\n");
  put("outer/inner/cpu.max", "50000 100000\n");
  assert_int_equal(memory(), 1048576);
  assert_int_equal(processors(), 1);
  put("memory.max", "4096\n");
  put("cpu.max", "200000 100000\n");
  assert_int_equal(memory(), 4096);
  assert_int_equal(processors(), 1);
}

static void version_1(void **state) {
  (void)state;
  put("self", "5:cpu,cpuacct:/a/b\n4:memory:/c\n3:memoryx:/d\n0::/\n");
  put("memory/c/memory.limit_in_bytes", "9223372036854771712\n");
  put("memory/memory.limit_in_bytes", "8192\n");
  put("cpu/a/b/cpu.cfs_quota_us", "-1\n");
  put("cpu/a/b/cpu.cfs_period_us", "100000\n");
  assert_int_equal(memory(), 8192);
  assert_true(processors() == SIZE_MAX);
  put("cpu/a/cpu.cfs_quota_us", "400000\n");
  put("cpu/a/cpu.cfs_period_us", "100000\n");
  assert_int_equal(processors(), 4);
}

int main(void) {
#define TEST(f) \
  cmocka_unit_test_setup_teardown(f, enter_directory, remove_directory)
  const struct CMUnitTest tests[] = {TEST(no_groups), TEST(version_2),
                                     TEST(version_1)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
