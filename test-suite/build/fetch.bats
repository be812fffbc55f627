#!/usr/bin/env bats
# shellcheck disable=SC2154
# Fetching and verifying, against package mirrors made of files.

load helper

setup () { isolate; }

fetch () { "$root/build-aux/fetch" "$@"; }

# A Debian repository of files: make_repository SOURCE-TARBALL [VERSION]
# with the pool, the indices and a release file, but no signature.
make_repository () {
  local tarball=$1 version=${2:-$GUILE_VERSION-9} repo=$BATS_TEST_TMPDIR/repo arch
  arch=$(dpkg --print-architecture)
  local dist=$repo/dists/forky
  mkdir -p "$repo/pool" "$dist/main/source" "$dist/main/binary-$arch"
  cp "$tarball" "$repo/pool/$GUILE_SOURCE_FILE"
  : > "$repo/pool/guile-3.0_$version.dsc"
  local size sum
  size=$(stat -c %s "$repo/pool/$GUILE_SOURCE_FILE")
  sum=$(sha256_of "$repo/pool/$GUILE_SOURCE_FILE")
  cat > "$dist/main/source/Sources" <<EOF
Package: guile-3.0
Binary: guile-3.0
Version: $version
Architecture: any
Format: 3.0 (quilt)
Directory: pool
Files:
 d41d8cd98f00b204e9800998ecf8427e 0 guile-3.0_$version.dsc
 $(md5sum < "$repo/pool/$GUILE_SOURCE_FILE" | cut -d' ' -f1) $size $GUILE_SOURCE_FILE
Checksums-Sha256:
 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 guile-3.0_$version.dsc
 $sum $size $GUILE_SOURCE_FILE

EOF
  printf 'not really a package\n' > "$repo/pool/modules.deb"
  cat > "$dist/main/binary-$arch/Packages" <<EOF
Package: $GUILE_MODULES_PACKAGE
Version: $version
Architecture: $arch
Maintainer: nobody
Description: modules
Filename: pool/modules.deb
Size: $(stat -c %s "$repo/pool/modules.deb")
SHA256: $(sha256_of "$repo/pool/modules.deb")

EOF
  {
    printf 'Origin: Debian\nSuite: forky\nCodename: forky\nComponents: main\nArchitectures: %s\n' "$arch"
    printf 'Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n'
    (cd "$dist" && for f in main/source/Sources "main/binary-$arch/Packages"; do
       printf ' %s %s %s\n' "$(sha256_of "$f")" "$(stat -c %s "$f")" "$f"
     done)
  } > "$dist/Release"
  printf 'deb [trusted=yes] file:%s bookworm main\n' "$repo" > "$BATS_TEST_TMPDIR/apt/sources.list"
}

@test "an intact file in the cache is used without any network" {
  fill_cache
  run env PATH="$BATS_TEST_TMPDIR/nothing:$PATH" "$root/build-aux/fetch" source
  succeeds
  [ "$output" = "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" ]
}

@test "the Debian source package: private apt configuration, one-line sources" {
  make_repository "$(real_source)"
  run --separate-stderr fetch source
  succeeds
  [ "$output" = "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" ]
  [ "$(sha256_of "$output")" = "$GUILE_SOURCE_SHA256" ]
}

@test "the Debian source package: private apt configuration, deb822 sources" {
  make_repository "$(real_source)"
  : > "$BATS_TEST_TMPDIR/apt/sources.list"
  cat > "$BATS_TEST_TMPDIR/apt/parts/debian.sources" <<EOF
# A comment
Types: deb
URIs: file:$BATS_TEST_TMPDIR/repo
Suites: bookworm bookworm-updates
Components: main contrib
Trusted: yes

Types: deb
URIs: file:$BATS_TEST_TMPDIR/elsewhere
Suites: bookworm
Components: main
Enabled: no
EOF
  run --separate-stderr fetch source
  succeeds
  [ "$(sha256_of "$output")" = "$GUILE_SOURCE_SHA256" ]
}

