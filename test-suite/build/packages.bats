#!/usr/bin/env bats
# shellcheck disable=SC2154
# Missing system packages: what is installed, and what is said when it may not be.

load helper

setup () {
  isolate
  # A machine that lacks bats; "apt-get" and "sudo" are whatever a test makes.
  bin=$BATS_TEST_TMPDIR/bin
  mkdir "$bin"
  ln -s /usr/bin/* "$bin/"
  rm -f "$bin/bats" "$bin/apt-get" "$bin/sudo"
}

fake_apt () {
  cat > "$bin/apt-get" <<EOF
#!/bin/sh
echo "\$*" >> "$BATS_TEST_TMPDIR/apt.calls"
case " \$* " in *" install "*) $1 ;; esac
EOF
  chmod +x "$bin/apt-get"
}

@test "nothing is missing: nothing is said or done" {
  run "$root/build-aux/install-packages" build
  succeeds
  [ -z "$output" ]
}

@test "root installs what is missing and says so" {
  [ "$(id -u)" = 0 ] || skip "this test needs root"
  fake_apt "ln -s /usr/bin/bats '$bin/bats'"
  run env PATH="$bin" "$root/build-aux/install-packages" check
  succeeds
  says 'Installing missing system packages: bats'
  grep -q 'install --no-install-recommends bats$' "$BATS_TEST_TMPDIR/apt.calls"
}

@test "an installation that fails: the exact command, and status 1" {
  [ "$(id -u)" = 0 ] || skip "this test needs root"
  fake_apt "echo 'E: Unable to locate package bats'; exit 100"
  run env PATH="$bin" "$root/build-aux/install-packages" check
  [ "$status" = 1 ]
  says 'Unable to locate package bats'
  says '^  apt-get install --no-install-recommends bats$'
}

@test "an installation that changes nothing is noticed" {
  [ "$(id -u)" = 0 ] || skip "this test needs root"
  fake_apt true
  run env PATH="$bin" "$root/build-aux/install-packages" check
  [ "$status" = 1 ]
  says 'still missing'
}

@test "installing is forbidden: the exact command, and status 1" {
  fake_apt true
  run env PATH="$bin" GUILE_WHIPPET_INSTALL=no "$root/build-aux/install-packages" check
  [ "$status" = 1 ]
  says 'the program bats \(Debian package bats\)'
  says 'apt-get install --no-install-recommends bats$'
  [ ! -e "$BATS_TEST_TMPDIR/apt.calls" ]
}

@test "neither root nor sudo: the exact command, and status 1" {
  fake_apt true
  chmod a+rx "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR"/test "$BATS_TEST_TMPDIR" "$bin"
  as_nobody test -x "$root/build-aux/install-packages" -a -x "$bin/apt-get" \
    || skip "the checkout is in a folder that only root may enter"
  run as_nobody env PATH="$bin" "$root/build-aux/install-packages" check
  [ "$status" = 1 ]
  says 'you may not install them'
  says '^  sudo apt-get install --no-install-recommends bats$'
  [ ! -e "$BATS_TEST_TMPDIR/apt.calls" ]
}

@test "no apt-get at all: the packages are named" {
  run env PATH="$bin" "$root/build-aux/install-packages" check
  [ "$status" = 1 ]
  says 'this machine has no apt-get'
  says 'Debian package bats'
}

@test "./run says it before it builds anything" {
  copy_project "$BATS_TEST_TMPDIR/p"
  rm "$bin/flex"
  run env PATH="$bin" GUILE_WHIPPET_INSTALL=no "$BATS_TEST_TMPDIR/p/run" --gc=bdw -c 1
  [ "$status" = 1 ]
  says 'the program flex \(Debian package flex\)'
  [ ! -e "$BATS_TEST_TMPDIR/p/build" ]
}

@test "bootstrap without autoconf names the package" {
  copy_project "$BATS_TEST_TMPDIR/p"
  rm "$bin/autoconf"
  run env PATH="$bin" "$BATS_TEST_TMPDIR/p/bootstrap"
  fails_with 'Debian package\(s\) autoconf: apt-get install autoconf'
}
