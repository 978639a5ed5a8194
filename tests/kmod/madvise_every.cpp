// SPDX-License-Identifier: MIT
// Every madvise advice on mapped and unmapped pages: whatever the kernel makes of it, a page keeps
// its content or is unmapped, the calls go on working, and no frame is lost. (Poisoning, 100, is
// left out: it destroys the machine's memory.)
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 16, kOwner = 0xbeef00;

void advise(const Exmap& map, int advice) {
  for (std::uint64_t page = 0; page < 8; page++) {
    CHECK_RESULT(0, map.alloc(0, page));
    fill_page(map.page(page), kOwner + page);
  }
  const long long part = result_of(madvise(map.page(2), 4 * kPageSize, advice));
  const long long whole = result_of(madvise(map.area(), map.area_pages() * kPageSize, advice));
  std::uint64_t value = 0, gone = 0;
  for (std::uint64_t page = 0; page < 8; page++) {
    const int raised = try_read(map.word(page), value);
    gone += raised != 0;
    CHECK(raised != 0 || page_holds(map.page(page), kOwner + page),
          "advice %d: page %llu shows 0x%llx", advice, ull(page), ull(value));
  }
  if (part != -EINVAL || whole != -EINVAL)
    std::printf("# advice %3d: part %lld, whole %lld, %llu of 8 pages gone\n", advice, part, whole,
                ull(gone));
  // What is gone comes back writable.
  for (std::uint64_t page = 0; page < 8; page++) {
    CHECK_RESULT(0, map.alloc(0, page));
    fill_page(map.page(page), kOwner + page);
    CHECK_RESULT(0, map.free(0, page));
  }
  map.check_all_frames(0, kFrames);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  for (int advice = 0; advice <= 110; advice++) {
    if (advice == 100) continue;
    in_child("an advice", [&] {
      const Exmap map({.frames = kFrames, .area_pages = 1024});
      advise(map, advice);
    });
    if (advice == 26) advice = 98;  // nothing is defined between 25 and 100
  }
  ledger.check_balanced();
  return 0;
}