@test "nothing in the system's apt configuration, lists or status changes" {
  make_repository "$(real_source)"
  snapshot () {
    find /etc/apt /var/lib/apt /var/cache/apt /var/lib/dpkg/status \
      -printf '%p %s %T@\n' 2>/dev/null | sort
  }
  snapshot > "$BATS_TEST_TMPDIR/before"
  run fetch source
  succeeds
  snapshot > "$BATS_TEST_TMPDIR/after"
  cmp "$BATS_TEST_TMPDIR/before" "$BATS_TEST_TMPDIR/after"
}

@test "bad checksum: a damaged file in the cache is fetched again" {
  make_repository "$(real_source)"
  cp "$(real_source)" "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE"
  chmod u+w "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE"
  printf x | dd of="$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" bs=1 seek=1000 conv=notrunc 2>/dev/null
  run fetch source
  succeeds
  [ "$(sha256_of "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE")" = "$GUILE_SOURCE_SHA256" ]
}

@test "bad checksum: a mirror that serves another file is not believed" {
  printf 'something else\n' > "$BATS_TEST_TMPDIR/other"
  make_repository "$BATS_TEST_TMPDIR/other"
  run fetch source
  fails_with 'not the expected one \(SHA-256 differs\)'
  says 'cannot get the source'
  [ ! -e "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" ]
}

@test "bad checksum: without a network the damaged file is named and nothing is used" {
  printf 'rubbish\n' > "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE"
  run env GUILE_WHIPPET_OFFLINE=yes "$root/build-aux/fetch" source
  fails_with "$GUILE_SOURCE_FILE is damaged"
  says 'not in .*cache'
}

@test "truncated download: apt goes on where it stopped, or starts afresh" {
  make_repository "$(real_source)"
  mkdir -p "$GUILE_WHIPPET_CACHE/partial/apt"
  head -c 1000000 "$(real_source)" > "$GUILE_WHIPPET_CACHE/partial/apt/$GUILE_SOURCE_FILE"
  run fetch source
  succeeds
  [ "$(sha256_of "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE")" = "$GUILE_SOURCE_SHA256" ]
}

@test "truncated download: a truncated file in the cache is fetched again" {
  make_repository "$(real_source)"
  head -c 2000000 "$(real_source)" > "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE"
  run fetch source
  succeeds
  [ "$(sha256_of "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE")" = "$GUILE_SOURCE_SHA256" ]
}

@test "no network: says what was tried and what to do" {
  run fetch source
  fails_with "cannot get the source of Guile $GUILE_VERSION"
  says '--with-guile-source'
  says "$GUILE_SOURCE_FILE into "
  [ -z "$(find "$GUILE_WHIPPET_CACHE" -name '*.tar.xz')" ]
}

@test "no network: modules are not to be had, and that is said" {
  run fetch modules
  fails_with "no prebuilt modules of Guile $GUILE_VERSION"
}

@test "offline by request: no download is tried" {
  make_repository "$(real_source)"
  run env GUILE_WHIPPET_OFFLINE=yes "$root/build-aux/fetch" source
  fails_with 'GUILE_WHIPPET_OFFLINE=yes forbids downloads'
}

@test "modules: the package of exactly this version, with its checksum kept" {
  make_repository "$(real_source)"
  run --separate-stderr fetch modules
  succeeds
  [ "$output" = "$GUILE_WHIPPET_CACHE/${GUILE_MODULES_PACKAGE}_$GUILE_VERSION-9_$(dpkg --print-architecture).deb" ]
  [ "$(cat "$output.sha256")" = "$(sha256_of "$output")" ]
  # Damaged later: noticed.
  printf x >> "$output"
  rm -rf "$BATS_TEST_TMPDIR/repo"
  run fetch modules
  fails_with 'is damaged'
}

@test "modules: another version is refused" {
  make_repository "$(real_source)" 3.0.10-2
  run fetch modules
  fails_with "no prebuilt modules of Guile $GUILE_VERSION"
}

