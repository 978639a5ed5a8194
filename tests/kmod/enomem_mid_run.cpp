// SPDX-License-Identifier: MIT
// The pool runs dry in the middle of a run: what was done stays done and is told, the call fails
// with ENOMEM, and every frame is still to be had afterwards.
#include "exmap_test.h"

using namespace exmap_test;

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  for (const std::uint64_t frames : {1, 2, 6, 511, 512, 513, 1000}) {
    const Exmap map({.frames = frames, .area_pages = 4096});
    const std::uint64_t first = frames / 2, rest = frames - first;
    const Run runs[] = {{0, first ? first : 1}, {2048, rest + 5}, {3072, 1}};
    CHECK_RESULT(-ENOMEM, map.batch(0, EXMAP_OP_ALLOC, runs + (first ? 0 : 1), first ? 3 : 2));
    const int cut = first ? 1 : 0;
    if (first)
      CHECK(map.entry(0, 0).res >= 0 && map.entry(0, 0).pages == static_cast<int>(first),
            "first run: res %d, pages %d of %llu", map.entry(0, 0).res, map.entry(0, 0).pages,
            ull(first));
    CHECK(map.entry(0, cut).res == -ENOMEM && map.entry(0, cut).pages == static_cast<int>(rest),
          "the cut run: res %d, pages %d, %llu frames were left", map.entry(0, cut).res,
          map.entry(0, cut).pages, ull(rest));
    CHECK(map.entry(0, cut + 1).res == -ENOMEM && map.entry(0, cut + 1).pages == 0,
          "the run after: res %d, pages %d", map.entry(0, cut + 1).res,
          map.entry(0, cut + 1).pages);
    CHECK(map.allocated() == frames, "%llu pages mapped of %llu", ull(map.allocated()),
          ull(frames));
    std::uint64_t value = 0;
    for (std::uint64_t i = 0; i < rest; i++) fill_page(map.page(2048 + i), i);
    CHECK(try_read(map.word(2048 + rest), value) != 0, "the page past the cut is mapped");
    CHECK_RESULT(0, map.free(0, 2048, rest));
    if (first) CHECK_RESULT(0, map.free(0, 0, first));
    map.check_all_frames(0, frames);
  }
  ledger.check_balanced();
  return 0;
}
