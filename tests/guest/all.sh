#!/bin/sh
# SPDX-License-Identifier: MIT
# In the guest: test programs of the library, a line each, and a closing count.
# usage: all.sh MEMORY [STORAGE [some]]     STORAGE: files (default), nvme or stripe (passthrough on /dev/vm/data0, or 0 and 1)
#   some   a few programs that touch every part, instead of all
memory=${1:?usage: all.sh MEMORY [STORAGE [some]]}
storage=${2:-files}
passed=0 failed=0 skipped=0
# Of one program; btree_test takes 50 s on an idle machine, and a busy one is seven times as slow.
limit_s=400
case $storage in
  files) devices= ;;
  nvme) devices=--device=/dev/vm/data0-char ;;
  stripe) devices="--device=/dev/vm/data0-char --device=/dev/vm/data1-char" ;;
  *) echo "all.sh: unknown storage '$storage' (allowed: files, nvme, stripe)" >&2; exit 2 ;;
esac
# Recorded storage is memory: nothing of the kernel's is in it.
left_out="Recorded*"
# What these tests are about is a file.
[ "$storage" = files ] || left_out="$left_out:PageHeader.*:Database.*:Open.LeavesAFileThatIsNotOursUntouched:Open.FindsADamagedHeader:\
Open.ChecksEveryOptionAndNamesItWithItsValue:Open.CapacityCostsAddressSpaceOnly:\
Open.WorksWithPreadAloneAndWithEveryWayToGiveFramesBack:IoErrors.ACloseThatCannotWriteOrFlushSaysSoAndCanBeRepeated:\
IoErrors.AFullDiskIsFoundWhereAPageIsAskedForAndLosesNothing:IoErrors.AFileSizeLimitIsAnErrorAndNoSignal:\
NvmeOpen.*:Digest.OfADatabase*:Layouts/Queue.*:Stripe*:RingOptions.*"
tree=$PWD
programs="$tree"/build/release/tests/*/*_test
[ "${3:-}" != some ] || programs="$tree/build/release/tests/pool/pool_basics_test
  $tree/build/release/tests/pool/pool_registered_frames_test $tree/build/release/tests/pool/pool_resize_test
  $tree/build/release/tests/pool/pool_worker_test"
cd /tmp || exit 1
for program in $programs; do
  name=${program##*/}
  start=$(date +%s)
  if "$tree"/tests/guest/within.sh "$limit_s" "$program" --memory="$memory" $devices --gtest_brief=1 \
    --gtest_filter="-$left_out" >"$name.log" 2>&1; then
    passed=$((passed + 1))
    echo "ok   $name, $memory, $storage ($(($(date +%s) - start)) s)"
  else
    failed=$((failed + 1))
    echo "FAIL $name, $memory, $storage"
    tail -n 150 "$name.log"
  fi
  skipped=$((skipped + $(grep -c ': Skipped$' "$name.log")))
  grep -A 1 --no-group-separator ': Skipped$' "$name.log" | sed 's/^/     /' # and why
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
