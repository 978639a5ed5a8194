#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Installs the build folder into an empty prefix and builds programs against that copy: an
# embedder's, by CMake package and by pkg-config, and those printed in the README and the tutorial.
# And a project that takes this tree in by add_subdirectory(), with choices of its own.
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
find_package(vmcache 0.2 REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer vmcache::vmcache)
END
cmake -G Ninja -S "$work/consumer" -B "$work/by-cmake" -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/by-cmake" -- --quiet
"$work/by-cmake/consumer" "$work/first.db"

# A project in C only, and the example of the man page.
mkdir "$work/c-consumer"
cp "$here/consumer.c" "$work/c-consumer"
awk '/^\.EX$/ { on = 1; next } /^\.EE$/ { on = 0 } on' "$here/../../docs/man/vmcache.3" |
  sed 's/\\e/\\/g' >"$work/c-consumer/man.c"
cat >"$work/c-consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(vmcache 0.2 REQUIRED)
set(CMAKE_C_STANDARD 99)
foreach(program consumer man)
  add_executable(${program} ${program}.c)
  target_compile_options(${program} PRIVATE -Wall -Wextra -pedantic -Werror)
  target_link_libraries(${program} vmcache::vmcache)
endforeach()
END
cmake -G Ninja -S "$work/c-consumer" -B "$work/c-by-cmake" \
  -DCMAKE_PREFIX_PATH="$work/prefix" >/dev/null
cmake --build "$work/c-by-cmake" -- --quiet
"$work/c-by-cmake/consumer" "$work/c-first.db"
[ "$("$work/c-by-cmake/man" "$work/c-man.db")" = "page 1 says hello" ]

# No build type, another standard, modules of the same names, a shared library, a space in the path.
embedder="$work/an embedder"
mkdir -p "$embedder/cmake"
for module in warnings install sanitizers precompile; do
  echo "message(FATAL_ERROR \"the embedder's own $module\")" >"$embedder/cmake/$module.cmake"
done
cp "$here/consumer.cpp" "$embedder"
cat >"$embedder/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(embedder CXX C)
set(CMAKE_CXX_STANDARD 23)
set(BUILD_SHARED_LIBS ON)
list(APPEND CMAKE_MODULE_PATH "\${CMAKE_CURRENT_SOURCE_DIR}/cmake")
add_subdirectory("$(realpath "$here/../..")" vmcache)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer vmcache::vmcache)
END
launcher=$(command -v ccache || true)
cmake -G Ninja -S "$embedder" -B "$embedder/build" \
  ${launcher:+-DCMAKE_CXX_COMPILER_LAUNCHER=$launcher} >/dev/null
cmake --build "$embedder/build" --target consumer -- --quiet
"$embedder/build/consumer" "$work/embedded.db"
[ -e "$embedder/build/vmcache/libvmcache/libvmcache.so.0" ]

export PKG_CONFIG_PATH=$work/prefix/lib/x86_64-linux-gnu/pkgconfig:$work/prefix/lib/pkgconfig
read -ra cflags < <(pkg-config --cflags vmcache)
read -ra libs < <(pkg-config --static --libs vmcache)
c++ -std=c++20 "${cflags[@]}" "$here/consumer.cpp" -o "$work/by-pkg-config" "${libs[@]}"
"$work/by-pkg-config" "$work/second.db"
cc -std=c99 "${cflags[@]}" "$here/consumer.c" -o "$work/c-by-pkg-config" "${libs[@]}"
"$work/c-by-pkg-config" "$work/c-second.db"

awk -v work="$work" '
  /^```cpp$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print > (work "/readme" n ".cpp") }' \
  "$here/../../README.md"
# The tutorial's blocks are one program.
awk '/^```cpp$/ { on = 1; next } /^```$/ { on = 0 } on' "$here/../../docs/tutorial.md" \
  >"$work/tutorial.cpp"
cd "$work"
for program in readme1 readme2 tutorial; do
  c++ -std=c++20 "${cflags[@]}" $program.cpp -o $program "${libs[@]}"
done
[ "$(./readme1)" = "$(printf 'world\nworld')" ]
./readme2 && ./readme2 # makes a database; finds one
./tutorial tutorial.db
