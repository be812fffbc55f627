# Shared by the tests of the build.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
# shellcheck source=build-aux/common.sh
. "$root/build-aux/common.sh"
load_pin "$root"

# The variant that ./check built and tests.
# shellcheck disable=SC2034
built=${GUILE_WHIPPET_TEST_BUILD:-$root/build/$default_gc}

# The real downloads, which the build has fetched before any test runs.
real_cache=${GUILE_WHIPPET_TEST_CACHE:-$(default_cache)}

# No test may touch the user's cache or the network: an empty cache, no package
# mirror, and a GNU mirror that is not there.
isolate () {
  export GUILE_WHIPPET_CACHE=$BATS_TEST_TMPDIR/cache TMPDIR=$BATS_TEST_TMPDIR
  mkdir -p "$GUILE_WHIPPET_CACHE"
  no_repositories
  export GUILE_WHIPPET_GNU_MIRROR=file://$BATS_TEST_TMPDIR/gnu
}

no_repositories () {
  mkdir -p "$BATS_TEST_TMPDIR/apt/parts"
  : > "$BATS_TEST_TMPDIR/apt/sources.list"
  cat > "$BATS_TEST_TMPDIR/apt/apt.conf" <<EOF
Dir::Etc::sourcelist "$BATS_TEST_TMPDIR/apt/sources.list";
Dir::Etc::sourceparts "$BATS_TEST_TMPDIR/apt/parts";
EOF
  export APT_CONFIG=$BATS_TEST_TMPDIR/apt/apt.conf
}

# Put the real downloads into the test's cache.
fill_cache () {
  local source deb
  source=$(real_source)
  ln -sf "$source" "$GUILE_WHIPPET_CACHE/$GUILE_SOURCE_FILE"
  if deb=$(real_modules); then
    ln -sf "$deb" "$GUILE_WHIPPET_CACHE/"
    [ ! -f "$deb.sha256" ] || ln -sf "$deb.sha256" "$GUILE_WHIPPET_CACHE/"
  fi
}

# Or what the build was told to use instead, if it is the release's own archive.
real_source () {
  local given=${GUILE_WHIPPET_TEST_SOURCE:-}
  if [ -f "$given" ] && [ "$(sha256_of "$given")" = "$GUILE_SOURCE_SHA256" ]; then
    printf '%s\n' "$given"
    return
  fi
  env -u APT_CONFIG GUILE_WHIPPET_CACHE="$real_cache" "$root/build-aux/fetch" source
}
real_modules () {
  local given=${GUILE_WHIPPET_TEST_PREBUILT:-auto}
  if [ -f "$given" ]; then
    printf '%s\n' "$given"
    return
  fi
  env -u APT_CONFIG GUILE_WHIPPET_CACHE="$real_cache" GUILE_WHIPPET_OFFLINE=yes \
    "$root/build-aux/fetch" modules
}

# A copy of the project without its history and its builds, with no patches and no
# overlay unless a test makes some.
copy_project () {
  local to=$1
  mkdir -p "$to"
  (cd "$root" && tar -cf - --exclude=./build --exclude=./.git --exclude=./whippet \
     --exclude=./libguile --exclude=./module --exclude=./autom4te.cache .) \
    | tar -C "$to" -xf -
  rm -rf "$to/upstream/patches" "$to/test-suite/tests" "$to/test-suite/standalone" \
    "$to/benchmark-suite" "$to/GNUmakefile"
  mkdir -p "$to/upstream/patches"
  echo '# empty' > "$to/upstream/patches/series"
  [ -f "$to/configure" ] || (cd "$to" && ./bootstrap)
}

# A patch that changes one file of Guile: its README, or what the test says.
# sample_patch PROJECT NAME [FILE LINE TEXT]
sample_patch () {
  local project=$1 name=$2 file=${3:-HACKING} text=${4:-A line of our own.}
  local work=$BATS_TEST_TMPDIR/sample
  rm -rf "$work"; mkdir -p "$work/a" "$work/b"
  tar -xf "$(real_source)" -C "$work/a" --strip-components=1 --wildcards "*/$file"
  tar -xf "$(real_source)" -C "$work/b" --strip-components=1 --wildcards "*/$file"
  printf '%s\n' "$text" >> "$work/b/$file"
  {
    printf 'Change %s\n\nWhat: one line more.\nWhy: to test the series.\n---\n\n' "$file"
    printf 'diff --git a/%s b/%s\n' "$file" "$file"
    (cd "$work" && diff -u "a/$file" "b/$file" | sed -E '1,2s/\t.*//') || true
  } > "$project/upstream/patches/$name"
  printf '%s\n' "$name" >> "$project/upstream/patches/series"
}

# A build folder with a hand-made configuration: for the steps before Guile's own
# configure, without running ours.
# configured BUILDDIR VARIANT COLLECTOR
configured () {
  mkdir -p "$1"
  cat > "$1/build.conf" <<EOF
variant=$2
collector=$3
quick=yes
debug_gc=no
project_version=0
guile_source='${4:-}'
prebuilt=auto
cache='$GUILE_WHIPPET_CACHE'
configured_cc=gcc
guile_args=()
EOF
}

# Run as somebody who is not root, if we are.
as_nobody () {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
  else
    "$@"
  fi
}

fails_with () {
  # shellcheck disable=SC2154
  if [ "$status" = 0 ]; then
    echo "expected a failure; it succeeded with: $output"
    return 1
  fi
  says "$1"
}

says () {
  # shellcheck disable=SC2154
  if ! grep -qE -- "$1" <<<"$output"; then
    printf 'expected: %s\ngot: %s\n' "$1" "$output"
    return 1
  fi
}

says_not () {
  if grep -qE -- "$1" <<<"$output"; then
    printf 'not expected: %s\ngot: %s\n' "$1" "$output"
    return 1
  fi
}

succeeds () {
  # shellcheck disable=SC2154
  if [ "$status" != 0 ]; then
    printf 'status %s, with: %s\n' "$status" "$output"
    return 1
  fi
}
