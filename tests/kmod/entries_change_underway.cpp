// SPDX-License-Identifier: MIT
// Entries that another thread rewrites while the call runs: each is read once, so that what was
// checked is what is done. Memory on both sides of the area stays as it was, and no frame is lost.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 64, kAreaPages = 512, kGuard = 0x6a6a6a6a;

//! An area with a page of ours right before and right after it.
char* map_between_guards(int fd) {
  char* const room =
      static_cast<char*>(mmap(nullptr, (kAreaPages + 2) * kPageSize, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  CHECK(room != MAP_FAILED, "mmap: %s", strerror(errno));
  fill_page(room, kGuard);
  fill_page(room + (kAreaPages + 1) * kPageSize, kGuard);
  void* const area = mmap(room + kPageSize, kAreaPages * kPageSize, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED, fd, 0);
  CHECK(area == room + kPageSize, "mmap over the middle: %s", strerror(errno));
  return room + kPageSize;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const int fd = open_device();
    CHECK_RESULT(0, call_setup(fd, kFrames, 1));
    char* const area = map_between_guards(fd);
    auto* const interface = map_interface(fd, 0);
    CHECK(interface, "mmap: %s", strerror(errno));
    std::atomic<bool> stop{false};
    std::thread scribbler([&] {
      Random random(options.number("seed", 1));
      auto* const values = reinterpret_cast<volatile std::uint64_t*>(interface);
      while (!stop) {
        exmap_iov run{};
        run.page = random.below(4) ? random.below(kAreaPages) : kAreaPages + random.below(2);
        run.len = 1 + random.below(3);
        if (random.below(16) == 0) run.value = random.next();
        values[random.below(8)] = run.value;
      }
    });
    const std::uint64_t rounds = options.scaled("calls on entries that change", 20000);
    for (std::uint64_t i = 0; i < rounds; i++) {
      const int result = call_action(fd, 0, i % 2 ? EXMAP_OP_FREE : EXMAP_OP_ALLOC, 8);
      CHECK(result == 0 || result == -EINVAL || result == -ENOMEM, "the call gave %d", result);
    }
    stop = true;
    scribbler.join();
    CHECK(page_holds(area - kPageSize, kGuard) && page_holds(area + kAreaPages * kPageSize, kGuard),
          "memory beside the area changed");
    interface->iov[0].page = 0;
    interface->iov[0].len = kAreaPages;
    CHECK_RESULT(0, call_action(fd, 0, EXMAP_OP_FREE, 1));
    interface->iov[0].page = 0;
    interface->iov[0].len = kFrames;
    CHECK_RESULT(0, call_action(fd, 0, EXMAP_OP_ALLOC, 1));
    CHECK(interface->iov[0].pages == kFrames, "%d of 64 frames are left", interface->iov[0].pages);
    munmap(area - kPageSize, (kAreaPages + 2) * kPageSize);
    munmap(interface, kPageSize);
    close(fd);
  }
  ledger.check_balanced();
  return 0;
}
