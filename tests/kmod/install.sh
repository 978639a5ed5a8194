#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make -C kmod install` and `uninstall`: what the first puts into an empty DESTDIR the second takes
# away, what others have there stays, and a module for another kernel is refused. The module, the
# kernel's headers and modinfo are stand-ins.
# usage: tests/kmod/install.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree="$work/a folder with spaces"
mkdir -p "$tree" "$work/kernel/include/generated"
cp -R "$here/../../Kbuild" "$here/../../kmod" "$here/../../include" "$tree/"
header=$work/kernel/include/generated/utsrelease.h
echo '#define UTS_RELEASE "6.1.0-test"' >"$header"
printf '#!/bin/sh\necho "%s SMP preempt"\n' 6.1.0-test >"$work/modinfo"
chmod +x "$work/modinfo"

run() {
  make -s -C "$tree/kmod" "$1" KDIR="$work/kernel" MODINFO="$work/modinfo" \
    DESTDIR="$work/root" >"$work/log" 2>&1
}
must() { run "$1" || { echo "FAIL  $1 $2"; cat "$work/log"; exit 1; }; }
# must_say TARGET TEXT: it fails, and says so.
must_say() {
  ! run "$1" || { echo "FAIL  $1 was to fail with '$2'"; exit 1; }
  grep -q "$2" "$work/log" || { echo "FAIL  $1 does not say '$2'"; cat "$work/log"; exit 1; }
}
files() { (cd "$work/root" && find . ! -type d | sort); }

rm -f "$tree/kmod/exmap.ko"
must_say install "exmap.ko is missing"
[ ! -e "$work/root" ] || { echo "FAIL  a refused installation leaves something"; exit 1; }
touch "$tree/kmod/exmap.ko"
mkdir -p "$work/root/lib/modules/6.1.0-test/updates" "$work/root/etc/udev/rules.d"
touch "$work/root/lib/modules/6.1.0-test/updates/other.ko" "$work/root/etc/udev/rules.d/10-a.rules"
files >"$work/before"
must install "the first time"
must install "again"
files | diff "$work/before" - >"$work/new" || true
[ "$(grep '^>' "$work/new")" = "> ./etc/udev/rules.d/90-exmap.rules
> ./lib/modules/6.1.0-test/updates/exmap.ko" ] ||
  { echo "FAIL  not exactly the module and the rule are new"; cat "$work/new"; exit 1; }
must uninstall "what is installed"
files | diff "$work/before" - || { echo "FAIL  uninstall leaves or takes too much"; exit 1; }
must uninstall "again"
rm "$work/root/lib/modules/6.1.0-test/updates/other.ko"
must install "where nobody else has an update"
must uninstall "where nobody else has an update"
[ ! -e "$work/root/lib/modules/6.1.0-test/updates" ] ||
  { echo "FAIL  an empty folder stays"; exit 1; }

echo '#define UTS_RELEASE "6.12.0-other"' >"$header"
must_say install "is for Linux '6.1.0-test'"
rm "$header"
must_say install "is for Linux"
must_say uninstall "no kernel at KDIR"
echo "install and uninstall of the module: pass"
