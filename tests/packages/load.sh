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
"$2" pages --ways exmap --batch 64 --spinner off --seconds 0.1 --area 16MiB >figures.txt
cat figures.txt
# A figure, and not a dash and the reason.
grep -Eq '^exmap +64 +1 +no +1 +[0-9]' figures.txt
rmmod exmap
insmod "$1"
