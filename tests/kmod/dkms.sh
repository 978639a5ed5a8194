#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# `make -C kmod dkms-install` and `dkms-remove` twice, after a build that failed and after a run
# that was cut at any of its steps, from a source folder with a space in its name. Touches nothing
# of this machine: `dkms` is a stand-in with the rules of the real one (what is there already cannot
# be added; a failed build stays added), and DKMS's folders lie in a temporary one.
# usage: tests/kmod/dkms.sh
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tree="$work/a folder with spaces"
mkdir "$tree"
cp -R "$here/../../Kbuild" "$here/../../kmod" "$here/../../include" "$tree/"
state=$work/state source=$work/usr-src
version=$(sed -n 's/^VERSION := //p' "$tree/kmod/Makefile")

cat >"$work/dkms" <<'END'
#!/usr/bin/env bash
# usage: dkms add|install|remove exmap/VERSION [--all]
set -euo pipefail
count=$(($(cat "$DKMS_TEST/count" 2>/dev/null || echo 0) + 1))
echo "$count" >"$DKMS_TEST/count"
if [[ $count == "$(cat "$DKMS_TEST/fail-at" 2>/dev/null)" ]]; then
  # Killed half-way: something is there, and not all of it.
  mkdir -p "$DKMS_TEST/state/exmap/${2#*/}/build"
  exit 137
fi
place=$DKMS_TEST/state/$2
case $1 in
  add)
    [[ ! -e $place ]] || { echo "Error! DKMS tree already contains: ${2/\//-}" >&2; exit 3; }
    [[ -f $DKMS_TEST/usr-src/dkms.conf ]] ||
      { echo "Error! Could not find module source directory." >&2; exit 2; }
    mkdir -p "$place"
    ln -s "$DKMS_TEST/usr-src" "$place/source"
    ;;
  install)
    [[ -L $place/source ]] ||
      { echo "Error! The module is not located in the DKMS tree." >&2; exit 3; }
    [[ ! -e $place/installed ]] ||
      { echo "Error! This module/version combo is already installed" >&2; exit 5; }
    mkdir -p "$place/build"
    [[ ! -e $DKMS_TEST/broken-kernel ]] ||
      { echo "Error! Bad return status for module build" >&2; exit 10; }
    touch "$place/installed"
    ;;
  remove)
    [[ -f $place/source/dkms.conf ]] ||
      { echo "Error! Could not locate dkms.conf file." >&2; exit 4; }
    rm -rf "$place"
    ;;
esac
END
chmod +x "$work/dkms"
export DKMS_TEST=$work

run() {
  make -s -C "$tree/kmod" "$1" DKMS="$work/dkms" DKMS_SOURCE="$source" \
    DKMS_STATE="$state/exmap/$version" >"$work/log" 2>&1
}
must() { run "$1" || { echo "FAIL  $1 $2"; cat "$work/log"; exit 1; }; }
must_not() { ! run "$1" || { echo "FAIL  $1 $2, and did not"; exit 1; }; }
installed() {
  [[ -e $state/exmap/$version/installed ]] || { echo "FAIL  not installed $1"; exit 1; }
}

must dkms-install "the first time"
installed "the first time"
[[ -f $source/kmod/array.h && -f $source/include/uapi/linux/exmap.h && -f $source/Kbuild ]] ||
  { echo "FAIL  files are missing"; exit 1; }
grep -q "PACKAGE_VERSION=\"$version\"" "$source/dkms.conf" ||
  { echo "FAIL  dkms.conf has no version"; exit 1; }
must dkms-install "again"
installed "again"
touch "$source/kmod/old.c"
must dkms-install "over an older source"
[[ ! -e $source/kmod/old.c ]] || { echo "FAIL  a file of the older source stays"; exit 1; }

touch "$work/broken-kernel"
must_not dkms-install "was to fail with its build"
rm "$work/broken-kernel"
must dkms-install "after a build that failed"
installed "after a build that failed"

must dkms-remove "what is installed"
[[ ! -e $source && ! -e $state/exmap/$version ]] ||
  { echo "FAIL  dkms-remove leaves something"; exit 1; }
must dkms-remove "again"

for ((step = 1; step <= 3; step++)); do
  must dkms-install "before the cut"
  echo 0 >"$work/count"
  echo "$step" >"$work/fail-at"
  run dkms-install || true
  rm "$work/fail-at"
  must dkms-install "after a cut at call $step of dkms"
  installed "after a cut at call $step"
  rm -rf "$source"
  must dkms-install "without the old source"
  installed "without the old source"
done
must dkms-remove "at the end"
echo "dkms-install and dkms-remove: repeated, after failures and cuts: pass"
