/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A word that may or may not denote a heap object.  Any bit pattern is
   allowed.  */
#ifndef GC_CONSERVATIVE_REF_H
#define GC_CONSERVATIVE_REF_H

#include <stdint.h>

struct gc_conservative_ref {
  uintptr_t value;
};

static inline struct gc_conservative_ref gc_conservative_ref(uintptr_t value) {
  return (struct gc_conservative_ref){value};
}

static inline uintptr_t
gc_conservative_ref_value(struct gc_conservative_ref ref) {
  return ref.value;
}

#endif /* GC_CONSERVATIVE_REF_H */
