#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests of tools/vm itself.
# usage: tests/vm/run.sh [--quick] [NAME...]     --quick leaves the debug kernel out; NAME: only tests so called
# Exit status: 0 all passed, 1 something failed, 2 bad usage.
# shellcheck disable=SC2016  # what stands in single quotes is for the guest's shell
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 2

vm=tools/vm
kernels=(6.1 6.12 7.3)
detectors_debug=(use-after-free overflow lock-inversion atomic-sleep bad-shift leak)
work=build/tests/vm
mkdir -p "$work"
work=$(cd "$work" && pwd)
scratch=$(mktemp -d) # below /tmp, which the guest covers with a file system of its own
trap 'rm -rf "$scratch"' EXIT

passed=0
failed=0
skipped=0
problem=""

complain() { problem+="    $*"$'\n'; }

# guest STATUS ARGUMENT...: runs tools/vm, which must end with STATUS; its streams go to $work/out and $work/err.
guest() {
  local wanted=$1 status=0
  shift
  "$vm" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
  [ "$status" -eq "$wanted" ] || complain "exit status $status, wanted $wanted: $vm $*" "$(tail -n 5 "$work/err")"
}

out_is() { [ "$(cat "$work/out")" = "$1" ] || complain "output '$(head -c 300 "$work/out")', wanted '$1'"; }
err_has() { grep -q -- "$1" "$work/err" || complain "standard error lacks '$1': $(head -c 500 "$work/err")"; }
file_has() { grep -q -- "$2" "$1" || complain "$1 lacks '$2'"; }

test_exit_status_is_the_commands() {
  local status
  for status in 0 1 77 126; do
    guest "$status" --no-module -- sh -c "exit $status"
  done
  guest 127 --no-module -- no-such-command
  guest 126 --no-module -- /etc/passwd
  guest 137 --no-module -- sh -c 'kill -9 $$'
}

test_output_is_clean_and_apart() {
  head -c 3000000 /dev/urandom >"$work/bytes"
  guest 0 --no-module -- sh -c "cat '$work/bytes'; echo to-stderr >&2"
  cmp -s "$work/bytes" "$work/out" || complain "standard output differs from what was written"
  [ "$(grep -v '^vm: ' "$work/err")" = to-stderr ] || complain "standard error: $(head -c 300 "$work/err")"
}

test_standard_input_arrives() {
  head -c 1000000 /dev/urandom >"$work/bytes"
  "$vm" --no-module -- cat <"$work/bytes" >"$work/out" 2>"$work/err" || complain "cat failed"
  cmp -s "$work/bytes" "$work/out" || complain "standard input did not come back"
  # A command that does not read it must not be held up.
  yes | "$vm" --no-module --timeout 60 -- echo finished >"$work/out" 2>"$work/err"
  out_is finished
}

test_reader_that_leaves_ends_the_guest() {
  timeout 60 "$vm" --no-module -- yes 2>"$work/err" | head -n 1 >"$work/out"
  [ "${PIPESTATUS[0]}" -eq 141 ] || complain "exit status ${PIPESTATUS[0]}, wanted 141 (SIGPIPE)"
  out_is y
}

test_left_over_processes_do_not_hold_it_up() {
  guest 0 --no-module --timeout 60 -- sh -c 'sleep 1000 & echo finished'
  out_is finished
}

test_tree_is_read_only_build_and_out_are_not() {
  rm -f "$work/written"
  guest 0 --no-module --out "$scratch" -- sh -c "
    ! touch tools/written 2>/dev/null && echo build >'$work/written' && echo out >'$scratch/written' && touch /tmp/x"
  file_has "$work/written" '^build$'
  file_has "$scratch/written" '^out$'
  [ ! -e tools/written ] || complain "the guest wrote into the tree"
}

