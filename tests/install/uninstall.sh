#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# After the target "uninstall" a prefix is what it was before the installation: empty folders that
# were there stay, those that were made go, and so with a DESTDIR that need not be given again.
# usage: tests/install/uninstall.sh BUILD_FOLDER
set -euo pipefail
build=$(realpath "${1:?usage: uninstall.sh BUILD_FOLDER}")
work=$(mktemp -d -p "$build")
# What somebody has installed from this build folder can still be removed afterwards.
notes=(install_manifest.txt install_folders.txt)
keep() { for note in "${notes[@]}"; do [ ! -e "$1/$note" ] || mv "$1/$note" "$2/"; done; }
mkdir "$work/kept"
keep "$build" "$work/kept"
trap 'keep "$work/kept" "$build"; rm -rf "$work"' EXIT

fail() { echo "FAIL  $*"; exit 1; }
listing() { (cd "$work" && find at -printf '%y %p\n' | sort); }
install_at() { cmake --install "$build" "$@" >"$work/log" || fail "cannot install: $*"; }
uninstall() { cmake --build "$build" --target uninstall >"$work/log" 2>&1; }

# A prefix that others use, with a space and an empty folder that is not ours.
mkdir -p "$work/at/a prefix/include/linux" "$work/at/a prefix/share/man/man1"
touch "$work/at/a prefix/include/other.h"
listing >"$work/before"
install_at --prefix "$work/at/a prefix"
install_at --prefix "$work/at/a prefix"
[ -e "$work/at/a prefix/include/vmcache/buffer_pool.hpp" ] || fail "nothing was installed"
uninstall || { cat "$work/log"; fail "uninstall has failed"; }
listing | diff "$work/before" - || fail "the prefix is not as it was before"
! uninstall || fail "a second uninstall was to fail"
grep -q "nothing has been installed" "$work/log" || fail "a second uninstall does not say why"

# Nothing there before, and it is for /usr one day.
rm -rf "$work/at"
mkdir "$work/at"
listing >"$work/before"
DESTDIR=$work/at/stage install_at --prefix /usr
[ -e "$work/at/stage/usr/include/vmcache/buffer_pool.hpp" ] || fail "DESTDIR was not heeded"
uninstall || { cat "$work/log"; fail "uninstall with DESTDIR has failed"; }
listing | diff "$work/before" - || fail "DESTDIR is not as it was before"

# What somebody else has put into a folder of ours stays, and is named.
install_at --prefix "$work/at"
touch "$work/at/include/vmcache/mine.hpp"
uninstall || fail "uninstall with another's file has failed"
[ "$(cd "$work/at" && find . -type f)" = ./include/vmcache/mine.hpp ] || fail "not only mine stays"
grep -q "holds what is not ours: .*/include/vmcache" "$work/log" ||
  fail "it does not say what stays"
echo "uninstall leaves a prefix as it was: pass"
