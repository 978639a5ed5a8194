#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The loadable extension in Debian's sqlite3: what docs/sqlite.md shows works, another process finds
# the database busy, and wrong parameters are refused with the reason.
# usage: tests/sqlite/shell.sh SQLITE3 VMCACHE_SQLITE.SO
set -euo pipefail
sqlite3=${1:?usage: shell.sh SQLITE3 VMCACHE_SQLITE.SO}
extension=$(realpath "${2:?usage: shell.sh SQLITE3 VMCACHE_SQLITE.SO}")
extension=${extension%.so}
work=$(mktemp -d -p "$PWD")
trap 'rm -rf "$work"' EXIT
cd "$work"

fail() {
  echo "shell.sh: $*" >&2
  exit 1
}

found=$("$sqlite3" :memory: ".load $extension" ".open file:a.db?vfs=vmcache&pool_mib=16" .vfsname \
  "create table t(a); insert into t values(1), (2); select sum(a) from t;" \
  ".shell $sqlite3 a.db 'select sum(a) from t' 2>&1 || true")
[[ "$found" == *$'vmcache\n3'* && "$found" == *"database is locked"* ]] || fail "found: $found"

[ "$("$sqlite3" a.db "select sum(a) from t; pragma integrity_check")" = $'3\nok' ] ||
  fail "after the end, stock SQLite does not find what was written"

refused=$("$sqlite3" :memory: ".load $extension" ".log stderr" \
  ".open file:b.db?vfs=vmcache&pool_mib=nought" 2>&1 || true)
[[ "$refused" == *"pool_mib=nought: allowed are 1 to"* ]] || fail "said: $refused"
[ ! -e b.db ] || fail "b.db was made by an open that was refused"
echo "shell.sh: ok"
