// SPDX-License-Identifier: MIT
// mlock, mlock2 and mlockall beside an exmap: no page appears, none is lost, nothing stays
// accounted.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 64, kOwner = 0x10c4;

void lock_and_use(const Exmap& map) {
  const std::size_t size = map.area_pages() * kPageSize;
  for (std::uint64_t page = 0; page < 8; page++) {
    CHECK_RESULT(0, map.alloc(0, page));
    fill_page(map.page(page), kOwner + page);
  }
  std::printf("# mlock all %lld, part %lld, mlock2 ONFAULT %lld, mlockall %lld\n",
              result_of(mlock(map.area(), size)), result_of(mlock(map.page(2), 4 * kPageSize)),
              result_of(mlock2(map.area(), size, MLOCK_ONFAULT)), result_of(mlockall(MCL_CURRENT)));
  CHECK(map.allocated() == 8, "mlock mapped or unmapped pages: %llu are allocated, not 8",
        ull(map.allocated()));
  for (std::uint64_t page = 0; page < 8; page++)
    CHECK(page_holds(map.page(page), kOwner + page), "page %llu changed", ull(page));
  std::uint64_t value = 0;
  CHECK(try_read(map.word(20), value) != 0, "mlock made an unmapped page readable");
  CHECK_RESULT(0, map.free(0, 0, 8));
  map.check_all_frames(0, kFrames);
  munlock(map.page(2), 4 * kPageSize);
  munlock(map.area(), size);
  munlockall();
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  in_child("mlock", [] {
    const long long locked_kib = read_number("/proc/self/status", "VmLck:");
    const long long pinned_kib = read_number("/proc/self/status", "VmPin:");
    {
      const Exmap map({.frames = kFrames, .area_pages = 1024});
      lock_and_use(map);
    }
    CHECK(read_number("/proc/self/status", "VmLck:") == locked_kib, "VmLck stayed up after close");
    CHECK(read_number("/proc/self/status", "VmPin:") == pinned_kib, "VmPin stayed up after close");
  });
  in_child("mlockall of the future", [] {
    CHECK_RESULT(0, result_of(mlockall(MCL_FUTURE)));
    const Exmap map({.frames = kFrames, .area_pages = 1024});
    CHECK(map.allocated() == 0, "mlockall filled the area");
    map.check_all_frames(0, kFrames);
  });
  ledger.check_balanced();
  return 0;
}
