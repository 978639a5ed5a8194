#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What each layer between a database and its SSD costs, in one table: builds, runs `vmbench io` in
# virtual machines with two NVMe drives (poll queues, md RAID 0, ext4) and on this machine, and
# writes docs/ladder.md and bench/results/ladder-*.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<END
usage: scripts/ladder.sh [--kernels LIST] [--parts LIST] [--ios N] [--rounds N] [--depth N]
                         [--seconds S] [--dir FOLDER] [--report]
  --kernels  of the virtual machines, with commas (default 6.12,7.3)
  --parts    of host, instructions and times, with commas (default all); JSON of the others
             stays what it was
  --ios      transfers a row where instructions are counted (default 3000; of rungs that wait
             for each, a third)
  --rounds   of a row and its fio, which take turns, where instructions are counted (default 3;
             of rungs that wait for each, at least 5)
  --depth    transfers in flight a thread, of rungs with a queue (default 128); a quarter of
             them is the batch
  --seconds  a row where time is measured (default 1)
  --dir      a folder on the disk to be measured on this machine (default build/ladder)
  --report   only write docs/ladder.md again, from the JSON there is
END
}
fail() { echo "ladder.sh: $*" >&2; exit 2; }

kernels=6.12,7.3 parts=host,instructions,times ios=3000 rounds=3 depth=128 seconds=1
dir=build/ladder report=false
while [ $# -gt 0 ]; do
  case "$1" in
    --kernels | --parts | --ios | --rounds | --depth | --seconds | --dir)
      [ $# -ge 2 ] || fail "$1 needs a value"
      declare "${1#--}=$2"; shift 2 ;;
    --report) report=true; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; fail "unknown option '$1'" ;;
  esac
done

# check OPTION LIST ALLOWED: refuses what is not in the list of what is allowed.
check() {
  local item
  [ -n "$2" ] || fail "$1 '': expected some of $3, with commas"
  for item in ${2//,/ }; do
    case ",$3," in
      *",$item,"*) ;;
      *) fail "$1 '$2': '$item' is not known (allowed: $3)" ;;
    esac
  done
}
check --parts "$parts" host,instructions,times
check --kernels "$kernels" 6.1,6.12,7.3
for option in ios rounds depth; do
  [[ ${!option} =~ ^[1-9][0-9]*$ ]] ||
    fail "--$option '${!option}': expected a whole number, at least 1"
done

batch=$(((depth + 3) / 4)) # as large a part as the library's workers wait for
wanted() { case ",$parts," in *",$1,"*) true ;; *) false ;; esac }

vmbench=build/release/bench/vmbench
work=build/ladder

# machine KERNEL KIND GROUPS DRIVE_OPTIONS TOOL_OPTION... -- VMBENCH_OPTION...: those groups of
# rungs in a virtual machine, into build/ladder/KERNEL-KIND/GROUP.json.
machine() {
  local kernel=$1 kind=$2 groups=$3 drive=512M,poll$4 options=()
  shift 4
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  mkdir -p "$work/$kernel-$kind"
  echo "=== Linux $kernel in a virtual machine, $kind, $groups"
  tools/vm --kernel "$kernel" --nvme "$drive" --nvme "$drive" --load raid0 --timeout 2400 \
    "${options[@]}" -- sh bench/vmbench/io/ladder_guest.sh "$work/$kernel-$kind" "$groups" \
    --depth "$depth" --batch "$batch" "$@"
}

# merge KERNEL KIND: bench/results/ladder-KERNEL-KIND.json, from the top rung down.
merge() {
  local parts=("$work/$1-$2/"{blocking,fs,md,disks}.json)
  scripts/ladder_report.py merge "bench/results/ladder-$1-$2.json" "${parts[@]}"
}

span=768MiB

count_instructions() {
  local kernel=$1 least=$rounds
  # Who waits for each transfer sleeps, or not, as it pleases the host: drives that are always late
  # make it sleep each time. A small span has few page tables, which fio, whose runs are longer,
  # makes for fewer of its transfers. A page fault's count has two modes: more rounds.
  [ "$least" -ge 5 ] || least=5
  machine "$kernel" instructions blocking ",shared-iops=400" --icount -- --span 256MiB \
    --ios $(((ios + 2) / 3)) \
    --rounds "$least" --icount-clock
  machine "$kernel" instructions disks,md,fs "" --icount -- --span $span --ios "$ios" \
    --rounds "$rounds" --icount-clock
  merge "$kernel" instructions
}

measure_times() {
  machine "$1" times disks,md,blocking,fs "" --cpus 2 -- --span $span --seconds "$seconds" \
    --threads 1,2
  merge "$1" times
}

if ! $report; then
  scripts/packages.sh build bench test vm
  mkdir -p "$work" "$dir"
  cmake -S . -B build/release -G Ninja -DCMAKE_BUILD_TYPE=Release >build/configure.log 2>&1 ||
    { cat build/configure.log >&2; fail "configuring failed"; }
  cmake --build build/release --target vmbench

  if wanted host; then
    echo "=== this machine"
    "$vmbench" io --devices "$dir/ladder.file" --span 1GiB --depth "$depth" --batch "$batch" \
      --seconds "$seconds" --json bench/results/ladder-host.json \
      --tsv "$work/host.tsv"
  fi
  for kernel in ${kernels//,/ }; do
    ! wanted instructions || count_instructions "$kernel"
    ! wanted times || measure_times "$kernel"
  done
fi
mkdir -p "$work"
scripts/ladder_report.py write docs/ladder.md bench/results/ladder-*.json
for kernel in ${kernels//,/ }; do
  scripts/ladder_report.py tsv "bench/results/ladder-$kernel-instructions.json" >"$work/$kernel.tsv"
  subtitle="random 4 KiB reads, one thread, Linux $kernel in an emulated machine, "
  subtitle+="instructions of user and kernel"
  gnuplot -e "data='$work/$kernel.tsv'; output='$work/ladder-$kernel'; subtitle='$subtitle'" \
    bench/plots/ladder.gp
done
echo "wrote docs/ladder.md and $work/ladder-*.svg, .png"
