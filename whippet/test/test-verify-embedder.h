/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* The embedder of test-verify.c: the usual one, with faults that can be
   switched on.  They depend on how often a function was called since, because
   the collector looks at each object three times: it traces it, verifies it,
   and walks over it.  */

#ifndef TEST_VERIFY_EMBEDDER_H
#define TEST_VERIFY_EMBEDDER_H

#define GC_EMBEDDER_CHECKS_REFERENTS 1

#define gc_trace_object right_trace_object
#define gc_trace_mutator_roots right_trace_mutator_roots
#include "test-embedder.h"
#undef gc_trace_object
#undef gc_trace_mutator_roots

#define TEST_VICTIM_ID 0x51c

enum test_fault {
  FAULT_NONE,
  FAULT_BLANK_OBJECT,      /* none: not initialised yet, traced as 16 bytes */
  FAULT_UNTRACED_EDGE,     /* of the victim, a box */
  FAULT_SHIFTED_EDGE,      /* by SHIFT, while it is verified */
  FAULT_WRONG_EDGE,        /* by SHIFT, also while it is traced */
  FAULT_WRONG_SIZE,        /* by SHIFT, while it is verified */
  FAULT_UNTRACED_ROOTS,    /* the precise slots */
  FAULT_FORGOTTEN_ROOTS,   /* after the trace */
  FAULT_IMPLAUSIBLE_OBJECT /* the victim */
};

struct test_faults {
  enum test_fault fault;
  intptr_t shift;
  unsigned object_calls, root_calls;
};

/* In test-verify.c.  */
extern struct test_faults test_faults;

static inline size_t faulty_trace_victim(struct test_box *box,
                                         test_visitor visit,
                                         struct gc_heap *heap, void *data) {
  unsigned call = ++test_faults.object_calls;
  size_t size = sizeof(*box);
  void *edge = box->edge;
  switch (test_faults.fault) {
  case FAULT_UNTRACED_EDGE:
    if (call > 1)
      visit(gc_edge(&box->edge), heap, data);
    break;
  case FAULT_SHIFTED_EDGE:
  case FAULT_WRONG_EDGE:
    if (call > 1 || test_faults.fault == FAULT_WRONG_EDGE) {
      edge = (char *)edge + test_faults.shift;
      visit(gc_edge(&edge), heap, data);
    } else {
      visit(gc_edge(&box->edge), heap, data);
    }
    break;
  case FAULT_WRONG_SIZE:
    if (call > 1)
      size += test_faults.shift;
    visit(gc_edge(&box->edge), heap, data);
    break;
  default:
    visit(gc_edge(&box->edge), heap, data);
  }
  return size;
}

GC_EMBEDDER_API inline size_t gc_trace_object(struct gc_ref ref,
                                              test_visitor visit,
                                              struct gc_heap *heap,
                                              void *trace_data) {
  struct test_box *box = gc_ref_heap_object(ref);
  if (visit && box->tag == TEST_TAG(TEST_BOX, TEST_VICTIM_ID))
    return faulty_trace_victim(box, visit, heap, trace_data);
  /* Free memory, or not initialised.  */
  if (!box->tag && (test_faults.fault == FAULT_WRONG_EDGE ||
                    test_faults.fault == FAULT_BLANK_OBJECT))
    return sizeof(*box);
  return right_trace_object(ref, visit, heap, trace_data);
}

GC_EMBEDDER_API inline void
gc_trace_mutator_roots(struct gc_mutator_roots *roots, test_visitor visit,
                       struct gc_heap *heap, void *data) {
  unsigned call = ++test_faults.root_calls;
  struct gc_mutator_roots some = *roots;
  if (test_faults.fault == FAULT_UNTRACED_ROOTS    ? call == 1
      : test_faults.fault == FAULT_FORGOTTEN_ROOTS ? call > 1
                                                   : 0)
    some.precise.count = 0;
  test_trace_handles(roots->handles, visit, heap, data);
  some.handles = NULL;
  right_trace_mutator_roots(&some, visit, heap, data);
}

GC_EMBEDDER_API inline const char *gc_check_referent(struct gc_ref ref,
                                                     int pointerless) {
  uintptr_t tag = *(uintptr_t *)gc_ref_heap_object(ref);
  unsigned kind = TEST_TAG_KIND(tag);
  if (test_faults.fault == FAULT_IMPLAUSIBLE_OBJECT &&
      tag == TEST_TAG(TEST_BOX, TEST_VICTIM_ID))
    return "odd object";
  if (!tag && test_faults.fault == FAULT_BLANK_OBJECT)
    return NULL;
  if (!(tag & 1) || kind < TEST_LEAF || kind >= TEST_EXTERN)
    return "no such kind of object";
  return pointerless && kind != TEST_BYTES && kind != TEST_LEAF
             ? "object of this kind cannot be pointerless"
             : NULL;
}

#endif // TEST_VERIFY_EMBEDDER_H
