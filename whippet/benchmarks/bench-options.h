/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Command-line options of the benchmark programs: a table of names, types and
   ranges drives both the parser and the text of --help.  */

#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum bench_exit {
  BENCH_EXIT_OK = 0,
  BENCH_EXIT_CORRUPT = 1,
  BENCH_EXIT_USAGE = 2,
  BENCH_EXIT_OUT_OF_MEMORY = 3
};

enum bench_option_type {
  BENCH_OPTION_FLAG,  /* int, set to 1; takes no value */
  BENCH_OPTION_INT,   /* int */
  BENCH_OPTION_SIZE,  /* size_t; accepts a suffix k, m, g */
  BENCH_OPTION_REAL,  /* double */
  BENCH_OPTION_STRING /* const char *, not NULL */
};

/* Tables end with an option whose name is NULL.  */
struct bench_option {
  const char *name; /* without the dashes */
  const char *value_name;
  const char *help;
  enum bench_option_type type;
  void *place; /* holds the default */
  double min, max;
};

#define BENCH_OPTIONS_END \
  { NULL, NULL, NULL, BENCH_OPTION_FLAG, NULL, 0, 0 }

static inline void bench_print_default(FILE *out,
                                       const struct bench_option *option) {
  switch (option->type) {
  case BENCH_OPTION_FLAG:
    break;
  case BENCH_OPTION_INT:
    fprintf(out, " (%d)", *(int *)option->place);
    break;
  case BENCH_OPTION_SIZE:
    if (*(size_t *)option->place)
      fprintf(out, " (%zu)", *(size_t *)option->place);
    break;
  case BENCH_OPTION_REAL:
    fprintf(out, " (%g)", *(double *)option->place);
    break;
  case BENCH_OPTION_STRING:
    if (**(const char **)option->place)
      fprintf(out, " (%s)", *(const char **)option->place);
    break;
  }
}

static inline void bench_print_options(FILE *out,
                                       const struct bench_option *options) {
  for (const struct bench_option *o = options; o->name; o++) {
    int width = fprintf(out, "  --%s", o->name);
    if (o->type != BENCH_OPTION_FLAG)
      width += fprintf(out, "=%s", o->value_name);
    fprintf(out, "%*s %s", width < 28 ? 28 - width : 0, "", o->help);
    bench_print_default(out, o);
    fputc('\n', out);
  }
}

/* Parse a nonnegative integer with an optional suffix.  Return 0 on error.  */
static inline int bench_parse_size(const char *text, double *value) {
  char *end;
  errno = 0;
  unsigned long long n = strtoull(text, &end, 0);
  if (end == text || errno || *text == '-')
    return 0;
  unsigned shift = 0;
  switch (*end) {
  case 'k':
  case 'K':
    shift = 10, end++;
    break;
  case 'm':
  case 'M':
    shift = 20, end++;
    break;
  case 'g':
  case 'G':
    shift = 30, end++;
    break;
  }
  if (*end || n > (SIZE_MAX >> shift))
    return 0;
  *value = (double)(n << shift);
  return 1;
}

/* Parse TEXT as the value of OPTION and store it.  Return 0 on error.  */
static inline int bench_set_option(const struct bench_option *option,
                                   const char *text) {
  double value = 0;
  char *end = NULL;
  switch (option->type) {
  case BENCH_OPTION_FLAG:
    *(int *)option->place = 1;
    return 1;
  case BENCH_OPTION_STRING:
    *(const char **)option->place = text;
    return 1;
  case BENCH_OPTION_SIZE:
    if (!bench_parse_size(text, &value))
      return 0;
    break;
  case BENCH_OPTION_INT:
    value = (double)strtol(text, &end, 0);
    if (end == text || *end)
      return 0;
    break;
  case BENCH_OPTION_REAL:
    value = strtod(text, &end);
    if (end == text || *end)
      return 0;
    break;
  }
  /* Written so that a NaN fails.  */
  if (!(value >= option->min && value <= option->max))
    return 0;
  if (option->type == BENCH_OPTION_SIZE)
    *(size_t *)option->place = (size_t)value;
  else if (option->type == BENCH_OPTION_INT)
    *(int *)option->place = (int)value;
  else
    *(double *)option->place = value;
  return 1;
}

static inline const struct bench_option *
bench_find_option(const struct bench_option *options, const char *name,
                  size_t length) {
  for (const struct bench_option *o = options; o && o->name; o++)
    if (strlen(o->name) == length && strncmp(o->name, name, length) == 0)
      return o;
  return NULL;
}

static inline void bench_usage_error(const char *program, const char *what,
                                     const char *argument)
    __attribute__((noreturn));
static inline void bench_usage_error(const char *program, const char *what,
                                     const char *argument) {
  fprintf(stderr, "%s: %s: %s\nTry '%s --help'.\n", program, what, argument,
          program);
  exit(BENCH_EXIT_USAGE);
}

/* Parse ARGV against two tables.  Options are `--name=value' or
   `--name value'; there are no positional arguments.  HELP is called for
   --help.  Exits on errors.  */
static inline void bench_parse_options(int argc, char **argv,
                                       const struct bench_option *own,
                                       const struct bench_option *common,
                                       void (*help)(FILE *out, void *data),
                                       void *help_data) {
  for (int i = 1; i < argc; i++) {
    const char *arg = argv[i];
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) {
      help(stdout, help_data);
      exit(BENCH_EXIT_OK);
    }
    if (strncmp(arg, "--", 2) != 0)
      bench_usage_error(argv[0], "unexpected argument", arg);
    const char *name = arg + 2;
    size_t length = strcspn(name, "=");
    const struct bench_option *option = bench_find_option(own, name, length);
    if (!option)
      option = bench_find_option(common, name, length);
    if (!option)
      bench_usage_error(argv[0], "unknown option", arg);
    const char *value = name[length] ? name + length + 1 : NULL;
    if (option->type == BENCH_OPTION_FLAG) {
      if (value)
        bench_usage_error(argv[0], "option takes no value", arg);
    } else if (!value) {
      if (++i == argc)
        bench_usage_error(argv[0], "option needs a value", arg);
      value = argv[i];
    }
    if (!bench_set_option(option, value))
      bench_usage_error(argv[0], "bad value or out of range", arg);
  }
}

#endif /* BENCH_OPTIONS_H */
