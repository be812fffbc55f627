#ifndef SCM_WHIPPET_VERIFY_H
#define SCM_WHIPPET_VERIFY_H

/* Copyright 2026 the guile-whippet developers

   This file is part of Guile.

   Guile is free software: you can redistribute it and/or modify it
   under the terms of the GNU Lesser General Public License as published
   by the Free Software Foundation, either version 3 of the License, or
   (at your option) any later version.

   Guile is distributed in the hope that it will be useful, but WITHOUT
   ANY WARRANTY; without even the implied warranty of MERCHANTABILITY or
   FITNESS FOR A PARTICULAR PURPOSE.  See the GNU Lesser General Public
   License for more details.

   You should have received a copy of the GNU Lesser General Public
   License along with Guile.  If not, see
   <https://www.gnu.org/licenses/>.  */



/* What the heap verifier asks of Guile: is this an object?  Part of
   whippet-embedder.h; GC_MMC_STRESS=verify turns the verifier on.  */

/* The vtable of a struct is a struct, whose vtable says that its
   instances are vtables.  While Guile starts, the words that say so may
   not have been written yet.  */
static inline const char *
scm_i_gc_check_vtable (const scm_t_bits *vtable)
{
  const scm_t_bits *meta;

  if (!vtable)
    return NULL;
  if ((uintptr_t) vtable & 7)
    return "struct whose vtable is not aligned";
  if ((vtable[0] & 7) != scm_tc3_struct)
    return "struct whose vtable is no struct";
  meta = (const scm_t_bits *) (vtable[0] - scm_tc3_struct);
  if (meta && meta[1 + SCM_I_GC_VTABLE_FLAGS]
      && !(meta[1 + SCM_I_GC_VTABLE_FLAGS] & SCM_I_GC_VTABLE_FLAG_VTABLE))
    return "struct whose vtable is no vtable";
  return NULL;
}

/* A word that can be the car of a pair; zero before it is written.  */
static inline const char *
scm_i_gc_check_car (scm_t_bits car)
{
  if ((car & 7) == scm_tc3_imm24
      && (car & 0xff) != scm_tc8_flag && (car & 0xff) != scm_tc8_char)
    return "pair whose car is no immediate";
  return NULL;
}

static inline const char *
gc_check_referent (struct gc_ref ref, int pointerless)
{
  scm_t_bits *words = gc_ref_heap_object (ref);
  scm_t_bits tag = words[0];

  if (!(tag & 1))
    /* The tag of a pointerless object may be yet to come.  */
    return pointerless && tag ? "pointerless pair" : scm_i_gc_check_car (tag);

  if ((tag & 7) == scm_tc3_struct)
    return scm_i_gc_check_vtable ((scm_t_bits *) (tag - scm_tc3_struct));

  switch (tag & 0x7f)
    {
    case scm_tc7_symbol:
    case scm_tc7_variable:
    case scm_tc7_vector:
    case scm_tc7_wvect:
    case scm_tc7_string:
    case scm_tc7_hashtable:
    case scm_tc7_fluid:
    case scm_tc7_dynamic_state:
    case scm_tc7_frame:
    case scm_tc7_keyword:
    case scm_tc7_atomic_box:
    case scm_tc7_syntax:
    case scm_tc7_values:
    case scm_tc7_program:
    case scm_tc7_vm_cont:
    case scm_tc7_weak_set:
    case scm_tc7_weak_table:
    case scm_tc7_array:
    case 0x4f:                  /* scm_tc7_gc_ephemeron */
    case 0x65:                  /* scm_tc7_gc_finalizer */
    case 0x67:                  /* scm_tc7_gc_smob_marker */
    case 0x6d:                  /* scm_tc7_gc_weak_buckets */
      return pointerless ? "pointerless object of a kind with references" : NULL;

    case scm_tc7_number:
      switch ((tag >> 8) & 0xff)
        {
        case 1: case 2: case 3: case 4:
          return NULL;
        }
      return "number of an unknown kind";

    case scm_tc7_pointer:
    case scm_tc7_stringbuf:
    case scm_tc7_bytevector:
    case scm_tc7_bitvector:
    case scm_tc7_smob:
    case scm_tc7_port:
      return NULL;

    case 0x6f:                  /* scm_tc7_gc_record */
      if (((tag >> 8) & 0xffffff) >= tag >> 32)
        return "record with more references than words";
      return pointerless ? "pointerless object of a kind with references" : NULL;

    case 0x7f:                  /* scm_tc7_gc_special */
      if (((tag >> 8) & 0xff) > 1)
        return "captured stack of an unknown kind";
      return pointerless ? "pointerless object of a kind with references" : NULL;
    }
  return (tag & 7) == scm_tc3_unused ? "no object" : "object of an unused type";
}

#endif  /* SCM_WHIPPET_VERIFY_H */
