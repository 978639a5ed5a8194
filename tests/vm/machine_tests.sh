# SPDX-License-Identifier: MIT
# Read by run.sh. Tests of the machine that the command sees, how it boots, and the module in it.
# shellcheck shell=bash
# shellcheck disable=SC2016  # what stands in single quotes is for the guest's shell
# shellcheck disable=SC2154  # variables of run.sh

test_machine_is_as_asked() {
  guest 0 --no-module --cpus 3 --memory 1G --append 'one.more=2 quiet' -- sh -c '
    nproc; id -u; mount -t proc,sysfs,debugfs,cgroup2 | wc -l
    grep -o "one.more=2" /proc/cmdline
    [ "$(awk "/MemTotal/ { print \$2 }" /proc/meminfo)" -lt 1050000 ] && echo small'
  out_is $'3\n0\n4\none.more=2\nsmall'
  guest 0 --no-module --icount -- nproc
  out_is 1
}

test_tmp_takes_direct_io() {
  guest 0 --no-module --tmp 256M -- sh -c '
    dd if=/dev/zero of=/tmp/file bs=4096 count=10 oflag=direct status=none && stat -f -c %T /tmp'
  out_is ext2/ext3
}

test_instruction_counts_repeat() {
  # With --icount the clock counts instructions, so the shortest of many equal loops takes as long
  # in every run: but for what the process's own random layout costs, which is some instructions in
  # 20,000.
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
  [[ $first -gt 0 && $(((first - second) * 200)) -le $first &&
    $(((second - first) * 200)) -le $first ]] ||
    complain "counted $first, then $second; wanted the same to 1/200"
}

# The first boots of a QEMU in front of the real one, as many as are asked for, end with that line
# in the kernel's log.
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
  # A report before it counts.
  stumble 1 $'WARNING: at kernel/a.c:1\n[    1.250000] Oops: int3: 0000 [#1] SMP NOPTI'
  guest 123 --no-module --accel tcg -- echo arrived
  stumble 1 'Oops: Oops: 0002 [#1] SMP NOPTI'
  guest 123 --no-module --accel tcg -- echo arrived
}

test_breakpoints_that_are_gone_end_no_guest() {
  # Each round puts breakpoints into busy code and takes them away. Without its module a guest is
  # gone in seconds.
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

test_module_left_alone_passes() {
  local kernel
  for kernel in "${kernels[@]}"; do
    guest 0 --kernel "$kernel" --no-module --test-module tests/vm/planted -- \
      sh -c "insmod build/kmod/$kernel/planted/planted.ko && rmmod planted && uname -r"
    grep -q "^${kernel//./\\.}\." "$work/out" || complain "$kernel booted as $(cat "$work/out")"
  done
}

# It is not built again as long as nothing of it changes.
test_module_follows_its_source() {
  local tree=$scratch/tree ko=$scratch/build/kmod/6.1/exmap.ko before
  mkdir "$tree"
  cp -r Kbuild kmod include tools "$tree"
  # shellcheck disable=SC2034  # guest() runs it
  local vm=$tree/tools/vm
  guest 0 --build "$scratch/build" --build-module 6.1
  before=$(stat -c %i "$ko")
  guest 0 --build "$scratch/build" --build-module 6.1
  [ "$(stat -c %i "$ko")" = "$before" ] || complain "the module was built again"
  echo '#error changed' >>"$tree/kmod/main.c"
  guest 125 --build "$scratch/build" --build-module 6.1
  err_has 'does not build'
  sed -i '$d' "$tree/kmod/main.c"
  rm "$ko"
  guest 0 --build "$scratch/build" --build-module 6.1
  [ -e "$ko" ] || complain "the module is missing and was not built"
}

test_exmap_is_loaded_and_leaves_again() {
  local kernel
  if [ ! -e Kbuild ]; then
    guest 0 -- true
    err_has 'no Kbuild'
    return
  fi
  for kernel in "${kernels[@]}"; do
    guest 0 --kernel "$kernel" -- \
      sh -c 'test -c /dev/exmap && cut -d" " -f1 /proc/modules | grep -x exmap'
    out_is exmap
  done
}
