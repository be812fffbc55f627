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





#ifdef HAVE_CONFIG_H
#  include <config.h>
#endif

#include "alist.h"
#include "dynwind.h"
#include "fork-locks.h"
#include "gc-internal.h"
#include "pairs.h"
#include "threads.h"

#include "weak-assoc.h"



struct scm_weak_assoc
{
  scm_t_bits tag;
  scm_t_bits *buckets;          /* tag, then n_buckets chains */
  struct scm_fork_mutex lock;
  scm_t_weak_table_kind kind;
  int size_index;               /* into sizes */
  int min_size_index;
  unsigned long n_buckets;
  unsigned long n_items;        /* at least the number of live entries */
  unsigned long lower;          /* n_items below which to shrink */
  unsigned long upper;          /* n_items above which to grow */
  unsigned long gc_count;       /* when n_items was exact */
  uint64_t died;                /* ephemerons of the heap, at that time */
  unsigned long next_sample;
};

/* Primes.  */
static const unsigned long sizes[] =
  {
    31, 61, 113, 223, 443, 883, 1759, 3517, 7027, 14051, 28099, 56197,
    112363, 224717, 449419, 898823, 1797641, 3595271, 7190537, 14381041,
    28762081, 57524111, 115048217, 230096423
  };

#define N_SIZES ((int) (sizeof (sizes) / sizeof (sizes[0])))

static scm_t_bits *
make_buckets (scm_thread *thread, unsigned long n)
{
  scm_t_bits *ret
    = scm_i_gc_alloc_tagged (thread, (1 + n) * sizeof (scm_t_bits));

  ret[0] = scm_tc7_gc_weak_buckets | ((scm_t_bits) n << 8);
  return ret;
}

static scm_t_ephemeron **
bucket_loc (scm_t_bits *buckets, unsigned long n, unsigned long hash)
{
  return (scm_t_ephemeron **) &buckets[1 + hash % n];
}

/* The first entry of the chain of HASH, which may be its number.  */
static scm_t_ephemeron *
first_entry (scm_t_weak_assoc *assoc, unsigned long hash)
{
  return scm_i_ephemeron_chain_head (bucket_loc (assoc->buckets,
                                                 assoc->n_buckets, hash));
}

/* The hash that is left of HASH in an ephemeron.  */
static unsigned long
clean_hash (unsigned long hash)
{
  return hash & SCM_I_EPHEMERON_HASH_MASK;
}



/* Entries.  The ephemeron's key is what the entry holds weakly; if that
   is both the key and the value of the entry, the ephemeron's value is
   an ephemeron of the latter.  */

static scm_t_ephemeron *
make_entry (scm_thread *thread, scm_t_weak_table_kind kind,
            unsigned long hash, SCM key, SCM value)
{
  scm_t_ephemeron *inner;

  switch (kind)
    {
    case SCM_WEAK_TABLE_KIND_KEY:
      return scm_i_make_ephemeron (thread, key, value, hash);
    case SCM_WEAK_TABLE_KIND_VALUE:
      return scm_i_make_ephemeron (thread, value, key, hash);
    default:
      inner = scm_i_make_ephemeron (thread, value, SCM_BOOL_T, 0);
      return scm_i_make_ephemeron (thread, key, SCM_PACK_POINTER (inner),
                                   hash);
    }
}

/* Return false if the entry is dead.  */
static int
read_entry (scm_t_weak_table_kind kind, scm_t_ephemeron *entry,
            SCM *key, SCM *value)
{
  SCM k = scm_i_ephemeron_key (entry), v = scm_i_ephemeron_value (entry);

  if (!SCM_UNPACK (k) || !SCM_UNPACK (v))
    return 0;
  if (kind == SCM_WEAK_TABLE_KIND_BOTH)
    {
      v = scm_i_ephemeron_key ((scm_t_ephemeron *) SCM_UNPACK_POINTER (v));
      if (!SCM_UNPACK (v))
        return 0;
    }
  *key = kind == SCM_WEAK_TABLE_KIND_VALUE ? v : k;
  *value = kind == SCM_WEAK_TABLE_KIND_VALUE ? k : v;
  return 1;
}



