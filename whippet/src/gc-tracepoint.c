/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The one source that makes the tracepoint probes.  Empty unless
   GC_TRACEPOINT_LTTNG is defined.  */

#ifdef GC_TRACEPOINT_LTTNG
#define TRACEPOINT_CREATE_PROBES
#define TRACEPOINT_DEFINE
#include "gc-lttng.h"
#endif

/* A translation unit must not be empty.  */
typedef int gc_tracepoint_nonempty;
