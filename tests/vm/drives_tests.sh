# SPDX-License-Identifier: MIT
# Read by run.sh. Tests of drives: their kinds, errors, speed and power cuts.
# shellcheck shell=bash
# shellcheck disable=SC2016  # what stands in single quotes is for the guest's shell
# shellcheck disable=SC2154  # variables of run.sh

test_nvme_drives_by_serial_number() {
  guest 0 --no-module --nvme 64M --nvme 128M -- sh -c '
    for drive in data0 data1; do
      blockdev --getsize64 /dev/vm/$drive
      test -c /dev/vm/$drive-char || echo none
    done
    cat /sys/block/nvme*/queue/io_poll
    echo text | dd of=/dev/vm/data1 conv=fsync status=none && head -c 5 /dev/vm/data1'
  out_is $'67108864\n134217728\n0\n0\ntext'
}

test_nvme_poll_queues_are_there() {
  guest 0 --no-module --log "$work/log" --nvme 64M,poll -- \
    sh -c 'cat /sys/block/nvme*/queue/io_poll'
  out_is 1
  file_has "$work/log" '2/0/2 default/read/poll queues'
}

test_nvme_errors_are_injected() {
  printf '%s\n' '[inject-error]' 'event = "none"' 'iotype = "read"' 'errno = "5"' \
    'sector = "2048"' 'once = "off"' \
    >"$scratch/errors"
  guest 0 --no-module --nvme "64M,errors=$scratch/errors" -- sh -c '
    dd if=/dev/vm/data0 of=/dev/null bs=4096 count=1 iflag=direct 2>/dev/null && echo first
    dd if=/dev/vm/data0 of=/dev/null bs=4096 count=1 skip=256 iflag=direct 2>/dev/null ||
      echo error'
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
  [[ ${slow:-0} -ge 280 && ${fast:-999} -lt $slow ]] ||
    complain "with and without limit: ${slow:-}, ${fast:-} of 0.01 s"
}

test_nvme_drives_share_a_limit() {
  # In turns: 0.1 s at full speed is 10 of these reads, the other 190 take 1.9 s; by themselves both
  # drives could do 200.
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
