#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kills examples/embed/heap_file with SIGKILL at random moments, again and again on the same folder,
# and checks after each that every record is what it should be and none that was reported as
# committed is missing.
# usage: tests/crash/kill_heap_file.sh HEAP_FILE [KILLS]
set -euo pipefail
heap_file=$(realpath "${1:?usage: kill_heap_file.sh HEAP_FILE [KILLS]}")
kills=${2:-100}
work=$(mktemp -d -p .)
trap 'kill -9 "${child:-}" 2>/dev/null || true; rm -rf "$work"' EXIT

for ((n = 1; n <= kills; n++)); do
  "$heap_file" fill "$work/heap" 0 >"$work/done" &
  child=$!
  sleep "0.$(printf '%03d' $((RANDOM % 300 + 50)))"
  kill -9 "$child"
  wait "$child" 2>/dev/null || true
  if ! "$heap_file" check "$work/heap" >"$work/found"; then
    echo "kill $n: the heap is wrong"
    exit 1
  fi
  # The last line may be cut off: the process died while it wrote.
  committed=$(sed '$d' "$work/done" | tail -n 1)
  found=$(sed -nE 's/^([0-9]+) records$/\1/p' "$work/found")
  if [ "$found" -lt "${committed:-0}" ]; then
    echo "kill $n: $committed records were committed, and $found are there"
    exit 1
  fi
done
[ "$found" -gt 0 ] || { echo "nothing was ever committed"; exit 1; }
echo "$kills kills, 0 lost, $found records"
