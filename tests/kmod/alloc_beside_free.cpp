// SPDX-License-Identifier: MIT
// ALLOC of a page beside a FREE of the same page: what is written before the FREE has returned may
// be lost, and that is all. No other page shows it, and what is written after both have returned
// stays.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kBatch = 256, kOthers = 1000, kOtherPages = 64;

//! Frees page 0 in one batch with others each time it is told to.
void free_in_turn(const Exmap& map, std::atomic<std::uint64_t>& told,
                  std::atomic<std::uint64_t>& freed, std::uint64_t rounds) {
  for (std::uint64_t i = 1; i <= rounds; i++) {
    while (told != i) sched_yield();
    CHECK_RESULT(0, map.free(0, 0, kBatch));
    freed = i;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t rounds = options.scaled("rounds", 3000);
  if (cpu_count() < 2) SKIP("needs two CPUs to have a TLB elsewhere");
  const Ledger ledger;
  {
    const Exmap map({.frames = kBatch + kOtherPages, .interfaces = 2, .area_pages = 4096});
    CHECK_RESULT(0, map.alloc(1, kOthers, kOtherPages - 1));  // one frame is left beside the batch
    for (std::uint64_t page = 0; page < kOtherPages - 1; page++)
      fill_page(map.page(kOthers + page), page);
    std::atomic<std::uint64_t> told{0}, freed{0};
    std::uint64_t raced = 0, lost = 0;
    std::thread freer([&] {
      pin_to_cpu(1);
      free_in_turn(map, told, freed, rounds);
    });
    pin_to_cpu(0);
    for (std::uint64_t i = 1; i <= rounds; i++) {
      CHECK_RESULT(0, map.alloc(1, 0, kBatch));
      *map.word(0) = 1;  // this CPU's TLB knows the page
      told = i;
      bool mapped = false;
      while (!mapped && freed != i) {
        const int result = map.alloc(1, 0);
        CHECK(result == 0 || result == -ENOMEM, "ALLOC gave %d", result);
        mapped = map.entry(1, 0).pages == 1;
      }
      if (mapped) *map.word(0) = 0xabcd0000 + i;
      while (freed != i) sched_yield();
      if (mapped) {
        raced++;
        lost += *map.word(0) != 0xabcd0000 + i;
        *map.word(0) = 0xbbbb0000 + i;
        CHECK(*map.word(0) == 0xbbbb0000 + i, "a write after both had returned was lost");
      }
      CHECK_RESULT(0, map.free(1, 0, kBatch));
    }
    freer.join();
    std::printf("# in %llu of %llu rounds ALLOC came into FREE, and %llu of its writes were lost\n",
                ull(raced), ull(rounds), ull(lost));
    for (std::uint64_t page = 0; page < kOtherPages - 1; page++)
      CHECK(page_holds(map.page(kOthers + page), page), "page %llu shows another page's bytes",
            ull(kOthers + page));
    CHECK_RESULT(0, map.free(1, kOthers, kOtherPages));
    map.check_all_frames(0, kBatch + kOtherPages);
  }
  ledger.check_balanced();
  return 0;
}
