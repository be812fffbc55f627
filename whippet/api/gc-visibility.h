/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Symbol visibility.  Define GC_API_ to GC_PUBLIC when building a shared
   object that exports the API; by default the API is private to the program
   into which the library is compiled.  */
#ifndef GC_VISIBILITY_H
#define GC_VISIBILITY_H

#define GC_INTERNAL __attribute__((visibility("hidden")))
#define GC_PUBLIC __attribute__((visibility("default")))

#ifndef GC_API_
#define GC_API_ GC_INTERNAL
#endif

#endif /* GC_VISIBILITY_H */
