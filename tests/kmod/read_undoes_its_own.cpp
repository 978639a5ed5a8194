// SPDX-License-Identifier: MIT
// A READ that fails, or meets the end of the file, unmaps what it has mapped, and nothing else: not
// what another thread freed and allocated again meanwhile, at the same page and perhaps with the
// same frame.
#include <memory>

#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kPages = 256, kMine = kPages - 1;

//! Reads `kPages` pages of which the last ones do not exist, over and over. Another thread waits
//! until the last page is mapped, frees it and takes it for itself: from then on it must stay.
void race(const Exmap& map, bool direct, std::uint64_t rounds, std::uint64_t& taken) {
  std::atomic<std::uint64_t> turn{0}, read{0}, over{0};  // rounds: begun, its READ done, ended
  std::thread other([&] {
    for (std::uint64_t i = 1; i <= rounds; i++) {
      while (turn != i) sched_yield();
      bool mine = false;
      // Both count only what they changed. A free that changed something took the READ's page.
      while (!mine && read != i) {
        CHECK_RESULT(0, map.free(1, kMine));
        if (map.entry(1, 0).pages == 0) {
          sched_yield();
          continue;
        }
        const int result = map.alloc(1, kMine);
        CHECK(result == 0 || result == -ENOMEM, "ALLOC gave %d", result);
        mine = result == 0 && map.entry(1, 0).pages == 1;
      }
      if (mine) fill_page(map.page(kMine), i);
      while (read != i) sched_yield();
      if (mine) {
        taken++;
        CHECK_RESULT(0, map.alloc(1, kMine));
        CHECK(map.entry(1, 0).pages == 0,
              "round %llu: a READ that failed unmapped another thread's page", ull(i));
        // Direct I/O may have met the new frame.
        CHECK(direct || page_holds(map.page(kMine), i), "round %llu: the page holds 0x%llx", ull(i),
              ull(*map.word(kMine)));
      }
      CHECK_RESULT(0, map.free(1, 0, kPages));
      over = i;
    }
  });
  for (std::uint64_t i = 1; i <= rounds; i++) {
    turn = i;
    const long long got = result_of(
        pread(map.fd(), map.page(0), kPages * kPageSize, EXMAP_OP_OFFSET(0, EXMAP_OP_READ)));
    CHECK(got >= 0 || got == -EFAULT || got == -EIO || got == -ENODATA || got == -ENOMEM,
          "READ gave %lld", got);
    read = i;
    while (over != i) sched_yield();
  }
  other.join();
}

void race_on(int file, bool direct, std::uint64_t rounds, const char* what) {
  std::uint64_t taken = 0;
  // As few frames as possible beside those that are read, so that a freed one is the next to be
  // had.
  const Exmap map({.frames = kPages + 2, .interfaces = 2, .area_pages = 1024, .backing_fd = file});
  race(map, direct, rounds, taken);
  std::printf("# %s: in %llu of %llu rounds a page was taken from a READ\n", what, ull(taken),
              ull(rounds));
  CHECK_RESULT(0, map.free(0, 0, 1024));
  map.check_all_frames(0, kPages + 2);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t rounds = options.scaled("reads", 100);
  const Ledger ledger;
  const int file = memory_file(kPages / 2);  // the rest is beyond its end
  race_on(file, false, rounds, "end of the file");
  close(file);
  const std::string device = options.text("device", "");
  if (!device.empty()) {  // page 100 of it cannot be read
    const int drive = open(device.c_str(), O_RDWR | O_DIRECT);
    CHECK(drive >= 0, "open %s: %s", device.c_str(), strerror(errno));
    race_on(drive, true, rounds, "a page that cannot be read");
    close(drive);
  }
  ledger.check_balanced();
  return 0;
}
