#!/bin/sh
# SPDX-License-Identifier: MIT
# In the guest, for scripts/ladder.sh: groups of the ladder's rungs on the drives data0 and data1,
# from the bare devices up, because each layer overwrites the one below: devices, md RAID 0 on them,
# ext4 on that.
# usage: ladder_guest.sh FOLDER GROUPS OPTION...
#   GROUPS: of disks, md, blocking, fs, with commas; each is written to
#                                                  FOLDER/GROUP.json; OPTION goes to vmbench io
set -eu
out=$1 groups=$2
shift 2
vmbench=build/release/bench/vmbench
chunk=65536 # of the array, and the bench's own stripe: both lay blocks out alike

ladder() { # GROUP DEVICES RUNGS OPTION...
  name=$1 devices=$2 rungs=$3
  shift 3
  case ",$groups," in *",$name,"*) ;; *) return 0 ;; esac
  echo "--- $name"
  "$vmbench" io --devices "$devices" --rungs "$rungs" --stripe $chunk --content-will-be-lost \
    --json "$out/$name.json" "$@"
}

# An array without metadata, by sysfs: what mdadm --build does, without mdadm (whose package brings
# udev and systemd).
make_array() {
  echo md0 >/sys/module/md_mod/parameters/new_array
  md=/sys/block/md0/md
  echo none >$md/metadata_version
  echo raid0 >$md/level
  echo $chunk >$md/chunk_size
  echo 2 >$md/raid_disks
  slot=0
  for drive in data0 data1; do
    disk=$(basename "$(readlink -f /dev/vm/$drive)")
    cat "/sys/block/$disk/dev" >$md/new_dev
    echo $(($(cat "/sys/block/$disk/size") / 2)) >"$md/dev-$disk/size" # KiB
    echo $slot >"$md/dev-$disk/slot"
    slot=$((slot + 1))
  done
  echo active >$md/array_state
}

ladder disks /dev/vm/data0,/dev/vm/data1 "$(echo uring uring-files uring-buffers uring-deferred \
  uring-polled uring-sqpoll uring-all passthrough passthrough-buffers passthrough-polled \
  passthrough-all passthrough-sqpoll \
  vmcache-uring vmcache-passthrough vmcache-passthrough-registered vmcache-pool \
  vmcache-pool-registered | tr ' ' ,)" "$@"
make_array
ladder md /dev/md0 uring-md "$@"
# Nothing is left for the file system to initialise later, by transfers of its own.
mkfs.ext4 -q -F -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 /dev/md0
mkdir /tmp/fs
mount -t ext4 /dev/md0 /tmp/fs
ladder blocking /tmp/fs/file pread,pread-direct,mmap "$@"
ladder fs /tmp/fs/file uring-fs "$@"
