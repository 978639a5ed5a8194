#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# For simulate.py: whether a heap file that a power cut has left is right, and has all records that
# were reported as committed.
# usage: check_heap_file.sh HEAP_FILE FOLDER COMMITTED
set -euo pipefail
found=$("$1" check "$2")
found=${found% records}
if [ "$found" -lt "${3:-0}" ]; then
  echo "$3 records were committed, and $found are there"
  exit 1
fi
