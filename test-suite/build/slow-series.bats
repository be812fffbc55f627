#!/usr/bin/env bats
# shellcheck disable=SC2154
# The patch series and the tree: what takes longer.

load helper

setup () {
  isolate
  fill_cache
  p=$BATS_TEST_TMPDIR/p
  copy_project "$p"
}

tree () { GUILE_WHIPPET_OFFLINE=yes "$p/build-aux/build" "$BATS_TEST_TMPDIR/b" tree; }

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
  succeeds
  [ "$(sed '/^#/d' "$p/upstream/patches/series" | paste -sd' ')" = "one.patch add-a-remark-to-lists.patch" ]
  grep -q '^+/\* more \*/$' "$p/upstream/patches/add-a-remark-to-lists.patch"
  run ! grep -E '^(From|Date|Author)' "$p"/upstream/patches/*.patch
  run "$p/upstream/series" check
  succeeds
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
  succeeds
  run "$p/upstream/series" check
  succeeds
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

@test "killed while the tree is made: the next run makes it whole" {
  sample_patch "$p" one.patch
  configured "$BATS_TEST_TMPDIR/whole" whippet stack-conservative-parallel-mmc
  GUILE_WHIPPET_OFFLINE=yes "$p/build-aux/build" "$BATS_TEST_TMPDIR/whole" tree
  configured "$BATS_TEST_TMPDIR/b" whippet stack-conservative-parallel-mmc
  # Kill it and its children at ten different points of its progress, told by the
  # number of files that there are.
  for files in 1 200 600 1000 1400 1800 2018 2021 2080 2160; do
    rm -rf "$BATS_TEST_TMPDIR/b/src" "$BATS_TEST_TMPDIR/b/stock" "$BATS_TEST_TMPDIR/b/state"
    setsid env GUILE_WHIPPET_OFFLINE=yes "$p/build-aux/build" "$BATS_TEST_TMPDIR/b" tree \
      > /dev/null 2>&1 3>&- & pid=$!
    while kill -0 "$pid" 2>/dev/null \
       && [ "$(find "$BATS_TEST_TMPDIR/b" -type f 2>/dev/null | wc -l)" -lt "$files" ]; do sleep 0.02; done
    kill -KILL -- "-$pid" 2>/dev/null || true
    wait "$pid" || true
    run tree
    [ "$status" = 0 ]
    diff -r "$BATS_TEST_TMPDIR/whole/src" "$BATS_TEST_TMPDIR/b/src"
    diff -r "$BATS_TEST_TMPDIR/whole/stock" "$BATS_TEST_TMPDIR/b/stock"
  done
}

@test "a given source that differs from the release is used, with a warning" {
  mkdir "$BATS_TEST_TMPDIR/given"
  tar -xf "$(real_source)" -C "$BATS_TEST_TMPDIR/given" --strip-components=1
  echo '/* changed */' >> "$BATS_TEST_TMPDIR/given/libguile/gc.c"
  echo garbage > "$BATS_TEST_TMPDIR/given/libguile/gc.o"
  chmod -R a-w "$BATS_TEST_TMPDIR/given"
  configured "$BATS_TEST_TMPDIR/b" bdw none "$BATS_TEST_TMPDIR/given"
  run tree
  succeeds
  says 'warning: 1 file\(s\) of .* differ from the release'
  grep -q 'libguile/gc.c' "$BATS_TEST_TMPDIR/b/logs/differences"
  tail -n 1 "$BATS_TEST_TMPDIR/b/src/libguile/gc.c" | grep -q changed
  [ ! -e "$BATS_TEST_TMPDIR/b/src/libguile/gc.o" ]
  # An edit there arrives.
  chmod -R u+w "$BATS_TEST_TMPDIR/given"
  echo '/* once more */' >> "$BATS_TEST_TMPDIR/given/libguile/gc.c"
  run tree
  succeeds
  tail -n 1 "$BATS_TEST_TMPDIR/b/src/libguile/gc.c" | grep -q 'once more'
  run tree
  says_not 'patched and overlaid tree: done'
}

teardown () {
  if mountpoint -q "$BATS_TEST_TMPDIR/b" 2>/dev/null; then umount "$BATS_TEST_TMPDIR/b"; fi
  chmod -R u+w "$BATS_TEST_TMPDIR"
}
