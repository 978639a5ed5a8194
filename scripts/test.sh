#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what is missing, builds, and runs all tests. Ends with one line that counts them.
# usage: scripts/test.sh [--quick]
#   --quick   leaves the debug kernel out
# Steps in guests run two at a time: a guest waits for much of its time (docs/testing.md). What a
# step prints is shown when it has ended.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=false
for argument in "$@"; do
  case "$argument" in
    --quick) quick=true ;;
    *) echo "test.sh: unknown option '$argument' (allowed: --quick)" >&2; exit 2 ;;
  esac
done

passed=0 failed=0 skipped=0
failures=()
logs=build/test-logs
mkdir -p "$logs"
rm -f "$logs"/{begun,steps}

# count LOG: adds what a test runner's closing lines in LOG say.
count() {
  local p f s
  # ctest: "N% tests passed, F tests failed out of N"
  while read -r f s; do
    failed=$((failed + f)) passed=$((passed + s - f))
  done < <(sed -nE 's/.*tests passed, ([0-9]+) tests? failed out of ([0-9]+).*/\1 \2/p' "$1")
  # ... in which those that were skipped count as passed
  s=$(grep -cE '^\s+[0-9]+ - .* \(Skipped\)$' "$1" || true)
  passed=$((passed - s)) skipped=$((skipped + s))
  # our own runners: "N passed, N failed, N skipped", and on which kernel
  while read -r p f s; do
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  done < <(sed -nE \
    's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped( on .*)?$/\1 \2 \3/p' "$1")
}

# step NAME COMMAND...: runs it, shows what it printed in one piece, and notes how it ended in
# $logs/steps; goes on after a failure.
step() {
  local name=$1 log start=$SECONDS status=0 outcome=ok
  log=$logs/${name// /-}.log
  shift
  echo "=== $name begins"
  echo "$name" >>"$logs/begun"
  "$@" >"$log" 2>&1 || status=$?
  if [ $status -ne 0 ]; then
    outcome="FAILED ($status)"
  fi
  {
    flock 9
    echo "=== $name"
    cat "$log"
    echo "=== $name: $outcome, $((SECONDS - start)) s"
    echo "$status $name" >>"$logs/steps"
  } 9>"$logs/lock"
}

# side_by_side FUNCTION...: two at a time, begun in this order.
side_by_side() {
  local function
  set -m # a process group each, for stop_all
  for function in "$@"; do
    while [ "$(jobs -rp | wc -l)" -ge 2 ]; do wait -n || true; done
    "$function" </dev/null &
  done
  wait
  set +m
}

stop_all() {
  local group
  for group in $(jobs -rp); do kill -TERM -- "-$group" 2>/dev/null; done
  exit 130
}
trap stop_all INT TERM

# said LOG: what the failed tests in LOG said, in a few lines: often the end of the output is all
# that is kept. Of one that took too long, where its threads were (tests/guest/within.sh); of a
# guest's kernel, its report without the registers.
said() {
  local registers='^(CPU|Hardware name|Code|Tainted|Modules linked in|R[^I].|[CF]S|CR2):'
  registers+='|^ +(\? |<)|^---'
  {
    grep -E -A 4 '^FAIL|Failure$|FAILED|not ok|\*\*\*|ERROR: |WARNING: ' "$1" |
      grep -vE '^(--|===)' | tail -n 16
    grep -E -m 1 -A 60 'within\.sh: .* has run for' "$1"
    grep -E -m 1 -A 60 "^vm: the guest's kernel reported:" "$1" |
      sed -E 's/^\[ *[0-9.]+\](\[[^]]*\])? ?//' | grep -vE "$registers" | head -n 20
  } | cut -c 1-160 | sed 's/^/  /' || true
}

# build PRESET: configures and builds, printing only what matters.
build() {
  cmake --preset "$1" >/dev/null
  cmake --build --preset "$1" -- --quiet
}

# The tree's optimistic reads race by design; tests/tsan.supp names them.
run_tsan() {
  TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1" run_tests build/tsan
}

run_tests() {
  ctest --test-dir "$1" --output-on-failure --no-tests=error --parallel "$(nproc)" "${@:2}"
}

# Fetches and builds the kernels that are missing, and the module for each.
build_modules() {
  local kernel
  for kernel in 6.1 6.12 7.3 debug; do
    tools/vm --build-module "$kernel" || return
  done
}

build_release() {
  build release && cmake --build --preset release --target kmod_tests -- --quiet
}

modules() { step "modules" build_modules; }
release() { step "build" build_release; }
style() { step "lint" scripts/lint.sh; }
native() { step "library" run_tests build/release -LE vm; }
sqlite() { step "tests of SQLite" scripts/sqlite.sh --ci; }
# In a chroot.
packages() { [ "$(id -u)" -ne 0 ] || step "packages" scripts/packages-test.sh --quick; }
address() {
  step "build with address and undefined sanitizers" build asan
  step "address and undefined sanitizers" run_tests build/asan
}
thread() {
  step "build with thread sanitizer" build tsan
  step "thread sanitizer" run_tsan
}
debug() { $quick || step "module on debug" tests/kmod/run.sh debug; }
machine() { step "virtual machine" tests/vm/run.sh; }
# All of the library on one kernel; on the others what is near the kernel (tests/guest/all.sh).
library_6.12() { step "library on exmap on 6.12" tests/guest/run.sh 6.12; }
library_6.1() { step "library on exmap on 6.1" tests/guest/run.sh 6.1 --pool; }
library_7.3() { step "library on exmap on 7.3" tests/guest/run.sh 7.3 --pool; }
modules_tested() {
  local kernel
  for kernel in 6.1 6.12 7.3; do
    step "module on $kernel" tests/kmod/run.sh "$kernel"
  done
  step "module without its flush" tests/kmod/run.sh --planted 6.1
}
devices_6.12() { step "library on NVMe on 6.12" tests/guest/run.sh 6.12 --devices; }
devices_7.3() { step "library on NVMe on 7.3" tests/guest/run.sh 7.3 --devices; }
power() { step "power cuts" tests/crash/power.sh 6.12 3; }

scripts/packages.sh build bench test vm lint package
side_by_side modules release
# These use all processors by themselves, and would starve a guest.
style
native
sqlite
packages
address
thread
# The longest first, so that the last two end together.
side_by_side debug library_6.12 modules_tested library_7.3 library_6.1 devices_7.3 devices_6.12 \
  power
# Its guests are timed: alone.
machine

while read -r status name; do
  count "$logs/${name// /-}.log"
  [ "$status" -eq 0 ] || failures+=("$name")
done <"$logs/steps"
while read -r name; do # one that was killed has not ended
  grep -qE "^[0-9]+ $name\$" "$logs/steps" || failures+=("$name")
done <"$logs/begun"
for name in ${failures[@]+"${failures[@]}"}; do
  log=$logs/${name// /-}.log
  echo "FAILED: $name (see $log)"
  said "$log"
done
# A step that broke without its runner counting a failure is one all the same.
[ ${#failures[@]} -le "$failed" ] || failed=${#failures[@]}
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