/* The lock is held while predicates run, some of which call Scheme code, and
   while memory is allocated.  Both may leave by a non-local exit, so that an
   unwinder has to unlock it; and at both a fork may leave this thread
   behind.  So an association is whole whenever one of them is called.  */

static void
lock (scm_t_weak_assoc *assoc)
{
  scm_i_pthread_mutex_lock (scm_i_fork_mutex (&assoc->lock));
}

static void
unlock (void *assoc)
{
  scm_i_pthread_mutex_unlock (&((scm_t_weak_assoc *) assoc)->lock.mutex);
}

/* From here to scm_dynwind_end, which unlocks ASSOC, exits are possible.
   This may itself exit, for want of memory: so it comes before the lock, or
   make_room_for_exits does.  */
static void
begin_exits (scm_t_weak_assoc *assoc)
{
  scm_dynwind_begin (0);
  scm_dynwind_unwind_handler (unlock, assoc, SCM_F_WIND_EXPLICITLY);
}

/* Make sure that this thread's next begin_exits does not allocate.  */
static void
make_room_for_exits (void)
{
  /* A frame, and an unwinder with two words.  */
  if (SCM_UNLIKELY (!SCM_DYNSTACK_HAS_SPACE (&SCM_I_CURRENT_THREAD->dynstack,
                                             SCM_DYNSTACK_HEADER_LEN + 2)))
    {
      scm_dynwind_begin (0);
      scm_dynwind_unwind_handler (unlock, NULL, 0);
      scm_dynwind_end ();
    }
}

static void
lock_for_search (scm_t_weak_assoc *assoc, int exits)
{
  if (exits)
    begin_exits (assoc);
  lock (assoc);
}

static void
unlock_after_search (scm_t_weak_assoc *assoc, int exits)
{
  if (exits)
    scm_dynwind_end ();
  else
    unlock (assoc);
}



/* All of the following are called with the lock held.  */

static scm_t_ephemeron *
find_entry (scm_t_weak_assoc *assoc, unsigned long hash,
            scm_t_weak_assoc_predicate pred, void *closure,
            SCM *key, SCM *value)
{
  scm_t_ephemeron *entry;

  for (entry = first_entry (assoc, hash);
       entry;
       entry = scm_i_ephemeron_chain_next (entry))
    if (scm_i_ephemeron_hash (entry) == hash
        && read_entry (assoc->kind, entry, key, value)
        && pred (*key, *value, closure))
      return entry;

  return NULL;
}

static void
set_size (scm_t_weak_assoc *assoc, int size_index)
{
  assoc->size_index = size_index;
  assoc->n_buckets = sizes[size_index];
  assoc->lower
    = size_index <= assoc->min_size_index ? 0 : assoc->n_buckets / 4;
  assoc->upper = 9 * (assoc->n_buckets / 10);
}

static void
count_items (scm_t_weak_assoc *assoc)
{
  unsigned long gc_count = scm_i_gc_count (), n = 0;
  unsigned int rounds = 0;
  SCM key, value;

  if (gc_count == assoc->gc_count)
    return;
  assoc->died = scm_i_gc_ephemerons_died ();

  for (unsigned long k = 0; k < assoc->n_buckets; k++)
    {
      scm_i_gc_safepoint_in_loop (&rounds);
      for (scm_t_ephemeron *entry = first_entry (assoc, k);
           entry;
           entry = scm_i_ephemeron_chain_next (entry))
        if (read_entry (assoc->kind, entry, &key, &value))
          n++;
        else
          scm_i_ephemeron_break (entry);
    }

  assoc->n_items = n;
  assoc->gc_count = gc_count;
}

