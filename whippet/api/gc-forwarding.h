/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The state of an attempt to forward an object, for the forwarding hooks of
   gc-embedder-api.h.  Embedders build struct gc_atomic_forward positionally:
   the order of its fields is part of the interface.  */
#ifndef GC_FORWARDING_H
#define GC_FORWARDING_H

#include "gc-ref.h"

#include <stdint.h>

enum gc_forwarding_state {
  GC_FORWARDING_STATE_FORWARDED,
  GC_FORWARDING_STATE_BUSY,
  GC_FORWARDING_STATE_ACQUIRED,
  GC_FORWARDING_STATE_NOT_FORWARDED
};

struct gc_atomic_forward {
  struct gc_ref ref; /* the object at its old address */
  uintptr_t data;    /* its saved tag, while ACQUIRED */
  enum gc_forwarding_state state;
};

#endif /* GC_FORWARDING_H */
