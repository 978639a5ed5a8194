// SPDX-License-Identifier: MIT
// The view is mapped whole, shared, readable and writable, once, by the owner; it cannot be
// changed; every other wish is refused and changes nothing.
#include "view_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 16;
constexpr int kBoth = PROT_READ | PROT_WRITE;

void refuse(int fd, std::size_t length, int rights, int kind, std::uint64_t offset, int error) {
  void* const mapped = mmap(nullptr, length, rights, kind, fd, static_cast<off_t>(offset));
  CHECK(mapped == MAP_FAILED && errno == error,
        "offset 0x%llx, %zu bytes, rights %d, kind %d: %s, not %s", ull(offset), length, rights,
        kind, mapped == MAP_FAILED ? strerror(errno) : "mapped", strerror(error));
}

void wrong_mappings(const Exmap& map) {
  const int fd = map.fd();
  for (const std::size_t frames :
       {kFrames + 1, kFrames * 2, std::uint64_t{1} << 20, std::uint64_t{1} << 31})
    refuse(fd, frames * kPageSize, kBoth, MAP_SHARED, EXMAP_OFF_VIEW, EINVAL);
  for (const int rights : {PROT_NONE, PROT_READ, kBoth | PROT_EXEC})
    refuse(fd, kFrames * kPageSize, rights, MAP_SHARED, EXMAP_OFF_VIEW, EINVAL);
  refuse(fd, kFrames * kPageSize, kBoth, MAP_PRIVATE, EXMAP_OFF_VIEW, EINVAL);
  for (const std::uint64_t frame : {1ull, 2ull, 15ull, 1ull << 40})
    refuse(fd, kPageSize, kBoth, MAP_SHARED, EXMAP_OFF_VIEW + frame * kPageSize, EINVAL);
  const exmap_stats2 stats = stats_of(fd);
  CHECK(stats.frames_in_view == 0 && stats.frames == kFrames, "a refused view left %llu numbers",
        ull(stats.frames_in_view));
}

void wrong_flags(const Exmap& map) {
  map.entry(0, 0).page = 0;
  map.entry(0, 0).len = 1;
  for (unsigned bit = 0; bit < 64; bit++)
    for (const std::uint64_t with : {0ull, EXMAP_ACTION_REPORT_FRAME}) {
      const std::uint64_t flags = std::uint64_t{1} << bit | with;
      if (flags != EXMAP_ACTION_REPORT_FRAME)
        CHECK_RESULT(-EINVAL, call_action(map.fd(), 0, EXMAP_OP_ALLOC, 1, flags));
    }
  CHECK_RESULT(-EINVAL, call_action(map.fd(), 0, EXMAP_OP_FREE, 1, EXMAP_ACTION_REPORT_FRAME));
  CHECK(map.allocated() == 0, "a refused action did something");
  CHECK_RESULT(0, call_action(map.fd(), 0, EXMAP_OP_ALLOC, 0, EXMAP_ACTION_REPORT_FRAME));
}

