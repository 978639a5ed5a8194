#!/bin/sh
# SPDX-License-Identifier: MIT
# In the guest: test programs of the library, a line each, and a closing count.
# usage: all.sh MEMORY [STORAGE [all|some|pool [THERE]]]
#   STORAGE: files (default), nvme or stripe (passthrough on /dev/vm/data0, or 0 and 1)
#   some   a few programs that touch every part, instead of all
#   pool   what asks the kernel for memory and transfers: the programs of pool and storage, the
#          tree's concurrent tests and commits in tasks. Not pool_io_error_test: its errors are made
#          in the program
#   THERE  how many programs there are in all: fewer are a failure
memory=${1:?usage: all.sh MEMORY [STORAGE [all|some|pool [THERE]]]}
storage=${2:-files}
passed=0 failed=0 skipped=0
# Of one program; btree_test takes 100 s on an idle machine, and a busy one is seven times as slow.
limit_s=800
case $storage in
  files) devices= ;;
  nvme) devices=--device=/dev/vm/data0-char ;;
  stripe) devices="--device=/dev/vm/data0-char --device=/dev/vm/data1-char" ;;
  *) echo "all.sh: unknown storage '$storage' (allowed: files, nvme, stripe)" >&2; exit 2 ;;
esac
# Recorded storage is memory: nothing of the kernel's is in it. The same for one test of 100,000
# rounds, which takes 150 s in emulation.
left_out="Recorded*:Engine.WhoFindsAPageBeingLoadedGetsItWhenNobodyElseComes"
# What these tests are about is a file.
[ "$storage" = files ] || left_out="$left_out:PageHeader.*:Database.*:\
Open.LeavesAFileThatIsNotOursUntouched:Open.FindsADamagedHeader:\
Open.ChecksEveryOptionAndNamesItWithItsValue:Open.CapacityCostsAddressSpaceOnly:\
Open.WorksWithPreadAloneAndWithEveryWayToGiveFramesBack:\
IoErrors.ACloseThatCannotWriteOrFlushSaysSoAndCanBeRepeated:\
IoErrors.AFullDiskIsFoundWhereAPageIsAskedForAndLosesNothing:\
IoErrors.AFileSizeLimitIsAnErrorAndNoSignal:\
NvmeOpen.*:Digest.OfADatabase*:Layouts/Queue.*:Stripe*:RingOptions.*"
tree=$PWD
tests=$tree/build/release/tests
which=${3:-all}
there=${4:-}
set -- "$tests"/*/*_test
if [ -n "$there" ] && [ $# -ne "$there" ]; then
  failed=1
  echo "FAIL all.sh: $# programs are seen here, and $there are there"
fi
case $which in
  all) set -- "$tests"/*/*_test ;;
  some)
    set -- "$tests/pool/pool_basics_test" "$tests/pool/pool_registered_frames_test" \
      "$tests/pool/pool_resize_test" "$tests/pool/pool_worker_test"
    ;;
  pool)
    set -- "$tests/btree/btree_test" "$tests/crash/worker_commit_test" "$tests"/pool/*_test \
      "$tests"/storage/*_test
    ;;
  *) echo "all.sh: unknown programs '$which' (allowed: all, some, pool)" >&2; exit 2 ;;
esac
cd /tmp || exit 1
for program in "$@"; do
  name=${program##*/}
  tests_of_it=
  case $which:$name in
    pool:pool_io_error_test) continue ;;
    pool:btree_test) tests_of_it='*BTreeConcurrency*' ;;
  esac
  start=$(date +%s)
  # shellcheck disable=SC2086 # none, one or two words
  if "$tree"/tests/guest/within.sh "$limit_s" "$program" --memory="$memory" $devices \
    --gtest_brief=1 --gtest_filter="$tests_of_it-$left_out" >"$name.log" 2>&1; then
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
