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
  [ "$status" = 0 ]
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

@test "checkout, change, export: the series is what the commits say" {
  sample_patch "$p" one.patch
  work=$BATS_TEST_TMPDIR/work
  "$p/upstream/series" checkout "$work"
  [ "$(git -C "$work" rev-list --count pristine..HEAD)" = 1 ]
  echo '/* more */' >> "$work/libguile/list.c"
  git -C "$work" -c user.name=x -c user.email=x@localhost commit -qam 'Add a remark to lists

What: a remark.
Why: to test.'
  run "$p/upstream/series" export "$work"
  [ "$status" = 0 ]
  [ "$(sed '/^#/d' "$p/upstream/patches/series" | paste -sd' ')" = "one.patch add-a-remark-to-lists.patch" ]
  grep -q '^+/\* more \*/$' "$p/upstream/patches/add-a-remark-to-lists.patch"
  run ! grep -E '^(From|Date|Author)' "$p"/upstream/patches/*.patch
  run "$p/upstream/series" check
  [ "$status" = 0 ]
  # Once more: nothing is written.
  run "$p/upstream/series" export "$work"
  says_not wrote
  # A commit that is dropped takes its patch along.
  git -C "$work" reset -q --hard HEAD~1
  run "$p/upstream/series" export "$work"
  says 'removed upstream/patches/add-a-remark-to-lists.patch'
  [ ! -e "$p/upstream/patches/add-a-remark-to-lists.patch" ]
}

@test "export refuses uncommitted changes and warns of new files" {
  work=$BATS_TEST_TMPDIR/work
  "$p/upstream/series" checkout "$work"
  echo >> "$work/README"
  run "$p/upstream/series" export "$work"
  fails_with 'uncommitted changes'
  git -C "$work" checkout -q README
  echo 'int x;' > "$work/libguile/new.c"
  git -C "$work" add libguile/new.c
  git -C "$work" -c user.name=x -c user.email=x@localhost commit -qm 'Add a file

What and why.'
  run "$p/upstream/series" export "$work"
  says 'new file belongs into the overlay'
}

@test "refresh brings a shifted patch up to date" {
  sample_patch "$p" one.patch libguile/gc.c '/* ours */'
  awk '/^@@/ { print; getline; print " something else"; next } { print }' \
    "$p/upstream/patches/one.patch" > "$BATS_TEST_TMPDIR/x"
  cp "$BATS_TEST_TMPDIR/x" "$p/upstream/patches/one.patch"
  run "$p/upstream/series" check
  fails_with 'does not apply'
  run "$p/upstream/series" refresh
  [ "$status" = 0 ]
  run "$p/upstream/series" check
  [ "$status" = 0 ]
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
  [ "$status" = 0 ]
}

@test "an edit changes exactly the files that depend on it" {
  sample_patch "$p" one.patch
  sample_patch "$p" two.patch libguile/gc.c '/* ours */'
  mkdir -p "$p/libguile"
  echo '/* c */' > "$p/libguile/ours.c"
  configured "$BATS_TEST_TMPDIR/b" whippet stack-conservative-parallel-mmc
  tree
  src=$BATS_TEST_TMPDIR/b/src
  find "$src" -exec touch -h -d 2020-01-01 {} +
  changed () { (cd "$src" && find . -type f -newermt 2021-01-01 -printf '%P\n' | sort | paste -sd' '); }

  sed -i 's,^+/\* ours \*/,+/* mine */,' "$p/upstream/patches/two.patch"
  tree
  [ "$(changed)" = libguile/gc.c ]
  tail -n 1 "$src/libguile/gc.c" | grep -q mine

  find "$src" -exec touch -h -d 2020-01-01 {} +
  echo '/* d */' > "$p/libguile/ours.c"
  tree
  [ "$(changed)" = libguile/ours.c ]

  # A patch that goes leaves the file as it was released; an overlaid file that
  # goes, goes.
  find "$src" -exec touch -h -d 2020-01-01 {} +
  sed -i '/two.patch/d' "$p/upstream/patches/series"
  rm "$p/libguile/ours.c"
  tree
  [ "$(changed)" = libguile/gc.c ]
  run ! grep -q mine "$src/libguile/gc.c"
  [ ! -e "$src/libguile/ours.c" ]
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
  [ "$status" = 0 ]
}

@test "killed while the tree is made: the next run makes it whole" {
  sample_patch "$p" one.patch
  configured "$BATS_TEST_TMPDIR/whole" whippet stack-conservative-parallel-mmc
  GUILE_WHIPPET_OFFLINE=yes "$p/build-aux/build" "$BATS_TEST_TMPDIR/whole" tree
  configured "$BATS_TEST_TMPDIR/b" whippet stack-conservative-parallel-mmc
  # Kill it and its children at ten different points of its progress, told by the
  # number of files that there are.
  for files in 1 200 600 1000 1400 1800 2000 2018 2020 2021; do
    rm -rf "$BATS_TEST_TMPDIR/b/src" "$BATS_TEST_TMPDIR/b/state"
    setsid env GUILE_WHIPPET_OFFLINE=yes "$p/build-aux/build" "$BATS_TEST_TMPDIR/b" tree \
      > /dev/null 2>&1 3>&- & pid=$!
    while kill -0 "$pid" 2>/dev/null \
       && [ "$(find "$BATS_TEST_TMPDIR/b" -type f 2>/dev/null | wc -l)" -lt "$files" ]; do :; done
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" || true
    run tree
    [ "$status" = 0 ]
    diff -r "$BATS_TEST_TMPDIR/whole/src" "$BATS_TEST_TMPDIR/b/src"
  done
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
  [ "$status" = 0 ]
  run "$p/build-aux/verify-source" "$BATS_TEST_TMPDIR/b/src"
  [ "$status" = 0 ]
}

@test "a given source that differs from the release is used, with a warning" {
  mkdir "$BATS_TEST_TMPDIR/given"
  tar -xf "$(real_source)" -C "$BATS_TEST_TMPDIR/given" --strip-components=1
  echo '/* changed */' >> "$BATS_TEST_TMPDIR/given/libguile/gc.c"
  echo garbage > "$BATS_TEST_TMPDIR/given/libguile/gc.o"
  chmod -R a-w "$BATS_TEST_TMPDIR/given"
  configured "$BATS_TEST_TMPDIR/b" bdw none "$BATS_TEST_TMPDIR/given"
  run tree
  [ "$status" = 0 ]
  says 'warning: 1 file\(s\) of .* differ from the release'
  grep -q 'libguile/gc.c' "$BATS_TEST_TMPDIR/b/logs/differences"
  tail -n 1 "$BATS_TEST_TMPDIR/b/src/libguile/gc.c" | grep -q changed
  [ ! -e "$BATS_TEST_TMPDIR/b/src/libguile/gc.o" ]
}

teardown () {
  if mountpoint -q "$BATS_TEST_TMPDIR/b" 2>/dev/null; then umount "$BATS_TEST_TMPDIR/b"; fi
  chmod -R u+w "$BATS_TEST_TMPDIR"
}
