#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the module's test programs inside one virtual machine: a line a test, a closing count; a
# report in the guest's kernel log fails the run.
# usage: tests/kmod/run.sh [--build FOLDER] [--scale PERCENT] [--fuzz-calls N] [--fuzz-seconds S]
#                          [--seed S] [--planted] KERNEL [TEST...]
#   KERNEL      6.1, 6.12, 7.3 or debug
#   --planted   builds the module without its TLB flush and demands that stale_tlb catches it
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(cd "$here/../.." && pwd)
build=$tree/build/release scale='' fuzz_calls='' fuzz_seconds='' seed=$RANDOM planted=false
while [[ ${1-} == --* ]]; do
  case $1 in
    --build) build=$(realpath "$2"); shift ;;
    --scale) scale=$2; shift ;;
    --fuzz-calls) fuzz_calls=$2; shift ;;
    --fuzz-seconds) fuzz_seconds=$2; shift ;;
    --seed) seed=$2; shift ;;
    --planted) planted=true ;;
    *) echo "run.sh: unknown option $1" >&2; exit 2 ;;
  esac
  shift
done
kernel=${1:?usage: run.sh [OPTION]... KERNEL [TEST...]}
shift

# Two minutes each on two slow cores. The debug kernel is some five times slower, and has the long
# fuzzing: some 150,000 calls in its time.
if [[ $kernel == debug ]]; then
  : "${scale:=5}" "${fuzz_calls:=1000000}" "${fuzz_seconds:=60}"
else
  : "${scale:=12}" "${fuzz_calls:=30000}" "${fuzz_seconds:=300}"
fi
echo "tests at $scale % of their full counts, $fuzz_calls fuzzed calls in at most" \
  "$fuzz_seconds s, seed $seed"

# Another run may build in the same folder.
flock "$build/.building" cmake --build "$build" --target kmod_tests -- --quiet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
vm=$tree/tools/vm
if $planted; then
  # A tree of its own, so that the planted module can never be taken for the real one.
  vm=$work/tree/tools/vm
  mkdir "$work/tree"
  cp -r "$tree"/{Kbuild,kmod,include,tools} "$work/tree/"
  sed -i '1i EXMAP_PLANT := no_flush' "$work/tree/kmod/Kbuild"
  build_share=(--build "$work/tree/build")
  set -- stale_tlb --expect-stale
else
  build_share=(--build "$build")
fi

# Page 100 of the second drive can be neither read nor written.
cat >"$work/errors" <<'END'
[inject-error]
event = "read_aio"
errno = "5"
sector = "800"

[inject-error]
event = "write_aio"
errno = "5"
sector = "800"
END

# For the test of a guest inside the guest; the debug kernel has no modules, and no KVM.
load=()
[[ $kernel == debug ]] || load=(--load kvm_amd)

"$vm" --kernel "$kernel" --timeout $((2400 + fuzz_seconds)) "${load[@]}" "${build_share[@]}" \
  --nvme 64M --nvme "64M,errors=$work/errors" -- \
  "$here/guest.sh" "$build/tests/kmod" "$scale" "$fuzz_calls" "$fuzz_seconds" "$seed" "$@"
