/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The LTTng-UST provider `whippet'.  The tracing headers read this file several
   times, so that the guard must let them; gc-tracepoint.c makes the probes.  */
#undef TRACEPOINT_PROVIDER
#define TRACEPOINT_PROVIDER whippet

#undef TRACEPOINT_INCLUDE
#define TRACEPOINT_INCLUDE "gc-lttng.h"

#if !defined(GC_LTTNG_H) || defined(TRACEPOINT_HEADER_MULTI_READ)
#define GC_LTTNG_H

#include <lttng/tracepoint.h>

TRACEPOINT_ENUM(whippet, gc_kind,
                TP_ENUM_VALUES(ctf_enum_value("MINOR", 1)
                                   ctf_enum_value("MAJOR", 2)
                                       ctf_enum_value("COMPACTING", 3)))

/* Events without fields.  */
#define GC_LTTNG_EVENT(name) \
  TRACEPOINT_EVENT(whippet, name, TP_ARGS(), TP_FIELDS())

/* Events about a number of bytes.  */
#define GC_LTTNG_SIZE_EVENT(name)                        \
  TRACEPOINT_EVENT(whippet, name, TP_ARGS(size_t, size), \
                   TP_FIELDS(ctf_integer(size_t, size, size)))

GC_LTTNG_SIZE_EVENT(init)
GC_LTTNG_EVENT(requesting_stop)
GC_LTTNG_EVENT(waiting_for_stop)
GC_LTTNG_EVENT(mutators_stopped)
TRACEPOINT_EVENT(whippet, prepare_gc,
                 TP_ARGS(int, gc_kind, uint64_t, allocation_counter),
                 TP_FIELDS(ctf_enum(whippet, gc_kind, int, gc_kind, gc_kind)
                               ctf_integer(uint64_t, allocation_counter,
                                           allocation_counter)))
GC_LTTNG_EVENT(roots_traced)
GC_LTTNG_EVENT(heap_traced)
GC_LTTNG_EVENT(ephemerons_traced)
GC_LTTNG_EVENT(finalizers_traced)
GC_LTTNG_EVENT(restarting_mutators)
GC_LTTNG_EVENT(mutator_added)
GC_LTTNG_EVENT(mutator_cause_gc)
GC_LTTNG_EVENT(mutator_stopping)
GC_LTTNG_EVENT(mutator_stopped)
GC_LTTNG_EVENT(mutator_restarted)
GC_LTTNG_EVENT(mutator_removed)
GC_LTTNG_SIZE_EVENT(heap_resized)
GC_LTTNG_SIZE_EVENT(live_data_size)

GC_LTTNG_EVENT(trace_unpark_all)
GC_LTTNG_EVENT(trace_share)
GC_LTTNG_EVENT(trace_check_termination_begin)
GC_LTTNG_EVENT(trace_check_termination_end)
GC_LTTNG_EVENT(trace_steal)
GC_LTTNG_EVENT(trace_roots_begin)
GC_LTTNG_EVENT(trace_roots_end)
GC_LTTNG_EVENT(trace_objects_begin)
GC_LTTNG_EVENT(trace_objects_end)
GC_LTTNG_EVENT(trace_worker_begin)
GC_LTTNG_EVENT(trace_worker_end)

#endif /* GC_LTTNG_H */

#include <lttng/tracepoint-event.h>
