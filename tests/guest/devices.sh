#!/bin/sh
# SPDX-License-Identifier: MIT
# In the guest of `run.sh KERNEL --devices`.
status=0
sh tests/guest/matrix.sh some || status=1
if [ -e /dev/vm/data5 ]; then
  tests/guest/within.sh 300 sh tests/sqlite/drive_errors.sh /dev/vm/data5 \
    build/release/adapters/sqlite/vmcache_sqlite.so || status=1
else
  echo "skipped: SQLite on a drive that fails (no sqlite3, or its VFS is not built)"
  echo "0 passed, 0 failed, 1 skipped"
fi
# Last, because it pulls devices.
if tests/guest/within.sh 800 \
  build/release/tests/storage/storage_nvme_guest --memory=exmap --gtest_brief=1 \
  >/tmp/nvme_guest.log 2>&1; then
  echo "ok   storage_nvme_guest"
  echo "1 passed, 0 failed, 0 skipped"
else
  tail -n 150 /tmp/nvme_guest.log
  echo "0 passed, 1 failed, 0 skipped"
  status=1
fi
exit $status
