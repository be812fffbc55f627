/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Kinds of collection.  The numeric order is meaningful: a request is
   satisfied by a collection of an equal or greater kind.  */
#ifndef GC_COLLECTION_KIND_H
#define GC_COLLECTION_KIND_H

enum gc_collection_kind {
  GC_COLLECTION_ANY,        /* let the collector choose */
  GC_COLLECTION_MINOR,      /* young objects only */
  GC_COLLECTION_MAJOR,      /* the whole heap */
  GC_COLLECTION_COMPACTING, /* the whole heap, defragmenting if possible */
};

#endif /* GC_COLLECTION_KIND_H */
