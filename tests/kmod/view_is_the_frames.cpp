// SPDX-License-Identifier: MIT
// What ALLOC reports is the place in the view where the page's bytes are, for as long as the view
// is mapped; a number never names two frames; and frames come and go as without a view: by FREE, by
// madvise and munmap of the area, by growing and shrinking, by the loss of a part of the view.
#include "view_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 64;

//! The pages first.. hold frames of the view (where one is reported), each seen at both places.
//! Returns how many frames had no number.
std::uint64_t check_pages(const Exmap& map, const View& view, std::uint64_t first,
                          std::uint64_t count) {
  std::set<std::uint32_t> numbers;
  std::uint64_t without = 0;
  for (std::uint64_t page = first; page < first + count; page++) {
    const std::uint32_t frame = frame_of(map, page);
    if (frame == EXMAP_FRAME_NONE) {
      without++;
      continue;
    }
    CHECK(frame * kPageSize < view.bytes(), "page %llu: frame %u is not in the view", ull(page),
          frame);
    CHECK(numbers.insert(frame).second, "frame %u is at two pages", frame);
    fill_page(map.page(page), page + 1);
    CHECK(page_holds(view.frame(frame), page + 1), "page %llu is not frame %u", ull(page), frame);
    fill_page(view.frame(frame), page + 0x1000);
    CHECK(page_holds(map.page(page), page + 0x1000), "frame %u is not page %llu", frame, ull(page));
    CHECK(frame_of(map, page) == frame, "page %llu changed its frame", ull(page));
  }
  return without;
}

void all_frames_have_numbers(const Exmap& map) {
  const std::uint64_t replaced = stats_of(map.fd()).pinned;
  const View view(map, kFrames);
  for (int round = 0; round < 3; round++) {
    CHECK(check_pages(map, view, 10, kFrames) == 0, "a frame of the view has no number");
    CHECK_RESULT(0, map.free(0, 10, kFrames));
  }
  const exmap_stats2 stats = stats_of(map.fd());
  CHECK(stats.frames_in_view == kFrames && (stats.state & EXMAP_STATE_VIEW) != 0,
        "statistics: %llu frames in view, state 0x%llx", ull(stats.frames_in_view),
        ull(stats.state));
  CHECK(stats.pinned == replaced, "%llu frames were replaced", ull(stats.pinned - replaced));
  map.check_all_frames(0, kFrames);
}

void entries_report_their_first_page(const Exmap& map) {
  const View view(map, kFrames);
  const Run runs[] = {{0, 5}, {5, 1}, {0, 2}, {3, 4}, {1, 0}, {1ull << 40, 1}, {8, 1}};
  CHECK_RESULT(-EINVAL, alloc_reporting(map, 0, runs, 7));
  std::int32_t res[7];
  for (int i = 0; i < 7; i++) res[i] = map.entry(0, i).res;
  CHECK(map.entry(0, 0).pages == 5 && map.entry(0, 2).pages == 0 && map.entry(0, 3).pages == 1,
        "the pages of the entries: %d, %d, %d", map.entry(0, 0).pages, map.entry(0, 2).pages,
        map.entry(0, 3).pages);
  CHECK(res[4] == EXMAP_FRAME_NONE, "an empty entry reports %d", res[4]);
  CHECK(res[5] == -EINVAL, "a wrong entry reports %d", res[5]);
  const std::uint64_t first[] = {0, 5, 0, 3, 0, 0, 8};
  for (const int i : {0, 1, 2, 3, 6})
    CHECK(res[i] == static_cast<std::int32_t>(frame_of(map, first[i])),
          "entry %d reports frame %d, not %u", i, res[i], frame_of(map, first[i]));
  CHECK_RESULT(0, map.free(0, 0, 16));
}

void part_of_the_pool(const Exmap& map) {
  const View view(map, 10);
  const std::uint64_t without = check_pages(map, view, 0, kFrames);
  CHECK(without == kFrames - 10, "%llu frames without a number, not %llu", ull(without),
        ull(kFrames - 10));
  CHECK_RESULT(0, map.free(0, 0, kFrames));
}

void grow_and_shrink() {
  const Exmap map({.frames = kFrames, .area_pages = 1024});
  const long long locked = read_number("/proc/self/status", "VmLck:");
  {
    const View view(map, kFrames);
    CHECK_RESULT(0, resize(map, kFrames + 8));
    CHECK(check_pages(map, view, 0, kFrames + 8) == 8, "frames that came later have numbers");
    CHECK_RESULT(0, map.free(0, 0, kFrames + 8));
    CHECK_RESULT(0, resize(map, kFrames / 2));
    // What is left in the view is memory that is locked all the same.
    CHECK(stats_of(map.fd()).frames_in_view + 8 >= kFrames / 2, "too few numbers are left");
    const long long now = read_number("/proc/self/status", "VmLck:");
    CHECK(now >= locked - 8 * 4, "VmLck went from %lld to %lld KiB while the view holds the frames",
          locked, now);
    check_pages(map, view, 0, kFrames / 2);
    // All can be touched still.
    for (std::uint64_t n = 0; n < kFrames; n++) fill_page(view.frame(n), n);
    CHECK_RESULT(0, map.free(0, 0, kFrames / 2));
    CHECK_RESULT(0, resize(map, kFrames));
    // What was parked comes back with its number: all but the frames that came by growing.
    CHECK(check_pages(map, view, 0, kFrames) <= 8, "a frame that came back has lost its number");
    CHECK_RESULT(0, map.free(0, 0, kFrames));
  }
  CHECK(frame_of(map, 0) == EXMAP_FRAME_NONE, "a frame has a number without a view");
  CHECK_RESULT(0, map.free(0, 0));
  CHECK_RESULT(0, resize(map, kFrames - 1));
  CHECK_RESULT(0, resize(map, kFrames));
  const long long now = read_number("/proc/self/status", "VmLck:");
  const auto parked_kib =
      static_cast<long long>(stats_of(map.fd()).frames_parked * kPageSize / 1024);
  CHECK(now == locked + parked_kib, "VmLck was %lld KiB, and is %lld with %lld KiB parked", locked,
        now, parked_kib);
  all_frames_have_numbers(map);
}

