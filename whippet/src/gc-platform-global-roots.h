/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The writable data segments of the program and its libraries.  Part of
   gc-platform-gnu-linux.c; not to be included elsewhere.

   The list of segments is cached.  It is brought up to date before the world
   stops, by dl_iterate_phdr, which takes a lock of the dynamic loader.  A
   thread may then load or unload a library before it stops, and may even be
   stopped while it holds that lock.  So when the world is stopped, a
   fingerprint of the loader's public list of objects tells whether the cache
   is still right.  If it is not, the list is walked as it is, without lock:
   the loader links an object into it by one store once its segments are
   mapped.  An object that is being unloaded stays in the list for a moment
   without its segments: hence the kernel is asked whether a segment is mapped
   before it is read, unless the loader's list is the one that was recorded, and
   not just changing.  */

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

/* In programs that are linked statically there is no such list; nor does the
   set of objects change.  */
#pragma weak _r_debug

struct segment {
  uintptr_t low, high;
};

struct segment_list {
  size_t count, capacity;
  struct segment *segments;
};

#define INITIAL_SEGMENTS 64
#define MAX_EXCLUSIONS 16

/* What one heap knows of the segments.  Written by preparation, under the loader's
   lock; read by visits.  The heap's collector orders the two, and they are never
   concurrent: another heap, whose collections go their own way, has a list of its
   own.  */
struct gc_global_roots {
  int valid;
  int loader_tells;              /* what _r_debug has is about these objects */
  unsigned long long adds, subs; /* the loader's counts of (un)loaded objects */
  uint64_t fingerprint;
  struct segment_list list;
  struct segment initial[INITIAL_SEGMENTS];
};

/* Of all heaps.  */
static struct {
  struct segment segments[MAX_EXCLUSIONS];
  size_t count;
} exclusions;

/* Two objects of the dynamic loader's list differ in these.  */
static uint64_t loaded_objects_fingerprint(void) {
  uint64_t hash = 0;
  if (!&_r_debug)
    return hash;
  for (struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
    hash = (hash ^ (uintptr_t)map) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ map->l_addr) * UINT64_C(0x9e3779b97f4a7c15);
    hash = (hash ^ (uintptr_t)map->l_ld) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 29;
  }
  return hash;
}

static int add_segment(struct gc_global_roots *roots, uintptr_t low,
                       uintptr_t high) {
  struct segment_list *list = &roots->list;
  if (list->count == list->capacity) {
    size_t capacity = list->capacity * 2;
    struct segment *segments =
        gc_platform_map(capacity * sizeof list->segments[0]);
    if (!segments)
      return 0;
    memcpy(segments, list->segments, list->count * sizeof list->segments[0]);
    if (list->segments != roots->initial)
      gc_platform_release(list->segments,
                          list->capacity * sizeof list->segments[0]);
    list->segments = segments;
    list->capacity = capacity;
  }
  list->segments[list->count++] = (struct segment){low, high};
  return 1;
}

/* Call F (low, high, DATA) for the parts of [LOW, HIGH) that are not in the
   COUNT ranges EXCLUDED.  */
static int visit_difference(uintptr_t low, uintptr_t high,
                            const struct segment *excluded, size_t count,
                            int (*f)(uintptr_t low, uintptr_t high, void *data),
                            void *data) {
  for (size_t i = 0; i < count; i++) {
    if (excluded[i].high <= low || high <= excluded[i].low)
      continue;
    int ok = 1;
    if (low < excluded[i].low)
      ok = visit_difference(low, excluded[i].low, excluded + i + 1,
                            count - i - 1, f, data);
    if (ok && excluded[i].high < high)
      ok = visit_difference(excluded[i].high, high, excluded + i + 1,
                            count - i - 1, f, data);
    return ok;
  }
  low = align_up(low, sizeof(uintptr_t));
  high = align_down(high, sizeof(uintptr_t));
  return low >= high || f(low, high, data);
}

