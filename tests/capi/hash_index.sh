#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The example in C finds all that it was given, after a close and an open, and no more.
# usage: tests/capi/hash_index.sh HASH_INDEX FOLDER
set -euo pipefail
program=${1:?usage: hash_index.sh HASH_INDEX FOLDER}
file=${2:?usage: hash_index.sh HASH_INDEX FOLDER}/hash_index.db
rm -f "$file"
if "$program" check "$file" 1; then
  echo "hash_index check has found entries in a file that does not exist" >&2
  exit 1
fi
"$program" fill "$file" 17000 # some 130 pages in memory for 32, with overflow pages
"$program" check "$file" 17000
"$program" fill "$file" 1000 # again: nothing is there twice
if "$program" check "$file" 17001; then
  echo "hash_index check has found an entry that was not put in" >&2
  exit 1
fi
rm -f "$file"
