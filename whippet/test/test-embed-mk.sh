#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Programs are built by embed.mk: the example of the documentation, with several
# collectors, and what is refused.

base=$(cd "$(dirname "$0")/.." && pwd)/
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
test=0
failed=0
MAKEFLAGS=
MFLAGS=
export MAKEFLAGS MFLAGS

report() {
  test=$((test + 1))
  if [ $1 = 0 ]; then
    echo "ok $test - $2"
  else
    echo "not ok $test - $2"
    sed 's/^/# /' out | tail -n 20
    failed=1
  fi
}

make_example() {
  ${MAKE:-make} -f "$base"doc/example/Makefile GC_BASE="$base" \
    GC_CC="${CC:-gcc}" GC_USE_LTTNG=0 "$@" >out 2>&1
}

run_example() {
  ./example "$@" >out 2>&1 && grep -q '^The sum is 498502\.$' out &&
    grep -q '^Completed [1-9][0-9]* major collections ([0-9]* minor)\.$' out
}

collectors='parallel-mmc stack-conservative-parallel-generational-mmc
  heap-conservative-mmc generational-mmc'
pkg-config --exists bdw-gc 2>/dev/null && collectors="$collectors bdw"
if [ "$GC_TEST_QUICK" ]; then
  collectors='parallel-mmc stack-conservative-generational-mmc'
fi

for collector in $collectors; do
  rm -f *.o *.d example
  make_example GC_COLLECTOR=$collector && run_example heap-size=1m
  report $? "the example with $collector"
done

for build in optdebug debug; do
  rm -f *.o *.d example
  make_example GC_BUILD=$build V=0 && run_example heap-size=1m
  report $? "the example with GC_BUILD=$build"
done

run_example heap-size=1m,parallelism=1,heap-size-policy=growable
report $? 'options'
./example heap-size >out 2>&1
[ $? = 2 ]
report $? 'bad options'

# Nothing is to be done the second time.
rm -f *.o *.d example
make_example && make_example && grep -q 'Nothing to be done' out
report $? 'no needless work'

# Changes of headers are noticed.
touch -d '1 hour' out
make_example -W "$base"api/gc-api.h -n && grep -q -e '-c .*/mmc\.c$' out &&
  grep -q -e '-c .*/example\.c$' out
report $? 'dependencies on headers'

# The library's rules come before the program's, which must still be what is made,
# also when the files of dependencies are there.
mkdir first && cp "$base"doc/example/*.[ch] first
cat >first/Makefile <<END
GC_BASE = $base
GC_EMBEDDER_H = embedder.h
GC_USE_LTTNG = 0
include \$(GC_BASE)embed.mk

example: example.o \$(GC_OBJS)
	\$(GC_LINK) \$^ \$(GC_LIBS)
example.o: example.c
	\$(GC_COMPILE) -c \$<
-include example.d
END
make_first() {
  ${MAKE:-make} -C first GC_CC="${CC:-gcc}" "$@" >out 2>&1
}
make_first && [ -x first/example ]
report $? 'embed.mk before the rules of the program'
touch -d '1 hour ago' first/example first/*.o first/*.c
touch first/example.c
make_first && [ first/example -nt first/example.c ]
report $? 'embed.mk before the rules of the program, the second time'

# The embedder header is included by the compiler, before the source.
sed 's/^GC_EMBEDDER_H = \(.*\)/EMBEDDER_TO_GC_CFLAGS = -I. -include \1/' \
  <first/Makefile >first/Makefile.new && mv first/Makefile.new first/Makefile
for collector in $(echo $collectors | tr ' ' '\n' | sed -n '1p;$p'); do
  rm -f first/*.o first/*.d first/example example
  make_first GC_COLLECTOR=$collector && ! grep -q DGC_EMBEDDER= out &&
    mv first/example . && run_example heap-size=1m
  report $? "EMBEDDER_TO_GC_CFLAGS with $collector"
done
make_first -n GC_COLLECTOR=$collector -W embedder.h &&
  grep -q -e '-include embedder\.h .*-c .*/gc-ephemeron\.c$' out
report $? 'EMBEDDER_TO_GC_CFLAGS, dependencies'
make_first -n -B GC_EMBEDDER_H=other.h &&
  grep -q 'DGC_EMBEDDER=.*/first/other\.h' out
report $? 'EMBEDDER_TO_GC_CFLAGS and GC_EMBEDDER_H'

# An archive, in a directory for objects, made by rules of one's own.
cat >Makefile <<END
GC_BASE = $base
GC_EMBEDDER_H = ${base}doc/example/embedder.h
GC_OBJDIR = obj/
GC_USE_LTTNG = 0
program: obj/example.o obj/libwhippet.a
	\$(GC_LINK) \$^ \$(GC_LIBS)
include \$(GC_BASE)embed.mk
obj/example.o: ${base}doc/example/example.c
	\$(GC_COMPILE) -c \$<
END
${MAKE:-make} GC_CC="${CC:-gcc}" >out 2>&1 && ./program >out
report $? 'an archive'
${MAKE:-make} -s -f - print >out 2>&1 <<END
GC_BASE = $base
GC_OBJDIR = obj/
include \$(GC_BASE)embed.mk
print:; @echo \$(words \$(GC_OBJS)) \$(sort \$(GC_OBJS))
END
grep -q "^7 obj/gc-ephemeron.o obj/gc-finalizer.o obj/gc-impl.o obj/gc-options.o\
 obj/gc-platform.o obj/gc-stack.o obj/gc-tracepoint.o$" out
report $? 'names of objects'

refused() {
  make_example "$1" -n
  status=$?
  [ $status != 0 ] && grep -q "$2" out
  report $? "$1 is refused"
}
for collector in semi pcc generational-pcc; do
  refused GC_COLLECTOR=$collector 'is not provided by this library'
done
refused GC_COLLECTOR=no-such 'There is no collector'
refused GC_BUILD=fast 'it must be opt, optdebug or debug'
echo 'include $(B)embed.mk' | ${MAKE:-make} -f - B="$base" >out 2>&1
grep -q 'GC_BASE must be set' out
report $? 'a missing GC_BASE is refused'

echo "1..$test"
exit $failed
