#ifndef SCM_WEAK_ASSOC_H
#define SCM_WEAK_ASSOC_H

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





/* Weak associations: what weak tables and weak sets are made of.

   A hash table with chained buckets.  Each entry is an ephemeron, so
   that it disappears by itself when what it holds weakly dies, and
   values may refer to their own keys.  All functions lock the
   association; predicates are called with the lock held.  */

#include "libguile/gc-internal.h"
#include "libguile/weak-table.h"

typedef struct scm_weak_assoc scm_t_weak_assoc;

/* Should the entry of KEY and VALUE be taken?  */
typedef int (*scm_t_weak_assoc_predicate) (SCM key, SCM value, void *closure);

/* An empty association with room for about SIZE entries.  */
SCM_INTERNAL scm_t_weak_assoc *
scm_i_make_weak_assoc (unsigned long size, scm_t_weak_table_kind kind);

SCM_INTERNAL scm_t_weak_table_kind
scm_i_weak_assoc_kind (scm_t_weak_assoc *assoc);

/* For printing; the number of entries may include some that are dead.  */
SCM_INTERNAL unsigned long
scm_i_weak_assoc_n_items (scm_t_weak_assoc *assoc);
SCM_INTERNAL unsigned long
scm_i_weak_assoc_n_buckets (scm_t_weak_assoc *assoc);

/* Find the entry with HASH that PRED likes.  Return true, and set *KEY
   and *VALUE, if there is one.  EXITS must be true if PRED could leave by
   a non-local exit, as Scheme code can.  */
SCM_INTERNAL int
scm_i_weak_assoc_ref (scm_t_weak_assoc *assoc, unsigned long hash,
                      scm_t_weak_assoc_predicate pred, void *closure,
                      int exits, SCM *key, SCM *value);

/* Like the former, but add an entry for KEY and VALUE if there is none.
   If there is one, and UPDATE is true, set its value.  Return the key
   that is now in the association.  */
SCM_INTERNAL SCM
scm_i_weak_assoc_put (scm_t_weak_assoc *assoc, unsigned long hash,
                      scm_t_weak_assoc_predicate pred, void *closure,
                      int exits, SCM key, SCM value, int update);

SCM_INTERNAL void
scm_i_weak_assoc_remove (scm_t_weak_assoc *assoc, unsigned long hash,
                         scm_t_weak_assoc_predicate pred, void *closure);

SCM_INTERNAL void scm_i_weak_assoc_clear (scm_t_weak_assoc *assoc);

/* A list of pairs.  */
SCM_INTERNAL SCM scm_i_weak_assoc_to_alist (scm_t_weak_assoc *assoc);

/* Adapt the number of buckets to the number of entries that are left
   after a collection, unless the association is in use.  */
SCM_INTERNAL void scm_i_weak_assoc_vacuum (scm_t_weak_assoc *assoc);

#endif  /* SCM_WEAK_ASSOC_H */
