#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Programs are built by embed.am and whippet.m4.

base=$(cd "$(dirname "$0")/.." && pwd)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
test=0
failed=0
unset MAKEFLAGS MFLAGS MAKELEVEL

report() {
  test=$((test + 1))
  if [ $1 = 0 ]; then
    echo "ok $test - $2"
  else
    echo "not ok $test - $2"
    sed 's/^/# /' "$dir/out" | tail -n 20
    failed=1
  fi
}

# The lists name what is there.
"$base/test/list-headers" >lists
sed -n '/^whippet_api_headers =/,/^libwhippet_common_la_SOURCES/p' \
  "$base/embed.am" | sed '$d' | diff lists - >out
report $? 'lists of headers (else: make update-lists)'

finish() {
  echo "1..$test"
  exit $failed
}
for tool in autoreconf automake libtoolize pkg-config; do
  if ! command -v $tool >/dev/null; then
    echo "# The rest needs autoconf, automake, libtool and pkg-config."
    finish
  fi
done
[ "$GC_TEST_QUICK" ] && finish

mkdir -p src/whippet src/m4
cp -r "$base/api" "$base/src" "$base/embed.am" "$base/whippet.m4" src/whippet
cp "$base/doc/example/"*.[ch] src
cat >src/configure.ac <<'END'
AC_INIT([example], [1])
AC_CONFIG_MACRO_DIRS([m4])
AM_INIT_AUTOMAKE([foreign subdir-objects])
m4_include([whippet/whippet.m4])
AC_PROG_CC
WHIPPET_ENABLE_LTO
LT_INIT([disable-shared])
WHIPPET_PKG
AC_CONFIG_FILES([Makefile])
AC_OUTPUT
END
cat >src/Makefile.am <<'END'
ACLOCAL_AMFLAGS = -I m4
noinst_LTLIBRARIES =
WHIPPET_EMBEDDER_H = embedder.h
include whippet/embed.am
bin_PROGRAMS = example
example_SOURCES = example.c types.h embedder.h
example_CPPFLAGS = $(WHIPPET_CPPFLAGS)
example_CFLAGS = $(WHIPPET_CFLAGS)
example_LDADD = libwhippet.la $(WHIPPET_LIBS)
END
(cd src && autoreconf -i) >out 2>&1
report $? 'autoreconf'

# build DIRECTORY ARGUMENT...
build() {
  mkdir "$1"
  name=$1
  shift
  (cd $name && ../src/configure -q CC="${CC:-gcc}" "$@" &&
    ${MAKE:-make} -j2 && ./example heap-size=1m) >out 2>&1 &&
    grep -q '^The sum is 498502\.$' out
}

build default --without-gc-lttng
report $? 'default collector'
grep -q -e -DGC_PARALLEL=1 out && ! grep -q GC_GENERATIONAL out
report $? 'the default is parallel-mmc'
build variant --with-gc=stack-conservative-parallel-generational-mmc \
  --with-gc-debug --enable-lto --without-gc-lttng
report $? 'another one, with checks and link-time optimisation'
grep -q -e '-DGC_CONSERVATIVE_ROOTS=1 -DGC_PARALLEL=1 -DGC_GENERATIONAL=1' out
report $? 'its configuration'
if pkg-config --exists bdw-gc; then
  build bdw --with-gc=bdw --without-gc-lttng
  report $? 'bdw'
fi
if pkg-config --exists lttng-ust; then
  build lttng --with-gc-lttng
  report $? 'LTTng'
fi

refused() {
  mkdir refused
  (cd refused && ../src/configure -q "$1") >out 2>&1
  status=$?
  rm -rf refused
  [ $status != 0 ] && grep -q "$2" out
  report $? "$1 stops"
}
refused --with-gc=pcc 'not provided'
refused --with-gc=no-such 'there is no collector'
refused --with-gc=help 'heap-conservative-parallel-generational-mmc'

(cd default && ${MAKE:-make} distdir) >out 2>&1 &&
  [ -e default/example-1/whippet/src/gc-platform-global-roots.h ] &&
  [ -e default/example-1/whippet/api/gc-api.h ]
report $? 'a distribution is complete'

finish
