/* gc-extension-objects.c --- objects of an extension's types.

   Copyright 2026 the guile-whippet developers

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

/* Smobs, foreign objects and pointers, which the collector traces and frees
   by functions of the extension.  Part of gc-extension.c.  */

#include <libguile.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gc-extension.h"

/* What was freed.  */

enum { BOXES, DOUBLE_BOXES, FOREIGN, HANDLES, RESOURCES, N_COUNTERS };
static long made[N_COUNTERS], freed[N_COUNTERS];
static long bad_frees;

static SCM
counters (SCM which)
{
  size_t i = scm_to_size_t (which);

  return scm_cons (scm_from_long (__atomic_load_n (&made[i], __ATOMIC_SEQ_CST)),
                   scm_from_long (__atomic_load_n (&freed[i],
                                                   __ATOMIC_SEQ_CST)));
}

static SCM
bad_free_count (void)
{
  return scm_from_long (bad_frees);
}



/* A smob with a mark and a free function.  The memory that refers to the
   value is malloc's.  */

#define BOX_MAGIC 0x626f7862

struct box
{
  unsigned long magic;
  SCM value;
  SCM same;                     /* returned by the mark function */
};

static scm_t_bits box_tag;

static SCM
box_mark (SCM smob)
{
  struct box *box = (struct box *) SCM_SMOB_DATA (smob);

  if (!box)
    return SCM_BOOL_F;
  scm_gc_mark (box->value);
  return box->same;
}

static size_t
box_free (SCM smob)
{
  struct box *box = (struct box *) SCM_SMOB_DATA (smob);

  if (box->magic != BOX_MAGIC)
    __atomic_fetch_add (&bad_frees, 1, __ATOMIC_SEQ_CST);
  box->magic = 0;
  free (box);
  __atomic_fetch_add (&freed[BOXES], 1, __ATOMIC_SEQ_CST);
  return 0;
}

static int
box_print (SCM smob, SCM port, scm_print_state *state)
{
  scm_puts ("#<box ", port);
  scm_write (((struct box *) SCM_SMOB_DATA (smob))->value, port);
  scm_putc ('>', port);
  return 1;
}

static SCM
box_equalp (SCM a, SCM b)
{
  return scm_equal_p (((struct box *) SCM_SMOB_DATA (a))->value,
                      ((struct box *) SCM_SMOB_DATA (b))->value);
}

static SCM
box_apply (SCM smob, SCM arg)
{
  return scm_cons (((struct box *) SCM_SMOB_DATA (smob))->value, arg);
}

static SCM
make_box (SCM value)
{
  struct box *box;
  SCM smob;

  SCM_NEWSMOB (smob, box_tag, NULL);
  box = scm_malloc (sizeof (*box));
  box->magic = BOX_MAGIC;
  box->value = value;
  box->same = value;
  SCM_SET_SMOB_DATA (smob, box);
  __atomic_fetch_add (&made[BOXES], 1, __ATOMIC_SEQ_CST);
  return smob;
}

static SCM
box_ref (SCM smob)
{
  struct box *box;

  scm_assert_smob_type (box_tag, smob);
  box = (struct box *) SCM_SMOB_DATA (smob);
  if (box->magic != BOX_MAGIC || !scm_is_eq (box->value, box->same))
    scm_misc_error ("box-ref", "damaged", SCM_EOL);
  scm_remember_upto_here_1 (smob);
  return box->value;
}

static SCM
box_set_x (SCM smob, SCM value)
{
  struct box *box;

  scm_assert_smob_type (box_tag, smob);
  box = (struct box *) SCM_SMOB_DATA (smob);
  box->value = value;
  box->same = value;
  scm_remember_upto_here_1 (smob);
  return SCM_UNSPECIFIED;
}

/* A double smob without mark function: its words are traced.  The third
   word is a scm_gc_malloc'ed struct, and the fourth is not a reference,
   whatever it looks like.  */

struct part
{
  SCM object;
  char *name;                   /* scm_gc_strdup */
  unsigned char *bytes;         /* scm_gc_malloc_pointerless */
  size_t n_bytes;
};

static scm_t_bits double_box_tag;

static size_t
double_box_free (SCM smob)
{
  /* What the smob refers to may be finalized, but is still there.  */
  struct part *part = (struct part *) SCM_SMOB_DATA_2 (smob);

  if (part->n_bytes != strlen (part->name))
    __atomic_fetch_add (&bad_frees, 1, __ATOMIC_SEQ_CST);
  __atomic_fetch_add (&freed[DOUBLE_BOXES], 1, __ATOMIC_SEQ_CST);
  return 0;
}