test_working_folder_and_environment_pass() {
  local tree=$PWD
  mkdir -p "$scratch/a folder"
  echo here >"$scratch/a folder/file"
  (cd "$scratch/a folder" && WORD='two words' "$tree/$vm" --no-module --env WORD --env OTHER=x=y -- \
    sh -c 'cat file; echo "$WORD,$OTHER"') >"$work/out" 2>"$work/err"
  out_is $'here\ntwo words,x=y'
}

test_machine_is_as_asked() {
  guest 0 --no-module --cpus 3 --memory 1G --append 'one.more=2 quiet' -- sh -c '
    nproc; id -u; mount -t proc,sysfs,debugfs,cgroup2 | wc -l
    grep -o "one.more=2" /proc/cmdline; [ "$(awk "/MemTotal/ { print \$2 }" /proc/meminfo)" -lt 1050000 ] && echo small'
  out_is $'3\n0\n4\none.more=2\nsmall'
  guest 0 --no-module --icount -- nproc
  out_is 1
}

test_tmp_takes_direct_io() {
  guest 0 --no-module --tmp 256M -- sh -c '
    dd if=/dev/zero of=/tmp/file bs=4096 count=10 oflag=direct status=none && stat -f -c %T /tmp'
  out_is ext2/ext3
}

test_shell_is_interactive() {
  local status=0
  printf 'tty >/dev/null && echo terminal-$((40 + 2)); exit 7\n' |
    script -qec "$vm --no-module --timeout 100 --shell" /dev/null >"$work/out" 2>&1 || status=$?
  [ "$status" -eq 7 ] || complain "exit status $status, wanted 7"
  file_has "$work/out" terminal-42
}

test_instruction_counts_repeat() {
  # With --icount the clock counts instructions, so the shortest of many equal loops takes as long in every run:
  # but for what the process's own random layout costs, which is some instructions in 20,000.
  local loop='import time
def once():
    start = time.perf_counter_ns()
    for _ in range(200): pass
    return time.perf_counter_ns() - start
print(min(once() for _ in range(2000)))' first second
  guest 0 --no-module --icount -- /usr/bin/python3 -c "$loop"
  first=$(cat "$work/out")
  guest 0 --no-module --icount -- /usr/bin/python3 -c "$loop"
  second=$(cat "$work/out")
  [ "$first" -gt 0 ] && [ $(((first - second) * 200)) -le "$first" ] && [ $(((second - first) * 200)) -le "$first" ] ||
    complain "counted $first, then $second; wanted the same to 1/200"
}

test_nvme_drives_by_serial_number() {
  guest 0 --no-module --nvme 64M --nvme 128M -- sh -c '
    for drive in data0 data1; do blockdev --getsize64 /dev/vm/$drive; test -c /dev/vm/$drive-char || echo none; done
    cat /sys/block/nvme*/queue/io_poll
    echo text | dd of=/dev/vm/data1 conv=fsync status=none && head -c 5 /dev/vm/data1'
  out_is $'67108864\n134217728\n0\n0\ntext'
}

test_nvme_poll_queues_are_there() {
  guest 0 --no-module --log "$work/log" --nvme 64M,poll -- sh -c 'cat /sys/block/nvme*/queue/io_poll'
  out_is 1
  file_has "$work/log" '2/0/2 default/read/poll queues'
}

test_nvme_errors_are_injected() {
  printf '[inject-error]\nevent = "none"\niotype = "read"\nerrno = "5"\nsector = "2048"\nonce = "off"\n' \
    >"$scratch/errors"
  guest 0 --no-module --nvme "64M,errors=$scratch/errors" -- sh -c '
    dd if=/dev/vm/data0 of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null && echo first
    dd if=/dev/vm/data0 of=/dev/null bs=4096 count=1 skip=256 iflag=direct 2>/dev/null || echo error'
  out_is $'first\nerror'
}

