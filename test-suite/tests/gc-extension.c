/* gc-extension.c --- a C extension that depends on the collector.

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

/* Uses the public interface in the ways that extensions do.  It has to
   compile with the headers of any Guile 3.0; gc-extension.test loads it
   into the Guile under test.  Objects of its own types are in
   gc-extension-objects.c.  */

#include <libguile.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "gc-extension.h"

/* Which headers these are.  */
static SCM
headers (void)
{
  return scm_from_utf8_string
#ifdef SCM_I_GC_MALLOC_FOR_TAG
    ("own");
#else
    ("stock");
#endif
}



/* Memory of the collector, known from the data of this library, or from
   the stack, possibly only by an address in its middle.  */

struct node
{
  struct node *next;
  SCM object;
  long index;
};

static struct node *nodes;      /* known from here only */

static SCM
make_nodes (SCM n)
{
  long count = scm_to_long (n);

  nodes = NULL;
  for (long i = 0; i < count; i++)
    {
      struct node *node = scm_gc_malloc (sizeof (*node), "node");

      node->next = nodes;
      node->object = scm_list_1 (scm_from_long (i));
      node->index = i;
      nodes = node;
    }
  return SCM_UNSPECIFIED;
}

static SCM
check_nodes (void)
{
  long count = 0;

  for (struct node *node = nodes; node; node = node->next, count++)
    if (!scm_is_pair (node->object)
        || scm_to_long (SCM_CAR (node->object)) != node->index)
      return SCM_BOOL_F;
  return scm_from_long (count);
}

static SCM
drop_nodes (void)
{
  nodes = NULL;
  return SCM_UNSPECIFIED;
}

/* Grow, shrink and move memory while THUNK allocates and collects; only
   addresses in the middle of some are on the stack.  */
static SCM
churn (SCM n, SCM thunk)
{
  size_t size = scm_to_size_t (n);
  unsigned char *raw = scm_gc_malloc_pointerless (size, "raw");
  unsigned char *volatile middle = raw + size / 2;
  long *longs = scm_gc_calloc (4 * sizeof (*longs), "longs");
  SCM *objects = scm_gc_malloc (size * sizeof (*objects), "objects");
  char *str = scm_gc_strndup ("to be or not to be", 5, "str");
  size_t capacity = 4;

  memset (raw, 0x5a, size);
  raw = NULL;
  for (size_t i = 0; i < size; i++)
    {
      if (i == capacity)
        {
          longs = scm_gc_realloc (longs, capacity * sizeof (*longs),
                                  2 * capacity * sizeof (*longs), "longs");
          capacity *= 2;
        }
      longs[i] = i * i;
      objects[i] = scm_cons (scm_from_size_t (i), SCM_EOL);
      if (i % 100 == 0)
        scm_call_0 (thunk);
    }

  for (size_t i = 0; i < size; i++)
    if (longs[i] != (long) (i * i)
        || (middle - size / 2)[i] != 0x5a
        || scm_to_size_t (scm_car (objects[i])) != i)
      return SCM_BOOL_F;
  if (strcmp (str, "to be"))
    return SCM_BOOL_F;
  scm_gc_free (longs, capacity * sizeof (*longs), "longs");
  return SCM_BOOL_T;
}


/* Return true if memory of OLD bytes keeps its contents when it becomes memory
   of NEW bytes, by a caller who says that it has CLAIMED bytes.  The memory
   after it, if it grows, has to stay as it is.  */
static int
realloc_keeps (size_t old, size_t claimed, size_t new, int pointerless)
{
  size_t kept = old < new ? old : new;
  unsigned char *p = pointerless ? scm_gc_malloc_pointerless (old, "realloc")
    : scm_gc_malloc (old, "realloc");
  unsigned char *q;

  for (size_t i = 0; i < old; i++)
    p[i] = i * 7 + old;
  p = scm_gc_realloc (p, claimed, new, "realloc");
  q = scm_gc_malloc (new, "neighbour");
  for (size_t i = 0; i < new; i++)
    q[i] = 0x5a;
  for (size_t i = kept; i < new; i++)
    p[i] = 0xa5;
  for (size_t i = 0; i < new; i++)
    if (q[i] != 0x5a)
      return 0;
  for (size_t i = 0; i < kept; i++)
    if (p[i] != (unsigned char) (i * 7 + old))
      return 0;
  return 1;
}