static SCM
make_double_box (SCM a, SCM b, SCM name)
{
  SCM smob;
  struct part *part = scm_gc_malloc (sizeof (*part), "part");
  char *tem = scm_to_utf8_string (name);
  size_t n = strlen (tem);

  part->object = b;
  part->name = scm_gc_strdup (tem, "name");
  part->bytes = scm_gc_malloc_pointerless (n, "bytes");
  memcpy (part->bytes, tem, n);
  part->n_bytes = n;
  free (tem);
  SCM_NEWSMOB3 (smob, double_box_tag, SCM_UNPACK (a), part,
                ~ (scm_t_bits) 0);
  __atomic_fetch_add (&made[DOUBLE_BOXES], 1, __ATOMIC_SEQ_CST);
  return smob;
}

static SCM
double_box_refs (SCM smob)
{
  struct part *part;

  scm_assert_smob_type (double_box_tag, smob);
  part = (struct part *) SCM_SMOB_DATA_2 (smob);
  if (SCM_SMOB_DATA_3 (smob) != ~ (scm_t_bits) 0
      || part->n_bytes != strlen (part->name)
      || memcmp (part->name, part->bytes, part->n_bytes))
    scm_misc_error ("double-box-refs", "damaged", SCM_EOL);
  return scm_list_3 (SCM_SMOB_OBJECT (smob), part->object,
                     scm_from_utf8_stringn ((char *) part->bytes,
                                            part->n_bytes));
}

/* A smob whose mark function marks what has died since, and what never was an
   object: addresses within one, and outside of the heap.  */

#define N_STALE 3000

static scm_t_bits stale_tag;
static scm_t_bits stale[N_STALE];
static long times_marked;

static SCM
stale_mark (SCM smob)
{
  times_marked++;
  for (int i = 0; i < N_STALE; i++)
    scm_gc_mark (SCM_PACK (stale[i]));
  return SCM_PACK (stale[0]);
}

static SCM
make_stale (void)
{
  static scm_t_bits word[2];

  for (int i = 0; i + 3 < N_STALE; i += 4)
    {
      SCM vec = scm_c_make_vector (3 + i % 100, SCM_BOOL_T);

      stale[i] = SCM_UNPACK (scm_cons (scm_from_int (i), SCM_EOL));
      stale[i + 1] = SCM_UNPACK (vec);
      stale[i + 2] = SCM_UNPACK (vec) + 16;
      stale[i + 3] = i % 8 ? SCM_UNPACK (vec) + 8 : (scm_t_bits) word;
    }
  return scm_new_smob (stale_tag, 0);
}

static SCM
stale_times_marked (void)
{
  return scm_from_long (times_marked);
}



/* A smob whose mark function looks at more than it marks: at the elements of
   a vector of vectors, whose first elements it marks.  */

static scm_t_bits looker_tag;
static long odd_looks;

static SCM
looker_mark (SCM smob)
{
  SCM vectors = *(SCM *) SCM_SMOB_DATA (smob);
  size_t n = SCM_SIMPLE_VECTOR_LENGTH (vectors);

  for (size_t i = 0; i < n; i++)
    {
      SCM vec = SCM_SIMPLE_VECTOR_REF (vectors, i);

      if (scm_is_vector (vec) && SCM_SIMPLE_VECTOR_LENGTH (vec) == 3)
        scm_gc_mark (SCM_SIMPLE_VECTOR_REF (vec, 0));
      else
        odd_looks++;
    }
  return vectors;
}

static SCM
make_looker (SCM vectors)
{
  SCM *data = scm_malloc (sizeof (*data));

  *data = vectors;
  return scm_new_smob (looker_tag, (scm_t_bits) data);
}

static SCM
looker_ref (SCM smob)
{
  return *(SCM *) SCM_SMOB_DATA (smob);
}

static SCM
get_odd_looks (void)
{
  return scm_from_long (odd_looks);
}



/* Foreign objects.  One slot is malloc's memory, the other an object.  */

SCM handle_type;

static void
handle_finalize (SCM handle)
{
  char *data = scm_foreign_object_ref (handle, 0);

  if (!data || strcmp (data, "handle"))
    __atomic_fetch_add (&bad_frees, 1, __ATOMIC_SEQ_CST);
  free (data);
  scm_foreign_object_set_x (handle, 0, NULL);
  __atomic_fetch_add (&freed[HANDLES], 1, __ATOMIC_SEQ_CST);
}

static SCM
make_handle (SCM object)
{
  char *data = strdup ("handle");
  void *slots[3] = { data, SCM_UNPACK_POINTER (object), NULL };
  SCM ret = scm_make_foreign_object_n (handle_type, 3, slots);

  scm_foreign_object_signed_set_x (ret, 2, -42);
  __atomic_fetch_add (&made[HANDLES], 1, __ATOMIC_SEQ_CST);
  return ret;
}

