#!/usr/bin/env bats
# shellcheck disable=SC2154
# One whole build, from a tarball of ours, without a network, in a folder with a
# space in its name, interrupted and killed on the way; then edits, installation
# and removal.  The tests follow each other.

load helper

setup_file () {
  export GUILE_WHIPPET_CACHE=$BATS_FILE_TMPDIR/cache GUILE_WHIPPET_OFFLINE=yes
  mkdir -p "$GUILE_WHIPPET_CACHE" "$BATS_FILE_TMPDIR/with space"
  # Nothing below may reach a network.
  mkdir "$BATS_FILE_TMPDIR/parts"
  printf 'Dir::Etc::sourcelist "/dev/null";\nDir::Etc::sourceparts "%s";\n' "$BATS_FILE_TMPDIR/parts" \
    > "$BATS_FILE_TMPDIR/apt.conf"
}

setup () {
  p="$BATS_FILE_TMPDIR/with space/p"
  b=$p/build/whippet
  export APT_CONFIG=$BATS_FILE_TMPDIR/apt.conf
  real_modules > /dev/null || skip "there are no compiled modules to start from"
}

# Without a network, where the machine lets us take it away.
offline () {
  if unshare --net true 2>/dev/null; then unshare --net "$@"; else "$@"; fi
}

compiled () { grep -cE "^  (BOOTSTRAP.*)?$1 " "$b/logs/$2"; }

# Start make in a process group of its own and wait until that many objects are
# there.  The process is in "pid".
make_until () {
  setsid make -C "$b" > "$BATS_FILE_TMPDIR/make.log" 2>&1 3>&- & pid=$!
  until [ "$(find "$GUILE_WHIPPET_CACHE/builds" -name 'libguile_3.0_la-*.lo' 2>/dev/null | wc -l)" -ge "$1" ]; do
    kill -0 "$pid" || { cat "$BATS_FILE_TMPDIR/make.log"; return 1; }
    sleep 0.2
  done
}

@test "make dist: a tarball with all that is under version control and configure" {
  rm -f "$built"/guile-whippet-*.tar.gz
  run make -C "$built" dist
  succeeds
  mv "$built"/guile-whippet-*.tar.gz "$BATS_FILE_TMPDIR/dist.tar.gz"
  mkdir -p "$p"
  tar -xf "$BATS_FILE_TMPDIR/dist.tar.gz" -C "$p" --strip-components=1
  [ -x "$p/configure" ]
  (cd "$root" && if [ -e .git ]; then git ls-files; else cat MANIFEST; fi) | while IFS= read -r f; do
    [ ! -e "$root/$f" ] || cmp "$root/$f" "$p/$f"
  done
}

@test "configure, offline, from the tarball, in a path with a space" {
  # A small series of its own stands for the real one: the steps are the same.
  rm -rf "$p/upstream/patches" "$p/libguile" "$p/module" "$p/whippet" "$p/test-suite/tests" \
    "$p/test-suite/standalone" "$p/benchmark-suite"
  mkdir -p "$p/upstream/patches" "$p/libguile"
  echo '# one' > "$p/upstream/patches/series"
  sample_patch "$p" gc.patch libguile/gc.c '/* ours */'
  sample_patch "$p" q.patch module/ice-9/q.scm ';; ours'
  echo '/* overlaid */' > "$p/libguile/ours.h"
  cd "$p"
  ln -s "$(real_source)" ../guile.tar.xz
  ln -s "$(real_modules)" ../modules.deb
  run offline ./configure --enable-quick --prefix="$BATS_FILE_TMPDIR/prefix" --enable-nonsense \
    --with-guile-source=../guile.tar.xz --with-prebuilt=../modules.deb
  succeeds
  [ -f "$b/build.conf" ]
}

@test "interrupted by a signal: says so" {
  make_until 20
  kill -TERM "$(cat "$b/state/pid")"
  status=0; wait "$pid" || status=$?
  [ "$status" != 0 ]
  output=$(cat "$BATS_FILE_TMPDIR/make.log")
  says 'interrupted; the next run goes on from here'
  says "Guile's configure does not know, and ignores: .*--enable-nonsense"
}

