#!/usr/bin/env bats
# shellcheck disable=SC2154
# The patch series: applying without fuzz, exporting, the overlay, and what of it
# arrives in the source tree.

load helper

setup () {
  isolate
  fill_cache
  p=$BATS_TEST_TMPDIR/p
  copy_project "$p"
}

tree () { GUILE_WHIPPET_OFFLINE=yes "$p/build-aux/build" "$BATS_TEST_TMPDIR/b" tree; }

@test "a series applies without fuzz" {
  sample_patch "$p" one.patch
  sample_patch "$p" two.patch libguile/gc.c '/* ours */'
  run "$p/upstream/series" check
  succeeds
  says '2 patches apply'
}

@test "a patch that does not apply: names the patch and the file" {
  sample_patch "$p" one.patch
  sample_patch "$p" broken.patch libguile/gc.c '/* ours */'
  sed -i 's/^ \(.*[a-z].*\)$/ \1 moved/' "$p/upstream/patches/broken.patch"
  run "$p/upstream/series" check
  fails_with 'upstream/patches/broken.patch does not apply to libguile/gc.c'
}

@test "a patch that would apply with fuzz only does not apply" {
  sample_patch "$p" fuzzy.patch libguile/gc.c '/* ours */'
  # The outermost line of the context is another one.
  awk '/^@@/ { print; getline; print " something else"; next } { print }' \
    "$p/upstream/patches/fuzzy.patch" > "$BATS_TEST_TMPDIR/x"
  cp "$BATS_TEST_TMPDIR/x" "$p/upstream/patches/fuzzy.patch"
  mkdir "$BATS_TEST_TMPDIR/t"
  tar -xf "$(real_source)" -C "$BATS_TEST_TMPDIR/t" --strip-components=1
  # GNU patch's default would take it ...
  patch -d "$BATS_TEST_TMPDIR/t" -p1 --dry-run -s < "$p/upstream/patches/fuzzy.patch"
  # ... and we do not.
  run "$p/upstream/series" apply "$BATS_TEST_TMPDIR/t"
  fails_with 'fuzzy.patch does not apply to libguile/gc.c'
}

@test "a patch for a file that does not exist: names both" {
  sample_patch "$p" gone.patch
  sed -i 's,HACKING,HACKING-NOT,' "$p/upstream/patches/gone.patch"
  run "$p/upstream/series" check
  fails_with 'gone.patch does not apply to .*HACKING-NOT'
}

@test "a name in the series without a patch, and a patch without a name" {
  echo nowhere.patch >> "$p/upstream/patches/series"
  run "$p/upstream/series" check
  fails_with 'names nowhere.patch, which does not exist'
  echo '# none' > "$p/upstream/patches/series"
  echo > "$p/upstream/patches/lost.patch"
  run "$p/upstream/series" check
  fails_with 'lost.patch is not in upstream/patches/series'
}

@test "a patch without a header, or with an author in it, is found" {
  sample_patch "$p" bare.patch
  sed -i '/^diff/,$!d' "$p/upstream/patches/bare.patch"
  run "$p/upstream/series" check
  fails_with 'bare.patch: no header'
  echo > "$p/upstream/patches/series"
  rm "$p/upstream/patches/bare.patch"
  sample_patch "$p" signed.patch
  sed -i '1i From: somebody' "$p/upstream/patches/signed.patch"
  run "$p/upstream/series" check
  fails_with 'signed.patch: names an author'
}

@test "stat counts lines and files" {
  sample_patch "$p" one.patch
  sample_patch "$p" two.patch libguile/gc.c '/* ours */'
  run "$p/upstream/series" stat
  says '^2 patches touch 2 files of Guile: 2 lines added, 0 removed$'
}

