/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What the collector knows of an object's contents.  */
#ifndef GC_ALLOCATION_KIND_H
#define GC_ALLOCATION_KIND_H

enum gc_allocation_kind {
  /* Traced by gc_trace_object, or in heap-conservative configurations like the
     untagged conservative kind.  The program writes the tag that tells the type
     right after allocation, before the next safepoint.  May move.  */
  GC_ALLOCATION_TAGGED,

  /* As above, but holds no references and is never traced.  May move.  */
  GC_ALLOCATION_TAGGED_POINTERLESS,

  /* Every aligned word is a conservative, not interior, reference.  Never
     moves, nor does what it refers to.  */
  GC_ALLOCATION_UNTAGGED_CONSERVATIVE,

  /* Holds no references.  Never moves.  */
  GC_ALLOCATION_UNTAGGED_POINTERLESS,

  /* Traced by gc_trace_object in all configurations of mmc.  Tagged like TAGGED;
     never moves.  Unlike an object that is pinned later, it does not take up room
     among objects that move.  */
  GC_ALLOCATION_TAGGED_PINNED
};

#endif /* GC_ALLOCATION_KIND_H */
