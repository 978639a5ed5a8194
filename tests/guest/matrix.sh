#!/bin/sh
# SPDX-License-Identifier: MIT
# In the guest: the library's test programs on NVMe passthrough, over one device and over a stripe
# of two, on each memory.
# usage: matrix.sh [some]     some: a few programs that touch every part, instead of all
status=0
for storage in nvme stripe; do
  for memory in anonymous exmap; do
    sh tests/guest/all.sh "$memory" "$storage" "$@" || status=1
  done
done
exit $status
