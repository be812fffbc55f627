/* A program that is not linked with libguile but loads it, for
   gc-extension.test.

   Copyright 2026 the guile-whippet developers

   This library is free software; you can redistribute it and/or modify it
   under the terms of the GNU Lesser General Public License as published by
   the Free Software Foundation; either version 3 of the License, or (at your
   option) any later version.

   This library is distributed in the hope that it will be useful, but
   WITHOUT ANY WARRANTY; without even the implied warranty of
   MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU Lesser
   General Public License for more details.

   You should have received a copy of the GNU Lesser General Public License
   along with this library; if not, write to the Free Software Foundation,
   Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA  */

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

typedef void *(*with_guile_proc) (void *(*) (void *), void *);
typedef void *(*eval_string_proc) (const char *);

static with_guile_proc with_guile;
static eval_string_proc eval_string;

static void *
eval (void *expression)
{
  return eval_string (expression);
}

static void *
eval_in_guile (void *expression)
{
  return with_guile (eval, expression);
}

/* Usage: gc-dlopen LIBGUILE EXPRESSION.  Evaluates EXPRESSION in this thread,
   and in others that were there, or not, when LIBGUILE was loaded.  */

static pthread_barrier_t loaded;

static void *
early_thread (void *expression)
{
  pthread_barrier_wait (&loaded);
  return eval_in_guile (expression);
}

int
main (int argc, char **argv)
{
  pthread_t early, late;
  void *library;

  if (argc != 3)
    return 2;
  pthread_barrier_init (&loaded, NULL, 2);
  if (pthread_create (&early, NULL, early_thread, argv[2]))
    return 2;
  library = dlopen (argv[1], RTLD_NOW);
  if (!library)
    {
      fprintf (stderr, "%s\n", dlerror ());
      return 1;
    }
  with_guile = (with_guile_proc) dlsym (library, "scm_with_guile");
  eval_string = (eval_string_proc) dlsym (library, "scm_c_eval_string");
  pthread_barrier_wait (&loaded);
  pthread_join (early, NULL);
  if (pthread_create (&late, NULL, eval_in_guile, argv[2]))
    return 2;
  pthread_join (late, NULL);
  eval_in_guile (argv[2]);
  return 0;
}
