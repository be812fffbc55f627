/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Run-time options: defaults, ranges and the syntax of their values.  */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gc-options-internal.h"

#include "gc-platform.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1024 * 1024)
#define MAX_PARALLELISM 64
#define MAX_DEFAULT_PARALLELISM 8

enum option_type { OPTION_INT, OPTION_SIZE, OPTION_DOUBLE };

struct option_description {
  const char *name;
  enum option_type type;
  size_t field_offset; /* in struct gc_common_options */
  union {
    struct {
      int min, max;
    } as_int;
    struct {
      size_t min, max; /* bytes */
    } as_size;
    struct {
      double min, max;
    } as_double;
  } range;
};

#define FIELD(name) offsetof(struct gc_common_options, name)

static const struct option_description option_descriptions[] = {
    [GC_OPTION_HEAP_SIZE_POLICY] = {"heap-size-policy",
                                    OPTION_INT,
                                    FIELD(heap_size_policy),
                                    {.as_int = {GC_HEAP_SIZE_FIXED,
                                                GC_HEAP_SIZE_ADAPTIVE}}},
    [GC_OPTION_HEAP_SIZE] = {"heap-size",
                             OPTION_SIZE,
                             FIELD(heap_size),
                             {.as_size = {0, SIZE_MAX}}},
    [GC_OPTION_MAXIMUM_HEAP_SIZE] = {"maximum-heap-size",
                                     OPTION_SIZE,
                                     FIELD(maximum_heap_size),
                                     {.as_size = {0, SIZE_MAX}}},
    [GC_OPTION_HEAP_DOUBLE_THRESHOLD] = {"heap-double-threshold",
                                         OPTION_SIZE,
                                         FIELD(heap_double_threshold),
                                         {.as_size = {1, SIZE_MAX}}},
    [GC_OPTION_HEAP_EXPANSIVENESS] = {"heap-expansiveness",
                                      OPTION_DOUBLE,
                                      FIELD(heap_expansiveness),
                                      {.as_double = {0.0, 50.0}}},
    [GC_OPTION_PARALLELISM] = {"parallelism",
                               OPTION_INT,
                               FIELD(parallelism),
                               {.as_int = {1, MAX_PARALLELISM}}},
};

#undef FIELD

#define OPTION_COUNT \
  ((int)(sizeof option_descriptions / sizeof option_descriptions[0]))

_Static_assert(sizeof(enum gc_heap_size_policy) == sizeof(int),
               "the policy is set through a pointer to int");

static const struct option_description *describe_option(int option,
                                                        enum option_type type) {
  if (option < 0 || option >= OPTION_COUNT)
    return NULL;
  const struct option_description *description = &option_descriptions[option];
  return description->type == type ? description : NULL;
}

static void *option_field(struct gc_options *options,
                          const struct option_description *description) {
  return (char *)&options->common + description->field_offset;
}

int gc_option_from_string(const char *str) {
  for (int i = 0; i < OPTION_COUNT; i++)
    if (strcmp(str, option_descriptions[i].name) == 0)
      return i;
  return -1;
}

void gc_init_common_options(struct gc_common_options *options) {
  int parallelism = gc_platform_processor_count();
  int quota = gc_platform_processor_quota();
  if (parallelism > quota)
    parallelism = quota;
  if (parallelism < 1)
    parallelism = 1;
  if (parallelism > MAX_DEFAULT_PARALLELISM)
    parallelism = MAX_DEFAULT_PARALLELISM;

  *options = (struct gc_common_options){
      .heap_size_policy = GC_HEAP_SIZE_FIXED,
      .heap_size = 6 * MIB,
      .maximum_heap_size = 0,
      .heap_double_threshold = 60 * MIB,
      .heap_expansiveness = 1.0,
      .parallelism = parallelism,
  };
}

void gc_common_options_copy(struct gc_common_options *out,
                            const struct gc_options *options) {
  if (options)
    *out = options->common;
  else
    gc_init_common_options(out);
}

struct gc_options *gc_allocate_options(void) {
  struct gc_options *options = calloc(1, sizeof *options);
  if (options)
    gc_init_common_options(&options->common);
  return options;
}

int gc_options_set_int(struct gc_options *options, int option, int value) {
  const struct option_description *d = describe_option(option, OPTION_INT);
  if (!d || value < d->range.as_int.min || value > d->range.as_int.max)
    return 0;
  memcpy(option_field(options, d), &value, sizeof value);
  return 1;
}

int gc_options_set_size(struct gc_options *options, int option, size_t value) {
  const struct option_description *d = describe_option(option, OPTION_SIZE);
  if (!d || value < d->range.as_size.min || value > d->range.as_size.max)
    return 0;
  memcpy(option_field(options, d), &value, sizeof value);
  return 1;
}

