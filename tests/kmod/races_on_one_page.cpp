// SPDX-License-Identifier: MIT
// Many threads ALLOC, FREE and READ the same pages through interfaces of their own, and two share
// one interface: a page never has two frames, a frame never two pages, and none is lost.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr int kThreads = 6, kInterfaces = 5;  // two threads share the last interface
constexpr std::uint64_t kPages = 4, kFrames = 64;

void churn(const Exmap& map, int interface, std::uint64_t seed, std::uint64_t rounds) {
  Random random(seed);
  // An entry of an interface that two threads share may hold the other's result by the time it is
  // read.
  const auto check = [&](int result) {
    CHECK(result == 0 || (result == -EINVAL && interface == kInterfaces - 1), "interface %d: %s",
          interface, strerror(-result));
  };
  for (std::uint64_t i = 0; i < rounds; i++) {
    const Run run{random.below(kPages), 1 + random.below(kPages)};
    const Run cut{run.page, std::min(run.len, kPages - run.page)};
    switch (random.below(5)) {
      case 0:
      case 1:
        check(map.batch(interface, EXMAP_OP_ALLOC, &cut, 1));
        break;
      case 2:
      case 3:
        check(map.batch(interface, EXMAP_OP_FREE, &cut, 1));
        break;
      default: {
        const long long got = result_of(pread(map.fd(), map.page(cut.page), kPageSize, interface));
        CHECK(got == kPageBytes || got < 0, "a read of one page gave %lld", got);
        break;
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t seed = options.number("seed", 1);
  const std::uint64_t rounds = options.scaled("operations a thread, 6 threads on 4 pages", 6000);
  const Ledger ledger;
  {
    const int file = memfd_create("file", MFD_CLOEXEC);
    CHECK(ftruncate(file, 64 * kPageSize) == 0, "ftruncate: %s", strerror(errno));
    const Exmap map(
        {.frames = kFrames, .interfaces = kInterfaces, .area_pages = 256, .backing_fd = file});
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; i++)
      threads.emplace_back([&, i] {
        churn(map, std::min(i, kInterfaces - 1), seed + static_cast<std::uint64_t>(i), rounds);
      });
    for (auto& thread : threads) thread.join();
    CHECK(map.allocated() <= kPages, "%llu frames are mapped in %llu pages", ull(map.allocated()),
          ull(kPages));
    CHECK_RESULT(0, map.alloc(0, 0, kPages));
    CHECK(map.allocated() == kPages, "%llu frames are mapped in %llu pages", ull(map.allocated()),
          ull(kPages));
    for (std::uint64_t page = 0; page < kPages; page++) fill_page(map.page(page), page);
    for (std::uint64_t page = 0; page < kPages; page++)
      CHECK(page_holds(map.page(page), page), "two pages share a frame");
    CHECK_RESULT(0, map.free(0, 0, kPages));
    for (int i = 0; i < kInterfaces; i++) map.check_all_frames(i, kFrames);
    close(file);
  }
  ledger.check_balanced();
  return 0;
}