static SCM
reallocs (SCM old, SCM claimed, SCM new)
{
  size_t o = scm_to_size_t (old), c = scm_to_size_t (claimed),
    n = scm_to_size_t (new);

  return scm_from_bool (realloc_keeps (o, c, n, 0)
                        && realloc_keeps (o, c, n, 1));
}

/* Memory that the collector does not know.  */
static SCM
realloc_static (void)
{
  static char str[100] = "a constant of C";
  char *p = scm_gc_realloc (str, sizeof (str), 1000, "realloc");

  return scm_from_bool (p != str && !strcmp (p, str) && !p[999]
                        && scm_gc_realloc (NULL, 0, 1000, "realloc"));
}



/* Roots.  The array is not memory that the collector knows.  */

static SCM *protected_objects;
static size_t n_protected;
static SCM permanent_object;
static SCM static_object;       /* neither protected nor permanent */
SCM_IMMUTABLE_STRING (constant_string, "a constant of C");

static SCM
protect_objects (SCM list)
{
  n_protected = scm_to_size_t (scm_length (list));
  protected_objects = scm_calloc (n_protected * sizeof (SCM));
  for (size_t i = 0; i < n_protected; i++, list = SCM_CDR (list))
    protected_objects[i]
      = scm_gc_protect_object (scm_list_copy (SCM_CAR (list)));
  permanent_object
    = scm_permanent_object (scm_list_1 (scm_from_utf8_string ("permanent")));
  static_object = scm_list_1 (scm_from_utf8_string ("static"));
  return SCM_UNSPECIFIED;
}

static SCM
get_protected (void)
{
  SCM ret = SCM_EOL;

  for (size_t i = n_protected; i-- > 0;)
    ret = scm_cons (protected_objects[i], ret);
  return scm_list_n (ret, permanent_object, static_object,
                     constant_string, SCM_UNDEFINED);
}

static SCM
unprotect_objects (void)
{
  for (size_t i = 0; i < n_protected; i++)
    scm_gc_unprotect_object (protected_objects[i]);
  free (protected_objects);
  protected_objects = NULL;
  n_protected = 0;
  return SCM_UNSPECIFIED;
}



/* Inline functions and macros of the headers.  */

