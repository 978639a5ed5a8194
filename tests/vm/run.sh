#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests of tools/vm itself, by subject in *_tests.sh.
# usage: tests/vm/run.sh [--quick] [--jobs N] [NAME...]
#   --quick leaves the debug kernel out; NAME: only tests so called
#   --jobs  tests that run side by side (default: one a processor): most of the time they wait
# Exit status: 0 all passed, 1 something failed, 2 bad usage.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

vm=tools/vm
# shellcheck disable=SC2034  # for the tests
kernels=(6.1 6.12 7.3)
mkdir -p build/tests/vm
all_work=$(cd build/tests/vm && pwd)
all_scratch=$(mktemp -d) # below /tmp, which the guest covers with a file system of its own
trap 'rm -rf "$all_scratch"' EXIT

# Of the test that runs; each has folders of its own.
work="" scratch="" problem=""

complain() { problem+="    $*"$'\n'; }

# guest STATUS ARGUMENT...: runs tools/vm, which must end with STATUS; its streams go to $work/out
# and $work/err.
guest() {
  local wanted=$1 status=0
  shift
  "$vm" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" -eq "$wanted" ] ||
    complain "exit status $status, wanted $wanted: $vm $*" "$(tail -n 5 "$work/err")"
}

out_is() {
  [ "$(cat "$work/out")" = "$1" ] ||
    complain "output '$(head -c 300 "$work/out")', wanted '$1'"
}
err_has() {
  grep -q -- "$1" "$work/err" ||
    complain "standard error lacks '$1': $(head -c 500 "$work/err")"
}
file_has() { grep -q -- "$2" "$1" || complain "$1 lacks '$2'"; }

subjects=(tests/vm/*_tests.sh)
for subject in "${subjects[@]}"; do
  # shellcheck source=/dev/null
  . "$subject"
done

# In a shell of its own. Its last line says how it ended.
run_test() {
  local name=${1#test_} started=$SECONDS
  work=$all_work/$name scratch=$all_scratch/$name problem=""
  rm -rf "$work"
  mkdir -p "$work" "$scratch"
  "$1"
  if [ -z "$problem" ]; then
    printf 'ok      %s (%d s)\n' "$name" $((SECONDS - started))
  else
    printf 'FAILED  %s (%d s)\n%s' "$name" $((SECONDS - started)) "$problem"
  fi
  rm -rf "$scratch"
}

usage() {
  echo "usage: tests/vm/run.sh [--quick] [--jobs N] [NAME...]" >&2
  exit 2
}
quick=0
jobs=$(nproc)
wanted=()
while [ $# -gt 0 ]; do
  case "$1" in
    --quick) quick=1 ;;
    --jobs)
      [[ ${2:-} =~ ^[1-9][0-9]?$ ]] || usage
      jobs=$2
      shift
      ;;
    -*) usage ;;
    *) wanted+=("test_${1#test_}") ;;
  esac
  shift
done
mapfile -t tests < <(sed -n 's/^\(test_[a-z_]*\)() {.*/\1/p' "${subjects[@]}")
for name in "${wanted[@]}"; do
  [[ " ${tests[*]} " == *" $name "* ]] || { echo "run.sh: no test ${name#test_}" >&2; exit 2; }
done
results=$all_scratch/results
: >"$results"
for name in "${tests[@]}"; do
  [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]] && continue
  if [ "$quick" -eq 1 ] && [[ "$name" == test_debug_* ]]; then
    echo "skipped ${name#test_}: --quick leaves the debug kernel out" | tee -a "$results"
    continue
  fi
  while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
  # What a test says comes in one piece, and in the order in which tests end.
  { said=$(run_test "$name"); printf '%s\n' "$said" | tee -a "$results"; } &
done
wait
passed=$(grep -c '^ok      ' "$results")
failed=$(grep -c '^FAILED  ' "$results")
skipped=$(grep -c '^skipped ' "$results")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
