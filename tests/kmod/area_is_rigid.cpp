// SPDX-License-Identifier: MIT
// The area cannot be split, moved, grown, shrunk or given other rights; refused calls change
// nothing.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kOwner = 0xabcdef;

void check_untouched(const Exmap& map, const char* after) {
  for (std::uint64_t page = 0; page < 8; page++)
    CHECK(page_holds(map.page(page), kOwner + page), "page %llu changed after %s", ull(page),
          after);
  fill_page(map.page(3), kOwner + 3);
  CHECK_RESULT(0, map.alloc(0, 9));
  CHECK_RESULT(0, map.free(0, 9));
}

void refuse_rights(const Exmap& map, std::size_t offset, std::size_t length) {
  for (int rights :
       {PROT_NONE, PROT_READ, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC}) {
    CHECK_REFUSED(result_of(mprotect(map.area() + offset, length, rights)));
    check_untouched(map, "mprotect");
  }
}

void refuse_moves(const Exmap& map) {
  const std::size_t size = map.area_pages() * kPageSize;
  const auto remap = [&](std::size_t offset, std::size_t from, std::size_t to, int flags,
                         void* target) {
    void* const moved = mremap(map.area() + offset, from, to, flags, target);
    const bool refused = moved == MAP_FAILED;
    check_untouched(map, "mremap");
    CHECK(refused, "mremap of %zu bytes at %zu to %zu with flags %d was taken", from, offset, to,
          flags);
  };
  void* const room = mmap(nullptr, size * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(room != MAP_FAILED, "mmap: %s", strerror(errno));
  remap(0, size, size * 2, 0, nullptr);
  remap(0, size, size * 2, MREMAP_MAYMOVE, nullptr);
  remap(0, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, room);
  remap(0, size, size, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, room);
  remap(0, kPageSize * 4, kPageSize * 4, MREMAP_MAYMOVE | MREMAP_FIXED, room);
  remap(kPageSize * 4, kPageSize * 4, kPageSize * 4, MREMAP_MAYMOVE | MREMAP_FIXED, room);
  remap(0, 0, size, MREMAP_MAYMOVE, nullptr);
  remap(0, size, size / 2, 0, nullptr);
  munmap(room, size * 2);
}

void refuse_holes(const Exmap& map) {
  const std::size_t size = map.area_pages() * kPageSize;
  for (const auto& [offset, length] : {std::pair<std::size_t, std::size_t>{0, kPageSize},
                                       {size - kPageSize, kPageSize},
                                       {size / 2, kPageSize * 2},
                                       {kPageSize, size - kPageSize}}) {
    CHECK_REFUSED(result_of(munmap(map.area() + offset, length)));
    check_untouched(map, "munmap of a part");
    void* const over = mmap(map.area() + offset, length, PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(over == MAP_FAILED, "a part of the area was mapped over");
    check_untouched(map, "mmap over a part");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const Exmap map({.frames = 16, .area_pages = 2048});
    for (std::uint64_t page = 0; page < 8; page++) {
      CHECK_RESULT(0, map.alloc(0, page));
      fill_page(map.page(page), kOwner + page);
    }
    refuse_rights(map, 0, map.area_pages() * kPageSize);
    refuse_rights(map, 0, kPageSize);
    refuse_rights(map, kPageSize * 2, kPageSize);
    refuse_moves(map);
    refuse_holes(map);
    CHECK_RESULT(0, map.free(0, 0, 8));
    map.check_all_frames(0, 16);
  }
  ledger.check_balanced();
  return 0;
}