static SCM
inlines (SCM n)
{
  long count = scm_to_long (n);
  SCM vec = scm_c_make_vector (count, SCM_BOOL_F);
  SCM bv = scm_c_make_bytevector (count);
  SCM list = SCM_EOL, tail, str;
  scm_t_array_handle handle;
  size_t len;
  ssize_t inc;
  SCM *elts;
  const SCM *celts;
  double sum = 0;

  for (long i = 0; i < count; i++)
    {
      SCM pair = scm_cons (scm_from_long (i), scm_from_double (i + 0.5));
      SCM cell = scm_cell (SCM_UNPACK (SCM_I_MAKINUM (i)), SCM_UNPACK (pair));

      list = scm_cons (cell, list);
      scm_c_vector_set_x (vec, i, pair);
      SCM_BYTEVECTOR_CONTENTS (bv)[i] = i & 127;
      if (i % 2)
        SCM_SIMPLE_VECTOR_SET (vec, i, SCM_CDR (list));
      SCM_SETCDR (pair, scm_from_double (i * 0.5));
    }
  scm_gc ();

  if (scm_c_vector_length (vec) != (size_t) count
      || SCM_SIMPLE_VECTOR_LENGTH (vec) != (size_t) count
      || SCM_BYTEVECTOR_LENGTH (bv) != (size_t) count
      || !scm_is_vector (vec) || !scm_is_bytevector (bv)
      || scm_c_bytevector_ref (bv, count - 1) != ((count - 1) & 127))
    return SCM_BOOL_F;

  tail = list;
  for (long i = count - 1; i >= 0; i--, tail = SCM_CDR (tail))
    {
      SCM cell;

      if (!scm_is_pair (tail) || !scm_is_pair (SCM_CAR (tail)))
        return SCM_BOOL_F;
      cell = SCM_CAR (tail);
      if (scm_to_long (SCM_CAR (cell)) != i
          || scm_to_double (SCM_CDDR (cell)) != i * 0.5
          || scm_to_long (SCM_CADR (cell)) != i)
        return SCM_BOOL_F;
      if (!scm_is_eq (scm_c_vector_ref (vec, i),
                      i % 2 ? SCM_CDR (tail) : SCM_CDR (cell)))
        return SCM_BOOL_F;
    }
  if (!scm_is_null (tail) || scm_ilength (list) != count)
    return SCM_BOOL_F;

  elts = scm_vector_writable_elements (vec, &handle, &len, &inc);
  for (size_t i = 0; i < len; i++, elts += inc)
    *elts = scm_from_double (i);
  scm_array_handle_release (&handle);
  scm_gc ();
  celts = scm_vector_elements (vec, &handle, &len, &inc);
  for (size_t i = 0; i < len; i++, celts += inc)
    sum += SCM_REAL_VALUE (*celts);
  scm_array_handle_release (&handle);
  if (sum != count * (count - 1) / 2.0)
    return SCM_BOOL_F;

  str = scm_c_make_string (count, SCM_MAKE_CHAR ('x'));
  scm_c_string_set_x (str, 1, SCM_MAKE_CHAR (0x3bb));
  return scm_from_bool (scm_is_string (str)
                        && scm_c_string_length (str) == (size_t) count
                        && SCM_CHAR (scm_c_string_ref (str, 1)) == 0x3bb
                        && scm_is_true (SCM_BOOL_T) && SCM_CONSP (list)
                        && SCM_UNBNDP (SCM_UNDEFINED)
                        && scm_is_symbol (scm_from_utf8_symbol ("x"))
                        && SCM_STRUCTP (handle_type)
                        && SCM_CHARP (SCM_MAKE_CHAR ('x')));
}

/* Optional arguments and the rest.  */
static SCM
subr (SCM a, SCM b, SCM rest)
{
  return scm_list_3 (a, SCM_UNBNDP (b) ? SCM_BOOL_F : b, rest);
}

/* A big number, from small ones.  */
static SCM
bignums (SCM n)
{
  SCM product = SCM_INUM1;

  for (int i = 1; i <= scm_to_int (n); i++)
    product = scm_product (product, scm_from_int (i));
  return product;
}



/* Nonlocal exits, dynamic winds, fluids, parameters.  */

static SCM
wound_body (void *data)
{
  char *buffer = scm_gc_malloc_pointerless (1000, "buffer");
  void *tem;

  memset (buffer, 'a', 1000);
  scm_dynwind_begin (0);
  tem = scm_malloc (10);
  scm_dynwind_free (tem);
  scm_dynwind_fluid (((SCM *) data)[1], scm_list_1 (SCM_BOOL_T));
  scm_gc ();
  scm_call_0 (((SCM *) data)[0]);
  scm_dynwind_end ();
  return scm_from_bool (buffer[999] == 'a');
}

static SCM
wound_handler (void *data, SCM key, SCM args)
{
  return scm_cons (key, args);
}

static SCM
wound (SCM thunk)
{
  SCM data[2] = { thunk, scm_make_fluid () };

  return scm_internal_catch (SCM_BOOL_T, wound_body, data, wound_handler,
                             NULL);
}



/* An unwind handler that knows a part of an object by its address.  */

static void
set_to_true (void *loc)
{
  *(SCM *) loc = SCM_BOOL_T;
}

static __attribute__ ((noinline)) void
unwind_to_element (SCM pairs, size_t i)
{
  SCM pair = scm_c_vector_ref (pairs, i);

  scm_dynwind_unwind_handler (set_to_true,
                              (SCM *) SCM_UNPACK_POINTER (pair) + 1,
                              SCM_F_WIND_EXPLICITLY);
}

/* Call THUNK; each cdr in PAIRS becomes true.  */
static SCM
set_cdrs (SCM pairs, SCM thunk)
{
  size_t n = scm_c_vector_length (pairs);

  scm_dynwind_begin (0);
  for (size_t i = 0; i < n; i++)
    unwind_to_element (pairs, i);
  scm_call_0 (thunk);
  scm_dynwind_end ();
  return pairs;
}



