/* gc-extension.h --- what the parts of gc-extension share.

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

#ifndef GC_EXTENSION_H
#define GC_EXTENSION_H

#define DEFINE(name, req, opt, rest, proc)                              \
  scm_c_define_gsubr (name, req, opt, rest, (scm_t_subr) proc)

/* Two builds of all this are loaded into one process.  */
#define PRIVATE __attribute__ ((visibility ("hidden")))

/* Define the procedures of gc-extension-objects.c.  */
PRIVATE void gc_extension_init_objects (void);

/* The type of foreign objects there.  */
PRIVATE extern SCM handle_type;

#endif  /* GC_EXTENSION_H */
