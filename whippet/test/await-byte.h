/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* A thread that is blocked in the system until another one tells it to go on.  */

#ifndef AWAIT_BYTE_H
#define AWAIT_BYTE_H

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <unistd.h>

/* Read a byte of FD, a pipe, if signals interrupt that or not.  */
static void await_byte(int fd) {
  char byte;
#if defined(__SANITIZE_THREAD__)
  /* It keeps signals back until the thread makes another call that it knows;
     in some that block, poll among them, it delivers them at once.  */
  struct pollfd readable = {fd, POLLIN, 0};
  while (poll(&readable, 1, -1) < 0 && errno == EINTR)
    continue;
#endif
  while (read(fd, &byte, 1) < 0 && errno == EINTR)
    continue;
}

#endif // AWAIT_BYTE_H