@test "the tree: pristine for bdw, patched and overlaid for the others" {
  sample_patch "$p" one.patch
  mkdir -p "$p/libguile" "$p/module/whippet" "$p/test-suite/tests" "$p/whippet/api" "$p/whippet/src"
  echo '/* c */' > "$p/libguile/ours.c"
  echo ';; scm' > "$p/module/whippet/ours.scm"
  echo ';; test' > "$p/test-suite/tests/ours.test"
  echo '/* api */' > "$p/whippet/api/gc-ours.h"
  echo '/* src */' > "$p/whippet/src/ours.c"
  configured "$BATS_TEST_TMPDIR/b" whippet stack-conservative-parallel-mmc
  tree
  src=$BATS_TEST_TMPDIR/b/src
  tail -n 1 "$src/HACKING" | grep -q 'A line of our own'
  [ -f "$src/libguile/ours.c" ]
  [ -f "$src/module/whippet/ours.scm" ]
  [ -f "$src/test-suite/tests/ours.test" ]
  [ -f "$src/libguile/whippet/api/gc-ours.h" ]
  [ -f "$src/libguile/whippet/src/ours.c" ]
  [ ! -e "$src/test-suite/build" ]
  [ "$(cat "$src/.tarball-version")" = "$GUILE_VERSION" ]

  configured "$BATS_TEST_TMPDIR/b" bdw none
  tree
  [ ! -e "$src/libguile/ours.c" ]
  run "$p/build-aux/verify-source" "$src"
  succeeds
}

@test "an overlaid file must not replace one of Guile's" {
  sample_patch "$p" one.patch
  mkdir -p "$p/libguile"
  echo > "$p/libguile/gc.c"
  configured "$BATS_TEST_TMPDIR/b" whippet stack-conservative-parallel-mmc
  run tree
  fails_with "libguile/gc.c would replace Guile's own libguile/gc.c: write a patch"
}

@test "a patch that does not apply stops the build with its name; mended, it goes on" {
  sample_patch "$p" one.patch
  cp "$p/upstream/patches/one.patch" "$BATS_TEST_TMPDIR/good"
  sed -i 's/^ \(.*[a-z].*\)$/ \1 moved/' "$p/upstream/patches/one.patch"
  configured "$BATS_TEST_TMPDIR/b" whippet stack-conservative-parallel-mmc
  run tree
  fails_with 'one.patch does not apply to HACKING'
  cp "$BATS_TEST_TMPDIR/good" "$p/upstream/patches/one.patch"
  run tree
  succeeds
}

@test "no space left for the tree: an error that says so, and the next run recovers" {
  mkdir "$BATS_TEST_TMPDIR/b"
  mount -t tmpfs -o size=12m none "$BATS_TEST_TMPDIR/b" 2>/dev/null \
    || skip "this test needs the right to mount"
  configured "$BATS_TEST_TMPDIR/b" bdw none
  run tree
  fails_with 'No space is left in .*/b .*make room and start again'
  run "$p/build-aux/build" "$BATS_TEST_TMPDIR/b" all
  fails_with 'not enough space for a build'
  mount -o remount,size=200m "$BATS_TEST_TMPDIR/b"
  run tree
  succeeds
  run "$p/build-aux/verify-source" "$BATS_TEST_TMPDIR/b/src"
  succeeds
}

@test "two builds at once: the second waits and says so" {
  configured "$BATS_TEST_TMPDIR/b" bdw none
  mkdir -p "$BATS_TEST_TMPDIR/b/state"
  exec 7> "$BATS_TEST_TMPDIR/b/state/lock"
  flock 7
  tree > "$BATS_TEST_TMPDIR/out" 2>&1 3>&- 7>&- & pid=$!
  until grep -q 'another build is working here .*waiting' "$BATS_TEST_TMPDIR/out"; do
    kill -0 "$pid"; sleep 0.2
  done
  [ ! -e "$BATS_TEST_TMPDIR/b/src" ]
  exec 7>&-
  wait "$pid"
  [ -f "$BATS_TEST_TMPDIR/b/src/libguile/gc.c" ]
}

teardown () {
  if mountpoint -q "$BATS_TEST_TMPDIR/b" 2>/dev/null; then umount "$BATS_TEST_TMPDIR/b"; fi
  chmod -R u+w "$BATS_TEST_TMPDIR"
}
