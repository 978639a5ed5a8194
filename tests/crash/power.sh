#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Cuts the power of a virtual machine, again and again, while examples/ledger works on two NVMe
# drives with volatile write caches, and checks after each cut that the sum of all accounts is right
# and no transfer reported as done is missing: in the next machine and, for some more ways that the
# cut may have ended, here on copies of the drives. The last machine has drives that take a flush
# for done without one: what they lose must be seen.
# usage: tests/crash/power.sh [KERNEL [CUTS [SEED]]]
#   6.12, 3, and a new one; the same seed makes the same choices, but how far the guest has come
#   when it is cut is not in it
# A failure leaves its drives in build/tests/power; the message says how to look at them.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
kernel=${1:-6.12}
cuts=${2:-3}
seed=${3:-$((RANDOM * 32768 + RANDOM))}
if ! [[ $cuts =~ ^[1-9][0-9]*$ && $seed =~ ^[0-9]+$ ]]; then
  sed -n 's/^# \(usage\|  \)/\1/p' "$0" >&2
  exit 2
fi
endings=6 # of each cut, checked here
ledger=$PWD/build/release/examples/ledger
drive=$PWD/tools/vm.d/volatile_drive.py
work=$PWD/build/tests/power
rm -rf "$work"
mkdir -p "$work"
RANDOM=$((seed % 32768))
recovered=0 lost_sectors=0 checked=0

fail() {
  echo "FAILED: $*"
  echo "the drives after the cut: $work/cut; seed $seed. For one way that it may have ended:
  cd $work/cut && $drive lose bank SEED && $drive lose bank.log SEED && $ledger check bank"
  echo "0 passed, 1 failed, 0 skipped on $kernel"
  exit 1
}

# machine OUT OPTION... -- COMMAND: with the two drives; its standard output goes to OUT. Prints the
# exit status.
machine() {
  local out=$1 status=0
  shift
  tools/vm --kernel "$kernel" --timeout 300 --out "$work" --nvme "64M,image=$work/bank,$cache" \
    --nvme "64M,image=$work/bank.log,$cache" "$@" >"$out" 2>"$work/err" </dev/null || status=$?
  echo "$status"
}

# judge FOUND: what `ledger check` said in FOUND has all transfers that were reported so far. The
# last line of a report may be cut off.
judge() {
  local thread count found
  checked=$((checked + 1))
  while read -r thread count; do
    found=$(awk -v t="$thread" 'NF == 2 && $1 == t { print $2 }' "$1")
    if [ "${found:-0}" -lt "$count" ]; then
      echo "thread $thread had done $count transfers, and ${found:-0} are there"
      return 1
    fi
  done < <(cat "$work"/done.* 2>/dev/null |
    awk '$2 > last[$1] { last[$1] = $2 } END { for (t in last) print t, last[t] }')
  recovered=$((recovered + $(sed -nE 's/.*recovery: ([0-9]+) transactions.*/\1/p' "$1")))
}

# ending SEED: checks the drives as that seed has them end, on copies.
ending() {
  rm -rf "$work/copy"
  cp -r --sparse=always "$work/cut" "$work/copy"
  "$drive" lose "$work/copy/bank" "$1" >/dev/null &&
    "$drive" lose "$work/copy/bank.log" "$1" >/dev/null &&
    "$ledger" check "$work/copy/bank" >"$work/found" 2>&1 && judge "$work/found"
}

# Where page file and log lie in the guest.
place() {
  case $(($1 % 3)) in
    0) echo data0 data1 ;;
    1) echo data0-char data1-char ;;
    2) echo data0-char data1 ;;
  esac
}
# shellcheck disable=SC2016  # for the guest's shell
in_guest='ln -s "/dev/vm/$1" /tmp/bank; ln -s "/dev/vm/$2" /tmp/bank.log
[ "$3" != recovery ] || echo begins
"$0" check /tmp/bank >/tmp/found || { cat /tmp/found >&2; exit 1; }
sed "s/^/found /" /tmp/found >&2
exec "$0" run /tmp/bank 3 0'

cache=volatile
for ((n = 1; n <= cuts + 1; n++)); do
  read -r pages log < <(place $n)
  # Counted from the first report; or from before the recovery, for a cut in its middle is a crash
  # like any other.
  how=load after=$(printf '%d.%02d' $((RANDOM % 4)) $((RANDOM % 99 + 1)))
  if ((n % 4 == 2)); then
    how=recovery
  fi
  if [ $n -gt "$cuts" ]; then
    how=load cache=ignore-flush
  fi
  status=$(machine "$work/out" --cut-power "$after" -- \
    sh -c "$in_guest" "$ledger" "$pages" "$log" "$how")
  if [ "$status" -ne 122 ]; then
    cat "$work/out" "$work/err"
    fail "cut $n ($how): exit status $status"
  fi
  sed -n 's/^found //p' "$work/err" >"$work/found"
  if [ $how = recovery ]; then
    how=$([ -s "$work/found" ] && echo "after recovery" || echo "in recovery")
  fi
  [ "$how" = "in recovery" ] || judge "$work/found" || fail "after cut $((n - 1)), in the machine"
  sed '$d' "$work/out" | grep -E '^[0-9]+ [0-9]+$' >"$work/done.$n" || true

  rm -rf "$work/cut"
  mkdir "$work/cut"
  cp --sparse=always "$work"/bank{,.unflushed} "$work"/bank.log{,.unflushed} "$work/cut"
  wrong=0
  for ((m = 1; m <= endings; m++)); do
    ending $((seed + n * 100 + m)) && continue
    wrong=$((wrong + 1))
    [ $cache = volatile ] || continue
    tail -n 3 "$work/found"
    fail "cut $n ($how) as of seed $((seed + n * 100 + m))"
  done
  "$drive" lose "$work/bank" $((seed + n * 100)) >"$work/lost"
  "$drive" lose "$work/bank.log" $((seed + n * 100)) >>"$work/lost"
  [ $n -le "$cuts" ] || break
  lost_sectors=$((lost_sectors + $(awk '{ sum += $6 } END { print sum }' "$work/lost")))
  echo "cut $n, $how, after $after s, on $pages and $log: $(wc -l <"$work/done.$n") reports"
  sed 's/^/  /' "$work/lost"
done
[ "$wrong" -gt 0 ] || fail "drives that ignore flushes lost nothing that was seen"
echo "of drives that ignore flushes $wrong of $endings endings were seen to be wrong"
# A load that leaves nothing to lose and nothing to recover would show nothing.
[ $((recovered > 0 && lost_sectors > 0)) -eq 1 ] || fail "no recovery had anything to do"
echo "seed $seed: $cuts cuts, $checked checks, 0 transfers lost," \
  "$recovered transactions recovered," \
  "$lost_sectors sectors lost"
rm -rf "$work"
echo "$((cuts + 1)) passed, 0 failed, 0 skipped on $kernel"
