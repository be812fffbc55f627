/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Defaults for the configuration macros.

   The same values must be passed on the command line to the library and to
   the program: the inline fast paths of the public headers are specialised by
   them.  Each macro is 0 or 1.  */
#ifndef GC_CONFIG_H
#define GC_CONFIG_H

/* Enable GC_ASSERT and, in each collection, verification of the heap's blocks.
   GC_MMC_STRESS=verify verifies the references, too.  */
#ifndef GC_DEBUG
#define GC_DEBUG 0
#endif

/* References with nonzero low bits are immediates, not heap objects.  */
#ifndef GC_HAS_IMMEDIATES
#define GC_HAS_IMMEDIATES 1
#endif

/* Several tracing threads.  */
#ifndef GC_PARALLEL
#define GC_PARALLEL 0
#endif

/* Generational collection; the program must use the write barrier.  */
#ifndef GC_GENERATIONAL
#define GC_GENERATIONAL 0
#endif

/* The embedder enumerates roots.  May be combined with conservative roots.  */
#ifndef GC_PRECISE_ROOTS
#define GC_PRECISE_ROOTS 0
#endif

/* Stacks, registers and writable data segments are scanned.  */
#ifndef GC_CONSERVATIVE_ROOTS
#define GC_CONSERVATIVE_ROOTS 0
#endif

/* Heap objects are traced conservatively as the normal case.  */
#ifndef GC_CONSERVATIVE_TRACE
#define GC_CONSERVATIVE_TRACE 0
#endif

/* Reserved: no collector traces concurrently with the program.  */
#ifndef GC_CONCURRENT_TRACE
#define GC_CONCURRENT_TRACE 0
#endif

#endif /* GC_CONFIG_H */
