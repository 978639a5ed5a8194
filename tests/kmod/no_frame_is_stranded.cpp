// SPDX-License-Identifier: MIT
// Frames that rest in idle interfaces are found by one that starves: whichever interface asks gets
// the whole pool.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

//! Leaves frames behind in every interface, in uneven shares.
void scatter(const Exmap& map, int interfaces, std::uint64_t frames, Random& random) {
  std::vector<int> owner(frames);
  for (std::uint64_t page = 0; page < frames; page++) {
    CHECK_RESULT(
        0, map.alloc(static_cast<int>(random.below(static_cast<std::uint64_t>(interfaces))), page));
    owner[page] = static_cast<int>(random.below(static_cast<std::uint64_t>(interfaces)));
  }
  for (std::uint64_t page = 0; page < frames; page++) CHECK_RESULT(0, map.free(owner[page], page));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  Random random(options.number("seed", 1));
  const Ledger ledger;
  for (const std::uint64_t frames : {7, 64, 513, 3000}) {
    constexpr int kInterfaces = 12;
    const Exmap map({.frames = frames, .interfaces = kInterfaces, .area_pages = 8192});
    for (int round = 0; round < 4; round++) {
      scatter(map, kInterfaces, frames, random);
      const int taker = static_cast<int>(random.below(kInterfaces));
      for (std::uint64_t page = 0; page < frames; page += 64)  // in batches, as a pool does
        CHECK_RESULT(0, map.alloc(taker, page, std::min<std::uint64_t>(64, frames - page)));
      CHECK_RESULT(-ENOMEM, map.alloc(taker, 8000));
      CHECK_RESULT(0, map.free(static_cast<int>(random.below(kInterfaces)), 0, frames));
    }
    map.check_all_frames(0, frames);
  }
  ledger.check_balanced();
  return 0;
}
