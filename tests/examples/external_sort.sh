#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Sorts a file of several times the pool's memory with examples/embed/external_sort, and compares it
# with what sort makes of it.
# usage: external_sort.sh EXTERNAL_SORT
set -euo pipefail
sorter=$(realpath "$1")
work=$(mktemp -d -p .)
trap 'rm -rf "$work"' EXIT

# Lines of all lengths: empty ones, and one of several pages.
seq 1 400000 | sed -E 's/^([0-9]*)(.)$/\2\1 some text that makes the line longer/; s/^7.*//' \
  >"$work/input"
head -c 20000 /dev/zero | tr '\0' 'z' >>"$work/input"
echo >>"$work/input"
TMPDIR=$(realpath "$work") "$sorter" "$work/input" "$work/output" 4 2>"$work/said"
LC_ALL=C sort "$work/input" | cmp - "$work/output"
cat "$work/said"
grep -qE '^[0-9]+ runs, [0-9]+ pages, [1-9][0-9]* written, [1-9][0-9]* read$' "$work/said"

# Memory suffices: nothing is written.
head -n 1000 "$work/input" >"$work/few"
TMPDIR=$(realpath "$work") "$sorter" "$work/few" "$work/sorted" 4 2>"$work/said"
LC_ALL=C sort "$work/few" | cmp - "$work/sorted"
grep -qE '^1 runs, [0-9]+ pages, 0 written, 0 read$' "$work/said"

# Refused, and nothing is made or overwritten.
for arguments in "$work/none $work/new" "$work/few $work/output" "$work/few $work/new 3" \
  "$work/few $work/new 4x"; do
  # shellcheck disable=SC2086 # words
  if "$sorter" $arguments 2>>"$work/said"; then
    echo "'$arguments' was accepted"
    exit 1
  fi
done
[ ! -e "$work/new" ]
# No scratch file is left.
[ "$(find "$work" -name 'vmcache*' | wc -l)" -eq 0 ]
