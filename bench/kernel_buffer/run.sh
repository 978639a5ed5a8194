#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Instructions of a fixed read by its place in a buffer that a module has registered (io_buffer_register_bvec), on 7.3: why
# exmap does not register its frames that way (docs/design.md, "Registered frames").
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=bench/kernel_buffer out=build/kernel_buffer
mkdir -p $out
g++ -std=c++20 -O2 -march=x86-64 -static $here/reads.cpp -o $out/reads -luring
tools/vm --kernel 7.3 --icount --no-module --test-module $here -- \
  sh -c "insmod build/kmod/7.3/kernel_buffer/kernel_buffer.ko && $out/reads"