test_nvme_drive_is_as_slow_as_asked() {
  # 0.1 s at full speed is 10 of these reads, the other 290 take 2.9 s.
  guest 0 --no-module --nvme 64M,iops=100 --nvme 64M -- sh -c '
    for drive in data0 data1; do
      start=$(cut -d" " -f1 /proc/uptime | tr -d .)
      dd if=/dev/vm/$drive of=/dev/null bs=4096 count=300 iflag=direct status=none
      end=$(cut -d" " -f1 /proc/uptime | tr -d .)
      echo $((end - start))
    done'
  local slow fast
  { read -r slow && read -r fast; } <"$work/out"
  [ "${slow:-0}" -ge 280 ] && [ "${fast:-999}" -lt 250 ] || complain "with and without limit: ${slow:-}, ${fast:-} of 0.01 s"
}

test_nvme_drives_share_a_limit() {
  # In turns: 0.1 s at full speed is 10 of these reads, the other 190 take 1.9 s; by themselves both drives could do 200.
  guest 0 --no-module --nvme 64M,shared-iops=100 --nvme 64M,shared-iops=100 -- sh -c '
    start=$(cut -d" " -f1 /proc/uptime | tr -d .)
    for i in $(seq 10); do
      for drive in data0 data1; do
        dd if=/dev/vm/$drive of=/dev/null bs=4096 count=10 iflag=direct status=none
      done
    done
    end=$(cut -d" " -f1 /proc/uptime | tr -d .)
    echo $((end - start))'
  local took
  read -r took <"$work/out"
  [ "${took:-0}" -ge 185 ] || complain "200 reads took ${took:-} of 0.01 s"
}

test_power_cut_leaves_what_was_flushed() {
  local image=$scratch/drive seed outcomes
  rm -f "$image"
  guest 122 --no-module --nvme "1M,image=$image,volatile" --cut-power 0.5 -- sh -c '
    echo kept | dd of=/dev/vm/data0 bs=512 conv=sync,fsync oflag=direct status=none
    echo lost | dd of=/dev/vm/data0 bs=512 seek=1 conv=sync oflag=direct status=none
    head -c 516 /dev/vm/data0 | tail -c 4; exec sleep 100'
  out_is lost
  [ "$(head -c 4 "$image")" = kept ] || complain "what was flushed is gone"
  cmp -s -i 512:0 -n 512 "$image" /dev/zero || complain "what was not flushed is there"
  outcomes=$(for seed in $(seq 30); do
    tools/vm.d/volatile_drive.py lose "$image" "$seed" >"$work/lost"
    head -c 4 "$image"
    tail -c +513 "$image" | head -c 4 | tr '\0' '-'
    echo
  done | sort -u | paste -sd' ')
  [ "$outcomes" = 'kept---- keptlost' ] || complain "30 endings of the cut: '$outcomes'"
  # A flush that does nothing; and a command that ends before the cut.
  rm "$image"
  guest 0 --no-module --nvme "1M,image=$image,ignore-flush" --cut-power 500 -- sh -c '
    echo lost | dd of=/dev/vm/data0 bs=512 conv=sync,fsync oflag=direct status=none; echo written'
  cmp -s -n 512 "$image" /dev/zero || complain "a flush that was to be ignored was not"
}

test_drive_is_pulled_on_request() {
  guest 0 --no-module --nvme 64M --nvme 64M,hotplug -- sh -c '
    echo "pull data0" >/dev/vm/host; echo nonsense >/dev/vm/host
    echo "pull data1" >/dev/vm/host
    for i in $(seq 300); do [ -e /dev/vm/data1 ] || break; sleep 0.1; done
    ls -L /dev/vm 2>/dev/null | paste -sd" "; [ -b /dev/vm/data0 ] && ! [ -e /dev/vm/data1 ]'
  err_has 'drive data0 cannot be pulled'
  err_has "the guest asked for 'nonsense'"
}

test_panic_fails_the_run() {
  guest 123 --no-module -- sh -c 'echo c >/proc/sysrq-trigger'
  err_has 'sysrq'
  err_has 'Kernel panic\|Oops\|BUG:'
}

