// SPDX-License-Identifier: MIT
// Frames are accounted: an ordinary user's pool is held to RLIMIT_MEMLOCK, grows no further than
// it, shows in the process's counters and its cgroup's, and leaves nothing behind after close.
#include "exmap_test.h"

#include <grp.h>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace exmap_test;

namespace {

constexpr std::size_t kLimitFrames = 64;

void as_ordinary_user(int fd) {
  const rlimit limit{kLimitFrames * kPageSize, kLimitFrames * kPageSize};
  CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0, "setrlimit: %s", strerror(errno));
  CHECK(setgroups(0, nullptr) == 0 && setgid(65534) == 0 && setuid(65534) == 0, "setuid: %s",
        strerror(errno));
  CHECK_RESULT(-ENOMEM, call_setup(fd, kLimitFrames + 1, 1));
  CHECK_RESULT(-ENOMEM, call_setup(fd, 100000, 1));
  const long long before_kib =
      read_number("/proc/self/status", "VmLck:") + read_number("/proc/self/status", "VmPin:");
  CHECK_RESULT(0, call_setup(fd, kLimitFrames / 2, 1));
  const long long during_kib =
      read_number("/proc/self/status", "VmLck:") + read_number("/proc/self/status", "VmPin:");
  CHECK(during_kib - before_kib >= static_cast<long long>(kLimitFrames / 2 * kPageSize / 1024),
        "a pool of %zu frames shows as %lld KiB of locked or pinned memory", kLimitFrames / 2,
        during_kib - before_kib);
  exmap_resize resize{};
  resize.size = sizeof resize;
  resize.frames = kLimitFrames * 2;
  CHECK_RESULT(-ENOMEM, result_of(ioctl(fd, EXMAP_IOCTL_RESIZE, &resize)));
  resize = {sizeof resize, 0, kLimitFrames / 4};
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_RESIZE, &resize)));
  close(fd);
  const long long after_kib =
      read_number("/proc/self/status", "VmLck:") + read_number("/proc/self/status", "VmPin:");
  CHECK(after_kib == before_kib, "%lld KiB stay accounted after close", after_kib - before_kib);
}

//! The limit counts for all of a process's exmaps, however often it opens and closes.
void again_and_again() {
  for (int i = 0; i < 50; i++) {
    const int fd = open_device();
    CHECK_RESULT(0, call_setup(fd, 16, 1));
    close(fd);
  }
}

//! Mapped frames are resident memory of the process, as any page it can reach.
void resident(std::size_t frames) {
  const Exmap map({.frames = frames});
  const long long before_kib = read_number("/proc/self/status", "VmRSS:");
  for (std::uint64_t page = 0; page < frames; page++) CHECK_RESULT(0, map.alloc(0, page));
  const long long mapped_kib = read_number("/proc/self/status", "VmRSS:");
  CHECK_RESULT(0, map.free(0, 0, frames));
  const long long after_kib = read_number("/proc/self/status", "VmRSS:");
  std::printf("# VmRSS %lld KiB, with %zu pages mapped %lld, freed %lld\n", before_kib, frames,
              mapped_kib, after_kib);
  const auto pool_kib = static_cast<long long>(frames * kPageSize / 1024);
  CHECK(mapped_kib - before_kib > pool_kib * 3 / 4, "mapped frames do not show in VmRSS");
  CHECK(after_kib - before_kib < pool_kib / 4, "freed pages still show in VmRSS");
}

//! A pool beyond the memory cgroup's limit is ENOMEM, not a visit of the OOM killer; one within it
//! is charged.
void in_a_cgroup() {
  constexpr const char* kGroup = "/sys/fs/cgroup/exmap-test";
  write_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
  mkdir(kGroup, 0755);
  const std::string group = kGroup;
  if (!write_text((group + "/memory.max").c_str(), "33554432")) {
    std::printf("# no memory cgroups here: not looked at\n");
    return;
  }
  const std::string self = std::to_string(getpid());
  CHECK(write_text((group + "/cgroup.procs").c_str(), self.c_str()), "cgroup.procs: %s",
        strerror(errno));
  const std::string current = group + "/memory.current";
  const long long before = read_number(current.c_str());
  const int fd = open_device();
  CHECK_RESULT(-ENOMEM, call_setup(fd, 20000, 1));
  CHECK_RESULT(0, call_setup(fd, 2048, 1));
  const long long charged = read_number(current.c_str()) - before;
  std::printf("# a pool of 8 MiB charges the cgroup %lld KiB\n", charged / 1024);
  CHECK(charged > 2048 * kPageBytes * 3 / 4, "the pool is not charged to the cgroup");
  close(fd);
  write_text("/sys/fs/cgroup/cgroup.procs", self.c_str());
  rmdir(kGroup);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  if (geteuid() != 0) SKIP("needs root to become another user");
  const Ledger ledger;
  in_child("an ordinary user", [] { as_ordinary_user(open_device()); });
  in_child("many in a row", again_and_again);
  in_child("resident memory", [] { resident(4000); });
  in_child("a memory cgroup", in_a_cgroup);
  ledger.check_balanced();
  return 0;
}
