# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# The steps of scripts/packages-test.sh, which sources this file and has set what is used here.
# shellcheck disable=SC2154,SC2016

# make_root: a copy of the cached root that is forgotten at the end, in memory where that goes:
# dpkg waits for the disk after each file.
make_root() {
  local base
  base=$("$tree/tests/packages/root.sh")
  mkdir -p "$root"
  mount -t tmpfs -o size=3g packages-test "$work/scratch"
  mkdir -p "$root" "$work/scratch/upper" "$work/scratch/work"
  mount -t overlay -o \
    "lowerdir=$base,upperdir=$work/scratch/upper,workdir=$work/scratch/work" overlay "$root" ||
    cp -a "$base/." "$root/"
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  # Downloads are kept for the next run.
  mount --bind "$cache/debs" "$root/var/cache/apt/archives"
  local name
  for name in libfmt9 liburing2 libisal2 liblmdb0 libfmt-dev liburing-dev libisal-dev dkms \
    libvmcache0 exmap-dkms; do
    ! inside dpkg-query -W "$name" || { echo "$name must not be there yet"; return 1; }
  done
}

# Files and folders of the root, without those of apt and dpkg themselves.
listing() {
  inside find / -xdev \( -path /proc -o -path /dev -o -path /sys -o -path /tmp -o -path /run \
    -o -path /etc/alternatives -o -lname "/etc/alternatives/*" -o -path /var/cache \
    -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/log \) -prune \
    -o -print | LC_ALL=C sort
}