# The first boots of a QEMU in front of the real one, as many as are asked for, end with that line in the kernel's log.
stumble() { # TIMES LINE; the real QEMU is $qemu
  mkdir -p "$work/stumbling"
  echo "$1" >"$work/stumbles"
  cat >"$work/stumbling/qemu-system-x86_64" <<END
#!/bin/sh
left=\$(cat '$work/stumbles')
case "\$*" in
  *-initrd*) echo \$((left - 1)) >'$work/stumbles' ;;
  *) left=0 ;;
esac
[ "\$left" -gt 0 ] || exec $qemu "\$@"
echo '[    1.200000] $2'
echo '[    1.300000] Kernel panic - not syncing: Fatal exception in interrupt'
END
  chmod +x "$work/stumbling/qemu-system-x86_64"
}

test_boot_that_emulation_has_ended_is_tried_again() {
  local qemu
  qemu=$(command -v qemu-system-x86_64)
  local PATH=$work/stumbling:$PATH
  stumble 2 'Oops: int3: 0000 [#1] SMP NOPTI'
  guest 0 --no-module --accel tcg -- echo arrived
  out_is arrived
  err_has 'booting again'
  stumble 3 'int3: 0000 [#1] PREEMPT SMP NOPTI' # as up to 6.9
  guest 123 --no-module --accel tcg -- echo arrived
  err_has 'int3: 0000'
  stumble 1 'Oops: int3: 0000 [#1] SMP NOPTI'
  guest 123 --no-module --accel tcg --cpus 1 -- echo arrived
  stumble 1 $'WARNING: at kernel/a.c:1\n[    1.250000] Oops: int3: 0000 [#1] SMP NOPTI' # a report before it counts
  guest 123 --no-module --accel tcg -- echo arrived
  stumble 1 'Oops: Oops: 0002 [#1] SMP NOPTI'
  guest 123 --no-module --accel tcg -- echo arrived
}

test_breakpoints_that_are_gone_end_no_guest() {
  # Each round puts breakpoints into busy code and takes them away. Without its module a guest is gone in seconds.
  local kernel
  for kernel in "${kernels[@]}"; do
    guest 0 --kernel "$kernel" --timeout 120 --no-module -- bash -c '
      while :; do cat /proc/self/stat; done >/dev/null &
      while :; do ls /proc; done >/dev/null 2>&1 &
      cd /sys/kernel/tracing/events || exit
      while ((SECONDS < 12)); do
        for on in 1 0; do
          for events in sched kmem irq; do echo $on >$events/enable; done
        done
      done'
  done
}

test_breakpoint_in_memory_fails_the_run() {
  local kernel
  for kernel in "${kernels[@]}"; do
    plant "$kernel" breakpoint 'int3: 0000'
  done
}

test_time_limit_ends_a_hung_guest() {
  guest 124 --no-module --timeout 40 -- sleep 1000
  err_has 'TIME LIMIT'
  err_has 'sysrq: Show Blocked State' # where everyone waited
}

test_interrupt_reaches_the_command() {
  interrupt_when_ready 5 'trap "exit 5" INT; echo ready; while :; do sleep 0.1; done'
  interrupt_when_ready 130 'echo ready; exec sleep 1000'
  # One that does not listen is ended with its machine.
  interrupt_when_ready 130 'trap "" INT; echo ready; sleep 1000'
}

interrupt_when_ready() {
  local wanted=$1 status=0 pid
  "$vm" --no-module --timeout 120 -- sh -c "$2" >"$work/out" 2>"$work/err" </dev/null &
  pid=$!
  for _ in $(seq 600); do
    grep -q ready "$work/out" && break
    sleep 0.1
  done
  kill -INT "$pid"
  wait "$pid" || status=$?
  [ "$status" -eq "$wanted" ] || complain "exit status $status, wanted $wanted: $2"
}

