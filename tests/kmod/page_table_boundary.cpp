// SPDX-License-Identifier: MIT
// Runs that cross the end of a page table of every level (2 MiB, 1 GiB, 512 GiB), and the last page
// of the area.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

void cross(const Exmap& map, std::uint64_t boundary_page) {
  const std::uint64_t first = boundary_page - 5;
  CHECK_RESULT(0, map.alloc(0, first, 10));
  CHECK(map.entry(0, 0).pages == 10, "pages says %d of 10", map.entry(0, 0).pages);
  for (std::uint64_t i = 0; i < 10; i++) fill_page(map.page(first + i), first + i);
  for (std::uint64_t i = 0; i < 10; i++)
    CHECK(page_holds(map.page(first + i), first + i), "two pages share a frame at page %llu",
          ull(first + i));
  CHECK_RESULT(0, map.free(0, first, 10));
  std::uint64_t value = 0;
  for (std::uint64_t i = 0; i < 10; i++)
    CHECK(try_read(map.word(first + i), value) != 0, "a freed page is readable");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  {
    const Exmap map({.frames = 16,
                     // 1 TiB: a 512 GiB boundary lies inside, wherever it starts.
                     .area_pages = 1ull << 28});
    const auto base = reinterpret_cast<std::uintptr_t>(map.area());
    for (const unsigned shift : {21u, 30u, 39u}) {
      const std::uintptr_t size = std::uintptr_t{1} << shift;
      const std::uintptr_t boundary = ((base + 6 * kPageSize + size) & ~(size - 1));
      CHECK(boundary + 5 * kPageSize < base + map.area_pages() * kPageSize, "no boundary inside");
      for (int i = 0; i < 50; i++) cross(map, (boundary - base) / kPageSize);
    }
    CHECK_RESULT(0, map.alloc(0, 0));
    CHECK_RESULT(0, map.alloc(0, map.area_pages() - 1));
    CHECK_REFUSED(map.alloc(0, map.area_pages()));
    CHECK_REFUSED(map.alloc(0, map.area_pages() - 2, 3));
    CHECK_RESULT(0, map.free(0, 0));
    CHECK_RESULT(0, map.free(0, map.area_pages() - 2, 2));
    map.check_all_frames(0, 16);
  }
  ledger.check_balanced();
  return 0;
}
