#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Kills examples/ledger with SIGKILL at random moments under load, again and again on the same
# database, and checks after each that the sum of all accounts is right and no transfer that was
# reported as done is missing.
# usage: tests/crash/kill.sh LEDGER [KILLS]
set -euo pipefail
ledger=$(realpath "${1:?usage: kill.sh LEDGER [KILLS]}")
kills=${2:-200}
work=$(mktemp -d -p .)
trap 'kill -9 "${child:-}" 2>/dev/null || true; rm -rf "$work"' EXIT

recovered=0
for ((n = 1; n <= kills; n++)); do
  "$ledger" run "$work/bank" 3 0 >"$work/done" &
  child=$!
  sleep "0.$(printf '%03d' $((RANDOM % 600 + 50)))"
  kill -9 "$child"
  wait "$child" 2>/dev/null || true
  if ! "$ledger" check "$work/bank" >"$work/found"; then
    cat "$work/found"
    echo "kill $n: the bank is wrong"
    exit 1
  fi
  # The last line may be cut off: the process died while it wrote.
  sed '$d' "$work/done" | sort -k1,1n -k2,2n |
    awk '{ last[$1] = $2 } END { for (t in last) print t, last[t] }' >"$work/last"
  while read -r thread count; do
    found=$(awk -v t="$thread" 'NF == 2 && $1 == t { print $2 }' "$work/found")
    if [ "${found:-0}" -lt "$count" ]; then
      echo "kill $n: thread $thread had done $count transfers, and ${found:-0} are there"
      exit 1
    fi
  done <"$work/last"
  recovered=$((recovered + $(sed -nE 's/.*recovery: ([0-9]+) transactions.*/\1/p' "$work/found")))
done
tail -1 "$work/found"
# A load that leaves nothing to recover would show nothing.
[ "$recovered" -gt 0 ] || { echo "no recovery had anything to do"; exit 1; }
echo "$kills kills, 0 lost, $recovered transactions recovered"
