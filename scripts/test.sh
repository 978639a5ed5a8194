#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs what is missing, builds, and runs all tests. Ends with one line that counts them.
# usage: scripts/test.sh [--quick]
#   --quick   leaves out what takes over 3 minutes: the sanitizers' long tests and the debug kernel
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
  done < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped( on .*)?$/\1 \2 \3/p' "$1")
}

# step NAME COMMAND...: runs it with its output in a log and on the terminal; goes on after a failure.
step() {
  local name=$1 log start=$SECONDS status=0
  log=$logs/${name// /-}.log
  shift
  echo "=== $name"
  "$@" 2>&1 | tee "$log" || status=$?
  count "$log"
  echo "=== $name: $([ $status -eq 0 ] && echo ok || echo "FAILED ($status)"), $((SECONDS - start)) s"
  if [ $status -ne 0 ]; then
    failures+=("$name")
    return 0
  fi
}

# said LOG: what the failed tests in LOG said, in a few lines: often the end of the output is all that is kept. Of one that
# took too long, where its threads were (tests/guest/within.sh); of a guest's kernel, its report without the registers.
said() {
  {
    grep -E -A 4 '^FAIL|Failure$|FAILED|not ok|\*\*\*|ERROR: |WARNING: ' "$1" | grep -vE '^(--|===)' | tail -n 16
    grep -E -m 1 -A 60 'within\.sh: .* has run for' "$1"
    grep -E -m 1 -A 60 "^vm: the guest's kernel reported:" "$1" | sed -E 's/^\[ *[0-9.]+\](\[[^]]*\])? ?//' |
      grep -vE '^(CPU|Hardware name|Code|Tainted|Modules linked in|R[^I].|[CF]S|CR2):|^ +(\? |<)|^---' | head -n 20
  } | cut -c 1-160 | sed 's/^/  /' || true
}

# build FOLDER OPTION...: configures and builds, printing only what matters.
build() {
  local folder=$1
  shift
  cmake -S . -B "$folder" -G Ninja "$@" >/dev/null
  cmake --build "$folder" -- --quiet
}

# The tree's optimistic reads race by design; tests/tsan.supp names them.
run_tsan() { TSAN_OPTIONS="suppressions=$PWD/tests/tsan.supp halt_on_error=1" run_tests build/tsan; }

run_tests() { ctest --test-dir "$1" --output-on-failure --no-tests=error --parallel "$(nproc)" "${@:2}"; }

scripts/packages.sh build bench test vm

step "build" build build/release -DCMAKE_BUILD_TYPE=Release
step "library" run_tests build/release -LE vm

step "build with address and undefined sanitizers" build build/asan -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DVMCACHE_SANITIZE=address -DVMCACHE_BUILD_BENCH=OFF -DVMCACHE_BUILD_EXAMPLES=OFF
step "address and undefined sanitizers" run_tests build/asan
step "build with thread sanitizer" build build/tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DVMCACHE_SANITIZE=thread -DVMCACHE_BUILD_BENCH=OFF -DVMCACHE_BUILD_EXAMPLES=OFF
step "thread sanitizer" run_tsan

step "virtual machine" tests/vm/run.sh
step "module without its flush" tests/kmod/run.sh --planted 6.1
for kernel in 6.1 6.12 7.3; do
  step "module on $kernel" tests/kmod/run.sh "$kernel"
  step "library on exmap on $kernel" tests/guest/run.sh "$kernel"
done
for kernel in 6.12 7.3; do
  step "library on NVMe on $kernel" tests/guest/run.sh "$kernel" --devices
done
step "power cuts" tests/crash/power.sh 6.12 3
if ! $quick; then
  step "module on debug" tests/kmod/run.sh debug
fi

for name in ${failures[@]+"${failures[@]}"}; do
  log=$logs/${name// /-}.log
  echo "FAILED: $name (see $log)"
  said "$log"
done
# A step that broke without its runner counting a failure is one all the same.
[ ${#failures[@]} -le "$failed" ] || failed=${#failures[@]}
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
