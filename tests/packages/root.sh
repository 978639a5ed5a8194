#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes or refreshes the Debian 12 root in which packages are tried, and prints its folder. It has a
# compiler and CMake, as their users have, and none of what our packages depend on: apt must find
# that. It lies in the cache of tools/vm, and may be deleted with it.
# usage: tests/packages/root.sh
set -euo pipefail
# debootstrap may leave /proc mounted in the root: in a namespace of our own nobody stumbles on it.
if [ -z "${PACKAGES_TEST_INSIDE:-}" ]; then
  PACKAGES_TEST_INSIDE=1 exec unshare --mount --propagation private "$0" "$@"
fi
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/exmap-vm
place=$cache/roots/bookworm
# gcc, libelf1 and pahole are what kernel headers are used with.
packages=g++,cmake,pkg-config,make,libelf1,pahole
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "root.sh: $*" >&2; }
mkdir -p "$cache/locks" "$cache/roots"
exec 9>"$cache/locks/root-bookworm"
flock 9

# The archives that this machine's own sources name.
sources=$(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$here/../../tools/vm.d python3 -c '
import apt
print("\n".join(apt.source_lines(("bookworm", "bookworm-updates", "bookworm-security"))))')

if [ "$(cat "$place/packages-test.txt" 2>/dev/null)" != "$packages" ]; then
  say "making a Debian 12 root with debootstrap (about 2 minutes)"
  mirror=$(awk '{ print $(NF - 2); exit }' <<<"$sources")
  rm -rf "$place.making"
  debootstrap --variant=minbase --keyring="$keyring" --include="$packages" bookworm \
    "$place.making" "$mirror" >"$cache/roots/bookworm.log" 2>&1 ||
    { tail -n 5 "$cache/roots/bookworm.log" >&2; say "debootstrap failed"; exit 1; }
  ! mountpoint -q "$place.making/proc" || umount "$place.making/proc"
  printf '#!/bin/sh\nexit 101\n' >"$place.making/usr/sbin/policy-rc.d" # no services
  chmod 755 "$place.making/usr/sbin/policy-rc.d"
  echo "$packages" >"$place.making/packages-test.txt"
  rm -rf "$place"
  mv "$place.making" "$place"
fi

# Once a day: what is in an older list may be gone from the mirror.
if [ ! -e "$place/packages-test.lists" ] ||
  [ -n "$(find "$place/packages-test.lists" -mtime +0)" ]; then
  say "reading the package lists"
  echo "$sources" >"$place/etc/apt/sources.list"
  if chroot "$place" env LC_ALL=C apt-get update -qq --error-on=any >&2; then
    touch "$place/packages-test.lists"
  elif [ -e "$place/packages-test.lists" ]; then
    say "the package lists cannot be read: going on with older ones"
  else
    say "the package lists cannot be read"
    exit 1
  fi
fi
echo "$place"
