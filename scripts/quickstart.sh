#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The main job, from nothing: sets up packages, builds, makes databases four times as large as their
# memory, and runs random lookups through mmap, a classic pool with pread, vmcache as published and
# vmcache as it is here, each in the same memory. Ends with a table, build/results/quickstart.json
# and build/results/quickstart.{svg,png}. Can be run again.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<EOF
usage: scripts/quickstart.sh [--pool BYTES] [--data BYTES] [--seconds S] [--threads N]
                             [--dir FOLDER]
  --pool     memory for each system (default 1GiB, or 256MiB where memory or disk is short)
  --data     keys and values (default four times the pool)
  --seconds  measured for each system (default 15)
  --threads  default 1: what one thread can do is the question here
  --dir      where the databases go while it runs, on the disk to be measured
             (default build/results)
EOF
}
fail() { echo "quickstart.sh: $*" >&2; exit 2; }

pool="" data="" seconds=15 threads=1 results=build/results dir=""
while [ $# -gt 0 ]; do
  case "$1" in
    --pool | --data | --seconds | --threads | --dir)
      [ $# -ge 2 ] || fail "$1 needs a value"
      declare "${1#--}=$2"; shift 2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "unknown option '$1'" ;;
  esac
done
dir=${dir:-$results}

scripts/packages.sh build bench
mkdir -p build
# A first build goes without the tests and what they need. `cmake --preset release` adds them.
configure=(cmake --preset release)
[ -e build/release/CMakeCache.txt ] || configure+=(-DVMCACHE_BUILD_TESTS=OFF)
"${configure[@]}" >build/configure.log 2>&1 ||
  { cat build/configure.log >&2; fail "configuring failed"; }
cmake --build build/release --target vmbench
mkdir -p "$results" "$dir"

# Two data files stand side by side, each some 10 % larger than its data; the page cache is limited
# to the pool.
memory_mib=$(($(awk '/^MemAvailable/ {print $2}' /proc/meminfo) / 1024))
disk_mib=$(df --output=avail -BM "$dir" | tail -1 | tr -dc 0-9)
if [ -z "$pool" ]; then
  pool=1GiB
  if [ "$memory_mib" -lt 3000 ] || [ "$disk_mib" -lt 12000 ]; then pool=256MiB; fi
fi
if [ -z "$data" ]; then
  number=${pool%%[!0-9]*} unit=${pool##*[0-9]}
  [ -n "$number" ] || fail "--pool '$pool': expected a number with B, KiB, MiB or GiB"
  data=$((number * 4))$unit
fi

# 1GiB reads better as 1 GiB.
spaced() { echo "$1" | sed -E 's/([0-9])([A-Za-z])/\1 \2/'; }
workers="one thread"
if [ "$threads" -ne 1 ]; then workers="$threads threads"; fi

echo "data $data, memory $pool for each system, $workers," \
  "$seconds s measured after the caches are full"
build/release/bench/vmbench lookup --system mmap,pread,vmcache-sync,vmcache,fio \
  --data "$data" --pool "$pool" --threads "$threads" --seconds "$seconds" \
  --file "$dir/quickstart.db" \
  --json "$results/quickstart.json" --samples "$results/quickstart.tsv"
subtitle="$(spaced "$data") of 128-byte records, $(spaced "$pool") of memory for each system,"
subtitle+=" uniform keys, $workers"
gnuplot -e "data='$results/quickstart.tsv'; output='$results/quickstart'; subtitle='$subtitle'" \
  bench/plots/throughput.gp
echo
echo "wrote $results/quickstart.json, $results/quickstart.svg and $results/quickstart.png"
