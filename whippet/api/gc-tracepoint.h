/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* GC_TRACEPOINT (event, args...): a point that tracing tools can observe.

   A statement that does nothing, unless GC_TRACEPOINT_LTTNG is defined; then an
   LTTng-UST tracepoint of the provider `whippet'.  The events are those of
   gc-event-listener.h, and internals of the tracer: see gc-lttng.h.  */
#ifndef GC_TRACEPOINT_H
#define GC_TRACEPOINT_H

#ifdef GC_TRACEPOINT_LTTNG
#include "gc-lttng.h"
#define GC_TRACEPOINT(event, ...) tracepoint(whippet, event, ##__VA_ARGS__)
#else
#define GC_TRACEPOINT(event, ...) \
  do {                            \
  } while (0)
#endif

#endif /* GC_TRACEPOINT_H */