/* What C looks up by its name, and keeps in memory of malloc.  */

#define N_LOOKED_UP 100

static struct
{
  SCM variables[N_LOOKED_UP];
  SCM values[N_LOOKED_UP];
} *looked_up;

static void
looked_up_name (char *buf, size_t size, int i)
{
  snprintf (buf, size, "gc-extension-%d", i);
}

static SCM
look_up (void)
{
  char name[32];

  looked_up = scm_malloc (sizeof (*looked_up));
  for (int i = 0; i < N_LOOKED_UP; i++)
    {
      looked_up_name (name, sizeof (name), i);
      looked_up->variables[i] = scm_c_lookup (name);
      looked_up->values[i]
        = i % 2 ? scm_variable_ref (scm_c_lookup (name))
        : scm_c_eval_string (name);
    }
  return SCM_UNSPECIFIED;
}

static SCM
still_there (void)
{
  char name[32];
  SCM found;
  int n = 0;

  for (int i = 0; i < N_LOOKED_UP; i++)
    {
      looked_up_name (name, sizeof (name), i);
      found = scm_lookup (scm_from_utf8_symbol (name));
      n += scm_is_eq (looked_up->variables[i], found)
        && scm_is_eq (looked_up->values[i], scm_variable_ref (found));
    }
  return scm_from_bool (n == N_LOOKED_UP);
}



/* Threads of C, of which nothing is known but what they call.  */

struct job
{
  pthread_t thread;
  SCM thunk;
  int ok;
};

static void *
job_in_guile (void *data)
{
  struct job *job = data;
  SCM list = SCM_EOL;

  for (int i = 0; i < 1000; i++)
    list = scm_cons (scm_from_int (i), list);
  scm_call_0 (job->thunk);
  for (int i = 999; i >= 0; i--, list = SCM_CDR (list))
    if (scm_to_int (SCM_CAR (list)) != i)
      return NULL;
  return data;
}

static void *
job_start (void *data)
{
  struct job *job = data;

  /* Entering and leaving, many times.  */
  job->ok = 1;
  for (int i = 0; i < 10; i++)
    if (scm_with_guile (job_in_guile, job) != job)
      job->ok = 0;
  return NULL;
}

struct jobs
{
  int n;
  struct job *jobs;
};

static void *
run_jobs (void *data)
{
  struct jobs *jobs = data;
  int ok = 1;

  for (int i = 0; i < jobs->n; i++)
    if (pthread_create (&jobs->jobs[i].thread, NULL, job_start,
                        &jobs->jobs[i]))
      abort ();
  for (int i = 0; i < jobs->n; i++)
    {
      pthread_join (jobs->jobs[i].thread, NULL);
      ok = ok && jobs->jobs[i].ok;
    }
  return ok ? data : NULL;
}

static SCM
threads (SCM n, SCM thunk)
{
  struct jobs jobs = { scm_to_int (n), NULL };
  void *ret;

  jobs.jobs = scm_calloc (jobs.n * sizeof (struct job));
  for (int i = 0; i < jobs.n; i++)
    jobs.jobs[i].thunk = thunk;
  ret = scm_without_guile (run_jobs, &jobs);
  free (jobs.jobs);
  scm_remember_upto_here_1 (thunk);
  return scm_from_bool (ret != NULL);
}



/* A thread that enters Guile while the heap is full.  */

static void *hoard;

/* Does not return.  */
static SCM
fill_heap (void)
{
  while (1)
    {
      void **block = scm_gc_malloc (512, "gc-extension");
      *block = hoard;
      hoard = block;
    }
}

static void *
enter_guile (void *data)
{
  return scm_is_pair (scm_cons (SCM_BOOL_T, SCM_EOL)) ? data : NULL;
}

static void *
newcomer_start (void *data)
{
  return scm_with_guile (enter_guile, data);
}

static void *
run_newcomer (void *data)
{
  pthread_t thread;
  void *ret;

  if (pthread_create (&thread, NULL, newcomer_start, data))
    abort ();
  usleep (100000);
  hoard = NULL;
  pthread_join (thread, &ret);
  return ret;
}

