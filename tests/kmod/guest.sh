#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The guest's half of run.sh: runs each program, says how it ended, and counts. A program that hangs
# is the last one: what it holds would have others hang too.
# usage: guest.sh PROGRAMS SCALE FUZZ_CALLS FUZZ_SECONDS SEED [TEST...] [--expect-stale]
set -u
programs=$1 scale=$2 fuzz_calls=$3 fuzz_seconds=$4 seed=$5
shift 5
within=$(dirname "$0")/../guest/within.sh
# The slowest takes two minutes on the debug kernel; a busy host has made that several times as
# long.
limit_s=600
expect_stale=false
[[ ${*: -1} == --expect-stale ]] && expect_stale=true && set -- "${@:1:$#-1}"

tests=("$@")
if ((${#tests[@]} == 0)); then
  for program in "$programs"/*; do
    [[ -f $program && -x $program && $program != */fuzz_calls ]] && tests+=("${program##*/}")
  done
  tests+=(fuzz_calls)
fi

passed=0 failed=0 skipped=0
for name in "${tests[@]}"; do
  options=(--scale "$scale")
  case $name in
    fuzz_calls) options+=(--calls "$fuzz_calls" --seconds "$fuzz_seconds" --seed "$seed") ;;
    pinned_direct_io | kill_in_flight | published_client) options+=(--device /dev/vm/data0) ;;
    read_undoes_its_own) options+=(--device /dev/vm/data1) ;;
    device_error) options+=(--device /dev/vm/data1 --bad-page 100) ;;
    stale_tlb) $expect_stale && options+=(--expect stale) ;;
  esac
  echo "exmap test: $name" >/dev/kmsg
  start=${EPOCHREALTIME/./}
  output=$("$within" $((limit_s + fuzz_seconds)) "$programs/$name" "${options[@]}" 2>&1)
  status=$?
  tenths=$(((${EPOCHREALTIME/./} - start) / 100000))
  printf -v seconds '%d.%d' $((tenths / 10)) $((tenths % 10))
  case $status in
    0) passed=$((passed + 1)); echo "ok    $name ($seconds s)" ;;
    4) skipped=$((skipped + 1)); echo "skip  $name: ${output##*SKIP: }" ;;
    *) failed=$((failed + 1)); echo "FAIL  $name: exit status $status ($seconds s)" ;;
  esac
  [[ $status == 0 || $status == 4 ]] && output=$(grep '^#' <<<"$output")
  [[ -n $output ]] && printf '      %s\n' "${output//$'\n'/$'\n'      }"
  if ((status == 124)); then
    echo "      the rest was not run"
    break
  fi
done
echo "$passed passed, $failed failed, $skipped skipped on $(uname -r)"
((failed == 0 && passed > 0))