static void
maybe_resize (scm_t_weak_assoc *assoc)
{
  scm_thread *thread = SCM_I_CURRENT_THREAD;
  unsigned long old_n_buckets = assoc->n_buckets, new_n_buckets;
  scm_t_bits *old_buckets = assoc->buckets, *new_buckets;
  int i = assoc->size_index;
  unsigned long gc_count, n = 0;

  if (assoc->n_items >= assoc->lower
      && (assoc->n_items <= assoc->upper || i + 1 == N_SIZES))
    return;

  count_items (assoc);
  if (assoc->n_items < assoc->lower)
    do
      i--;
    while (i > assoc->min_size_index && assoc->n_items < sizes[i] / 4);
  else if (assoc->n_items > assoc->upper)
    i++;
  if (i == assoc->size_index)
    return;

  new_n_buckets = sizes[i];
  new_buckets = make_buckets (thread, new_n_buckets);
  gc_count = scm_i_gc_count ();

  /* With the lock held both chains are ours alone, so that entries can
     change from one to the other.  No safepoint: a fork would find the
     association in halves.  */
  for (unsigned long k = 0; k < old_n_buckets; k++)
    {
      scm_t_ephemeron *entry, *next;

      for (entry = scm_i_ephemeron_chain_head (bucket_loc (old_buckets,
                                                           old_n_buckets, k));
           entry;
           entry = next)
        {
          SCM key, value;

          next = scm_i_ephemeron_chain_next (entry);
          if (!read_entry (assoc->kind, entry, &key, &value))
            continue;
          scm_i_ephemeron_chain_push
            (bucket_loc (new_buckets, new_n_buckets,
                         scm_i_ephemeron_hash (entry)),
             entry);
          n++;
        }
    }

  set_size (assoc, i);
  assoc->buckets = new_buckets;
  assoc->n_items = n;
  assoc->gc_count = gc_count;
  scm_remember_upto_here_1 (old_buckets);
}

/* In a large association, a sample tells with an error of some percent how
   many entries are left.  */
#define SAMPLED_BUCKETS 1024

static int
seems_to_be_alive (scm_t_weak_assoc *assoc)
{
  unsigned long stride = assoc->n_buckets / SAMPLED_BUCKETS;
  unsigned long n = 0, n_sampled = 0;
  SCM key, value;

  if (stride < 16)
    return 0;

  for (unsigned long k = assoc->next_sample++ % stride;
       k < assoc->n_buckets;
       k += stride, n_sampled++)
    for (scm_t_ephemeron *entry = first_entry (assoc, k);
         entry;
         entry = scm_i_ephemeron_chain_next (entry))
      n += read_entry (assoc->kind, entry, &key, &value);

  return (double) n / n_sampled * assoc->n_buckets
    > assoc->n_items - assoc->n_items / 8;
}

/* Instead of OLD, unless that is NULL.  */
static void
add_entry (scm_t_weak_assoc *assoc, unsigned long hash, SCM key, SCM value,
           scm_t_ephemeron *old)
{
  scm_t_ephemeron *entry
    = make_entry (SCM_I_CURRENT_THREAD, assoc->kind, hash, key, value);

  if (old)
    {
      scm_i_ephemeron_break (old);
      assoc->n_items--;
    }
  scm_i_ephemeron_chain_push (bucket_loc (assoc->buckets, assoc->n_buckets,
                                          hash), entry);
  assoc->n_items++;
  scm_remember_upto_here_2 (key, value);
}



scm_t_weak_assoc *
scm_i_make_weak_assoc (unsigned long size, scm_t_weak_table_kind kind)
{
  scm_t_weak_assoc *ret
    = scm_i_gc_alloc_pinned_record (SCM_I_CURRENT_THREAD,
                                    sizeof (scm_t_weak_assoc), 1);
  int i = 0;

  while (i + 1 < N_SIZES && size > sizes[i])
    i++;

  scm_i_fork_mutex_init (&ret->lock);
  ret->kind = kind;
  ret->min_size_index = i;
  set_size (ret, i);
  ret->buckets = make_buckets (SCM_I_CURRENT_THREAD, ret->n_buckets);
  ret->gc_count = scm_i_gc_count ();
  ret->died = scm_i_gc_ephemerons_died ();
  return ret;
}

scm_t_weak_table_kind
scm_i_weak_assoc_kind (scm_t_weak_assoc *assoc)
{
  return assoc->kind;
}