//! Frames that core mm takes out of the area come back, with their numbers.
void area_is_zapped(const Exmap& map) {
  const View view(map, kFrames);
  for (int round = 0; round < 4; round++) {
    CHECK(check_pages(map, view, 0, kFrames) == 0, "frames without numbers");
    const std::uint64_t pages = round % 2 ? kFrames : 7;
    CHECK_RESULT(0, result_of(madvise(map.area(), pages * kPageSize, MADV_DONTNEED)));
    for (std::uint64_t page = pages; page < kFrames; page++)
      CHECK(page_holds(map.page(page), page + 0x1000), "page %llu lost its bytes", ull(page));
    CHECK(check_pages(map, view, 100, pages) == 0, "frames without numbers after madvise");
    for (std::uint64_t page = pages; page < kFrames; page++)
      CHECK(page_holds(map.page(page), page + 0x1000), "page %llu shares its frame", ull(page));
    CHECK_RESULT(0, map.free(0, 0, 200));
  }
  CHECK(stats_of(map.fd()).frames_in_view == kFrames, "numbers were lost");
  map.check_all_frames(0, kFrames);
}

void part_of_the_view_is_lost(const Exmap& map) {
  View view(map, kFrames);
  CHECK(check_pages(map, view, 0, kFrames) == 0, "frames without numbers");
  CHECK_RESULT(0, result_of(madvise(view.frame(5), kPageSize, MADV_DONTNEED)));
  std::uint64_t value = 0;
  CHECK(try_read(reinterpret_cast<std::uint64_t*>(view.frame(5)), value) == SIGSEGV,
        "a page of the view came back");
  CHECK((stats_of(map.fd()).state & EXMAP_STATE_VIEW) == 0, "the view counts as whole");
  for (std::uint64_t page = 0; page < kFrames; page++) {
    CHECK(page_holds(map.page(page), page + 0x1000), "page %llu lost its bytes", ull(page));
    CHECK(frame_of(map, page) == EXMAP_FRAME_NONE, "page %llu has a number", ull(page));
  }
  CHECK_RESULT(0, result_of(madvise(map.area(), 8 * kPageSize, MADV_DONTNEED)));
  CHECK_RESULT(0, map.free(0, 0, kFrames));
  CHECK(map_view(map.fd(), kFrames) == nullptr, "a second view");
  view.unmap();
  map.check_all_frames(0, kFrames);
  all_frames_have_numbers(map);
}

//! Area and view come and go in any order, with pages mapped.
void any_order() {
  for (int order = 0; order < 6; order++) {
    Exmap map({.frames = kFrames, .area_pages = 256});
    char* const view = map_view(map.fd(), kFrames);
    CHECK(view, "mmap: %s", strerror(errno));
    CHECK_RESULT(0, map.alloc(0, 0, 30));
    if (order % 2) munmap(view, kFrames * kPageSize);
    if (order / 2 == 1) map.unmap_area();
    if (order / 2 == 2) {
      map.unmap_area();
      char* const area = map_area(map.fd(), 256);
      CHECK(area, "mmap: %s", strerror(errno));
      CHECK_RESULT(0, map.alloc(0, 100, kFrames));  // the frames of the first area are found
      munmap(area, 256 * kPageSize);
    }
    if (order % 2 == 0) {
      close(map.fd());
      map.forget_fd();
      fill_page(view, order);  // lives on without the descriptor
      munmap(view, kFrames * kPageSize);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  {
    const Exmap map({.frames = kFrames, .area_pages = 1024});
    CHECK(frame_of(map, 0) == EXMAP_FRAME_NONE, "a frame has a number without a view");
    CHECK_RESULT(0, map.free(0, 0));
    all_frames_have_numbers(map);
    entries_report_their_first_page(map);
    part_of_the_pool(map);
    area_is_zapped(map);
    part_of_the_view_is_lost(map);
    grow_and_shrink();
    map.check_all_frames(0, kFrames);
  }
  {
    const Exmap zeros(
        {.frames = kFrames, .area_pages = 1024, .flags = EXMAP_SETUP_READ_FAULT_ZERO});
    CHECK(page_holds(zeros.page(10), 0), "not zeros");
    all_frames_have_numbers(zeros);
  }
  any_order();
  for (int i = 0; i < 3; i++)
    in_child("exits with everything mapped", [] {
      const auto* const map = new Exmap({.frames = kFrames, .area_pages = 256});
      CHECK(map_view(map->fd(), kFrames), "mmap: %s", strerror(errno));
      CHECK_RESULT(0, map->alloc(0, 0, kFrames));
    });
  ledger.check_balanced();
  return 0;
}
