/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the kernel has done with pages, for tests.  */
#ifndef PAGES_H
#define PAGES_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "unit.h"

/* How many pages of the SIZE bytes at ADDR, whole pages, are resident.  */
static inline size_t pages_resident(const void *addr, size_t size) {
  static unsigned char map[1 << 16];
  size_t pages = size / (size_t)sysconf(_SC_PAGESIZE), count = 0;
  assert_in_range(pages, 0, sizeof(map));
  assert_int_equal(mincore((void *)addr, size, map), 0);
  for (size_t i = 0; i < pages; i++)
    count += map[i] & 1;
  return count;
}

/* Does the kernel's entry for the memory at ADDR have FLAG among its VmFlags?
   -1 if there are no such entries.  */
static inline int pages_have_flag(uintptr_t addr, const char *flag) {
  FILE *smaps = fopen("/proc/self/smaps", "r");
  if (!smaps)
    return -1;
  char line[512];
  int inside = 0, found = -1;
  while (found < 0 && fgets(line, sizeof(line), smaps)) {
    uintptr_t low, high;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &low, &high) == 2)
      inside = low <= addr && addr < high;
    else if (inside && strncmp(line, "VmFlags:", 8) == 0)
      found = strstr(line, flag) != NULL;
  }
  fclose(smaps);
  return found;
}

/* Forbid the process huge pages, or allow them again: where they are the rule,
   one touch makes 512 pages resident.  */
static inline void pages_forbid_huge(int forbid) {
  prctl(PR_SET_THP_DISABLE, forbid, 0, 0, 0);
}

/* What can be seen on a page that got ADVICE from this test itself, not from
   what is tested.  */
static inline void *pages_advised(int advice) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void *addr = mmap(NULL, page, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(addr != MAP_FAILED);
  madvise(addr, page, advice);
  return addr;
}

/* Does this system get pages in bulk?  Linux before 5.14 refuses, and qemu
   accepts the advice and ignores it.  */
static inline int pages_can_be_populated(void) {
  enum { POPULATE_WRITE = 23 };
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  void *addr = pages_advised(POPULATE_WRITE);
  int ret = pages_resident(addr, page) == 1;
  munmap(addr, page);
  return ret;
}

/* Can it be seen whether memory asks for huge pages?  */
static inline int pages_show_huge(void) {
  void *addr = pages_advised(MADV_HUGEPAGE);
  int ret = pages_have_flag((uintptr_t)addr, " hg") == 1;
  munmap(addr, (size_t)sysconf(_SC_PAGESIZE));
  return ret;
}

#endif /* PAGES_H */
