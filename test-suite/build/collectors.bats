#!/usr/bin/env bats
# shellcheck disable=SC2154
# Names of collectors, and what configure says to them.

load helper

setup () { isolate; }

@test "a short name and its full name are the same variant" {
  run "$root/build-aux/collector" whippet
  [ "$output" = "whippet stack-conservative-parallel-mmc" ]
  run "$root/build-aux/collector" stack-conservative-parallel-mmc
  [ "$output" = "whippet stack-conservative-parallel-mmc" ]
  run "$root/build-aux/collector" bdw
  [ "$output" = "bdw none" ]
}

@test "an unknown collector: ./run lists the valid names" {
  run "$root/run" --gc=nosuch -c 1
  fails_with 'unknown collector "nosuch"'
  says 'whippet, .*bdw'
}

@test "an unknown collector: ./check lists the valid names" {
  run "$root/check" --gc nosuch
  fails_with 'unknown collector "nosuch".*bdw'
}

@test "an unknown collector: configure lists the valid names" {
  mkdir "$BATS_TEST_TMPDIR/b"
  cd "$BATS_TEST_TMPDIR/b"
  run "$root/configure" --with-gc=nosuch
  fails_with '--with-gc: unknown collector "nosuch".*heap-conservative-parallel-mmc'
}

@test "without a patch series configure refuses whippet with one clear line" {
  copy_project "$BATS_TEST_TMPDIR/p"
  mkdir "$BATS_TEST_TMPDIR/b"
  cd "$BATS_TEST_TMPDIR/b"
  run ../p/configure
  fails_with '^configure: error: the whippet collector is not integrated yet .*--with-gc=bdw'
  run ../p/configure --with-gc=heap-conservative-parallel-mmc
  fails_with 'not integrated yet'
  run ../p/run --gc=whippet -c 1
  fails_with 'not integrated yet'
}

@test "the pristine Guile has no collector of ours to debug" {
  mkdir "$BATS_TEST_TMPDIR/b"
  cd "$BATS_TEST_TMPDIR/b"
  run "$root/configure" --with-gc=bdw --enable-debug-gc
  fails_with '--enable-debug-gc is for the whippet collectors'
}

@test "Guile's own configure knows the options that it gets" {
  [ -x "$built/src/configure" ] || skip "this variant is not built"
  [ "$(basename "$built")" != bdw ] || skip "the pristine Guile gets none of ours"
  run "$built/src/configure" --enable-option-checking=fatal --disable-lto --disable-static \
    --with-gc=stack-conservative-parallel-mmc --enable-debug-gc=yes --help
  succeeds
  run "$built/src/configure" --enable-option-checking=fatal --enable-nonsense --help
  fails_with 'unrecognized options: --enable-nonsense'
}

@test "Guile's embedder header refuses a generational collector" {
  [ -e "$built/src/libguile/whippet-embedder.h" ] || skip "this variant has no collector of ours"
  preprocess () {
    echo '#include <libguile/whippet-embedder.h>' \
      | "${CC:-cc}" -E -DBUILDING_LIBGUILE=1 -DGC_CONSERVATIVE_ROOTS=1 "$@" \
          -I "$built/obj" -I "$built/src" -I "$built/src/libguile" -
  }
  run preprocess
  succeeds
  run preprocess -DGC_GENERATIONAL=1
  fails_with 'has no write barrier'
}
