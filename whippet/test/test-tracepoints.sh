#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# The collector has all the tracepoints that gc-lttng.h declares: compiled with
# headers that stand for LTTng's, where a tracepoint is a call of a function.

cd "$(dirname "$0")/.." || exit 1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
test=0
failed=0

report() {
  test=$((test + 1))
  if [ "$1" = 0 ]; then
    echo "ok $test - $2"
  else
    echo "not ok $test - $2"
    sed 's/^/# /' "$dir/out" | tail -n 20
    failed=1
  fi
}

mkdir "$dir/lttng"
cat >"$dir/lttng/tracepoint.h" <<'END'
#define TRACEPOINT_ENUM(provider, name, values)
#define TRACEPOINT_EVENT(provider, name, args, fields) \
  void provider##_##name(long, ...);
#define TP_ARGS(...)
#define TP_FIELDS(...)
#define TP_ENUM_VALUES(...)
#define tracepoint(provider, name, ...) provider##_##name(0, ##__VA_ARGS__)
END
: >"$dir/lttng/tracepoint-event.h"

# The names of the events that are declared.
sed -n 's/^\(GC_LTTNG_EVENT\|GC_LTTNG_SIZE_EVENT\)(\([a-z_]*\)).*/\2/p
        s/^TRACEPOINT_EVENT(whippet, \([a-z_]*\),.*/\1/p' api/gc-lttng.h |
  sort >"$dir/declared"
[ "$(wc -l <"$dir/declared")" -ge 29 ] 2>"$dir/out"
report $? 'the declared events are found'

${CC:-gcc} -O1 -I"$dir" -Iapi -DGC_TRACEPOINT_LTTNG=1 -DGC_PARALLEL=1 \
  -DGC_PRECISE_ROOTS=1 -DGC_ATTRS='"../api/mmc-attrs.h"' \
  -DGC_EMBEDDER='"../test/test-embedder.h"' -c -o "$dir/mmc.o" src/mmc.c \
  >"$dir/out" 2>&1
report $? 'the collector compiles with them'

nm -u "$dir/mmc.o" | sed -n 's/.* whippet_//p' | sort >"$dir/called"
comm -23 "$dir/declared" "$dir/called" >"$dir/out"
[ ! -s "$dir/out" ]
report $? 'the collector has each of them'

echo "1..$test"
exit $failed
