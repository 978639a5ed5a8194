// SPDX-License-Identifier: MIT
// Frames that leave the pool while the area is mapped do not go back to the system, because a guest
// of KVM or a device may map them still. They are counted, charged, and the first to come back;
// munmap of the area or the end frees them. A frame that was freed while pinned comes back when it
// is not any more. With shrink_returns shrinking frees at once.
#include <memory>

#include "parked_test.h"

using namespace exmap_test;

namespace {

void check_counts(const Exmap& map, std::uint64_t frames, std::uint64_t parked,
                  std::uint64_t replaced) {
  const exmap_stats2 stats = stats_of(map.fd());
  CHECK(
      stats.frames == frames && stats.frames_parked == parked && stats.frames_replaced == replaced,
      "%llu frames, %llu parked, %llu replaced; not %llu, %llu, %llu", ull(stats.frames),
      ull(stats.frames_parked), ull(stats.frames_replaced), ull(frames), ull(parked),
      ull(replaced));
}

std::vector<std::uint64_t> fill_and_note(const Exmap& map, std::uint64_t pages) {
  std::vector<std::uint64_t> frames;
  CHECK_RESULT(0, map.alloc(0, 0, pages));
  for (std::uint64_t page = 0; page < pages; page++) {
    fill_page(map.page(page), page + 1);
    frames.push_back(physical_frame(map.page(page)));
  }
  return frames;
}

std::uint64_t count_kept(const std::vector<std::uint64_t>& frames) {
  std::uint64_t kept = 0;
  for (const std::uint64_t frame : frames) kept += is_kept(frame);
  return kept;
}

void shrinking_parks() {
  const long long held = frames_held(), locked = locked_kib();
  Exmap map({.frames = 64, .area_pages = 256});
  const std::vector<std::uint64_t> frames = fill_and_note(map, 64);
  CHECK_RESULT(0, map.free(0, 0, 64));
  CHECK_RESULT(0, resize(map, 1));
  CHECK(count_kept(frames) == 64, "%llu of 64 frames are kept from the system",
        ull(count_kept(frames)));
  check_counts(map, 1, 63, 0);
  CHECK(frames_held() == held + 64 && locked_kib() == locked + 64 * 4,
        "the module holds %lld frames more, %lld KiB more are charged", frames_held() - held,
        locked_kib() - locked);
  CHECK_RESULT(0, map.alloc(0, 0));
  CHECK_RESULT(-ENOMEM, map.alloc(0, 1));

  CHECK_RESULT(0, resize(map, 40));
  check_counts(map, 40, 24, 0);
  CHECK_RESULT(0, map.alloc(0, 1, 39));
  for (std::uint64_t page = 1; page < 40; page++) {
    CHECK(page_holds(map.page(page), 0), "a frame that came with the growth is not zero");
    CHECK(std::find(frames.begin(), frames.end(), physical_frame(map.page(page))) != frames.end(),
          "growing took a fresh frame though some were parked");
  }
  CHECK_RESULT(0, resize(map, 80));
  check_counts(map, 80, 0, 0);
  CHECK(frames_held() == held + 80 && locked_kib() == locked + 80 * 4, "%lld frames, %lld KiB more",
        frames_held() - held, locked_kib() - locked);

  CHECK_RESULT(0, map.free(0, 0, 40));
  CHECK_RESULT(0, resize(map, 8));
  check_counts(map, 8, 72, 0);
  map.unmap_area();
  check_counts(map, 8, 0, 0);
  CHECK(frames_held() == held + 8, "munmap of the area left %lld frames, not 8",
        frames_held() - held);
  CHECK_RESULT(0, resize(map, 8));
  CHECK(locked_kib() == locked + 8 * 4, "%lld KiB are charged for 8 frames", locked_kib() - locked);
  CHECK_RESULT(0, resize(map, 3));  // no area: nobody can map them
  check_counts(map, 3, 0, 0);
  CHECK(frames_held() == held + 3, "%lld frames, not 3", frames_held() - held);
}

void refused_shrinking_parks_none() {
  const Exmap map({.frames = 32, .area_pages = 256});
  CHECK_RESULT(0, map.alloc(0, 0, 20));
  CHECK_RESULT(-EBUSY, resize(map, 10));
  check_counts(map, 32, 0, 0);
  CHECK_RESULT(0, map.free(0, 0, 20));
  map.check_all_frames(0, 32);
}

void limit_stands() {
  CHECK_RESULT(0, resize(Exmap({.frames = 8}), 4));
  const Exmap map({.frames = 16, .area_pages = 64});
  CHECK_RESULT(0, resize(map, 4));
  for (unsigned shift = 40; shift < 64; shift++) CHECK_RESULT(-ENOMEM, resize(map, 1ull << shift));
  check_counts(map, 4, 12, 0);
  map.check_all_frames(0, 4);
}

void replaced_comes_back() {
  const long long held = frames_held();
  Exmap map({.frames = 8, .area_pages = 256});
  Pipe pipe;
  const std::vector<std::uint64_t> frames = fill_and_note(map, 8);
  for (std::uint64_t page = 0; page < 4; page++)
    CHECK(pipe.hold(map.page(page)), "the pipe is full");
  CHECK_RESULT(0, map.free(0, 0, 8));
  check_counts(map, 8, 0, 4);
  CHECK(frames_held() == held + 12, "%lld frames are held, not 12", frames_held() - held);
  for (std::uint64_t page = 0; page < 2; page++) pipe.let_go(page + 1);
  check_counts(map, 8, 2, 2);
  CHECK(count_kept(frames) == 8, "a frame went back to the system");
  CHECK(stats_of(map.fd()).unpinned == 2, "%llu came back", ull(stats_of(map.fd()).unpinned));
  CHECK_RESULT(0, resize(map, 10));
  check_counts(map, 10, 0, 2);
  CHECK(frames_held() == held + 12, "growing took fresh frames");
  CHECK(count_kept(frames) == 8, "a frame went back to the system");
  map.unmap_area();
  check_counts(map, 10, 0, 0);
  for (std::uint64_t page = 2; page < 4; page++) pipe.let_go(page + 1);
  CHECK(frames_held() == held + 10, "%lld frames are held, not 10", frames_held() - held);
}

void pins_in_turn_reuse_frames(std::uint64_t rounds) {
  const long long held = frames_held();
  const Exmap map({.frames = 8, .area_pages = 256});
  for (std::uint64_t i = 0; i < rounds; i++) {
    Pipe pipe;
    CHECK_RESULT(0, map.alloc(0, 0));
    fill_page(map.page(0), i);
    CHECK(pipe.hold(map.page(0)), "the pipe is full");
    CHECK_RESULT(0, map.free(0, 0));
    pipe.let_go(i);
  }
  // Each replacement looks for frames that have come back, so that their number follows that of the
  // pins.
  CHECK(frames_held() <= held + 12, "%lld frames are held for a pool of 8 with one pin at a time",
        frames_held() - held);
  map.check_all_frames(0, 8);
}

void numbers_come_back() {
  const Exmap map({.frames = 16, .area_pages = 256});
  const View view(map, 16);
  CHECK_RESULT(0, resize(map, 4));
  CHECK(stats_of(map.fd()).frames_in_view == 4, "%llu numbers",
        ull(stats_of(map.fd()).frames_in_view));
  CHECK_RESULT(0, resize(map, 16));
  std::set<std::uint32_t> numbers;
  for (std::uint64_t page = 0; page < 16; page++) {
    const std::uint32_t frame = frame_of(map, page);
    CHECK(frame < 16 && numbers.insert(frame).second, "page %llu has frame %u", ull(page), frame);
    fill_page(map.page(page), page + 1);
    CHECK(page_holds(view.frame(frame), page + 1), "page %llu is not frame %u", ull(page), frame);
  }
  CHECK_RESULT(0, map.free(0, 0, 16));
}

void parameter_returns_at_once() {
  CHECK(write_text(kShrinkReturns, "Y"), "%s: %s", kShrinkReturns, strerror(errno));
  exmap_query query{};
  query.size = sizeof query;
  const long long held = frames_held();
  {
    const Exmap map({.frames = 64, .area_pages = 256});
    CHECK_RESULT(0, result_of(ioctl(map.fd(), EXMAP_IOCTL_QUERY, &query)));
    CHECK((query.features & EXMAP_FEATURE_PARKS) == 0, "query says that shrinking parks");
    CHECK_RESULT(0, map.alloc(0, 0, 64));
    CHECK_RESULT(0, map.free(0, 0, 64));
    CHECK_RESULT(0, resize(map, 10));
    check_counts(map, 10, 0, 0);
    CHECK(frames_held() == held + 10, "%lld frames are held, not 10", frames_held() - held);
  }
  CHECK(write_text(kShrinkReturns, "N"), "%s: %s", kShrinkReturns, strerror(errno));
  const int fd = open_device();
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_QUERY, &query)));
  CHECK((query.features & EXMAP_FEATURE_PARKS) != 0, "query says that shrinking does not park");
  close(fd);
}

