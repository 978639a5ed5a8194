#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Builds the Debian packages from a copy of this tree, with what git does not know yet and without
# what it ignores, and has lintian look at them. They are then in build/packages.
# usage: scripts/packages-build.sh [--version VERSION] [--out FOLDER] [--if-changed] [--fast]
#   --version VERSION  as if the tree were of this version (for tests of upgrades)
#   --out FOLDER       where to, from the top of the tree (default build/packages); its content is
#                      replaced
#   --if-changed       nothing, where FOLDER has the packages of this tree; tests/ is not compared
#   --fast             to try them, not to use them: compiled as the preset "release" does it, so
#                      that ccache has it already, and without debug information
# DEB_BUILD_OPTIONS is Debian's: "parallel=2" limits the processes, "noautodbgsym" leaves the
# packages with debug information out. The tests are not run (scripts/test.sh does that).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=$PWD
fail() { echo "packages-build.sh: $*" >&2; exit 2; }

version="" out=build/packages if_changed=false fast=false
while [ $# -gt 0 ]; do
  case "$1" in
    --version | --out)
      [ -n "${2:-}" ] || fail "$1 needs a value"
      declare "${1#--}=$2"; shift 2 ;;
    --if-changed) if_changed=true; shift ;;
    --fast) fast=true; shift ;;
    *)
      fail "unknown option '$1' (allowed: --version VERSION, --out FOLDER, --if-changed, --fast)"
      ;;
  esac
done
[ -z "$version" ] || [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] ||
  fail "--version '$version': expected three numbers, as in 0.2.1"

# The folder is emptied: it must be one of ours.
mkdir -p "$out"
out=$(realpath "$out")
[ -e "$out/packages.stamp" ] || [ -z "$(ls -A "$out")" ] ||
  fail "--out '$out': is neither empty nor a folder that this script has made"

files=$(mktemp)
trap 'rm -f "$files"' EXIT
git ls-files -z --cached --others --exclude-standard >"$files" ||
  fail "needs a git checkout: git says which files belong to the source"
# What was deleted and not committed yet is still listed.
present() { while IFS= read -r -d '' name; do [ ! -f "$name" ] || printf '%s\0' "$name"; done; }
present <"$files" >"$files.present" && mv "$files.present" "$files"
# Tests and other scripts change no package but that of the source.
state=$({ grep -zvE '^(tests|scripts)/' "$files" | xargs -0 sha256sum
  sha256sum scripts/packages-build.sh
  echo "$version $fast ${DEB_BUILD_OPTIONS:-}"; } | sha256sum)
if $if_changed && [ "$(cat "$out/packages.stamp" 2>/dev/null)" = "$state" ]; then
  echo "packages are up to date in $out"
  exit 0
fi

# One tree, one version.
tree_version=$(sed -nE 's/^project\(vmcache VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
kmod_version=$(sed -n 's/^VERSION := //p' kmod/Makefile)
deb_version=$(dpkg-parsechangelog -l packaging/debian/changelog -S Version)
[ "$tree_version $tree_version" = "$kmod_version ${deb_version%-*}" ] ||
  fail "versions differ: CMakeLists.txt has '$tree_version', kmod/Makefile '$kmod_version'," \
    "packaging/debian/changelog '$deb_version' (allowed there: $tree_version-N)"

scripts/packages.sh build bench package
rm -rf "$out"
source=$out/source/vmcache-${version:-$tree_version}
mkdir -p "$source"
touch "$out/packages.stamp" # ours, and not finished
xargs -0 cp --parents --preserve=mode,timestamps -t "$source" <"$files"
if [ -n "$version" ]; then
  sed -i "s/^project(vmcache VERSION $tree_version/project(vmcache VERSION $version/" \
    "$source/CMakeLists.txt"
  sed -i "s/^VERSION := .*/VERSION := $version/" "$source/kmod/Makefile"
  sed -i "1s/(.*)/($version-1)/" "$source/packaging/debian/changelog"
fi
tar -C "$out/source" --sort=name --owner=0 --group=0 --numeric-owner -cf - "${source##*/}" |
  gzip -1 >"$out/source/vmcache_${version:-$tree_version}.orig.tar.gz"
cp -R "$source/packaging/debian" "$source/debian"

# debhelper gives the build a home folder of its own, where the cache of the compiler is not.
if command -v ccache >/dev/null; then
  CCACHE_DIR=${CCACHE_DIR:-$(ccache --get-config cache_dir)}
  export CCACHE_DIR
fi
DEB_BUILD_OPTIONS="nocheck ${DEB_BUILD_OPTIONS:-}"
[[ $DEB_BUILD_OPTIONS == *parallel=* ]] || DEB_BUILD_OPTIONS+=" parallel=$(nproc)"
if $fast; then
  DEB_BUILD_OPTIONS+=" noautodbgsym"
  # dpkg-buildflags takes the latter as they are.
  export PACKAGES_FAST=1
  export DEB_CPPFLAGS_SET="" DEB_CFLAGS_SET="" DEB_CXXFLAGS_SET="" DEB_LDFLAGS_SET=""
fi
export DEB_BUILD_OPTIONS
log=$out/build.log
(cd "$source" && dpkg-buildpackage --unsigned-source --unsigned-changes) >"$log" 2>&1 ||
  { tail -n 40 "$log" >&2; echo "packages-build.sh: the build failed (see $log)" >&2; exit 1; }
mv "$out"/source/*.{deb,dsc,changes,buildinfo,tar.*} "$out/"
rm -rf "$out/source"

cd "$out"
# Not for an upload to Debian, where a first one closes a request in the bug tracker.
lintian --allow-root --fail-on error --tag-display-limit 0 \
  --suppress-tags initial-upload-closes-no-bugs vmcache_*.changes
echo "$state" >packages.stamp
cd "$tree"
echo "packages are in $out:"
(cd "$out" && ls -1 -- *.deb)