/* Call F (low, high, DATA) for the writable segments of an object, without the
   part that the loader makes read-only after relocation.  Stop and return 0
   when F returns 0.  */
static int visit_object(uintptr_t base, const ElfW(Phdr) * phdr, size_t count,
                        int (*f)(uintptr_t low, uintptr_t high, void *data),
                        void *data) {
  struct segment relro = {0, 0};
  for (size_t i = 0; i < count; i++) {
    if (phdr[i].p_type == PT_GNU_RELRO) {
      /* The loader protects whole pages.  */
      relro.low = align_down(base + phdr[i].p_vaddr, gc_platform_page_size());
      relro.high = align_down(base + phdr[i].p_vaddr + phdr[i].p_memsz,
                              gc_platform_page_size());
    }
  }
  for (size_t i = 0; i < count; i++) {
    if (phdr[i].p_type != PT_LOAD || !(phdr[i].p_flags & PF_W))
      continue;
    uintptr_t low = base + phdr[i].p_vaddr;
    if (!visit_difference(low, low + phdr[i].p_memsz, &relro, 1, f, data))
      return 0;
  }
  return 1;
}

/* ---- Preparation ---- */

struct preparation {
  struct gc_global_roots *roots;
  int begun;
};

static int record_segment(uintptr_t low, uintptr_t high, void *data) {
  return add_segment(data, low, high);
}

static int record_object(struct dl_phdr_info *info, size_t size, void *data) {
  struct preparation *preparation = data;
  struct gc_global_roots *roots = preparation->roots;
  if (!preparation->begun) {
    preparation->begun = 1;
    int has_counts = size >= offsetof(struct dl_phdr_info, dlpi_subs) +
                                 sizeof info->dlpi_subs;
    if (roots->valid && has_counts && roots->adds == info->dlpi_adds &&
        roots->subs == info->dlpi_subs)
      return 1;
    roots->valid = 1;
    roots->adds = has_counts ? info->dlpi_adds : 0;
    roots->subs = has_counts ? info->dlpi_subs : 0;
    /* The loader's lock is held: the list and the counts agree.  */
    roots->fingerprint = loaded_objects_fingerprint();
    /* Not if this library has been loaded by dlmopen.  */
    roots->loader_tells = &_r_debug && _r_debug.r_map &&
                          _r_debug.r_map->l_addr == info->dlpi_addr;
    roots->list.count = 0;
    if (!roots->list.segments) {
      roots->list.segments = roots->initial;
      roots->list.capacity = INITIAL_SEGMENTS;
    }
  }
  if (!visit_object(info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum,
                    record_segment, roots)) {
    roots->valid = 0;
    return 1;
  }
  return 0;
}

struct gc_global_roots *gc_platform_make_global_roots(void) {
  return gc_platform_map(sizeof(struct gc_global_roots));
}

void gc_platform_free_global_roots(struct gc_global_roots *roots) {
  if (roots->list.segments && roots->list.segments != roots->initial)
    gc_platform_release(roots->list.segments,
                        roots->list.capacity * sizeof *roots->list.segments);
  gc_platform_release(roots, sizeof *roots);
}

int gc_platform_prepare_global_roots(struct gc_global_roots *roots) {
  struct preparation preparation = {roots, 0};
  dl_iterate_phdr(record_object, &preparation);
  return roots->valid;
}

void gc_platform_exclude_global_root(void *addr, size_t size) {
  if (exclusions.count < MAX_EXCLUSIONS)
    exclusions.segments[exclusions.count++] =
        (struct segment){(uintptr_t)addr, (uintptr_t)addr + size};
}

/* ---- Visits ---- */

struct visit_closure {
  const struct gc_global_roots *roots;
  void (*f)(uintptr_t low, uintptr_t high, struct gc_heap *heap, void *data);
  struct gc_heap *heap;
  void *data;
};

