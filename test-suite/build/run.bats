#!/usr/bin/env bats
# shellcheck disable=SC2154
# ./run and ./check on a variant that is built, and the example programs.

load helper

setup () {
  # The variant under test, whatever ./check was asked for.
  variant=$(basename "$built")
  export GUILE_WHIPPET_BUILD=${built%/*}
  gc=${variant%-debug}
}

run_it () { "$root/run" --gc="$gc" "$@"; }

@test "help explains itself" {
  run "$root/run" --help
  succeeds
  says '--gc=NAME' && says 'whippet' && says '--quick'
  run "$root/check" --help
  succeeds
  says 'N passed, N failed, N skipped'
}

@test "./check refuses what it does not know" {
  run "$root/check" --nonsense
  fails_with 'unknown argument: --nonsense'
  run "$root/build-aux/check" "$built" quick nonsense
  fails_with 'no such kind of tests: nonsense'
}

@test "the second call starts at once: nothing is built, nothing is said" {
  run --separate-stderr run_it -c '(display (version))'
  succeeds
  [ "$output" = "$GUILE_VERSION" ]
  [ -z "$stderr" ]
}

@test "guile --version gives the release and names the collector" {
  run run_it --version
  says "^guile \(GNU Guile\) $GUILE_VERSION$"
  if [ "$variant" = bdw ]; then
    says 'collector=bdw'
  else
    says "collector=$("$root/build-aux/collector" "$gc" | cut -d' ' -f2)"
  fi
}

@test "the pristine build links the collector it names, the others do not" {
  libraries=$(ldd "$built/obj/libguile/.libs/libguile-3.0.so")
  if [ "$variant" = bdw ]; then
    grep -q libgc.so <<<"$libraries"
  else
    run ! grep -q libgc.so <<<"$libraries"
  fi
}

@test "nothing was compiled that newer compilers refuse" {
  log=$built/logs/libguile.log
  [ "$(grep -c '^  CC ' "$log")" -ge 100 ] || skip "the log is not of a whole compilation"
  run grep -E '\[-W(implicit-function-declaration|implicit-int|int-conversion|incompatible-pointer-types)' \
    "$log"
  says_not .
}

@test "arguments, input, output and status pass through" {
  echo '(write (cdr (command-line))) (display (read-line)) (exit 7)' > "$BATS_TEST_TMPDIR/a b.scm"
  sed -i '1i (use-modules (ice-9 rdelim))' "$BATS_TEST_TMPDIR/a b.scm"
  status=0
  output=$(cd "$BATS_TEST_TMPDIR" && echo 'a line' | run_it --no-auto-compile 'a b.scm' 'x y' '' '--gc=z' 2>&1) || status=$?
  [ "$status" = 7 ]
  [ "$output" = '("x y" "" "--gc=z")a line' ]
}

@test "without arguments it is a REPL" {
  output=$(printf '(* 6 7)\n' | run_it -q 2>&1)
  says '= 42'
}

@test "the launchers work from anywhere" {
  cd /
  run "$built/guile" -c '(display (+ 1 2))'
  [ "$output" = 3 ]
  run "$built/guild" --version
  says "$GUILE_VERSION"
}

@test "all modules are compiled, none is interpreted" {
  run --separate-stderr run_it -c '(use-modules (ice-9 match) (srfi srfi-1) (web server) (sxml simple))
    (display (length (filter-map identity (list 1 #f 2))))'
  [ "$output" = 2 ]
  [ -z "$stderr" ]
  run find "$built/obj/stage2" -name '*.go' -size 0
  [ -z "$output" ]
  [ "$(find "$built/obj/stage2" -name '*.go' | wc -l)" -ge 320 ]
}

@test "example: the n-body energies are right" {
  run --separate-stderr run_it --no-auto-compile "$root/examples/n-body.scm" 1000
  [ "$output" = "-0.169075164
-0.169087605" ]
  run run_it --no-auto-compile "$root/examples/n-body.scm" many
  [ "$status" = 2 ]
}

@test "example: the sudoku is solved, and an impossible one is not" {
  run --separate-stderr run_it --no-auto-compile "$root/examples/sudoku.scm"
  [ "${lines[0]}" = "8 1 2 7 5 3 6 4 9" ]
  [ "${lines[8]}" = "7 9 6 3 1 8 4 5 2" ]
  run --separate-stderr run_it --no-auto-compile "$root/examples/sudoku.scm" \
    "11..............................................................................."
  [ "$output" = "no solution" ]
}

@test "example: the summary of a JSON document, and a syntax error with its place" {
  cat > "$BATS_TEST_TMPDIR/a.json" <<'EOF'
{"name": "\u00e9\ud83d\ude00", "items": [{"price": 1.5}, {"price": 2.5}], "ok": true}
{"name": "b", "items": [], "ok": null}
EOF
  run --separate-stderr run_it --no-auto-compile "$root/examples/json-summary.scm" "$BATS_TEST_TMPDIR/a.json"
  succeeds
  says '^items\[\]\.price  2 ×  number  1\.5 … 2\.5, sum 4\.0$'
  says '^name  2 ×  string  2 different$'
  says '^ok  2 ×  boolean, null$'
  printf '{"a": [1, 2\n}' > "$BATS_TEST_TMPDIR/bad.json"
  run run_it --no-auto-compile "$root/examples/json-summary.scm" "$BATS_TEST_TMPDIR/bad.json"
  [ "$status" = 1 ]
  [ "$output" = "json-summary: $BATS_TEST_TMPDIR/bad.json:2:2: expected , or ]" ]
  run run_it --no-auto-compile "$root/examples/json-summary.scm" "$BATS_TEST_TMPDIR/none.json"
  [ "$status" = 1 ]
  [[ $output = "json-summary: "*"No such file"* && $output != *$'\n'* ]]
}

@test "a kind of tests that does not exist is refused before anything is built" {
  for only in foo guile,foo ""; do
    GUILE_WHIPPET_BUILD=$BATS_TEST_TMPDIR/build run "$root/check" --only="$only"
    fails_with '^error: --only wants build, library or guile'
  done
  [ ! -e "$BATS_TEST_TMPDIR/build" ]
}

@test "installation refuses a DESTDIR that libtool does not take" {
  for dest in relative "/tmp/a b"; do
    run env DESTDIR="$dest" "$root/build-aux/build" "$built" install
    fails_with '^error: DESTDIR must'
    run env DESTDIR="$dest" "$root/build-aux/build" "$built" uninstall
    fails_with '^error: DESTDIR must'
  done
}

@test "a number of processes that is none" {
  run env JOBS=many "$root/build-aux/build" "$built" all
  fails_with '^error: JOBS wants a positive number, not "many"$'
}

@test "example: the web server keeps notes" {
  run_it --no-auto-compile "$root/examples/web-server.scm" --port=0 --requests=4 \
    > "$BATS_TEST_TMPDIR/out" 2>&1 3>&- & pid=$!
  until grep -q 'listening on port' "$BATS_TEST_TMPDIR/out"; do
    kill -0 "$pid"; sleep 0.2
  done
  url=http://127.0.0.1:$(sed 's/.*port //' "$BATS_TEST_TMPDIR/out")
  [ "$(curl -s -X POST -d 'buy milk' "$url/notes")" = 1 ]
  [ "$(curl -s "$url/notes/1")" = 'buy milk' ]
  [ "$(curl -s -o /dev/null -w '%{http_code}' "$url/notes/2")" = 404 ]
  curl -s "$url/gc" | grep -q '^heap-size: [0-9]'
  wait "$pid"
}
