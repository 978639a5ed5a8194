#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Runs Kbuild on this tree. Kbuild takes no path with a space in it: there it gets a copy, and the
# module is brought back.
# usage: kbuild.sh KERNEL_BUILD_FOLDER [MAKE_ARGUMENT]...
set -eu
kernel=$1
shift
tree=$(cd "$(dirname "$0")/../.." && pwd)
case $tree in
*[[:space:]]*) ;;
*) exec "${MAKE:-make}" -C "$kernel" M="$tree" "$@" ;;
esac

# Not in TMPDIR, whose path may have a space as well.
copy=$(mktemp -d /tmp/exmap-kbuild.XXXXXX)
trap 'rm -rf "$copy"' EXIT
cp -R "$tree/Kbuild" "$tree/kmod" "$tree/include" "$copy/"
"${MAKE:-make}" -C "$kernel" M="$copy" "$@"
rm -f "$tree/kmod/exmap.ko"
[ ! -f "$copy/kmod/exmap.ko" ] || cp "$copy/kmod/exmap.ko" "$tree/kmod/"