static int call_visitor(uintptr_t low, uintptr_t high, void *data) {
  struct visit_closure *closure = data;
  closure->f(low, high, closure->heap, closure->data);
  return 1;
}

/* Whether all pages of the range are mapped; yes, if the system does not say.  */
static int is_mapped(uintptr_t low, uintptr_t high) {
  size_t page = gc_platform_page_size();
  unsigned char residency[256];
  low = align_down(low, page);
  high = align_up(high, page);
  while (low < high) {
    size_t size = high - low;
    if (size > sizeof residency * page)
      size = sizeof residency * page;
    int result;
    do
      result = mincore((void *)low, size, residency);
    while (result != 0 && errno == EAGAIN);
    if (result != 0)
      return errno != ENOMEM;
    low += size;
  }
  return 1;
}

/* A thread is changing the loader's list, so that its members may go away under who
   follows it.  Relaxed: a thread that is stopped has told so before it stopped, and
   one that is not may begin at any time.  */
static int loader_is_busy(void) {
  return &_r_debug &&
         __atomic_load_n(&_r_debug.r_state, __ATOMIC_RELAXED) != RT_CONSISTENT;
}

/* Is the loader's list the one of the last preparation?  Then what is recorded of it
   is mapped.  */
static int list_is_unchanged(const struct gc_global_roots *roots) {
  return roots->loader_tells && !loader_is_busy() &&
         roots->fingerprint == loaded_objects_fingerprint();
}

static int visit_segment(uintptr_t low, uintptr_t high, void *data) {
  struct visit_closure *closure = data;
  if (!list_is_unchanged(closure->roots) && !is_mapped(low, high))
    return 1;
  return visit_difference(low, high, exclusions.segments, exclusions.count,
                          call_visitor, data);
}

/* The program headers of MAP, found without the loader's help.  NULL if they
   cannot be found.  */
static const ElfW(Phdr) *
    find_program_headers(struct link_map *map, size_t *count) {
  if (map == _r_debug.r_map) {
    /* The program itself.  */
    *count = getauxval(AT_PHNUM);
    return (const ElfW(Phdr) *)getauxval(AT_PHDR);
  }
  const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)map->l_addr;
  if (!header || !is_mapped(map->l_addr, map->l_addr + sizeof *header) ||
      memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_phentsize != sizeof(ElfW(Phdr)))
    return NULL;
  uintptr_t phdr = map->l_addr + header->e_phoff;
  if (!is_mapped(phdr, phdr + header->e_phnum * sizeof(ElfW(Phdr))))
    return NULL;
  *count = header->e_phnum;
  return (const ElfW(Phdr) *)phdr;
}

static void visit_loaded_objects(struct visit_closure *closure) {
  for (struct link_map *map = _r_debug.r_map; map; map = map->l_next) {
    size_t count;
    const ElfW(Phdr) *phdr = find_program_headers(map, &count);
    if (phdr)
      visit_object(map->l_addr, phdr, count, visit_segment, closure);
  }
}

static int visit_object_by_info(struct dl_phdr_info *info, size_t size,
                                void *data) {
  (void)size;
  visit_object(info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum,
               visit_segment, data);
  return 0;
}

void gc_platform_visit_global_conservative_roots(
    const struct gc_global_roots *roots,
    void (*f)(uintptr_t low, uintptr_t high, struct gc_heap *heap, void *data),
    struct gc_heap *heap, void *data) {
  struct visit_closure closure = {roots, f, heap, data};
  if (roots->valid && (loader_is_busy() ||
                       roots->fingerprint == loaded_objects_fingerprint())) {
    for (size_t i = 0; i < roots->list.count; i++)
      visit_segment(roots->list.segments[i].low, roots->list.segments[i].high,
                    &closure);
  } else if (&_r_debug && _r_debug.r_map) {
    visit_loaded_objects(&closure);
  } else {
    dl_iterate_phdr(visit_object_by_info, &closure);
  }
}
