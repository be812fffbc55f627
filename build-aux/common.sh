# Shared by ./run, ./check and the scripts in build-aux/.  Sourced by bash.
# shellcheck shell=bash

# The collector of ./run and ./check when --gc is not given.
# shellcheck disable=SC2034
default_gc=whippet

say () { printf '%s\n' "$*" >&2; }
warn () { printf 'warning: %s\n' "$*" >&2; }
die () { printf 'error: %s\n' "$*" >&2; exit 1; }

# The upstream facts: GUILE_VERSION, GUILE_SOURCE_FILE, ...
# Argument: the project's root.
load_pin () {
  # shellcheck source=/dev/null
  . "$1/upstream/GUILE"
  GUILE_SOURCE_SHA256=$(awk -v f="$GUILE_SOURCE_FILE" '$2 == f { print $1 }' \
                          "$1/upstream/SHA256SUMS")
  [ -n "$GUILE_SOURCE_SHA256" ] \
    || die "upstream/SHA256SUMS has no line for $GUILE_SOURCE_FILE"
}

# The folder of downloads shared by all builds of this user.
default_cache () {
  if [ -n "${GUILE_WHIPPET_CACHE:-}" ]; then
    printf '%s\n' "$GUILE_WHIPPET_CACHE"
  elif [ -n "${XDG_CACHE_HOME:-}" ]; then
    printf '%s\n' "$XDG_CACHE_HOME/guile-whippet"
  elif [ -n "${HOME:-}" ]; then
    printf '%s\n' "$HOME/.cache/guile-whippet"
  else
    printf '%s\n' "${TMPDIR:-/tmp}/guile-whippet-$(id -u)"
  fi
}

need_proc () {
  [ -e /proc/self/fd ] \
    || die "/proc is not mounted here, and the collectors and these scripts need it: mount -t proc proc /proc"
}

# True if the files below a path survive tools that do not quote file names.
plain_path () {
  case $1 in
    *[!A-Za-z0-9_./+@%^:,~-]*) return 1 ;;
    *) return 0 ;;
  esac
}

sha256_of () { sha256sum < "$1" | cut -d' ' -f1; }

clock () { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# True if the series holds at least one patch.  Argument: the project's root.
have_series () {
  [ -f "$1/upstream/patches/series" ] && [ -n "$(series_patches "$1")" ]
}

# The names of the patches, in order.  Argument: the project's root.
series_patches () {
  sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' \
      "$1/upstream/patches/series" 2>/dev/null
}

# Make the folder RESULTS, anew if another Guile than the one built in OBJ filled it.
# Arguments: RESULTS, OBJ.
fresh_results () {
  local build
  build=$({ cat "$2"/libguile/.libs/libguile-3.0.so* "$2/libguile/.libs/guile" \
              2>/dev/null || true; } | sha256sum)
  if [ "$(cat "$1/build" 2>/dev/null || true)" != "$build" ]; then
    rm -rf "$1"
    mkdir -p "$1"
    printf '%s\n' "$build" > "$1/build"
  fi
}

# Hold LOCKFILE for the rest of this process, on file descriptor 9; say so when
# another process has it.
take_lock () {
  exec 9> "$1" || die "cannot write $1"
  if ! flock -n 9; then
    say "another build is working here ($2); waiting for it"
    flock 9
  fi
}