static SCM
newcomer (void)
{
  int data;

  return scm_from_bool (scm_without_guile (run_newcomer, &data) == &data);
}



/* A thread on a stack of its own that enters Guile in a deep frame, leaves it,
   and enters it again in a shallow one.  */

#define OWN_STACK_SIZE 1000000
#define OWN_STACK_OBJECTS 50

struct own_stack
{
  ucontext_t caller, context;
  char *stack;
  SCM thunk;
  int survivors;
};

static void *
do_nothing (void *data)
{
  return data;
}

/* Not static, lest the compiler inline it.  */
void gc_extension_enter_deep (void);
void
gc_extension_enter_deep (void)
{
  volatile char frame[OWN_STACK_SIZE / 4];

  memset ((char *) frame, 1, sizeof frame);
  scm_with_guile (do_nothing, (void *) frame);
}

/* Have objects in a frame only, while THUNK collects.  */
static void *
keep_objects (void *data)
{
  struct own_stack *own = data;
  SCM volatile objects[OWN_STACK_OBJECTS];

  for (int i = 0; i < OWN_STACK_OBJECTS; i++)
    objects[i] = scm_list_1 (scm_from_int (i));
  scm_call_0 (own->thunk);
  for (int i = 0; i < OWN_STACK_OBJECTS; i++)
    if (scm_is_pair (objects[i])
        && scm_is_eq (SCM_CAR (objects[i]), scm_from_int (i)))
      own->survivors++;
  return NULL;
}

static void
run_on_own_stack (unsigned int high, unsigned int low)
{
  struct own_stack *own
    = (struct own_stack *) ((((scm_t_uintptr) high << 16) << 16) | low);

  gc_extension_enter_deep ();
  scm_with_guile (keep_objects, own);
}

static void *
own_stack_start (void *data)
{
  struct own_stack *own = data;
  scm_t_uintptr address = (scm_t_uintptr) own;

  own->stack = malloc (OWN_STACK_SIZE);
  if (!own->stack)
    abort ();
  getcontext (&own->context);
  own->context.uc_stack.ss_sp = own->stack;
  own->context.uc_stack.ss_size = OWN_STACK_SIZE;
  own->context.uc_link = &own->caller;
  makecontext (&own->context, (void (*) (void)) run_on_own_stack, 2,
               (unsigned int) ((address >> 16) >> 16),
               (unsigned int) address);
  swapcontext (&own->caller, &own->context);
  return NULL;
}

static void *
run_own_stack_thread (void *data)
{
  pthread_t thread;

  if (pthread_create (&thread, NULL, own_stack_start, data))
    abort ();
  pthread_join (thread, NULL);
  return NULL;
}

static SCM
own_stack (SCM thunk)
{
  struct own_stack *own = scm_gc_calloc (sizeof *own, "own stack");

  own->thunk = thunk;
  scm_without_guile (run_own_stack_thread, own);
  free (own->stack);
  scm_remember_upto_here_1 (thunk);
  return scm_from_bool (own->survivors == OWN_STACK_OBJECTS);
}



/* What finds no memory for the dynamic stack, which doubles its size when
   it is full.  */

static size_t dynamic_stack_depth;

static SCM
keep_init (void *closure, SCM key, SCM value, SCM init)
{
  return init;
}

/* Nest frames until there is no memory, and the caller catches that, doing
   WHICH with TABLE at each depth from FROM on.  All of these need the same
   space on the stack, more than a frame.  */
static SCM
fill_dynamic_stack (SCM which, SCM from, SCM table, SCM key)
{
  int w = scm_to_int (which);
  size_t f = scm_to_size_t (from);

  for (dynamic_stack_depth = 0; ; dynamic_stack_depth++)
    {
      if (dynamic_stack_depth >= f)
        switch (w)
          {
          case 0:
            scm_hash_ref (table, key, SCM_BOOL_F);
            break;
          case 1:
            scm_hashq_set_x (table, key, key);
            break;
          case 2:
            scm_internal_hash_fold (keep_init, NULL, SCM_EOL, table);
            break;
          default:
            scm_make_weak_value_hash_table (SCM_UNDEFINED);
            break;
          }
      scm_dynwind_begin (0);
    }
  return SCM_UNSPECIFIED;
}