//! Anything in any order, against what must be true of the sums; replayed by its seed.
void random_life(std::uint64_t seed, std::uint64_t steps) {
  constexpr std::uint64_t kPages = 256, kMax = 96;
  const long long held = frames_held(), locked = locked_kib();
  Random random(seed);
  auto map = std::make_unique<Exmap>(Shape{.frames = 32, .interfaces = 2, .area_pages = kPages});
  std::uint64_t target = 32;
  Pipe pipe;
  std::vector<std::uint64_t> piped;  // what the pages in the pipe hold
  for (std::uint64_t i = 0; i < steps; i++) {
    const std::uint64_t page = random.below(kPages),
                        len = 1 + random.below(std::min<std::uint64_t>(16, kPages - page));
    const int interface = static_cast<int>(random.below(2));
    switch (random.below(12)) {
      case 0:
      case 1:
      case 2: {
        const int result = map->alloc(interface, page, len);
        CHECK(result == 0 || result == -ENOMEM, "ALLOC gave %d", result);
        break;
      }
      case 3:
      case 4:
        CHECK_RESULT(0, map->free(interface, page, len));
        break;
      case 5:
      case 6: {
        const std::uint64_t wanted = 1 + random.below(kMax);
        const long long result = resize(*map, wanted);
        CHECK(result == 0 || (result == -EBUSY && wanted < target),
              "resize from %llu to %llu gave %lld", ull(target), ull(wanted), result);
        if (result == 0) target = wanted;
        break;
      }
      case 7:
      case 8:
        if (map->alloc(interface, page) == 0) {
          fill_page(map->page(page), i);
          if (pipe.hold(map->page(page))) piped.push_back(i);
          CHECK_RESULT(0, map->free(interface, page));
        }
        break;
      case 9:
        if (!piped.empty()) {
          pipe.let_go(piped.front());
          piped.erase(piped.begin());
        }
        break;
      case 10:
        CHECK_RESULT(0, result_of(madvise(map->page(page), len * kPageSize, MADV_DONTNEED)));
        break;
      default:
        if (random.below(20) == 0) {
          map->remap_area();
          CHECK(stats_of(map->fd()).frames_parked == 0 && stats_of(map->fd()).frames_replaced == 0,
                "munmap left frames parked");
        }
    }
    const exmap_stats2 stats = stats_of(map->fd());
    CHECK(stats.frames + stats.frames_short == target,
          "seed %llu, step %llu: %llu frames + %llu short, not %llu", ull(seed), ull(i),
          ull(stats.frames), ull(stats.frames_short), ull(target));
    CHECK(frames_held() == held + static_cast<long long>(stats.frames + stats.frames_parked +
                                                         stats.frames_replaced),
          "seed %llu, step %llu: the module holds %lld, the statistics say %llu + %llu + %llu",
          ull(seed), ull(i), frames_held() - held, ull(stats.frames), ull(stats.frames_parked),
          ull(stats.frames_replaced));
  }
  CHECK_RESULT(0, map->free(0, 0, kPages));
  while (!piped.empty()) {
    pipe.let_go(piped.front());
    piped.erase(piped.begin());
  }
  CHECK_RESULT(0, resize(*map, 32));
  const exmap_stats2 stats = stats_of(map->fd());
  CHECK(stats.frames_replaced == 0, "%llu frames are pinned by nobody", ull(stats.frames_replaced));
  CHECK(locked_kib() == locked + static_cast<long long>(32 + stats.frames_parked) * 4,
        "%lld KiB are charged for 32 and %llu", locked_kib() - locked, ull(stats.frames_parked));
  map->check_all_frames(0, 32);
  map.reset();
  CHECK(frames_held() == held && locked_kib() == locked, "%lld frames and %lld KiB stay",
        frames_held() - held, locked_kib() - locked);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t seed = options.number("seed", 1);
  const Ledger ledger;
  shrinking_parks();
  refused_shrinking_parks_none();
  limit_stands();
  replaced_comes_back();
  pins_in_turn_reuse_frames(options.scaled("pins in turn", 500));
  numbers_come_back();
  parameter_returns_at_once();
  for (std::uint64_t i = 0; i < 4; i++) random_life(seed + i, options.scaled("random steps", 2000));
  in_child("an exit", [] {
    auto* const map = new Exmap({.frames = 64, .area_pages = 256});
    CHECK_RESULT(0, resize(*map, 7));
  });
  ledger.check_balanced();
  return 0;
}
