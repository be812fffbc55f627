#!/usr/bin/env bats
# shellcheck disable=SC2154
# What configure says to bad input and to incomplete machines.

load helper

setup () {
  isolate
  fill_cache
  mkdir "$BATS_TEST_TMPDIR/b"
  cd "$BATS_TEST_TMPDIR/b" || exit
}

# A source tree that claims another version: other_version DIR
other_version () {
  mkdir -p "$1"
  tar -xf "$(real_source)" -C "$1" --strip-components=1
  sed -i 's/^GUILE_MICRO_VERSION=.*/GUILE_MICRO_VERSION=10/' "$1/GUILE-VERSION"
}

@test "the wrong version in a source folder: says which is needed" {
  other_version "$BATS_TEST_TMPDIR/old"
  run "$root/configure" --with-gc=bdw --with-guile-source="$BATS_TEST_TMPDIR/old"
  fails_with "is Guile 3.0.10; the source of Guile $GUILE_VERSION is needed"
}

@test "the wrong version in a source tarball: says which is needed" {
  other_version "$BATS_TEST_TMPDIR/old/guile"
  tar -C "$BATS_TEST_TMPDIR/old" -czf "$BATS_TEST_TMPDIR/old.tar.gz" guile
  run "$root/configure" --with-gc=bdw --with-guile-source=../old.tar.gz
  fails_with "is Guile 3.0.10; the source of Guile $GUILE_VERSION is needed"
}

@test "a source that is no Guile, no archive, or not there" {
  mkdir ../empty
  run "$root/configure" --with-gc=bdw --with-guile-source=../empty
  fails_with "is not Guile's source"
  head -c 100000 "$(real_source)" > ../short.tar.xz
  run "$root/configure" --with-gc=bdw --with-guile-source=../short.tar.xz
  fails_with "not an intact tar archive; the source of Guile $GUILE_VERSION is needed"
  run "$root/configure" --with-gc=bdw --with-guile-source=../nowhere
  fails_with '^configure: error: --with-guile-source: [^`]*/nowhere: no such file or folder$'
  run "$root/configure" --with-gc=bdw --with-guile-source
  fails_with 'needs the name of a file or folder'
}

@test "a switch that is neither on nor off" {
  run "$root/configure" --enable-quick=maybe
  fails_with '^configure: error: --enable-quick=maybe: there is only yes, or --disable-quick$'
}

@test "a missing library: names the Debian package" {
  run env PKG_CONFIG_LIBDIR=/nonexistent PKG_CONFIG_PATH= "$root/configure" --with-gc=bdw
  fails_with 'the library libffi \(Debian package libffi-dev\)'
  says 'the library bdw-gc \(Debian package libgc-dev\)'
  says 'apt-get install libffi-dev libgc-dev'
}

@test "a missing header: names the Debian package" {
  # A compiler that cannot find gmp.h.
  cat > ../cc <<'EOF'
#!/bin/sh
case " $* " in
  *" -E "*) input=$(cat); case $input in *gmp.h*) exit 1 ;; esac
            printf '%s\n' "$input" | exec gcc "$@" ;;
esac
exec gcc "$@"
EOF
  chmod +x ../cc
  run "$root/configure" --with-gc=bdw CC="$BATS_TEST_TMPDIR/cc"
  fails_with 'the header gmp.h \(Debian package libgmp-dev\)'
  # Not needed with Guile's own copy of it.
  run "$root/configure" --with-gc=bdw --enable-mini-gmp CC="$BATS_TEST_TMPDIR/cc"
  succeeds
}

@test "missing programs: all are named at once, with their Debian packages" {
  mkdir ../bin
  # Everything that this machine has, but for two.
  ln -s /usr/bin/* ../bin/
  rm ../bin/flex ../bin/makeinfo
  run env PATH="$BATS_TEST_TMPDIR/bin" "$root/configure" --with-gc=bdw
  fails_with 'the program flex \(Debian package flex\)'
  says 'the program makeinfo \(Debian package texinfo\)'
}

@test "prebuilt modules that cannot be read" {
  run "$root/configure" --with-gc=bdw --with-prebuilt=../nowhere.deb
  fails_with '--with-prebuilt: cannot read ../nowhere.deb'
  run "$root/configure" --with-gc=bdw --with-prebuilt=
  fails_with '--with-prebuilt needs the name of a file or folder'
}

@test "options for Guile's own configure are passed on, ours are not" {
  run "$root/configure" --with-gc=bdw --prefix=/opt/"a b" --enable-quick --disable-nls CFLAGS='-O1 -g'
  succeeds
  quick='' collector='' guile_args=()
  # shellcheck source=/dev/null
  . ./build.conf
  [ "$quick" = yes ]
  [ "$collector" = none ]
  [ "${guile_args[*]}" = "--prefix=/opt/a b --disable-nls CFLAGS=-O1 -g" ]
}

@test "an unchanged configuration keeps its time stamp" {
  run "$root/configure" --with-gc=bdw
  succeeds
  touch -d '2020-01-01' build.conf
  run "$root/configure" --with-gc=bdw
  succeeds
  [ "$(date -r build.conf +%Y)" = 2020 ]
  run "$root/configure" --with-gc=bdw --enable-quick
  [ "$(date -r build.conf +%Y)" != 2020 ]
}

@test "configure in the source folder works in build/VARIANT, and make passes on" {
  copy_project "$BATS_TEST_TMPDIR/p"
  cd "$BATS_TEST_TMPDIR/p"
  run ./configure --with-gc=bdw
  succeeds
  [ -f build/bdw/Makefile ]
  [ ! -e config.status ]
  run make -s tree
  succeeds
  [ -f build/bdw/src/libguile/gc.c ]
}

@test "configured in the source folder, relative names are relative to that" {
  copy_project "$BATS_TEST_TMPDIR/p"
  cd "$BATS_TEST_TMPDIR/p"
  ln -s "$(real_source)" guile.tar.xz
  touch modules.deb
  run ./configure --with-gc=bdw --with-guile-source=guile.tar.xz --with-prebuilt=modules.deb \
    --with-cache=../downloads
  succeeds
  guile_source='' prebuilt='' cache=''
  # shellcheck source=/dev/null
  . build/bdw/build.conf
  [ "$guile_source" = "$PWD/guile.tar.xz" ]
  [ "$prebuilt" = "$PWD/modules.deb" ]
  [ "$cache" = "$PWD/../downloads" ]
}

@test "make distclean, with several jobs: nothing is left of the configuration" {
  copy_project "$BATS_TEST_TMPDIR/p"
  cd "$BATS_TEST_TMPDIR/p"
  run ./configure --with-gc=bdw
  succeeds
  run make -j4 distclean
  succeeds
  [ ! -e GNUmakefile ]
  run find build/bdw ! -type d
  says_not .
}
