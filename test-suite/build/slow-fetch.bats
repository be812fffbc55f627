#!/usr/bin/env bats
# shellcheck disable=SC2154
# Fetching and verifying, against a GNU mirror made of files.

load helper

setup () { isolate; }

fetch () { "$root/build-aux/fetch" "$@"; }

# A tarball as GNU releases it: another name inside, generated files besides the
# sources, no files of the version control.
make_gnu () {
  mkdir -p "$BATS_TEST_TMPDIR/gnu/guile-$GUILE_VERSION"
  tar -xf "$(real_source)" -C "$BATS_TEST_TMPDIR/gnu/guile-$GUILE_VERSION" --strip-components=1
  (cd "$BATS_TEST_TMPDIR/gnu/guile-$GUILE_VERSION" && rm -rf .gitignore .dir-locals.el .guix
   printf '#!/bin/sh\n' > configure
   [ $# = 0 ] || "$@")
  XZ_OPT=-0 tar -C "$BATS_TEST_TMPDIR/gnu" -cJf "$BATS_TEST_TMPDIR/gnu/$GUILE_GNU_FILE" "guile-$GUILE_VERSION"
}

@test "the GNU mirror: every source file is verified" {
  make_gnu
  run --separate-stderr fetch source
  succeeds
  [ "$output" = "$GUILE_WHIPPET_CACHE/$GUILE_GNU_FILE" ]
  # From the cache the next time.
  rm "$BATS_TEST_TMPDIR/gnu/$GUILE_GNU_FILE"
  run --separate-stderr fetch source
  succeeds
}

@test "the GNU mirror: one changed byte in one file is found and named" {
  make_gnu sed -i '1s/./X/' libguile/gc.c
  run fetch source
  fails_with 'differs from the release: libguile/gc.c'
  [ ! -e "$GUILE_WHIPPET_CACHE/$GUILE_GNU_FILE" ]
}

@test "the GNU mirror: a missing source file is found and named" {
  make_gnu rm libguile/weak-table.c
  run fetch source
  fails_with 'missing: libguile/weak-table.c'
}

@test "the GNU mirror: an interrupted download goes on" {
  make_gnu
  mkdir -p "$GUILE_WHIPPET_CACHE/partial"
  head -c 1000000 "$BATS_TEST_TMPDIR/gnu/$GUILE_GNU_FILE" > "$GUILE_WHIPPET_CACHE/partial/$GUILE_GNU_FILE"
  run --separate-stderr fetch source
  succeeds
  cmp "$output" "$BATS_TEST_TMPDIR/gnu/$GUILE_GNU_FILE"
}

@test "the GNU mirror: a damaged part is thrown away and fetched anew" {
  make_gnu
  mkdir -p "$GUILE_WHIPPET_CACHE/partial"
  head -c 1000000 /dev/zero > "$GUILE_WHIPPET_CACHE/partial/$GUILE_GNU_FILE"
  run --separate-stderr fetch source
  succeeds
  cmp "$output" "$BATS_TEST_TMPDIR/gnu/$GUILE_GNU_FILE"
}
