/* SPDX-License-Identifier: LGPL-3.0-or-later */
/* Inlining attributes, written after the declarator of a declaration.  */
#ifndef GC_INLINE_ATTRIBUTES_H
#define GC_INLINE_ATTRIBUTES_H

#define GC_ALWAYS_INLINE __attribute__((always_inline))
#define GC_NEVER_INLINE __attribute__((noinline))

#endif /* GC_INLINE_ATTRIBUTES_H */
