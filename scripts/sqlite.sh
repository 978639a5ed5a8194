#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs SQLite's own tests, from Debian's source package, on the VFS vmcache, and prints a table. The
# source and its testfixture are kept in ~/.cache/vmcache/sqlite; nothing of it is in this tree.
# usage: scripts/sqlite.sh [--ci] [--stock] [--jobs N] [--suite NAME] [--table FILE] [TEST...]
#   TEST           a file of SQLite's test folder, without .test; patterns are allowed ('ioerr*')
#   --suite NAME   the files of one of its suites (veryquick, quick, ...)
#   --ci           a choice that takes less than 3 minutes of one processor
#   --stock        on SQLite's own VFS, to compare
# The first run also builds testfixture, which takes some two minutes.
# Without any of these: veryquick, 'ioerr*', 'wal*', 'mmap*' and walthread.
#        scripts/sqlite.sh --bench [OPTION...]   SQLite's benchmarks; --bench --help has the options
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vmcache/sqlite
fixture=$root/adapters/sqlite/testfixture

# A private apt state: the system's own sources are left as they are.
fetch() {
  mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
  cd "$cache"
  # From the mirror that this machine's own sources name, as for the kernels.
  python3 - "$root/tools/vm.d" >apt/sources.list <<'END'
import sys

sys.path.insert(0, sys.argv[1])
import apt

for line in apt.source_lines(["bookworm"]):
    print("deb-src" + line.removeprefix("deb"))
END
  touch apt/status
  local options=(-qq -o "Dir::State=$cache/apt" -o "Dir::State::status=$cache/apt/status"
    -o "Dir::Cache=$cache/apt/cache" -o "Dir::Etc::sourcelist=$cache/apt/sources.list"
    -o Dir::Etc::sourceparts=- -o APT::Sandbox::User=root)
  apt-get "${options[@]}" update
  apt-get "${options[@]}" --only-source --download-only source sqlite3
  rm -rf source
  dpkg-source -x sqlite3_*.dsc source >/dev/null
}

# Needs root, for a control group.
bench() {
  "$root/scripts/packages.sh" build bench sqlite
  [ -d "$cache/source" ] || (fetch)
  cd "$root"
  [ -f build/release/build.ninja ] || cmake --preset release >/dev/null
  cmake --build --preset release --target vmcache_sqlite sqlite_reads -- --quiet
  exec python3 scripts/sqlite_bench.py --source "$cache/source" \
    --extension build/release/adapters/sqlite/vmcache_sqlite.so \
    --reads build/release/bench/sqlite/sqlite_reads "$@"
}

# Is linked with load_vfs.c, which loads the VFS at run time.
build() {
  cd "$cache/source"
  [ -f Makefile ] || ./configure --enable-all >configure.log
  gcc -O2 -c -o load_vfs.o "$fixture/load_vfs.c"
  local init=-DSQLITE_EXTRA_INIT=vmcache_testfixture_init
  make testfixture TEMP_STORE="-DSQLITE_TEMP_STORE=1 $init" \
    LIBTCL="$PWD/load_vfs.o -rdynamic -ldl -ltcl8.6 -lm -lz" >make.log
}

if [ "${1:-}" = --bench ]; then
  shift
  bench "$@"
fi
case " $* " in
  *" --help "* | *" -h "*)
    sed -n '3,14s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit
    ;;
esac
"$root/scripts/packages.sh" build sqlite
[ -d "$cache/source" ] || (fetch)
if [ ! -x "$cache/source/testfixture" ] ||
  [ "$fixture/load_vfs.c" -nt "$cache/source/testfixture" ]; then
  (build)
fi
cd "$root"
[ -f build/release/build.ninja ] || cmake --preset release >/dev/null
cmake --build --preset release --target vmcache_testfixture -- --quiet
exec python3 scripts/sqlite_tests.py --source "$cache/source" \
  --vfs "$root/build/release/adapters/sqlite/vmcache_testfixture.so" "$@"
