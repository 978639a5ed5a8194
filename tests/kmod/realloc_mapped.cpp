// SPDX-License-Identifier: MIT
// ALLOC of pages that are mapped already: content stays, no frame is taken for them and none is
// lost.
#include "exmap_test.h"

using namespace exmap_test;

int main(int argc, char** argv) {
  const Options options(argc, argv);
  constexpr std::uint64_t kFrames = 32;
  const Ledger ledger;
  {
    const Exmap map({.frames = kFrames, .area_pages = 256});
    const std::uint64_t rounds = options.scaled("re-ALLOC rounds", 200);
    for (std::uint64_t i = 0; i < rounds; i++) {
      CHECK_RESULT(0, map.alloc(0, 4, 2));
      fill_page(map.page(4), 44);
      fill_page(map.page(5), 55);
      CHECK_RESULT(0, map.alloc(0, 4, 2));
      const Run overlapping[] = {{2, 8}, {4, 1}, {0, 12}};
      CHECK_RESULT(0, map.batch(0, EXMAP_OP_ALLOC, overlapping, 3));
      CHECK(page_holds(map.page(4), 44) && page_holds(map.page(5), 55),
            "re-ALLOC changed a mapped page");
      CHECK(map.allocated() == 12, "%llu frames are taken for 12 pages", ull(map.allocated()));
      CHECK_RESULT(0, map.free(0, 0, 12));
      CHECK(map.allocated() == 0, "%llu frames are left mapped", ull(map.allocated()));
    }
    CHECK_RESULT(0, map.alloc(0, 0, kFrames));  // a full pool: re-ALLOC needs no frame
    CHECK_RESULT(0, map.alloc(0, 0, kFrames));
    CHECK_RESULT(0, map.free(0, 0, kFrames));
    map.check_all_frames(0, kFrames);
  }
  ledger.check_balanced();
  return 0;
}
