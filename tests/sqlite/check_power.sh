#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# For tests/crash/power_cuts/simulate.py: whether what a power cut has left of power_work's database
# is sound, and has the transactions that were acknowledged. SQLite's own VFS reads it.
# usage: tests/sqlite/check_power.sh FOLDER ACKNOWLEDGED
set -euo pipefail
database=$1/test.db
acknowledged=${2:-}
if [ -z "$acknowledged" ]; then # its tables need not be there yet
  [ ! -e "$database" ] || [ "$(sqlite3 "$database" "pragma integrity_check")" = ok ]
  exit
fi
found=$(sqlite3 "$database" "pragma integrity_check; select coalesce(max(n), 0) from done;
  select count(*) from rows where n <> coalesce((select max(n) from done where n%10 = a%10), 0)")
read -rd '' sound last wrong <<<"$found" || true
[ "$sound" = ok ] || { echo "integrity_check: $found"; exit 1; }
[ "$last" -ge "$acknowledged" ] || { echo "$acknowledged is lost, there is $last"; exit 1; }
[ "$wrong" = 0 ] || { echo "a transaction is there in part: $found"; exit 1; }
