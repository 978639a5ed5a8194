#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the build folder into an empty prefix and builds programs against that copy: an embedder's, by CMake package
# and by pkg-config, and those printed in the README.
# usage: tests/install/run.sh BUILD_FOLDER
set -euo pipefail
build=$(realpath "${1:?usage: run.sh BUILD_FOLDER}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d -p "$build")
trap 'rm -rf "$work"' EXIT

cmake --install "$build" --prefix "$work/prefix" >/dev/null
mkdir "$work/consumer"
cp "$here/consumer.cpp" "$work/consumer"
cat >"$work/consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer CXX)
find_package(vmcache 0.1 REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer vmcache::vmcache)
END
cmake -G Ninja -S "$work/consumer" -B "$work/by-cmake" -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/by-cmake" >/dev/null
"$work/by-cmake/consumer" "$work/first.db"

# shellcheck disable=SC2046 # the flags are words
export PKG_CONFIG_PATH=$work/prefix/lib/x86_64-linux-gnu/pkgconfig:$work/prefix/lib/pkgconfig
c++ -std=c++20 $(pkg-config --cflags vmcache) "$here/consumer.cpp" -o "$work/by-pkg-config" \
  $(pkg-config --static --libs vmcache)
"$work/by-pkg-config" "$work/second.db"

awk -v work="$work" '/^```cpp$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print > (work "/readme" n ".cpp") }' \
  "$here/../../README.md"
cd "$work"
for program in readme1 readme2; do
  # shellcheck disable=SC2046
  c++ -std=c++20 $(pkg-config --cflags vmcache) $program.cpp -o $program $(pkg-config --static --libs vmcache)
done
[ "$(./readme1)" = "$(printf 'world\nworld')" ]
./readme2 && ./readme2 # makes a database; finds one
