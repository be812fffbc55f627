/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The embedder of test-heap-multiple.c: the usual one, with bounds on the
   adaptive heap's size.  */

#ifndef TEST_HEAP_MULTIPLE_EMBEDDER_H
#define TEST_HEAP_MULTIPLE_EMBEDDER_H

#define GC_EMBEDDER_HEAP_MULTIPLE_MIN 1.2
#define GC_EMBEDDER_HEAP_MULTIPLE_MAX 2.5

#include "test-embedder.h"

#endif // TEST_HEAP_MULTIPLE_EMBEDDER_H
