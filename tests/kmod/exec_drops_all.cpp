// SPDX-License-Identifier: MIT
// exec with the fd left open: the area is gone, calls on the fd are refused, and close gives every
// frame back. Threads are within their calls at that moment.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

void after_exec(int fd) {
  CHECK_REFUSED(call_action(fd, 0, EXMAP_OP_ALLOC, 1));
  CHECK_REFUSED(call_action(fd, 0, EXMAP_OP_FREE, 1));
  char byte = 0;
  CHECK_REFUSED(result_of(pread(fd, &byte, 1, 0)));
  exmap_ioctl_stats stats{};
  if (ioctl(fd, EXMAP_IOCTL_STATS, &stats) == 0)
    CHECK(stats.alloc_count == 0, "pages outlived their address space");
  CHECK_RESULT(0, result_of(close(fd)));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t inherited = options.number("inherited-fd", 0);
  if (inherited) {
    after_exec(static_cast<int>(inherited));
    return 0;
  }
  const Ledger ledger;
  in_child("exec", [&] {
    Exmap map({.frames = 1024, .interfaces = 3});
    // Two threads are within their calls when exec takes the address space away.
    for (int i = 1; i < 3; i++)
      std::thread([&map, i] {
        for (;;) {
          map.free(i, static_cast<std::uint64_t>(i) * 100, 50);
          map.alloc(i, static_cast<std::uint64_t>(i) * 100, 50);
        }
      }).detach();
    for (std::uint64_t page = 0; page < 1024; page++) map.alloc(0, page);
    CHECK(fcntl(map.fd(), F_SETFD, 0) == 0, "fcntl: %s", strerror(errno));
    const std::string fd = std::to_string(map.fd());
    execl("/proc/self/exe", argv[0], "--inherited-fd", fd.c_str(), nullptr);
    CHECK(false, "exec: %s", strerror(errno));
  });
  ledger.check_balanced();
  return 0;
}
