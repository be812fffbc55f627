/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* What unit tests have in common.  */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* How F (DATA) ends in a process of its own: the status of waitpid.  The test
   framework's signal handlers would go on with the next test there.  */
static inline int unit_run_in_child(void (*f)(void *data), void *data) {
  fflush(NULL);
  pid_t pid = fork();
  if (pid == 0) {
    static const int caught[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++)
      signal(caught[i], SIG_DFL);
    f(data);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return status;
}

/* F (DATA) must trap.  Sanitizers turn traps into exits.  */
static inline void unit_assert_traps(void (*f)(void *data), void *data) {
  int status = unit_run_in_child(f, data);
  assert_true(WIFSIGNALED(status) ||
              (WIFEXITED(status) && WEXITSTATUS(status) != 0));
}

#endif /* UNIT_H */
