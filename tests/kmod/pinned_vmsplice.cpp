// SPDX-License-Identifier: MIT
// A page freed while a pipe holds it by vmsplice: the pipe still yields the old owner's bytes,
// never the next owner's, and the frame comes back to the pool once the pipe is drained.
#include "exmap_test.h"

using namespace exmap_test;

int main(int argc, char** argv) {
  const Options options(argc, argv);
  constexpr std::uint64_t kFrames = 8, kPinned = 4, kOwner = 0x0157, kNext = 0x4e87;
  const Ledger ledger;
  {
    const Exmap map({.frames = kFrames, .area_pages = 256});
    const std::uint64_t rounds = options.scaled("vmsplice rounds", 100);
    for (std::uint64_t i = 0; i < rounds; i++) {
      int ends[2];
      CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
      CHECK_RESULT(0, map.alloc(0, 0, kPinned));
      for (std::uint64_t page = 0; page < kPinned; page++) fill_page(map.page(page), kOwner + page);
      iovec pinned{map.area(), kPinned * kPageSize};
      const long long spliced = result_of(vmsplice(ends[1], &pinned, 1, 0));
      CHECK_RESULT(static_cast<long long>(kPinned * kPageSize), spliced);
      CHECK_RESULT(0, map.free(0, 0, kPinned));
      // As many as the pool will give.
      for (std::uint64_t page = 100; page < 100 + kFrames; page++) {
        if (map.alloc(0, page) != 0) break;
        fill_page(map.page(page), kNext);
      }
      alignas(8) char seen[kPageSize];
      for (std::uint64_t page = 0; page < kPinned; page++) {
        CHECK_RESULT(kPageBytes, result_of(read(ends[0], seen, kPageSize)));
        CHECK(page_holds(seen, kOwner + page), "the pipe yields another owner's bytes");
      }
      close(ends[0]);
      close(ends[1]);
      CHECK_RESULT(0, map.free(0, 100, kFrames));
      if (i % 16 == 0) map.check_all_frames(0, kFrames);
    }
    map.check_all_frames(0, kFrames);
  }
  {  // the pipe outlives the exmap
    int ends[2];
    CHECK(pipe(ends) == 0, "pipe: %s", strerror(errno));
    in_child("splice and go", [&] {
      const Exmap map({.frames = kFrames, .area_pages = 256});
      CHECK_RESULT(0, map.alloc(0, 0));
      fill_page(map.page(0), kOwner);
      iovec pinned{map.area(), kPageSize};
      CHECK_RESULT(kPageBytes, result_of(vmsplice(ends[1], &pinned, 1, 0)));
    });
    alignas(8) char seen[kPageSize];
    CHECK_RESULT(kPageBytes, result_of(read(ends[0], seen, kPageSize)));
    CHECK(page_holds(seen, kOwner), "the frame changed after its exmap died");
    close(ends[0]);
    close(ends[1]);
  }
  ledger.check_balanced();
  return 0;
}
