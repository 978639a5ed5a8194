#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages that a part of the project needs, and only those that are missing.
# usage: scripts/packages.sh GROUP...      groups: build bench test vm lint sqlite package
# The lists are used by name, through `declare -n`.
# shellcheck disable=SC2034
set -euo pipefail

build=(g++ cmake ninja-build pkg-config liburing-dev libfmt-dev libisal-dev libsqlite3-dev)
bench=(libcli11-dev nlohmann-json3-dev liblmdb-dev libbenchmark-dev gnuplot-nox fio python3)
test=(libgtest-dev libgmock-dev valgrind git patch ccache sqlite3 redis-tools python3-redis
      nutcracker)
vm=(qemu-system-x86 busybox-static cpio kmod debootstrap xz-utils zstd make gcc bc bison flex
    libelf-dev libssl-dev rsync e2fsprogs debian-archive-keyring dpkg-dev sparse dwarves python3)
# For SQLite's own tests (scripts/sqlite.sh).
sqlite=(gcc make tcl tcl-dev zlib1g-dev dpkg-dev debian-archive-keyring python3)
lint=(clang-format clang-tidy shellcheck codespell black flake8 sparse perl python3 git)
package=(debhelper dh-dkms dpkg-dev debootstrap lintian git)

wanted=()
for group in "$@"; do
  case "$group" in
    build | bench | test | vm | lint | sqlite | package)
      declare -n list=$group; wanted+=("${list[@]}") ;;
    *)
      echo "packages.sh: unknown group '$group' (allowed: build bench test vm lint sqlite" \
        "package)" >&2
      exit 2
      ;;
  esac
done

missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
    missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ]; then
  echo "packages.sh: as root, run: apt-get install ${missing[*]}" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
