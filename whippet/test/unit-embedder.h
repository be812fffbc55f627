/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Embedder of the unit tests of ephemerons and finalizers.  Every object starts
   with a header for the fake collector of fake-heap.h.  */
#ifndef UNIT_EMBEDDER_H
#define UNIT_EMBEDDER_H

#include <stdint.h>

struct fake_header {
  uint32_t kind;  /* enum fake_kind */
  uint32_t state; /* enum fake_state */
  uint32_t old;
  uint32_t id;
  struct fake_header *forward;
};

#define GC_EMBEDDER_EPHEMERON_HEADER struct fake_header header;
#define GC_EMBEDDER_FINALIZER_HEADER struct fake_header header;

#endif // UNIT_EMBEDDER_H
