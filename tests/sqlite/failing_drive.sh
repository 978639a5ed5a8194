#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Makes the drive for drive_errors.sh: FOLDER/sqlite.img, an ext4 file system with databases, and
# FOLDER/sqlite.blkdebug, the sectors of them that fail (tools/vm --nvme SIZE,image=,errors=).
#   read.db    a page of table t cannot be read, ever; table other lies elsewhere
#   write.db   a page of table t cannot be written the first time
#   wal.db     a page of table t cannot be written, ever: the checkpoint of its WAL would do it
# usage: tests/sqlite/failing_drive.sh FOLDER
set -euo pipefail
folder=${1:?usage: failing_drive.sh FOLDER}
PATH=$PATH:/usr/sbin:/sbin
rm -rf "$folder"
mkdir -p "$folder/files"
rows="with recursive c(i) as (select 1 union all select i + 1 from c where i < 2000)"
for name in read write wal; do
  sqlite3 "$folder/files/$name.db" "pragma page_size = 4096;
    create table t(k integer primary key, n int, v blob);
    $rows insert into t select i, 0, randomblob(1000) from c;
    create table other(a); insert into other values (42);"
done
sqlite3 "$folder/files/wal.db" "pragma journal_mode = wal" >/dev/null
truncate -s 64M "$folder/sqlite.img"
mke2fs -q -F -t ext4 -b 4096 -d "$folder/files" "$folder/sqlite.img"

# fail NAME KIND ONCE: the sector of the 300th page of NAME.db, which is one of t's.
fail() {
  local block
  block=$(debugfs -R "bmap /$1.db 299" "$folder/sqlite.img" 2>/dev/null)
  [ "$block" -gt 0 ]
  cat >>"$folder/sqlite.blkdebug" <<END
[inject-error]
event = "none"
iotype = "$2"
errno = "5"
sector = "$((block * 8))"
once = "$3"
END
}
fail read read off
fail write write on
fail wal write off
rm -r "$folder/files"
