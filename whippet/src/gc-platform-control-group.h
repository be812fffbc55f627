/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the control groups of the process grant it.  A part of
   gc-platform-gnu-linux.c.

   A limit holds for a group and all below it, so the least one on the way to the
   root counts.  In version 1 each controller has a hierarchy of its own.  */

#ifndef GC_PLATFORM_CONTROL_GROUP_H
#define GC_PLATFORM_CONTROL_GROUP_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the kernel shows the groups, and those of the process.  */
#ifndef CONTROL_GROUP_MOUNT
#define CONTROL_GROUP_MOUNT "/sys/fs/cgroup"
#define CONTROL_GROUP_SELF "/proc/self/cgroup"
#endif

/* Read the beginning of the file PATH into BUF, of SIZE bytes, as a string.
   The number of characters, or 0.  */
static size_t read_start_of_file(const char *path, char *buf, size_t size) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  size_t total = 0;
  while (total < size - 1) {
    ssize_t n = read(fd, buf + total, size - 1 - total);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      break;
    total += (size_t)n;
  }
  close(fd);
  buf[total] = '\0';
  return total;
}

/* Callers may hold locks: a thread that another has cancelled must not end
   here.  */
static size_t read_file(const char *path, char *buf, size_t size) {
  int cancel_state;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
  size_t total = read_start_of_file(path, buf, size);
  pthread_setcancelstate(cancel_state, NULL);
  return total;
}

/* The start of the file NAME of the directory PATH, of LENGTH characters, which is
   extended, in BUF.  Returns 0 if it cannot be read.  */
static int control_group_read(char *path, size_t length, const char *name,
                              char *buf, size_t size) {
  if (length + 1 + strlen(name) + 1 > PATH_MAX)
    return 0;
  path[length] = '/';
  strcpy(path + length + 1, name);
  return read_file(path, buf, size) != 0;
}

/* A limit, such that SIZE_MAX is none.  The functions return that of one group,
   whose directory is PATH, of LENGTH characters.  */
struct control_group_limit {
  const char *controller; /* its name and directory in version 1 */
  size_t (*version_1)(char *path, size_t length);
  size_t (*version_2)(char *path, size_t length);
};

static size_t control_group_bytes(char *path, size_t length, const char *name) {
  char buf[64];
  if (!control_group_read(path, length, name, buf, sizeof buf) ||
      buf[0] < '0' || buf[0] > '9')
    return SIZE_MAX;
  unsigned long long value = strtoull(buf, NULL, 10);
  return value < SIZE_MAX ? (size_t)value : SIZE_MAX;
}

static size_t control_group_memory_1(char *path, size_t length) {
  return control_group_bytes(path, length, "memory.limit_in_bytes");
}

static size_t control_group_memory_2(char *path, size_t length) {
  return control_group_bytes(path, length, "memory.max");
}

/* Bytes of memory.  */
static const struct control_group_limit control_group_memory = {
    "memory", control_group_memory_1, control_group_memory_2};

/* QUOTA and PERIOD are of processor time.  A quota of -1, or "max", is none.  */
static size_t control_group_quota(const char *quota, const char *period) {
  long long granted = strtoll(quota, NULL, 10);
  long long of = strtoll(period, NULL, 10);
  if (granted <= 0 || of <= 0)
    return SIZE_MAX;
  return (size_t)((granted + of - 1) / of);
}

static size_t control_group_processors_1(char *path, size_t length) {
  char quota[64], period[64];
  if (!control_group_read(path, length, "cpu.cfs_quota_us", quota,
                          sizeof quota) ||
      !control_group_read(path, length, "cpu.cfs_period_us", period,
                          sizeof period))
    return SIZE_MAX;
  return control_group_quota(quota, period);
}

static size_t control_group_processors_2(char *path, size_t length) {
  char buf[64];
  if (!control_group_read(path, length, "cpu.max", buf, sizeof buf))
    return SIZE_MAX;
  const char *period = strchr(buf, ' ');
  return period ? control_group_quota(buf, period) : SIZE_MAX;
}

/* Processors, rounded up.  */
static const struct control_group_limit control_group_processors = {
    "cpu", control_group_processors_1, control_group_processors_2};

/* The least limit of GROUP, a path below the directory ROOT, and of those
   above.  */
static size_t control_group_least_above(const char *root, const char *group,
                                        size_t (*get)(char *path,
                                                      size_t length)) {
  size_t limit = SIZE_MAX;
  char path[PATH_MAX];
  size_t root_length = strlen(root);
  size_t length = root_length + strlen(group);
  if (length + 1 > sizeof path)
    return limit;
  strcpy(path, root);
  strcat(path, group);
  for (;;) {
    while (length > root_length && path[length - 1] == '/')
      length--;
    size_t value = get(path, length);
    if (value < limit)
      limit = value;
    if (length == root_length)
      return limit;
    while (length > root_length && path[length - 1] != '/')
      length--;
  }
}

/* Whether the comma-separated list [LIST, END) has NAME.  */
static int control_group_list_has(const char *list, const char *end,
                                  const char *name) {
  size_t length = strlen(name);
  while (list < end) {
    const char *comma = memchr(list, ',', (size_t)(end - list));
    const char *stop = comma ? comma : end;
    if ((size_t)(stop - list) == length && memcmp(list, name, length) == 0)
      return 1;
    list = stop + 1;
  }
  return 0;
}

/* What LINE, "id:controllers:group", says of LIMIT.  Version 2 has id 0 and no
   controllers.  */
static size_t control_group_of_line(const struct control_group_limit *limit,
                                    const char *line) {
  const char *controllers = strchr(line, ':');
  const char *group = controllers ? strchr(controllers + 1, ':') : NULL;
  if (!group)
    return SIZE_MAX;
  controllers++;
  if (controllers == group)
    return control_group_least_above(CONTROL_GROUP_MOUNT, group + 1,
                                     limit->version_2);
  if (!control_group_list_has(controllers, group, limit->controller))
    return SIZE_MAX;
  char root[PATH_MAX];
  snprintf(root, sizeof root, "%s/%s", CONTROL_GROUP_MOUNT, limit->controller);
  return control_group_least_above(root, group + 1, limit->version_1);
}

static size_t control_group_least(const struct control_group_limit *limit) {
  size_t least = SIZE_MAX;
  char buf[4096];
  if (!read_file(CONTROL_GROUP_SELF, buf, sizeof buf))
    return least;
  for (char *line = buf; *line;) {
    char *next = strchr(line, '\n');
    if (next)
      *next++ = '\0';
    size_t value = control_group_of_line(limit, line);
    if (value < least)
      least = value;
    if (!next)
      break;
    line = next;
  }
  return least;
}

#endif /* GC_PLATFORM_CONTROL_GROUP_H */
