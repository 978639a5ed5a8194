#!/bin/sh
# SPDX-License-Identifier: MIT
# In a guest: databases on a drive that fails (failing_drive.sh). Debian's sqlite3 on the VFS
# vmcache gets SQLITE_IOERR and no signal, and nothing that was committed is lost.
# usage: drive_errors.sh DEVICE VMCACHE_SQLITE.SO
usage="usage: drive_errors.sh DEVICE VMCACHE_SQLITE.SO"
device=${1:?$usage}
extension=$(realpath "${2:?$usage}")
passed=0 failed=0
# A transfer that has failed once fails: the kernel does not try it again.
retries=/sys/module/nvme_core/parameters/max_retries
before=$(cat "$retries")
echo 0 >"$retries"
mkdir -p /tmp/drive
mount -t ext4 "$device" /tmp/drive || exit 1
cd /tmp/drive || exit 1

# ours FILE SQL: what the shell says, and its exit status, are in $said.
ours() {
  said=$(sqlite3 :memory: ".load ${extension%.so}" ".log stderr" \
    ".open file:$1?vfs=vmcache&pool_mib=4" "pragma mmap_size = 2147418112" "$2" 2>&1
    echo "status $?")
}
stock() {
  said=$(sqlite3 "$1" "$2" 2>&1; echo "status $?")
}
# check NAME WORDS...: $said has all of the words.
check() {
  name=$1
  shift
  for words in "$@"; do
    case $said in
      *"$words"*) ;;
      *)
        failed=$((failed + 1))
        echo "FAIL $name: no '$words' in:"
        echo "$said"
        return
        ;;
    esac
  done
  passed=$((passed + 1))
  echo "ok   $name"
}

# So the drive does fail.
stock read.db "pragma mmap_size = 2147418112; select sum(length(v)) from t"
check "the mapping of SQLite's own VFS gets SIGBUS" "status 135"
ours read.db "select sum(length(v)) from t"
check "a page that cannot be read is an error" "disk I/O error" "status 1"
ours read.db "select a from other"
check "the rest can be read" "42" "status 0"

ours write.db "update t set n = 1"
check "a page that cannot be written fails the commit" "disk I/O error" "status 1"
stock write.db "pragma integrity_check; select count(*), sum(n) from t"
check "the transaction is not there" "ok" "2000|0"
ours write.db "update t set n = 2; select sum(n) from t"
check "the next one succeeds" "4000" "status 0"
stock write.db "pragma integrity_check; select count(*), sum(n) from t"
check "it is there" "ok" "2000|4000"

ours wal.db "pragma wal_autocheckpoint = 0; update t set n = 1; pragma wal_checkpoint(truncate)"
check "a checkpoint that cannot write is an error" "disk I/O error" "status 1"
stock wal.db "pragma integrity_check; select count(*), sum(n) from t"
check "it loses nothing" "ok" "2000|2000"
cd /
umount /tmp/drive
echo "$before" >"$retries"
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
