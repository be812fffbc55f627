/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Whether a new slab asks for huge pages.

   Huge pages make tracing faster, and as a rule first use of memory as well,
   one fault instead of 512.  But the host of a virtual machine takes back
   memory that the machine does not use, by the huge page, and when the kernel
   hands out such a page, clearing it means to wait for the host: that has been
   seen to take fifty times as long, while small pages came from memory in use
   all the time.  Hence the first use of each slab is timed, as either kind, and
   the next slab is of the kind that was cheaper; of two that cost about the
   same, huge.  While small pages are, some slab tries huge ones now and
   then.  */

#ifndef NOFL_HUGE_PAGES_H
#define NOFL_HUGE_PAGES_H

#include <stddef.h>
#include <stdint.h>

/* What a huge page usually has, and the measure of costs.  */
#define NOFL_HUGE_PAGE_SIZE ((size_t)2 * 1024 * 1024)

/* Costs up to this are no reason to try small pages, in nanoseconds per
   NOFL_HUGE_PAGE_SIZE.  Small pages cost about as much where memory is at
   hand.  */
#define NOFL_HUGE_PAGE_CHEAP 1000000

/* Slabs with small pages before one tries huge pages: the first time, and at
   most, after doubling each time in vain.  */
#define NOFL_HUGE_PAGE_RETRY_MIN 16
#define NOFL_HUGE_PAGE_RETRY_MAX 128

struct nofl_huge_pages {
  size_t from;      /* heaps of this size ask for them; SIZE_MAX: none does */
  uint8_t always;   /* whatever they cost */
  uint64_t huge_ns; /* last cost of either kind, 0 if it is not known */
  uint64_t small_ns;
  unsigned wait; /* slabs before huge pages are tried again */
  unsigned retry;
};

static inline void nofl_huge_pages_init(struct nofl_huge_pages *pages,
                                        size_t from, int always) {
  *pages = (struct nofl_huge_pages){
      .from = from, .always = always, .retry = NOFL_HUGE_PAGE_RETRY_MIN};
}

static inline int nofl_huge_pages_are_cheap(const struct nofl_huge_pages *p) {
  return p->huge_ns <= NOFL_HUGE_PAGE_CHEAP ||
         (p->small_ns && p->huge_ns <= p->small_ns + p->small_ns / 2);
}

/* Is a slab to have them that is in use already?  */
static inline int nofl_huge_pages_preferred(const struct nofl_huge_pages *p) {
  return p->always || nofl_huge_pages_are_cheap(p);
}

/* Is a heap of HEAP_SIZE bytes large enough for them?  */
static inline int
nofl_huge_pages_considered(const struct nofl_huge_pages *pages,
                           size_t heap_size) {
  return heap_size >= pages->from;
}

/* Is its next slab to ask for them?  */
static inline int nofl_huge_pages_wanted(struct nofl_huge_pages *pages) {
  if (nofl_huge_pages_preferred(pages) || !pages->wait)
    return 1;
  pages->wait--;
  return 0;
}

/* First use of NOFL_HUGE_PAGE_SIZE of new memory would take NS nanoseconds of
   processor time at the rate of a slab just added, with HUGE pages or small
   ones.  */
static inline void nofl_huge_pages_measured(struct nofl_huge_pages *pages,
                                            int huge, uint64_t ns) {
  if (!huge) {
    pages->small_ns = ns ? ns : 1;
    return;
  }
  pages->huge_ns = ns;
  if (nofl_huge_pages_are_cheap(pages)) {
    pages->retry = NOFL_HUGE_PAGE_RETRY_MIN;
    return;
  }
  pages->wait = pages->retry;
  if (pages->retry < NOFL_HUGE_PAGE_RETRY_MAX)
    pages->retry *= 2;
}

#endif // NOFL_HUGE_PAGES_H