static SCM
handle_ref (SCM handle)
{
  scm_assert_foreign_object_type (handle_type, handle);
  if (scm_foreign_object_signed_ref (handle, 2) != -42
      || strcmp (scm_foreign_object_ref (handle, 0), "handle"))
    scm_misc_error ("handle-ref", "damaged", SCM_EOL);
  return SCM_PACK_POINTER (scm_foreign_object_ref (handle, 1));
}

/* A pointer with a finalizer.  */

static void
pointer_finalize (void *data)
{
  if (*(unsigned long *) data != BOX_MAGIC)
    __atomic_fetch_add (&bad_frees, 1, __ATOMIC_SEQ_CST);
  free (data);
  __atomic_fetch_add (&freed[FOREIGN], 1, __ATOMIC_SEQ_CST);
}

static SCM
make_pointer (void)
{
  unsigned long *data = scm_malloc (sizeof (*data));

  *data = BOX_MAGIC;
  __atomic_fetch_add (&made[FOREIGN], 1, __ATOMIC_SEQ_CST);
  return scm_from_pointer (data, pointer_finalize);
}

/* A pointer to a resource whose release takes a while, and a lock.  */

static pthread_mutex_t resources_lock = PTHREAD_MUTEX_INITIALIZER;

static void
resource_finalize (void *data)
{
  pthread_mutex_lock (&resources_lock);
  usleep (4000);
  pthread_mutex_unlock (&resources_lock);
  __atomic_fetch_add (&freed[RESOURCES], 1, __ATOMIC_SEQ_CST);
}

/* SIZE is how much memory the collector is told that the resource takes.  */
static SCM
make_resource (SCM size)
{
  scm_gc_register_allocation (scm_to_size_t (size));
  __atomic_fetch_add (&made[RESOURCES], 1, __ATOMIC_SEQ_CST);
  return scm_from_pointer (&resources_lock, resource_finalize);
}

static SCM
make_resources_with_lock_held (SCM n, SCM size)
{
  unsigned long count = scm_to_ulong (n);

  pthread_mutex_lock (&resources_lock);
  for (unsigned long i = 0; i < count; i++)
    make_resource (size);
  pthread_mutex_unlock (&resources_lock);
  return SCM_UNSPECIFIED;
}



void
gc_extension_init_objects (void)
{
  box_tag = scm_make_smob_type ("box", 0);
  scm_set_smob_mark (box_tag, box_mark);
  scm_set_smob_free (box_tag, box_free);
  scm_set_smob_print (box_tag, box_print);
  scm_set_smob_equalp (box_tag, box_equalp);
  scm_set_smob_apply (box_tag, box_apply, 1, 0, 0);
  double_box_tag = scm_make_smob_type ("double-box", 0);
  scm_set_smob_free (double_box_tag, double_box_free);
  stale_tag = scm_make_smob_type ("stale", 0);
  scm_set_smob_mark (stale_tag, stale_mark);
  looker_tag = scm_make_smob_type ("looker", 0);
  scm_set_smob_mark (looker_tag, looker_mark);
  handle_type = scm_make_foreign_object_type
    (scm_from_utf8_symbol ("handle"),
     scm_list_3 (scm_from_utf8_symbol ("data"),
                 scm_from_utf8_symbol ("object"),
                 scm_from_utf8_symbol ("number")),
     handle_finalize);

  DEFINE ("counters", 1, 0, 0, counters);
  DEFINE ("bad-free-count", 0, 0, 0, bad_free_count);
  DEFINE ("make-box", 1, 0, 0, make_box);
  DEFINE ("box-ref", 1, 0, 0, box_ref);
  DEFINE ("box-set!", 2, 0, 0, box_set_x);
  DEFINE ("make-double-box", 3, 0, 0, make_double_box);
  DEFINE ("double-box-refs", 1, 0, 0, double_box_refs);
  DEFINE ("make-stale", 0, 0, 0, make_stale);
  DEFINE ("stale-times-marked", 0, 0, 0, stale_times_marked);
  DEFINE ("make-looker", 1, 0, 0, make_looker);
  DEFINE ("looker-ref", 1, 0, 0, looker_ref);
  DEFINE ("odd-looks", 0, 0, 0, get_odd_looks);
  DEFINE ("make-handle", 1, 0, 0, make_handle);
  DEFINE ("handle-ref", 1, 0, 0, handle_ref);
  DEFINE ("make-pointer", 0, 0, 0, make_pointer);
  DEFINE ("make-resource", 1, 0, 0, make_resource);
  DEFINE ("make-resources-with-lock-held", 2, 0, 0,
          make_resources_with_lock_held);
}
