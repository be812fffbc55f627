/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Unit tests of options: defaults, ranges, syntax.  */
/* Collectors: mmc */

#include "unit.h"

#include <locale.h>

#include "gc-options.h"

#include "../src/gc-options-internal.h"
#include "../src/gc-platform.h"

#define KIB ((size_t)1024)

static struct gc_options *options;

static int setup(void **state) {
  (void)state;
  options = gc_allocate_options();
  return options ? 0 : -1;
}

static int teardown(void **state) {
  (void)state;
  free(options);
  return 0;
}

static void test_numbers_are_the_interface(void **state) {
  (void)state;
  assert_int_equal(GC_HEAP_SIZE_FIXED, 0);
  assert_int_equal(GC_HEAP_SIZE_GROWABLE, 1);
  assert_int_equal(GC_HEAP_SIZE_ADAPTIVE, 2);
  assert_int_equal(gc_option_from_string("heap-size-policy"), 0);
  assert_int_equal(gc_option_from_string("heap-size"), 1);
  assert_int_equal(gc_option_from_string("maximum-heap-size"), 2);
  assert_int_equal(gc_option_from_string("heap-double-threshold"), 3);
  assert_int_equal(gc_option_from_string("heap-expansiveness"), 4);
  assert_int_equal(gc_option_from_string("parallelism"), 5);
  assert_int_equal(gc_option_from_string("heap-size-multiplier"), -1);
  assert_int_equal(gc_option_from_string("heap-siz"), -1);
  assert_int_equal(gc_option_from_string(""), -1);
}

static void check_defaults(const struct gc_common_options *common) {
  assert_int_equal(common->heap_size_policy, GC_HEAP_SIZE_FIXED);
  assert_int_equal(common->heap_size, 6 * KIB * KIB);
  assert_int_equal(common->maximum_heap_size, 0);
  assert_int_equal(common->heap_double_threshold, 60 * KIB * KIB);
  assert_true(common->heap_expansiveness == 1.0);
  int processors = gc_platform_processor_count();
  assert_int_equal(common->parallelism, processors < 8 ? processors : 8);
}

static void test_defaults(void **state) {
  (void)state;
  check_defaults(&options->common);
  struct gc_common_options copy;
  gc_common_options_copy(&copy, NULL);
  check_defaults(&copy);
  assert_true(gc_options_set_int(options, GC_OPTION_PARALLELISM, 3));
  gc_common_options_copy(&copy, options);
  assert_int_equal(copy.parallelism, 3);
}

static void test_setters(void **state) {
  (void)state;
  static const struct {
    int option, value, ok;
  } ints[] = {
      {GC_OPTION_HEAP_SIZE_POLICY, GC_HEAP_SIZE_ADAPTIVE, 1},
      {GC_OPTION_HEAP_SIZE_POLICY, 3, 0},
      {GC_OPTION_HEAP_SIZE_POLICY, -1, 0},
      {GC_OPTION_PARALLELISM, 1, 1},
      {GC_OPTION_PARALLELISM, 64, 1},
      {GC_OPTION_PARALLELISM, 0, 0},
      {GC_OPTION_PARALLELISM, 65, 0},
      {GC_OPTION_HEAP_SIZE, 1, 0},
      {GC_OPTION_HEAP_EXPANSIVENESS, 1, 0},
      {-1, 1, 0},
      {6, 1, 0},
  };
  for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
    struct gc_options before = *options;
    int ok = gc_options_set_int(options, ints[i].option, ints[i].value);
    assert_int_equal(ok, ints[i].ok);
    if (!ok)
      assert_memory_equal(&before, options, sizeof before);
  }
  assert_int_equal(options->common.heap_size_policy, GC_HEAP_SIZE_ADAPTIVE);
  assert_int_equal(options->common.parallelism, 64);

  assert_true(gc_options_set_size(options, GC_OPTION_HEAP_SIZE, 0));
  assert_int_equal(options->common.heap_size, 0);
  assert_true(gc_options_set_size(options, GC_OPTION_HEAP_SIZE, SIZE_MAX));
  assert_true(gc_options_set_size(options, GC_OPTION_MAXIMUM_HEAP_SIZE, 17));
  assert_int_equal(options->common.maximum_heap_size, 17);
  assert_true(gc_options_set_size(options, GC_OPTION_HEAP_DOUBLE_THRESHOLD, 1));
  assert_false(
      gc_options_set_size(options, GC_OPTION_HEAP_DOUBLE_THRESHOLD, 0));
  assert_int_equal(options->common.heap_double_threshold, 1);
  assert_false(gc_options_set_size(options, GC_OPTION_PARALLELISM, 2));
  assert_false(gc_options_set_size(options, -1, 2));

  int e = GC_OPTION_HEAP_EXPANSIVENESS;
  assert_true(gc_options_set_double(options, e, 0.0));
  assert_true(gc_options_set_double(options, e, 50.0));
  assert_false(gc_options_set_double(options, e, 50.1));
  assert_false(gc_options_set_double(options, e, -0.1));
  assert_false(gc_options_set_double(options, e, __builtin_nan("")));
  assert_false(gc_options_set_double(options, GC_OPTION_PARALLELISM, 2.0));
  assert_true(options->common.heap_expansiveness == 50.0);
}

