/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Which addresses are references.  Included after the embedder header.  */

#ifndef GC_DISPLACEMENT_H
#define GC_DISPLACEMENT_H

#include <stdint.h>

#include "gc-config.h"

/* May an ambiguous word be a reference to an object that starts DISPLACEMENT bytes
   below?  Embedders say so where roots are ambiguous, and are not asked elsewhere:
   there, the few objects that are scanned word by word have plain references.  */
static inline int gc_accepts_displacement(uintptr_t displacement) {
  return GC_CONSERVATIVE_ROOTS || GC_CONSERVATIVE_TRACE
             ? gc_is_valid_conservative_ref_displacement(displacement)
             : displacement == 0;
}

#endif /* GC_DISPLACEMENT_H */
