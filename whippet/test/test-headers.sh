#!/bin/sh
# SPDX-License-Identifier: LGPL-3.0-or-later
# Each public header compiles on its own, without warnings: with each compiler
# there is, in each version of the language, in several configurations.

cd "$(dirname "$0")/../api" || exit 1
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
test=0
failed=0

# check NAME COMMAND...: one test
check() {
  name=$1
  shift
  test=$((test + 1))
  if "$@" >"$errors" 2>&1; then
    echo "ok $test - $name"
  else
    echo "not ok $test - $name"
    sed 's/^/# /' "$errors" | head -n 20
    failed=1
  fi
}

compile_all() {
  status=0
  for header in *.h; do
    case $header in
      gc-lttng.h)
        [ -e /usr/include/lttng/tracepoint.h ] || continue ;;
      [a-z]*-attrs.h)
        # Those of another collector are not for this configuration.
        case $header in gc-attrs.h | "$attrs") ;; *) continue ;; esac ;;
    esac
    echo "#include \"$header\"" |
      $compiler -std=$standard -Wall -Wextra -Werror -I. $flags \
        -DGC_ATTRS="\"../api/$attrs\"" -x c -o /dev/null -c - || status=1
  done
  return $status
}

for compiler in "${CC:-gcc}" gcc clang; do
  # It may have options, or be run by another program.
  command -v "${compiler%% *}" >/dev/null || continue
  case ":$seen:" in *":$compiler:"*) continue ;; esac
  seen="$seen:$compiler"
  for standard in gnu11 gnu17; do
    for config in \
      'mmc-attrs.h -DGC_PRECISE_ROOTS=1' \
      'mmc-attrs.h -DGC_PRECISE_ROOTS=1 -DGC_GENERATIONAL=1 -DGC_DEBUG=1' \
      'mmc-attrs.h -DGC_CONSERVATIVE_ROOTS=1 -DGC_CONSERVATIVE_TRACE=1 -O2' \
      'bdw-attrs.h -DGC_CONSERVATIVE_ROOTS=1 -DGC_CONSERVATIVE_TRACE=1'
    do
      attrs=${config%% *}
      flags=${config#* }
      check "$compiler -std=$standard, $config" compile_all
    done
  done
done

# As the collector's sources see them.
compile_for_collector() {
  for header in gc-attrs.h gc-embedder-api.h; do
    echo "#include \"$header\"" |
      ${CC:-gcc} -std=gnu11 -Wall -Wextra -Werror -I. -DGC_IMPL=1 -x c \
        -o /dev/null -c - || return 1
  done
}
check 'for the collector' compile_for_collector

# A program can include all of them, in any order.
compile_together() {
  for order in sort 'sort -r'; do
    ls *.h | grep -v -e lttng -e '[^c]-attrs.h' | $order |
      sed 's/.*/#include "&"/' |
      ${CC:-gcc} -std=gnu11 -Wall -Wextra -Werror -I. \
        -DGC_ATTRS='"../api/mmc-attrs.h"' -x c -o /dev/null -c - || return 1
  done
}
check 'together' compile_together

# Programs reach the system's assert.h.
check 'no assert.h' test ! -e assert.h

# The attributes are needed, and missing ones are said to be.
fails_without_attributes() {
  echo '#include "gc-api.h"' |
    ${CC:-gcc} -I. -x c -o /dev/null -c - 2>&1 | grep GC_ATTRS
}
check 'GC_ATTRS is required' fails_without_attributes

echo "1..$test"
exit $failed