static int parse(int option, const char *value) {
  struct gc_options before = *options;
  int ok = gc_options_parse_and_set(options, option, value);
  if (!ok)
    assert_memory_equal(&before, options, sizeof before);
  return ok;
}

static void test_parse_int(void **state) {
  (void)state;
  int p = GC_OPTION_PARALLELISM;
  assert_true(parse(p, "12"));
  assert_int_equal(options->common.parallelism, 12);
  assert_true(parse(p, "0x10"));
  assert_int_equal(options->common.parallelism, 16);
  assert_true(parse(p, "010"));
  assert_int_equal(options->common.parallelism, 8);
  assert_true(parse(p, "+5"));
  assert_int_equal(options->common.parallelism, 5);
  assert_true(parse(p, " \t\n\v\f\r3"));
  assert_int_equal(options->common.parallelism, 3);
  static const char *const bad[] = {"",    " ",   "3 ",  "3x",         "x",
                                    "-1",  "1.",  "1e1", "4294967297", "0",
                                    "+ 5", "++5", "+-5"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(parse(p, bad[i]));
}

static void test_parse_policy(void **state) {
  (void)state;
  int p = GC_OPTION_HEAP_SIZE_POLICY;
  assert_true(parse(p, "growable"));
  assert_int_equal(options->common.heap_size_policy, GC_HEAP_SIZE_GROWABLE);
  assert_true(parse(p, "adaptive"));
  assert_int_equal(options->common.heap_size_policy, GC_HEAP_SIZE_ADAPTIVE);
  assert_true(parse(p, "fixed"));
  assert_int_equal(options->common.heap_size_policy, GC_HEAP_SIZE_FIXED);
  assert_true(parse(p, "1"));
  assert_int_equal(options->common.heap_size_policy, GC_HEAP_SIZE_GROWABLE);
  assert_false(parse(p, "3"));
  assert_false(parse(p, "Fixed"));
  assert_false(parse(p, "grow"));
  assert_false(parse(GC_OPTION_PARALLELISM, "fixed"));
}

static void test_parse_size(void **state) {
  (void)state;
  static const struct {
    const char *string;
    size_t value;
  } good[] = {
      {"0", 0},
      {"123", 123},
      {"0x20", 32},
      {"1k", KIB},
      {"1K", KIB},
      {"3m", 3 * KIB * KIB},
      {"3M", 3 * KIB * KIB},
      {"2g", 2 * KIB * KIB * KIB},
      {"2G", 2 * KIB * KIB * KIB},
      {"1t", KIB * KIB * KIB * KIB},
      {"1T", KIB * KIB * KIB * KIB},
      {"0x1m", KIB * KIB},
      {"18446744073709551615", SIZE_MAX},
      {"+5", 5},
      {" 5m", 5 * KIB * KIB},
      {" \t\n\v\f\r+0x10k", 16 * KIB},
  };
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_true(parse(GC_OPTION_HEAP_SIZE, good[i].string));
    assert_int_equal(options->common.heap_size, good[i].value);
  }
  static const char *const bad[] = {
      "",           "k",        "-1",  " -1", "+",
      " ",          "+ 1",      "++1", "+-1", "-+1",
      "+k",         " k",       "1 k", "1m ", "+18446744073709551616",
      " 16777216t", "1 ",       "1kk", "1b",  "1kb",
      "1.",         "1.5m",     "x",   "1p",  "18446744073709551616",
      "-1k",        "16777216t"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(parse(GC_OPTION_HEAP_SIZE, bad[i]));
}

static void test_parse_double(void **state) {
  (void)state;
  int e = GC_OPTION_HEAP_EXPANSIVENESS;
  /* Where the decimal point is a comma, if such a locale is installed.  */
  setlocale(LC_ALL, "de_DE.UTF-8");
  assert_true(parse(e, "1.5"));
  assert_true(options->common.heap_expansiveness == 1.5);
  setlocale(LC_ALL, "C");
  assert_true(parse(e, "2"));
  assert_true(options->common.heap_expansiveness == 2);
  assert_true(parse(e, ".25"));
  assert_true(options->common.heap_expansiveness == 0.25);
  assert_true(parse(e, "1e1"));
  assert_true(options->common.heap_expansiveness == 10);
  assert_true(parse(e, " +3"));
  assert_true(options->common.heap_expansiveness == 3);
  static const char *const bad[] = {"",    "x",   "1.5x", " ",  "1 ",
                                    "nan", "inf", "-1",   "51", "1,5"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(parse(e, bad[i]));
  assert_false(parse(-1, "1"));
  assert_false(parse(6, "1"));
}

static void test_parse_many(void **state) {
  (void)state;
  assert_true(gc_options_parse_and_set_many(options, ""));
  check_defaults(&options->common);

  assert_true(gc_options_parse_and_set_many(options, "parallelism=2"));
  assert_int_equal(options->common.parallelism, 2);
  assert_true(gc_options_parse_and_set_many(
      options, "heap-size-policy=growable,heap-size=7m,maximum-heap-size=1g,"
               "heap-double-threshold=1k,heap-expansiveness=0.5,"
               "parallelism=3"));
  assert_int_equal(options->common.heap_size_policy, GC_HEAP_SIZE_GROWABLE);
  assert_int_equal(options->common.heap_size, 7 * KIB * KIB);
  assert_int_equal(options->common.maximum_heap_size, KIB * KIB * KIB);
  assert_int_equal(options->common.heap_double_threshold, KIB);
  assert_true(options->common.heap_expansiveness == 0.5);
  assert_int_equal(options->common.parallelism, 3);

  static const char *const bad[] = {
      ",",
      "parallelism",
      "parallelism=",
      "=4",
      "parallelism=4,",
      ",parallelism=4",
      "parallelism=4,,heap-size=1m",
      "parallelism =4",
      "parallelism=4 ",
      "parallelism=65",
      "no-such-option=1",
      "heap-size=1M",
      "Parallelism=4",
      "heap-size=1m;parallelism=4",
      "parallelism==4",
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
    assert_false(gc_options_parse_and_set_many(options, bad[i]));

  /* What came before the error stays; what is followed by junk is not set.  */
  assert_false(
      gc_options_parse_and_set_many(options, "parallelism=5,heap-size=x"));
  assert_int_equal(options->common.parallelism, 5);
  assert_false(gc_options_parse_and_set_many(options, "parallelism=6;"));
  assert_int_equal(options->common.parallelism, 5);

  char long_value[4096] = "parallelism=";
  memset(long_value + strlen(long_value), '0', 4000);
  assert_false(gc_options_parse_and_set_many(options, long_value));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
  const struct CMUnitTest tests[] = {
      TEST(test_numbers_are_the_interface),
      TEST(test_defaults),
      TEST(test_setters),
      TEST(test_parse_int),
      TEST(test_parse_policy),
      TEST(test_parse_size),
      TEST(test_parse_double),
      TEST(test_parse_many),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
