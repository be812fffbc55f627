#!/usr/bin/env bats
# shellcheck disable=SC2030,SC2031,SC2154
# build-aux/stress-suite, on a build with a stand-in for Guile's check-guile.

load helper

setup () {
  export GUILE_WHIPPET_BUILD=$BATS_TEST_TMPDIR/build TMPDIR=$BATS_TEST_TMPDIR
  unset GC_MMC_STRESS
  obj=$GUILE_WHIPPET_BUILD/$default_gc/obj
  tests=$GUILE_WHIPPET_BUILD/$default_gc/src/test-suite/tests
  mkdir -p "$obj/libguile/.libs" "$obj/meta" "$tests/rnrs"
  echo 'Guile, built once' > "$obj/libguile/.libs/guile"
  printf '#!/bin/sh\n' > "$obj/libguile/guile"
  # A test is what it prints, and its last line the status.
  cat > "$obj/check-guile" <<'EOF'
#!/bin/sh
printf '%s %s\n' "$3" "$GC_MMC_STRESS" >> "$(dirname "$0")/calls"
test -d meta && test "$1" = --log-file && : > "$2" || exit 99
. "$(dirname "$0")/../src/test-suite/tests/$3"
EOF
  chmod +x "$obj/libguile/guile" "$obj/check-guile"
  totals one.test 3 0 0
  cat > "$tests/rnrs/two.test" <<'EOF'
echo '# of expected passes      5'
echo '# of expected failures    1'
EOF
}

# totals FILE PASSES FAILURES UNRESOLVED
totals () {
  cat > "$tests/$1" <<EOF
echo 'passes:                 $2'
echo 'failures:               $3'
echo 'unresolved test cases:  $4'
exit $3
EOF
}

suite () { run --separate-stderr "$root/build-aux/stress-suite" --jobs=1 "$@"; }

calls () { cat "$obj/calls"; rm "$obj/calls"; }

@test "help explains itself" {
  suite --help
  succeeds
  says '--repeat=N' && says '--seed=N' && says 'GC_MMC_STRESS'
}

@test "what it does not know is refused" {
  output=
  run "$root/build-aux/stress-suite" --nonsense
  fails_with 'no such option: --nonsense'
  run "$root/build-aux/stress-suite" --repeat=0
  fails_with '--repeat wants a positive number, not "0"'
  run "$root/build-aux/stress-suite" three.test
  fails_with 'no such test file: three.test'
  run "$root/build-aux/stress-suite" --gc=bdw
  fails_with 'has no Guile; ./run --gc=bdw builds it'
}

@test "all files, with each seed, in both frameworks" {
  export GC_MMC_STRESS=verify
  suite --repeat=2 --seed=7
  succeeds
  [ "$output" = '16 passed, 0 failed, 2 skipped' ]
  [ "$(calls | sort)" = 'one.test verify,seed=7
one.test verify,seed=8
rnrs/two.test verify,seed=7
rnrs/two.test verify,seed=8' ]
  [ -z "$(find "$TMPDIR" -name 'guile-whippet-stress.*')" ]
}

@test "a second run goes on where the first stopped" {
  suite one.test
  [ "$output" = '3 passed, 0 failed, 0 skipped' ]
  rm "$obj/calls"
  suite
  [ "$output" = '8 passed, 0 failed, 1 skipped' ]
  [ "$(calls)" = 'rnrs/two.test seed=1' ]
  suite --seed=2 one.test
  [ "$(calls)" = 'one.test seed=2' ]
}

@test "another setting, another test, another Guile begin anew" {
  suite one.test
  rm "$obj/calls"
  GC_MMC_STRESS=compact suite one.test
  [ "$(calls)" = 'one.test compact,seed=1' ]
  totals one.test 4 0 0
  touch -d '1 hour' "$tests/one.test"
  suite one.test
  [ "$output" = '4 passed, 0 failed, 0 skipped' ]
  rm "$obj/calls"
  touch -d '1 hour ago' "$tests/one.test"
  suite one.test
  [ ! -f "$obj/calls" ]
  echo 'Guile, built twice' > "$obj/libguile/.libs/guile"
  suite one.test
  [ "$(calls)" = 'one.test seed=1' ]
}

@test "a failure stays one" {
  totals one.test 3 2 1
  suite
  [ "$status" = 1 ]
  [ "$output" = '8 passed, 2 failed, 2 skipped' ]
  rm "$obj/calls"
  suite
  [ "$output" = '8 passed, 2 failed, 2 skipped' ]
  [ ! -f "$obj/calls" ]
}

@test "a file that dies without results has failed" {
  echo 'kill -SEGV $$' > "$tests/one.test"
  suite
  [ "$status" = 1 ]
  [ "$output" = '5 passed, 1 failed, 1 skipped' ]
  [[ $stderr == *"one.test: FAILED, status 139, seed 1"* ]]
}

@test "nothing that ran is a failure" {
  : > "$tests/one.test"
  suite one.test
  [ "$output" = '0 passed, 1 failed, 0 skipped' ]
}

@test "tests that allocate out of line get 500 for less, and no more for more" {
  totals gc-leaks.test 1 0 0
  totals gc-extension.test 1 0 0
  local files='gc-leaks.test gc-extension.test one.test'
  for rate in 20 499 500 5000; do
    # shellcheck disable=SC2086
    GC_MMC_STRESS=random-collect=$rate,min-hole=1024 suite $files
    succeeds
  done
  [ "$(calls | grep -c '^gc-.*.test random-collect=500,min-hole=1024,seed=1$')" = 6 ]
}
