# SPDX-License-Identifier: MIT
# Read by run.sh. Tests of reports of the kernel: which bugs fail the run, and that nothing else
# does.
# shellcheck shell=bash
# shellcheck disable=SC2016  # what stands in single quotes is for the guest's shell
# shellcheck disable=SC2154  # variables of run.sh

detectors_debug=(use-after-free overflow lock-inversion atomic-sleep bad-shift leak)

# plant KERNEL BUG PATTERN [OPTION...]: shows that the bug fails the run by itself, and is named.
plant() {
  local kernel=$1 bug=$2 pattern=$3 folder=build/kmod/$1/planted
  shift 3
  guest 123 --kernel "$kernel" --timeout 120 --no-module --test-module tests/vm/planted "$@" -- \
    sh -c "insmod $folder/planted.ko && echo $bug >/sys/module/planted/parameters/plant; sleep 0.2"
  err_has "$pattern"
}

test_panic_fails_the_run() {
  guest 123 --no-module -- sh -c 'echo c >/proc/sysrq-trigger'
  err_has 'sysrq'
  err_has 'Kernel panic\|Oops\|BUG:'
}

test_breakpoint_in_memory_fails_the_run() {
  local kernel
  for kernel in "${kernels[@]}"; do
    plant "$kernel" breakpoint 'int3: 0000'
  done
}

test_warning_fails_the_run() {
  local kernel
  for kernel in "${kernels[@]}"; do
    # A quiet kernel must not hide it.
    plant "$kernel" warning 'WARNING: .*plant_warning' --append quiet
  done
}

test_oops_fails_the_run() { plant 6.1 oops 'NULL pointer dereference'; }

test_hung_task_fails_the_run() {
  plant 6.1 hung-task 'blocked for more than' --append sysctl.kernel.hung_task_timeout_secs=5
}

test_words_of_programs_are_not_kernel_reports() {
  guest 0 --no-module -- sh -c '
    echo "BUG: mine"; echo "WARNING: mine" >&2; echo "a program: BUG: mine" >/dev/kmsg'
}

test_debug_detectors_fire() {
  local bug
  declare -A pattern=([use-after-free]='KASAN: slab-use-after-free'
    [overflow]='KASAN: slab-out-of-bounds'
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
    sh -c 'insmod build/kmod/debug/planted/planted.ko && rmmod planted &&
      cat /sys/block/nvme*/queue/io_poll'
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
