#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the library's test programs inside one virtual machine.
# usage: tests/guest/run.sh KERNEL [MEMORY [STORAGE]]
#          all programs on one kind of memory and storage
#        tests/guest/run.sh KERNEL --pool
#          on exmap memory and files, what asks the kernel for memory and transfers (all.sh)
#        tests/guest/run.sh KERNEL --devices
#          errors of NVMe devices, also under SQLite, and a few programs on each memory and on
#          passthrough, over one device and over a stripe of two
#        tests/guest/run.sh KERNEL --matrix
#          all programs on each memory and on passthrough, over one device and over a stripe of two
#   KERNEL: 6.1, 6.12, 7.3 or debug; MEMORY: exmap (default) or anonymous;
#   STORAGE: files (default), nvme or stripe
set -euo pipefail
usage="usage: run.sh KERNEL [MEMORY [STORAGE]] or run.sh KERNEL --pool|--devices|--matrix"
kernel=${1:?$usage}
memory=${2:-exmap}
tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$tree"
if [ "$memory" = --devices ]; then
  sqlite=()
  if [ -e build/release/adapters/sqlite/vmcache_sqlite.so ] && command -v sqlite3 >/dev/null; then
    drive=build/sqlite-drive-$kernel
    tests/sqlite/failing_drive.sh "$drive"
    sqlite=(--load ext4 --nvme "64M,image=$drive/sqlite.img,errors=$drive/sqlite.blkdebug")
  fi
  exec tools/vm --kernel "$kernel" --memory 2G --timeout 2400 --nvme 512M,poll --nvme 512M \
    --nvme "64M,errors=$tree/tests/guest/errors/transfers.blkdebug" \
    --nvme "64M,errors=$tree/tests/guest/errors/flush.blkdebug" --nvme 64M,hotplug \
    ${sqlite[@]+"${sqlite[@]}"} -- \
    sh tests/guest/devices.sh
fi
if [ "$memory" = --matrix ]; then
  exec tools/vm --kernel "$kernel" --memory 2G --timeout 7200 --nvme 512M --nvme 512M -- \
    sh tests/guest/matrix.sh
fi
programs=all
if [ "$memory" = --pool ]; then
  memory=exmap programs=pool
fi
# A folder that changes while the guest lists it may lose names.
there=(build/release/tests/*/*_test)
exec tools/vm --kernel "$kernel" --memory 2G --timeout 3000 --nvme 512M --nvme 512M -- \
  sh tests/guest/all.sh "$memory" "${3:-files}" "$programs" "${#there[@]}"
