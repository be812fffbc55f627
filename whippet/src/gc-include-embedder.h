/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The embedder header: what GC_EMBEDDER names, unless the compiler was told to include
   one before the source.  */

#ifndef GC_INCLUDE_EMBEDDER_H
#define GC_INCLUDE_EMBEDDER_H

#if defined(GC_EMBEDDER)
#include GC_EMBEDDER
#elif !defined(GC_EMBEDDER_API_H)
#include "whippet-embedder.h"
#endif

#endif // GC_INCLUDE_EMBEDDER_H