@test "stale cache: files of other versions are ignored" {
  fill_cache
  arch=$(dpkg --print-architecture)
  printf old > "$GUILE_WHIPPET_CACHE/${GUILE_MODULES_PACKAGE}_3.0.10-1_$arch.deb"
  sha256_of "$GUILE_WHIPPET_CACHE/${GUILE_MODULES_PACKAGE}_3.0.10-1_$arch.deb" \
    > "$GUILE_WHIPPET_CACHE/${GUILE_MODULES_PACKAGE}_3.0.10-1_$arch.deb.sha256"
  printf old > "$GUILE_WHIPPET_CACHE/guile-3.0_3.0.10.orig.tar.xz"
  run --separate-stderr fetch source
  [ "$output" = "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" ]
  run --separate-stderr env GUILE_WHIPPET_OFFLINE=yes "$root/build-aux/fetch" modules
  [[ $output != *3.0.10* ]]
}

@test "two at once: both end well, and the file is whole" {
  make_repository "$(real_source)"
  fetch source > "$BATS_TEST_TMPDIR/one" 2>&1 & one=$!
  fetch source > "$BATS_TEST_TMPDIR/two" 2>&1 & two=$!
  wait "$one"
  wait "$two"
  [ "$(tail -n 1 "$BATS_TEST_TMPDIR/one")" = "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" ]
  [ "$(tail -n 1 "$BATS_TEST_TMPDIR/two")" = "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" ]
  [ "$(sha256_of "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE")" = "$GUILE_SOURCE_SHA256" ]
}

@test "killed half-way: the next run recovers" {
  make_repository "$(real_source)"
  # It stops for good between the download and the end.
  mkdir "$BATS_TEST_TMPDIR/stuck"
  mkfifo "$BATS_TEST_TMPDIR/reached"
  cat > "$BATS_TEST_TMPDIR/stuck/sync" <<EOF
#!/bin/sh
echo reached > "$BATS_TEST_TMPDIR/reached"
exec sleep 1000
EOF
  chmod +x "$BATS_TEST_TMPDIR/stuck/sync"
  PATH=$BATS_TEST_TMPDIR/stuck:$PATH \
    setsid "$root/build-aux/fetch" source > /dev/null 2>&1 3>&- & pid=$!
  [ "$(timeout 60 cat "$BATS_TEST_TMPDIR/reached")" = reached ]
  kill -KILL -- "-$pid"
  wait "$pid" || true
  run --separate-stderr fetch source
  succeeds
  [ "$(sha256_of "$output")" = "$GUILE_SOURCE_SHA256" ]
}

@test "a read-only cache serves what it has, and says what it lacks" {
  cp -L "$(real_source)" "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE"
  chmod -R a+rX "$BATS_TEST_TMPDIR" "$GUILE_WHIPPET_CACHE"
  [ "$(id -u)" != 0 ] || chmod a+rx "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/* 2>/dev/null || true
  chmod a-w "$GUILE_WHIPPET_CACHE"
  as_nobody test -r "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE" -a -r "$root/build-aux/fetch" \
    || skip "the checkout is in a folder that only root may enter"
  run as_nobody "$root/build-aux/fetch" source
  succeeds
  run as_nobody "$root/build-aux/fetch" modules
  fails_with 'is not writable'
}

@test "no space left in the cache: an error, and the next run recovers" {
  make_repository "$(real_source)"
  mount -t tmpfs -o size=2m none "$GUILE_WHIPPET_CACHE" 2>/dev/null \
    || skip "this test needs the right to mount"
  run fetch source
  fails_with 'no space left for downloads in '
  [ -z "$(find "$GUILE_WHIPPET_CACHE" -maxdepth 1 -name '*.tar.xz')" ]
  mount -o remount,size=20m "$GUILE_WHIPPET_CACHE"
  run --separate-stderr fetch source
  succeeds
  [ "$(sha256_of "$output")" = "$GUILE_SOURCE_SHA256" ]
}

teardown () {
  if mountpoint -q "$BATS_TEST_TMPDIR/cache" 2>/dev/null; then umount "$BATS_TEST_TMPDIR/cache"; fi
  chmod -R u+w "$BATS_TEST_TMPDIR"
}
