#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the Debian packages into a fresh Debian 12 root and tries them there: programs are built
# against them, DKMS builds the module, a newer version replaces them, and they go without a trace.
# Builds them first where build/packages (build/packages-fast) has not those of this tree. Needs
# root, for chroot and for mounts in a namespace of its own; this machine stays as it is.
# usage: scripts/packages-test.sh [--quick] [--guest]
#   --quick  packages that are built faster (packages-build.sh --fast), and without Linux 6.12, the
#            upgrade, the module without packages, and the second installation
#   --guest  loads the modules that DKMS has built, in guests (tools/vm)
# shellcheck disable=SC2317 # a step calls what seems not to be called
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=$PWD
fail() { echo "packages-test.sh: $*" >&2; exit 2; }

quick=false guest=false
for argument in "$@"; do
  case "$argument" in
    --quick) quick=true ;;
    --guest) guest=true ;;
    *) fail "unknown option '$argument' (allowed: --quick, --guest)" ;;
  esac
done
[ "$(id -u)" -eq 0 ] || fail "needs root: it uses chroot and mounts"
# All mounts are in a namespace, and go with it.
if [ -z "${PACKAGES_TEST_INSIDE:-}" ]; then
  PACKAGES_TEST_INSIDE=1 exec unshare --mount --propagation private "$0" "$@"
fi

work=$tree/build/packages-test
packages=$tree/build/packages newer=$tree/build/packages-newer
how=(--if-changed --out "$packages")
if $quick; then
  packages+=-fast
  how=(--if-changed --fast --out "$packages")
fi
cache=${XDG_CACHE_HOME:-$HOME/.cache}/exmap-vm
kernels=(6.1 6.12)
! $quick || kernels=(6.1)
mkdir -p "$cache/debs/partial" "$cache/locks"
# The cached root and apt's downloads are for one run at a time.
exec 8>"$cache/locks/packages-test"
flock --nonblock 8 || { echo "waiting for another run of packages-test.sh"; flock 8; }
rm -rf "$work"
mkdir -p "$work/scratch" "$work/modules"
passed=0 failed=0 skipped=0 status=0 running=

# step NAME COMMAND...: one line; after a failure what it printed. COMMAND ends at its first error,
# for which neither it nor step may be part of a condition: a shell would not heed `set -e` there.
step() {
  local name=$1 start=$SECONDS
  status=0
  shift
  set -m # a process group, for stop
  (set -e; "$@") >"$work/step.log" 2>&1 </dev/null &
  running=$!
  set +m
  wait "$running" || status=$?
  running=
  cat "$work/step.log" >>"$work/all.log"
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
    echo "ok      $name ($((SECONDS - start)) s)"
  else
    failed=$((failed + 1))
    echo "FAILED  $name (status $status)"
    tail -n 30 "$work/step.log" | sed 's/^/        /'
  fi
}
stop() {
  [ -z "$running" ] || kill -TERM -- "-$running" 2>/dev/null || true
  exit 130
}
trap stop INT TERM
skip() { skipped=$((skipped + 1)); echo "skipped $1"; }
finish() {
  echo "$passed passed, $failed failed, $skipped skipped"
  [ "$failed" -eq 0 ]
  exit
}
# What the steps after it need.
must() {
  step "$@"
  [ "$status" -eq 0 ] || { echo "what follows was not run"; finish; }
}

root=$work/scratch/root
inside() {
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C \
    DEBIAN_FRONTEND=noninteractive "$@"
}
apt() { inside apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "$@"; }
# shellcheck source=tests/packages/steps.sh
source "$tree/tests/packages/steps.sh"

scripts/packages.sh build bench package
must "build, lintian" scripts/packages-build.sh "${how[@]}"
must "a Debian 12 root" make_root
must "kernel headers" give_headers
must "install" install_packages "$packages"
step "what is where" check_files
step "a program by find_package" program_by_cmake
step "a program by pkg-config, shared and static" program_by_pkg_config
step "what programs depend on" check_dependencies
step "vmcache-check" try_check
step "vmbench" try_bench
for kernel in "${kernels[@]}"; do
  step "the module by DKMS on $kernel" check_module "$kernel"
done

if $quick; then
  skip "upgrade"
else
  must "build of a newer version" scripts/packages-build.sh --if-changed \
    --version "$(next_version)" --out "$newer"
  must "upgrade" install_packages "$newer"
  step "the newer version alone is there" check_upgrade
  step "a program of the older version still runs" \
    inside /root/by-cmake/consumer /tmp/old.db
fi
step "remove" remove_packages
step "purge leaves nothing" purge_packages
if $quick; then
  skip "the module without packages"
  skip "second installation"
else
  step "the module without packages" module_without_packages
  must "install again" install_packages "$packages"
  step "a program by pkg-config, again" program_by_pkg_config
  for kernel in "${kernels[@]}"; do
    step "the module by DKMS on $kernel, again" check_module "$kernel"
  done
fi
for kernel in "${kernels[@]}"; do
  if $guest; then
    step "the module in a guest with $kernel" load_in_guest "$kernel"
  else
    skip "the module in a guest with $kernel (--guest)"
  fi
done
finish