@test "killed with all its processes: no orphan is left, the lock is free" {
  before=$(find "$GUILE_WHIPPET_CACHE/builds" -name 'libguile_3.0_la-*.lo' | wc -l)
  make_until $((before + 20))
  # What was compiled before the interruption was not compiled again.
  [ "$(find "$GUILE_WHIPPET_CACHE/builds" -name 'libguile_3.0_la-*.lo' | wc -l)" -ge $((before + 20)) ]
  kill -KILL -- "-$pid"
  wait "$pid" || true
  [ -e "$b/state/making" ]
}

@test "the next run recovers and builds Guile offline" {
  run offline make -C "$b"
  succeeds
  says 'the last build was killed'
  run "$b/guile" -c '(display (version))'
  [ "$output" = "$GUILE_VERSION" ]
}

@test "make again: nothing to do" {
  run make -C "$b"
  succeeds
  says_not '\['
}

@test "an edit of a patch compiles that file only" {
  sed -i 's,^+/\* ours \*/,+/* mine */,' "$p/upstream/patches/gc.patch"
  run offline make -C "$b"
  succeeds
  [ "$(compiled CC libguile.log)" = 1 ]
  grep -q '  CC .*-gc.lo' "$b/logs/libguile.log"
  [ "$(compiled GUILEC modules.log || true)" = 0 ]
}

@test "an edit of a module compiles that module only, once" {
  sed -i 's,^+;; ours,+;; mine,' "$p/upstream/patches/q.patch"
  run offline make -C "$b"
  succeeds
  [ "$(compiled CC libguile.log || true)" = 0 ]
  [ "$(compiled GUILEC modules.log)" = 1 ]
  grep -q 'stage2.* GUILEC ice-9/q.go' "$b/logs/modules.log"
}

@test "the patched module was compiled here, not taken from the package" {
  run "$b/guile" -c '(use-modules (ice-9 q)) (display (module-filename (resolve-module (quote (ice-9 q)))))'
  [ "$output" = ice-9/q.scm ]
  [ "$b/obj/stage2/ice-9/q.go" -nt "$b/src/module/ice-9/q.scm" ]
}

@test "make install, and make uninstall leaves nothing" {
  dest=$BATS_FILE_TMPDIR/dest
  run make -C "$b" install DESTDIR="$dest"
  succeeds
  prefix=$dest$BATS_FILE_TMPDIR/prefix
  run env LD_LIBRARY_PATH="$prefix/lib" GUILE_LOAD_PATH="$prefix/share/guile/3.0" \
    GUILE_LOAD_COMPILED_PATH="$prefix/lib/guile/3.0/ccache" "$prefix/bin/guile" --version
  says "$GUILE_VERSION"
  says 'collector='
  run make -C "$b" uninstall DESTDIR="$dest"
  succeeds
  run find "$dest" ! -type d
  says_not .
}

@test "a stale build: moved elsewhere, it is not taken for fresh" {
  "$p/build-aux/build" "$b" fresh
  cp -a "$p" "$BATS_FILE_TMPDIR/with space/moved"
  run "$BATS_FILE_TMPDIR/with space/moved/build-aux/build" "$BATS_FILE_TMPDIR/with space/moved/build/whippet" fresh
  [ "$status" != 0 ]
}

@test "out of the tree, from read-only sources" {
  mkdir -p "$BATS_FILE_TMPDIR/ro" "$BATS_FILE_TMPDIR/guile" "$BATS_FILE_TMPDIR/out"
  tar -xf "$BATS_FILE_TMPDIR/dist.tar.gz" -C "$BATS_FILE_TMPDIR/ro" --strip-components=1
  tar -xf "$(real_source)" -C "$BATS_FILE_TMPDIR/guile" --strip-components=1
  for d in ro guile; do
    mount --bind -o ro "$BATS_FILE_TMPDIR/$d" "$BATS_FILE_TMPDIR/$d" 2>/dev/null \
      || chmod -R a-w "$BATS_FILE_TMPDIR/$d"
  done
  cd "$BATS_FILE_TMPDIR/out"
  run offline ../ro/configure --with-gc=bdw --with-guile-source=../guile
  succeeds
  run offline make tree
  succeeds
  run ../ro/build-aux/verify-source src
  succeeds
}

teardown_file () {
  for d in ro guile; do
    if mountpoint -q "$BATS_FILE_TMPDIR/$d" 2>/dev/null; then umount "$BATS_FILE_TMPDIR/$d"; fi
  done
  chmod -R u+w "$BATS_FILE_TMPDIR"
}
