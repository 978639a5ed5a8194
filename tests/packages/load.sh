#!/bin/sh
# SPDX-License-Identifier: MIT
# In a guest of tools/vm: loads a module in the place of the one that is loaded, and uses it.
# usage: load.sh MODULE VMBENCH
set -eu
rmmod exmap
[ ! -e /dev/exmap ]
insmod "$1"
[ -c /dev/exmap ]
cd /tmp
"$2" pages --way exmap --batch 64 --threads 1 --locality 1 --seconds 0.1 --area 16MiB
rmmod exmap
insmod "$1"