# Those that belong to no package that is installed.
of_no_package() {
  listing | LC_ALL=C comm -23 - <(cat "$root"/var/lib/dpkg/info/*.list |
    sed -E 's,^/(bin|sbin|lib|lib64)/,/usr/\1/,' | LC_ALL=C sort -u)
}

release_of() { sed -n 's/.*"release": "\(.*\)".*/\1/p' "$cache/kernels/$1/current/kernel.json"; }

# The headers lie in the cache of tools/vm, made for that path, so they are shown under it.
give_headers() {
  local kernel release folder
  for kernel in "${kernels[@]}"; do
    [ -e "$cache/kernels/$kernel/current" ] || "$tree/tools/vm" --prepare "$kernel"
    release=$(release_of "$kernel")
    folder=$(realpath "$cache/kernels/$kernel/current")
    mkdir -p "$root$folder" "$root/lib/modules/$release"
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
    ln -s "$folder/usr/src/linux-headers-$release" "$root/lib/modules/$release/build"
    touch "$root/lib/modules/$release/modules."{order,builtin} # for depmod
  done
  of_no_package >"$work/before.txt"
}

# install_packages FOLDER: by path; what they depend on comes from Debian.
install_packages() {
  local file
  rm -rf "$root/root/packages"
  mkdir "$root/root/packages"
  for file in "$1"/*.deb; do
    case $file in *-dbgsym_*) ;; *) cp "$file" "$root/root/packages/" ;; esac
  done
  inside sh -c 'exec apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0 install \
    /root/packages/*.deb' || { tail -n 20 "$root"/var/lib/dkms/exmap/*/build/make.log; return 1; }
  rm -rf "$root/root/packages"
  [ -z "$(inside dpkg --audit)" ]
}

check_files() {
  local file
  for file in /usr/include/vmcache/buffer_pool.hpp /usr/include/linux/exmap.h \
    /usr/share/man/man1/vmbench.1.gz /usr/share/man/man1/vmcache-check.1.gz \
    /usr/share/man/man4/exmap.4.gz /usr/share/man/man7/libvmcache.7.gz \
    /lib/udev/rules.d/90-exmap.rules "/usr/src/exmap-$(installed_version)/dkms.conf"; do
    [ -e "$root$file" ] || { echo "$file is missing"; return 1; }
  done
  grep -q 'GROUP="exmap"' "$root/lib/udev/rules.d/90-exmap.rules"
  inside getent group exmap
}

installed_version() { inside dpkg-query -W -f='${source:Upstream-Version}' exmap-dkms; }

program_by_cmake() {
  rm -rf "$root/root/consumer" "$root/root/by-cmake"
  mkdir "$root/root/consumer"
  cp "$tree/tests/install/consumer.cpp" "$root/root/consumer/"
  cat >"$root/root/consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer CXX)
find_package(vmcache REQUIRED)
add_executable(consumer consumer.cpp)
target_link_libraries(consumer vmcache::vmcache)
END
  inside cmake -S /root/consumer -B /root/by-cmake
  inside cmake --build /root/by-cmake
  inside /root/by-cmake/consumer /tmp/by-cmake.db
  inside ldd /root/by-cmake/consumer | grep 'libvmcache.so.0 => /lib/'
}

program_by_pkg_config() {
  local flags
  cp "$tree/tests/install/consumer.cpp" "$root/root/"
  flags=$(inside pkg-config --cflags --libs vmcache)
  # shellcheck disable=SC2086
  inside g++ -std=c++20 /root/consumer.cpp -o /root/by-pkg-config $flags
  inside /root/by-pkg-config /tmp/by-pkg-config.db
  inside ldd /root/by-pkg-config | grep 'libvmcache.so.0 => /lib/'
  flags=$(inside pkg-config --static --cflags --libs vmcache)
  # shellcheck disable=SC2086
  inside g++ -std=c++20 /root/consumer.cpp -o /root/by-archive ${flags/-lvmcache/-l:libvmcache.a}
  inside /root/by-archive /tmp/by-archive.db
  ! inside ldd /root/by-archive | grep libvmcache || return 1
}

# What packages with programs of these kinds would depend on. The root has no dpkg-shlibdeps.
check_dependencies() {
  local place=$work/dependencies minor next
  mkdir -p "$place/debian"
  printf 'Source: programs\n\nPackage: programs\nArchitecture: any\n' >"$place/debian/control"
  dpkg-deb -R "$packages"/libvmcache0_*.deb "$place/libvmcache0"
  cp "$tree/tests/install/consumer.c" "$root/root/"
  # shellcheck disable=SC2046
  inside gcc -std=c99 /root/consumer.c -o /root/by-c $(inside pkg-config --cflags --libs vmcache)
  inside /root/by-c /tmp/by-c.db
  depends() { (cd "$place" && dpkg-shlibdeps -O -S"$place/libvmcache0" "$root/root/$1"); }
  minor=$(inside dpkg-query -W -f='${source:Upstream-Version}' libvmcache0 | cut -d. -f1-2)
  next=${minor%.*}.$((${minor#*.} + 1))
  depends by-c | tee "$place/c.txt"
  grep -E 'libvmcache0 \(>= [0-9.]+\)' "$place/c.txt"
  ! grep 'libvmcache0 (<<' "$place/c.txt" || { echo "C is bound to a minor version"; return 1; }
  depends by-pkg-config | tee "$place/cxx.txt"
  grep "libvmcache0 (>= $minor)" "$place/cxx.txt"
  grep "libvmcache0 (<< $next~)" "$place/cxx.txt"
}

try_check() {
  inside vmcache-check --help | grep 'usage: vmcache-check'
  inside vmcache-check /tmp/by-pkg-config.db
  local status=0
  head -c 65536 /dev/zero >"$root/tmp/no.db"
  inside vmcache-check /tmp/no.db || status=$?
  [ $status -eq 2 ]
}

try_bench() {
  inside vmbench --help | grep lookup
  inside vmbench lookup --system vmcache,pread,lmdb --data 8MiB --pool 2MiB --threads 1 \
    --seconds 0.2 --warmup 0.2 --memory-limit none --file /tmp/vmbench
}

# check_module KERNEL: what DKMS has built for it is kept for a guest.
check_module() {
  local release
  release=$(release_of "$1")
  inside dkms status
  inside dkms status -m exmap -v "$(installed_version)" -k "$release" | grep installed
  inside modinfo -F vermagic "/lib/modules/$release/updates/dkms/exmap.ko" | grep "^$release "
  cp "$root/lib/modules/$release/updates/dkms/exmap.ko" "$work/modules/exmap-$1.ko"
}

next_version() { awk -F'[ .]' '/^project\(vmcache VERSION/ { print $3 "." $4 "." $5 + 1 }' \
  "$tree/CMakeLists.txt"; }

check_upgrade() {
  local name version
  for name in libvmcache0 libvmcache-dev vmcache-tools exmap-dkms; do
    inside dpkg-query -W -f='${Package} ${Version} ${db:Status-Status}\n' "$name" |
      grep "$(next_version)-1 installed"
  done
  inside dkms status
  [ "$(inside dkms status | grep -c .)" -eq ${#kernels[@]} ]
  [ "$(inside dkms status | grep -c "exmap/$(next_version),.*installed")" -eq ${#kernels[@]} ]
  for version in "$root"/usr/src/exmap-*; do
    [ "$version" = "$root/usr/src/exmap-$(next_version)" ]
  done
}

# Of ours, by its name.
ours() {
  listing | grep -E 'exmap|vmcache|vmbench' | grep -vE '^(/root/|/lib/modules/[^/]*/build$)'
}

remove_packages() {
  apt remove libvmcache0 libvmcache-dev vmcache-tools exmap-dkms
  ours >"$work/left.txt" || true
  echo "left by remove:"
  cat "$work/left.txt"
  [ ! -s "$work/left.txt" ]
  [ -z "$(inside dkms status)" ]
}

# apt no longer knows those of which nothing is left.
purge_packages() {
  inside dpkg --purge libvmcache0 libvmcache-dev vmcache-tools exmap-dkms
  ! inside getent group exmap || { echo "the group is still there"; return 1; }
  rm -rf "$root"/root/{consumer,consumer.c,consumer.cpp,by-*}
  of_no_package >"$work/after.txt"
  echo "new, and of no package:"
  # What kmod, depmod and groupadd make for themselves.
  LC_ALL=C comm -13 "$work/before.txt" "$work/after.txt" | { grep -vE \
    '^(/etc/modules|/etc/rcS.d/S01kmod|/etc/gshadow-|/usr/lib/modules/[^/]*/modules\..*)$' || true
  } >"$work/left.txt"
  cat "$work/left.txt"
  [ ! -s "$work/left.txt" ]
}

# Needs kmod, which the packages have brought.
module_without_packages() {
  local release
  release=$(release_of 6.1)
  mkdir "$root/root/tree"
  cp -R "$tree/Kbuild" "$tree/kmod" "$tree/include" "$root/root/tree/"
  mkdir -p "$root/etc/udev/rules.d" # of the package udev, which is not here
  run() { inside make -C /root/tree/kmod KDIR="/lib/modules/$release/build" "$1"; }
  run clean
  run all
  run install
  inside modinfo -k "$release" -n exmap | grep updates/exmap.ko
  inside getent group exmap
  [ -e "$root/etc/udev/rules.d/90-exmap.rules" ]
  run uninstall
  rm -rf "$root/root/tree"
  rmdir -p --ignore-fail-on-non-empty "$root/etc/udev/rules.d"
  ! inside getent group exmap || { echo "the group is still there"; return 1; }
  of_no_package | LC_ALL=C comm -13 "$work/after.txt" - >"$work/left.txt"
  cat "$work/left.txt"
  [ ! -s "$work/left.txt" ]
}

load_in_guest() {
  local tools=$work/tools
  mkdir -p "$tools"
  dpkg-deb -x "$packages"/vmcache-tools_*.deb "$tools"
  "$tree/tools/vm" --kernel "$1" -- "$tree/tests/packages/load.sh" "$work/modules/exmap-$1.ko" \
    "$tools/usr/bin/vmbench"
}