# plant KERNEL BUG PATTERN [OPTION...]: shows that the bug fails the run by itself, and is named.
plant() {
  local kernel=$1 bug=$2 pattern=$3 folder=build/kmod/$1/planted
  shift 3
  guest 123 --kernel "$kernel" --timeout 120 --no-module --test-module tests/vm/planted "$@" -- \
    sh -c "insmod $folder/planted.ko && echo $bug >/sys/module/planted/parameters/plant; sleep 0.2"
  err_has "$pattern"
}

test_warning_fails_the_run() {
  local kernel
  for kernel in "${kernels[@]}"; do
    # A quiet kernel must not hide it.
    plant "$kernel" warning 'WARNING: .*plant_warning' --append quiet
  done
}

# Not of tools/vm, but of what ends a test program in its guest: the child's threads are named, and nothing is left of it.
test_within_says_where_it_hangs() {
  guest 0 --no-module -- sh -c 'tests/guest/within.sh 60 sh -c "exit 7"; [ $? = 7 ]'
  guest 0 --no-module -- sh -c 'tests/guest/within.sh 2 sh -c "sleep 1000 & sleep 1000"; echo "status $?"
    for comm in /proc/[0-9]*/comm; do read -r name <"$comm"; [ "$name" != sleep ] || echo left; done'
  file_has "$work/out" '^status 124$'
  file_has "$work/out" 'nanosleep'
  ! grep -q left "$work/out" || complain "a process is left: $(head -c 500 "$work/out")"
}

test_oops_fails_the_run() { plant 6.1 oops 'NULL pointer dereference'; }

test_hung_task_fails_the_run() {
  plant 6.1 hung-task 'blocked for more than' --append sysctl.kernel.hung_task_timeout_secs=5
}

test_module_left_alone_passes() {
  local kernel
  for kernel in "${kernels[@]}"; do
    guest 0 --kernel "$kernel" --no-module --test-module tests/vm/planted -- \
      sh -c "insmod build/kmod/$kernel/planted/planted.ko && rmmod planted && uname -r"
    grep -q "^${kernel//./\\.}\." "$work/out" || complain "$kernel booted as $(cat "$work/out")"
  done
}

test_exmap_is_loaded_and_leaves_again() {
  local kernel
  if [ ! -e Kbuild ]; then
    guest 0 -- true
    err_has 'no Kbuild'
    return
  fi
  for kernel in "${kernels[@]}"; do
    guest 0 --kernel "$kernel" -- sh -c 'test -c /dev/exmap && cut -d" " -f1 /proc/modules | grep -x exmap'
    out_is exmap
  done
}

test_words_of_programs_are_not_kernel_reports() {
  guest 0 --no-module -- sh -c 'echo "BUG: mine"; echo "WARNING: mine" >&2; echo "a program: BUG: mine" >/dev/kmsg'
}

test_debug_detectors_fire() {
  local bug
  declare -A pattern=([use-after-free]='KASAN: slab-use-after-free' [overflow]='KASAN: slab-out-of-bounds'
    [lock-inversion]='possible circular locking dependency' [atomic-sleep]='scheduling while atomic'
    [bad-shift]='UBSAN: shift-out-of-bounds' [leak]='unreferenced object')
  for bug in "${detectors_debug[@]}"; do
    if [ "$bug" = leak ]; then
      plant debug "$bug" "${pattern[$bug]}"
    else
      plant debug "$bug" "${pattern[$bug]}" --no-leak-check
    fi
  done
}

test_debug_kernel_alone_is_quiet() {
  guest 0 --kernel debug --no-module --nvme 64M,poll --test-module tests/vm/planted -- \
    sh -c 'insmod build/kmod/debug/planted/planted.ko && rmmod planted && cat /sys/block/nvme*/queue/io_poll'
  out_is 1
}