int gc_options_set_double(struct gc_options *options, int option,
                          double value) {
  const struct option_description *d = describe_option(option, OPTION_DOUBLE);
  /* Written so that a NaN is out of range.  */
  if (!d ||
      !(value >= d->range.as_double.min && value <= d->range.as_double.max))
    return 0;
  memcpy(option_field(options, d), &value, sizeof value);
  return 1;
}

/* The number that STR starts with, behind white space, or NULL if there is none: the
   C library would take a negative size, and names of numbers.  */
static const char *find_number(const char *str, int may_be_negative) {
  str += strspn(str, " \t\n\v\f\r");
  const char *digits = str;
  if (*digits == '+' || (may_be_negative && *digits == '-'))
    digits++;
  return (*digits >= '0' && *digits <= '9') || *digits == '.' ? str : NULL;
}

static int parse_int(const char *str, int *out) {
  str = find_number(str, 1);
  if (!str)
    return 0;
  char *end;
  errno = 0;
  long value = strtol(str, &end, 0);
  if (errno || *end || end == str || value < INT_MIN || value > INT_MAX)
    return 0;
  *out = (int)value;
  return 1;
}

static int parse_policy(const char *str, int *out) {
  static const char *const names[] = {
      [GC_HEAP_SIZE_FIXED] = "fixed",
      [GC_HEAP_SIZE_GROWABLE] = "growable",
      [GC_HEAP_SIZE_ADAPTIVE] = "adaptive",
  };
  for (int i = 0; i < (int)(sizeof names / sizeof names[0]); i++) {
    if (strcmp(str, names[i]) == 0) {
      *out = i;
      return 1;
    }
  }
  return parse_int(str, out);
}

/* Binary logarithm of the factor that SUFFIX stands for, or -1.  */
static int size_suffix_shift(char suffix) {
  switch (suffix) {
  case 'k':
  case 'K':
    return 10;
  case 'm':
  case 'M':
    return 20;
  case 'g':
  case 'G':
    return 30;
  case 't':
  case 'T':
    return 40;
  default:
    return -1;
  }
}

static int parse_size(const char *str, size_t *out) {
  str = find_number(str, 0);
  if (!str)
    return 0;
  char *end;
  errno = 0;
  unsigned long long value = strtoull(str, &end, 0);
  if (errno || end == str)
    return 0;
  if (*end) {
    int shift = size_suffix_shift(*end++);
    if (shift < 0 || *end || value > ULLONG_MAX >> shift)
      return 0;
    value <<= shift;
  }
  if (value > SIZE_MAX)
    return 0;
  *out = (size_t)value;
  return 1;
}

static int parse_double(const char *str, double *out) {
  str = find_number(str, 1);
  if (!str)
    return 0;
  /* The syntax must not depend on the program's locale.  */
  locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  if (!c_locale)
    return 0;
  char *end;
  errno = 0;
  double value = strtod_l(str, &end, c_locale);
  int ok = !errno && !*end && end != str;
  freelocale(c_locale);
  if (ok)
    *out = value;
  return ok;
}

int gc_options_parse_and_set(struct gc_options *options, int option,
                             const char *value) {
  if (describe_option(option, OPTION_INT)) {
    int parsed;
    int ok = option == GC_OPTION_HEAP_SIZE_POLICY ? parse_policy(value, &parsed)
                                                  : parse_int(value, &parsed);
    return ok && gc_options_set_int(options, option, parsed);
  }
  if (describe_option(option, OPTION_SIZE)) {
    size_t parsed;
    return parse_size(value, &parsed) &&
           gc_options_set_size(options, option, parsed);
  }
  if (describe_option(option, OPTION_DOUBLE)) {
    double parsed;
    return parse_double(value, &parsed) &&
           gc_options_set_double(options, option, parsed);
  }
  return 0;
}

#define KEY_CHARACTERS "abcdefghijklmnopqrstuvwxyz-"
#define VALUE_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789-+."

/* Copy the longest prefix of *STR made of CHARACTERS to BUF, of SIZE bytes, and
   advance *STR over it.  0 if it is empty or does not fit.  */
static int take_word(const char **str, const char *characters, char *buf,
                     size_t size) {
  size_t length = strspn(*str, characters);
  if (length == 0 || length >= size)
    return 0;
  memcpy(buf, *str, length);
  buf[length] = '\0';
  *str += length;
  return 1;
}

int gc_options_parse_and_set_many(struct gc_options *options, const char *str) {
  if (!*str)
    return 1;
  for (;;) {
    char key[32];
    char value[128];
    if (!take_word(&str, KEY_CHARACTERS, key, sizeof key) || *str++ != '=' ||
        !take_word(&str, VALUE_CHARACTERS, value, sizeof value))
      return 0;
    /* What follows the value may make it invalid: look before setting.  */
    if (*str && *str != ',')
      return 0;
    int option = gc_option_from_string(key);
    if (option < 0 || !gc_options_parse_and_set(options, option, value))
      return 0;
    if (!*str)
      return 1;
    str++;
  }
}