void rigid(const Exmap& map) {
  const View view(map, kFrames);
  refuse(map.fd(), kFrames * kPageSize, kBoth, MAP_SHARED, EXMAP_OFF_VIEW, EBUSY);
  void* const room = mmap(nullptr, view.bytes() * 2, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(room != MAP_FAILED, "mmap: %s", strerror(errno));
  for (const int rights : {PROT_NONE, PROT_READ, PROT_READ | PROT_EXEC}) {
    CHECK_REFUSED(result_of(mprotect(view.base(), view.bytes(), rights)));
    CHECK_REFUSED(result_of(mprotect(view.frame(2), kPageSize, rights)));
  }
  const auto remap = [&](std::size_t offset, std::size_t from, std::size_t to, int flags,
                         void* target) {
    CHECK(mremap(view.base() + offset, from, to, flags, target) == MAP_FAILED,
          "mremap of %zu bytes at %zu to %zu with flags %d was taken", from, offset, to, flags);
  };
  remap(0, view.bytes(), view.bytes() * 2, MREMAP_MAYMOVE, nullptr);
  remap(0, view.bytes(), view.bytes(), MREMAP_MAYMOVE | MREMAP_FIXED, room);
  remap(0, view.bytes(), view.bytes(), MREMAP_MAYMOVE | MREMAP_DONTUNMAP, room);
  remap(kPageSize, kPageSize, kPageSize, MREMAP_MAYMOVE | MREMAP_FIXED, room);
  remap(0, view.bytes(), kPageSize, 0, nullptr);
  remap(0, 0, view.bytes(), MREMAP_MAYMOVE, nullptr);
  CHECK_REFUSED(result_of(munmap(view.base(), kPageSize)));
  CHECK_REFUSED(result_of(munmap(view.frame(3), kPageSize)));
  munmap(room, view.bytes() * 2);
  const exmap_stats2 stats = stats_of(map.fd());
  CHECK((stats.state & EXMAP_STATE_VIEW) != 0 && stats.frames_in_view == kFrames,
        "a refused call hurt the view");
  for (std::uint64_t n = 0; n < kFrames; n++) fill_page(view.frame(n), n);
  in_child("a child", [&] {
    catch_faults();
    std::uint64_t value = 0;
    CHECK(try_read(reinterpret_cast<std::uint64_t*>(view.base()), value) != 0,
          "the child sees the view");
    refuse(map.fd(), kFrames * kPageSize, kBoth, MAP_SHARED, EXMAP_OFF_VIEW, EBUSY);
  });
  for (std::uint64_t n = 0; n < kFrames; n++)
    CHECK(page_holds(view.frame(n), n), "frame %llu changed", ull(n));
}

//! Whatever madvise does, the view is whole or says that it is not.
void every_advice() {
  for (int advice = 0; advice <= 26; advice++)
    in_child("an advice", [&] {
      catch_faults();
      const Exmap map({.frames = kFrames, .area_pages = 64});
      const View view(map, kFrames);
      const std::uint32_t before = frame_of(map, 0);
      fill_page(map.page(0), 7);
      (void)madvise(view.frame(before), kPageSize, advice);
      (void)madvise(view.base(), view.bytes(), advice);
      const bool whole = (stats_of(map.fd()).state & EXMAP_STATE_VIEW) != 0;
      for (std::uint64_t n = 0; n < kFrames; n++) {
        std::uint64_t value = 0;
        const bool there = try_read(reinterpret_cast<std::uint64_t*>(view.frame(n)), value) == 0;
        CHECK(there || !whole, "advice %d took frame %llu, and the view counts as whole", advice,
              ull(n));
      }
      CHECK(page_holds(map.page(0), 7), "advice %d on the view took a page of the area", advice);
      const std::uint32_t after = frame_of(map, 0);
      CHECK(after == (whole ? before : EXMAP_FRAME_NONE), "advice %d: frame %u became %u", advice,
            before, after);
      CHECK_RESULT(0, map.free(0, 0));
      map.check_all_frames(0, kFrames);
    });
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const int fd = open_device();
    refuse(fd, kPageSize, kBoth, MAP_SHARED, EXMAP_OFF_VIEW, ENXIO);
    close(fd);
    exmap_query query{};
    query.size = sizeof query;
    const Exmap map({.frames = kFrames, .area_pages = 64});
    CHECK_RESULT(0, result_of(ioctl(map.fd(), EXMAP_IOCTL_QUERY, &query)));
    CHECK((query.features & EXMAP_FEATURE_VIEW) != 0, "query does not tell of the view");
    wrong_mappings(map);
    wrong_flags(map);
    rigid(map);
    wrong_mappings(map);
    map.check_all_frames(0, kFrames);
  }
  every_advice();
  ledger.check_balanced();
  return 0;
}