unsigned long
scm_i_weak_assoc_n_items (scm_t_weak_assoc *assoc)
{
  return assoc->n_items;
}

unsigned long
scm_i_weak_assoc_n_buckets (scm_t_weak_assoc *assoc)
{
  return assoc->n_buckets;
}

int
scm_i_weak_assoc_ref (scm_t_weak_assoc *assoc, unsigned long hash,
                      scm_t_weak_assoc_predicate pred, void *closure,
                      int exits, SCM *key, SCM *value)
{
  int ret;

  lock_for_search (assoc, exits);
  ret = find_entry (assoc, clean_hash (hash), pred, closure, key, value)
    != NULL;
  unlock_after_search (assoc, exits);
  return ret;
}

SCM
scm_i_weak_assoc_put (scm_t_weak_assoc *assoc, unsigned long hash,
                      scm_t_weak_assoc_predicate pred, void *closure,
                      int exits, SCM key, SCM value, int update)
{
  scm_t_ephemeron *entry;
  SCM old_key, old_value;

  hash = clean_hash (hash);

  if (!exits)
    make_room_for_exits ();
  lock_for_search (assoc, exits);
  entry = find_entry (assoc, hash, pred, closure, &old_key, &old_value);
  if (entry)
    key = old_key;

  if (entry && (!update || scm_is_eq (value, old_value)))
    ;
  else if (entry && assoc->kind == SCM_WEAK_TABLE_KIND_KEY)
    scm_i_ephemeron_set_value (SCM_I_CURRENT_THREAD, entry, value);
  else
    {
      if (!exits)
        begin_exits (assoc);
      exits = 1;
      if (!entry)
        maybe_resize (assoc);
      add_entry (assoc, hash, key, value, entry);
    }
  unlock_after_search (assoc, exits);
  return key;
}

void
scm_i_weak_assoc_remove (scm_t_weak_assoc *assoc, unsigned long hash,
                         scm_t_weak_assoc_predicate pred, void *closure)
{
  scm_t_ephemeron *entry;
  SCM key, value;

  lock_for_search (assoc, 1);
  entry = find_entry (assoc, clean_hash (hash), pred, closure, &key, &value);
  if (entry)
    {
      scm_i_ephemeron_break (entry);
      assoc->n_items--;
      maybe_resize (assoc);
    }
  unlock_after_search (assoc, 1);
}

void
scm_i_weak_assoc_clear (scm_t_weak_assoc *assoc)
{
  scm_t_bits *buckets
    = make_buckets (SCM_I_CURRENT_THREAD, sizes[assoc->min_size_index]);

  lock (assoc);
  set_size (assoc, assoc->min_size_index);
  assoc->buckets = buckets;
  assoc->n_items = 0;
  unlock (assoc);
}

SCM
scm_i_weak_assoc_to_alist (scm_t_weak_assoc *assoc)
{
  SCM alist = SCM_EOL, key, value;

  begin_exits (assoc);
  lock (assoc);
  for (unsigned long k = 0; k < assoc->n_buckets; k++)
    for (scm_t_ephemeron *entry = first_entry (assoc, k);
         entry;
         entry = scm_i_ephemeron_chain_next (entry))
      if (read_entry (assoc->kind, entry, &key, &value))
        alist = scm_acons (key, value, alist);
  scm_dynwind_end ();
  return alist;
}

void
scm_i_weak_assoc_vacuum (scm_t_weak_assoc *assoc)
{
  /* Finalizers may run while a predicate of this thread is called with
     the lock held, hence no waiting.  */
  make_room_for_exits ();
  if (scm_i_pthread_mutex_trylock (scm_i_fork_mutex (&assoc->lock)))
    return;
  begin_exits (assoc);
  /* Counting takes as long as tracing the association; most collections
     find few of its entries dead, whatever has died elsewhere.  */
  if (scm_i_gc_ephemerons_died () - assoc->died > assoc->n_items / 8
      && !seems_to_be_alive (assoc))
    {
      count_items (assoc);
      maybe_resize (assoc);
    }
  scm_dynwind_end ();
}