test_debug_failures_can_be_ordered() {
  guest 0 --kernel debug --no-module --no-leak-check --log "$work/log" -- sh -c '
    echo N >/sys/kernel/debug/failslab/ignore-gfp-wait
    test -d /sys/kernel/debug/fail_page_alloc || echo no fail_page_alloc
    for nth in 1 2 3 4 5 6 7 8; do
      bash -c "echo $nth >/proc/self/fail-nth; exec 3</etc/passwd" 2>&1
    done | grep -o "Cannot allocate memory" | sort -u'
  out_is 'Cannot allocate memory'
  file_has "$work/log" 'FAULT_INJECTION: forcing a failure'
}

test_bad_options_are_explained() {
  guest 2
  err_has 'no COMMAND'
  guest 2 --kernel 9.9 -- true
  err_has "9.9"
  guest 2 --cpus 0 -- true
  err_has "'0' is not a number of CPUs"
  guest 2 --memory lots -- true
  err_has "'lots' is not a size"
  guest 2 --nvme 64M,pull -- true
  err_has "'pull' is not an option of a drive"
  guest 2 --nvme 64M,iops=fast -- true
  err_has "'fast' is not a number of transfers"
  guest 2 --nvme 64M,iops=100,shared-iops=100 -- true
  err_has "not both"
  guest 2 --nvme 1000 -- true
  err_has '4096'
  guest 2 --nvme 64M,volatile -- true
  err_has 'needs image=FILE'
  echo short >"$scratch/short"
  guest 125 --no-module --nvme "64M,image=$scratch/short" -- true
  err_has "short has 6 bytes"
  guest 2 --cut-power 0 -- true
  err_has "'0' is not a time"
  guest 2 --nvme 64M,errors=/no/such/file -- true
  err_has '/no/such/file'
  guest 2 --timeout -1 -- true
  err_has "'-1' is not a time"
  guest 2 --icount --cpus 2 -- true
  err_has 'icount counts on one processor'
  guest 2 --out /no/such/folder -- true
  err_has '/no/such/folder'
  guest 2 --prepare 6.1 -- true
  err_has 'not several'
  guest 2 --prepare 5.0
  err_has '5.0'
  guest 2 --shell
  err_has 'terminal'
  guest 125 --no-module --env NOT_SET_ANYWHERE -- true
  err_has 'NOT_SET_ANYWHERE'
  guest 125 --no-module --load no_such_module -- true
  err_has 'no_such_module'
  guest 125 --no-module --cpu no-such-model -- true
  err_has 'no-such-model'
  guest 125 --cache /proc/none -- true
  err_has '/proc/none'
}

run_test() {
  local name=${1#test_} started=$SECONDS
  problem=""
  "$1"
  if [ -z "$problem" ]; then
    passed=$((passed + 1))
    printf 'ok      %s (%d s)\n' "$name" $((SECONDS - started))
  else
    failed=$((failed + 1))
    printf 'FAILED  %s (%d s)\n%s' "$name" $((SECONDS - started)) "$problem"
  fi
}

quick=0
wanted=()
for argument in "$@"; do
  case "$argument" in
    --quick) quick=1 ;;
    -*) echo "usage: tests/vm/run.sh [--quick] [NAME...]" >&2; exit 2 ;;
    *) wanted+=("test_${argument#test_}") ;;
  esac
done
mapfile -t tests < <(sed -n 's/^\(test_[a-z_]*\)() {.*/\1/p' "$0")
for name in "${wanted[@]}"; do
  [[ " ${tests[*]} " == *" $name "* ]] || { echo "run.sh: no test ${name#test_}" >&2; exit 2; }
done
for name in "${tests[@]}"; do
  [ ${#wanted[@]} -gt 0 ] && [[ " ${wanted[*]} " != *" $name "* ]] && continue
  if [ "$quick" -eq 1 ] && [[ "$name" == test_debug_* ]]; then
    echo "skipped ${name#test_}: --quick leaves the debug kernel out"
    skipped=$((skipped + 1))
    continue
  fi
  run_test "$name"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