/* The frames that there were.  */
static SCM
get_dynamic_stack_depth (void)
{
  return scm_from_size_t (dynamic_stack_depth);
}



/* A port whose data are here.  */

static scm_t_port_type *counting_port_type;

struct counting
{
  SCM log;
  size_t written;
};

static size_t
counting_write (SCM port, SCM src, size_t start, size_t count)
{
  struct counting *c = (struct counting *) SCM_STREAM (port);

  c->written += count;
  c->log = scm_cons (scm_from_size_t (count), c->log);
  return count;
}

static SCM
make_counting_port (void)
{
  struct counting *c = scm_gc_typed_calloc (struct counting);

  c->log = SCM_EOL;
  return scm_c_make_port (counting_port_type, SCM_WRTNG | SCM_OPN,
                          (scm_t_bits) c);
}

static SCM
counting_port_written (SCM port)
{
  struct counting *c = (struct counting *) SCM_STREAM (port);
  size_t sum = 0;

  for (SCM l = c->log; scm_is_pair (l); l = SCM_CDR (l))
    sum += scm_to_size_t (SCM_CAR (l));
  return sum == c->written ? scm_from_size_t (sum) : SCM_BOOL_F;
}



/* Hooks of the collector.  */

static unsigned long gcs_begun, gcs_ended;

static void *
count_gc (void *hook_data, void *func_data, void *data)
{
  __atomic_fetch_add ((unsigned long *) func_data, 1, __ATOMIC_SEQ_CST);
  return NULL;
}

static SCM
gc_hook_counts (void)
{
  return scm_cons (scm_from_ulong (gcs_begun), scm_from_ulong (gcs_ended));
}



void init_gc_extension (void);

void
init_gc_extension (void)
{
  gc_extension_init_objects ();
  counting_port_type = scm_make_port_type ("counting", NULL, counting_write);

  scm_c_hook_add (&scm_before_gc_c_hook, count_gc, &gcs_begun, 0);
  scm_c_hook_add (&scm_after_gc_c_hook, count_gc, &gcs_ended, 0);

  DEFINE ("headers", 0, 0, 0, headers);
  DEFINE ("make-nodes", 1, 0, 0, make_nodes);
  DEFINE ("check-nodes", 0, 0, 0, check_nodes);
  DEFINE ("drop-nodes", 0, 0, 0, drop_nodes);
  DEFINE ("churn", 2, 0, 0, churn);
  DEFINE ("protect-objects", 1, 0, 0, protect_objects);
  DEFINE ("get-protected", 0, 0, 0, get_protected);
  DEFINE ("unprotect-objects", 0, 0, 0, unprotect_objects);
  DEFINE ("inlines", 1, 0, 0, inlines);
  DEFINE ("bignums", 1, 0, 0, bignums);
  DEFINE ("wound", 1, 0, 0, wound);
  DEFINE ("reallocs", 3, 0, 0, reallocs);
  DEFINE ("realloc-static", 0, 0, 0, realloc_static);
  DEFINE ("set-cdrs", 2, 0, 0, set_cdrs);
  DEFINE ("look-up", 0, 0, 0, look_up);
  DEFINE ("still-there?", 0, 0, 0, still_there);
  DEFINE ("threads", 2, 0, 0, threads);
  DEFINE ("fill-heap", 0, 0, 0, fill_heap);
  DEFINE ("newcomer", 0, 0, 0, newcomer);
  DEFINE ("own-stack", 1, 0, 0, own_stack);
  DEFINE ("fill-dynamic-stack", 4, 0, 0, fill_dynamic_stack);
  DEFINE ("dynamic-stack-depth", 0, 0, 0, get_dynamic_stack_depth);
  DEFINE ("make-counting-port", 0, 0, 0, make_counting_port);
  DEFINE ("counting-port-written", 1, 0, 0, counting_port_written);
  DEFINE ("gc-hook-counts", 0, 0, 0, gc_hook_counts);
  scm_c_define ("subr", scm_c_make_gsubr ("subr", 1, 1, 1, subr));
}
