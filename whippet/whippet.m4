dnl SPDX-License-Identifier: LGPL-3.0-or-later
dnl Autoconf macros for programs that embed the collector with embed.am.
dnl
dnl   WHIPPET_ENABLE_LTO   optional: --enable-lto
dnl   WHIPPET_PKG          all of the following
dnl
dnl   WHIPPET_PKG_PLATFORM
dnl   WHIPPET_PKG_TRACING([default])     --with-gc-lttng
dnl   WHIPPET_PKG_COLLECTOR([default])   --with-gc
dnl   WHIPPET_PKG_BDW                    --with-bdw-gc
dnl   WHIPPET_PKG_DEBUG                  --with-gc-debug

AC_DEFUN([WHIPPET_ENABLE_LTO],
  [AC_ARG_ENABLE([lto],
     [AS_HELP_STRING([--enable-lto],
        [optimize across program and collector at link time @<:@no@:>@])],
     [], [enable_lto=no])
   AS_IF([test "x$enable_lto" != xno],
     [AC_MSG_CHECKING([whether the compiler supports -flto])
      whippet_save_CFLAGS=$CFLAGS
      CFLAGS="$CFLAGS -flto"
      AC_LINK_IFELSE([AC_LANG_PROGRAM([], [])],
        [AC_MSG_RESULT([yes])
         LDFLAGS="$LDFLAGS -flto=auto"
         AC_CHECK_TOOLS([AR], [gcc-ar llvm-ar ar])
         AC_CHECK_TOOLS([RANLIB], [gcc-ranlib llvm-ranlib ranlib])],
        [AC_MSG_RESULT([no])
         CFLAGS=$whippet_save_CFLAGS
         AC_MSG_ERROR([--enable-lto needs a compiler that supports -flto])])])])

AC_DEFUN([WHIPPET_PKG_PLATFORM],
  [AC_REQUIRE([AC_CANONICAL_HOST])
   AS_CASE([$host],
     [*linux-gnu*], [whippet_platform=gnu-linux],
     [AC_MSG_ERROR([the collector does not support the host $host])])
   AM_CONDITIONAL([WHIPPET_PLATFORM_GNU_LINUX],
     [test "$whippet_platform" = gnu-linux])])

AC_DEFUN([WHIPPET_PKG_TRACING],
  [AC_ARG_WITH([gc-lttng],
     [AS_HELP_STRING([--with-gc-lttng],
        [compile LTTng-UST tracepoints into the collector
         @<:@]m4_default([$1], [auto])[@:>@])],
     [whippet_with_lttng=$withval],
     [whippet_with_lttng=m4_default([$1], [auto])])
   whippet_use_lttng=no
   AS_IF([test "x$whippet_with_lttng" != xno],
     [PKG_CHECK_MODULES([WHIPPET_LTTNG], [lttng-ust],
        [whippet_use_lttng=yes],
        [AS_IF([test "x$whippet_with_lttng" != xauto],
           [AC_MSG_ERROR([LTTng-UST is not available: on Debian, install
                          liblttng-ust-dev])])])])
   AM_CONDITIONAL([WHIPPET_USE_LTTNG], [test $whippet_use_lttng = yes])])

AC_DEFUN([WHIPPET_PKG_BDW],
  [AC_ARG_WITH([bdw-gc],
     [AS_HELP_STRING([--with-bdw-gc=PKG],
        [pkg-config name of libgc, for --with-gc=bdw @<:@bdw-gc@:>@])],
     [whippet_bdw_pkg=$withval], [whippet_bdw_pkg=bdw-gc])
   PKG_CHECK_MODULES([WHIPPET_BDW], [$whippet_bdw_pkg], [],
     [AC_MSG_ERROR([the collector bdw needs libgc ($whippet_bdw_pkg): on
                    Debian, install libgc-dev])])])

AC_DEFUN([WHIPPET_PKG_COLLECTOR],
  [AC_ARG_WITH([gc],
     [AS_HELP_STRING([--with-gc=NAME],
        [name of the collector, or `help' @<:@]m4_default([$1],
         [parallel-mmc])[@:>@])],
     [whippet_collector=$withval],
     [whippet_collector=m4_default([$1], [parallel-mmc])])

   whippet_collectors="bdw"
   for whippet_roots in "" stack-conservative- heap-conservative-; do
     for whippet_parallel in "" parallel-; do
       for whippet_generational in "" generational-; do
         whippet_name=$whippet_roots$whippet_parallel${whippet_generational}mmc
         whippet_collectors="$whippet_collectors $whippet_name"
       done
     done
   done

   AC_MSG_CHECKING([which garbage collector to use])
   AS_CASE([$whippet_collector],
     [help],
       [AC_MSG_RESULT([])
        AC_MSG_ERROR([the collectors for --with-gc are: $whippet_collectors])],
     [semi|pcc|generational-pcc],
       [AC_MSG_RESULT([])
        AC_MSG_ERROR([the collector $whippet_collector is not provided by this
                      library; provided are: $whippet_collectors])],
     [AS_CASE([" $whippet_collectors "],
        [*" $whippet_collector "*], [],
        [AC_MSG_RESULT([])
         AC_MSG_ERROR([there is no collector $whippet_collector; provided are:
                       $whippet_collectors])])])
   AC_MSG_RESULT([$whippet_collector])

   AS_CASE([$whippet_collector],
     [bdw],
       [whippet_defs="-DGC_CONSERVATIVE_ROOTS=1 -DGC_CONSERVATIVE_TRACE=1"],
     [stack-conservative-*], [whippet_defs="-DGC_CONSERVATIVE_ROOTS=1"],
     [heap-conservative-*],
       [whippet_defs="-DGC_CONSERVATIVE_ROOTS=1 -DGC_CONSERVATIVE_TRACE=1"],
     [whippet_defs="-DGC_PRECISE_ROOTS=1"])
   AS_CASE([$whippet_collector],
     [*parallel-*], [whippet_defs="$whippet_defs -DGC_PARALLEL=1"])
   AS_CASE([$whippet_collector],
     [*generational-*], [whippet_defs="$whippet_defs -DGC_GENERATIONAL=1"])

   WHIPPET_COLLECTOR=$whippet_collector
   WHIPPET_COLLECTOR_CPPFLAGS=$whippet_defs
   AC_SUBST([WHIPPET_COLLECTOR])
   AC_SUBST([WHIPPET_COLLECTOR_CPPFLAGS])
   AM_CONDITIONAL([WHIPPET_COLLECTOR_SEMI], [false])
   AM_CONDITIONAL([WHIPPET_COLLECTOR_PCC], [false])
   AM_CONDITIONAL([WHIPPET_COLLECTOR_BDW], [test $whippet_collector = bdw])
   AM_CONDITIONAL([WHIPPET_COLLECTOR_MMC], [test $whippet_collector != bdw])
   AS_IF([test $whippet_collector = bdw], [WHIPPET_PKG_BDW])])

AC_DEFUN([WHIPPET_PKG_DEBUG],
  [AC_ARG_WITH([gc-debug],
     [AS_HELP_STRING([--with-gc-debug],
        [compile assertions and heap verification into the collector
         @<:@no@:>@])],
     [], [with_gc_debug=no])
   AM_CONDITIONAL([WHIPPET_ENABLE_DEBUG], [test "x$with_gc_debug" != xno])])

AC_DEFUN([WHIPPET_PKG],
  [WHIPPET_PKG_PLATFORM
   WHIPPET_PKG_TRACING
   WHIPPET_PKG_COLLECTOR
   WHIPPET_PKG_DEBUG])
