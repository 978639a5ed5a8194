// SPDX-License-Identifier: MIT
// Both stats calls tell what was done, call by call, and their sums hold: free + mapped + short is
// the pool.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

exmap_stats2 stats2_of(int fd) {
  exmap_stats2 stats{};
  stats.size = sizeof stats;
  CHECK_RESULT(0, result_of(ioctl(fd, EXMAP_IOCTL_STATS2, &stats)));
  CHECK(stats.frames_free + stats.frames_mapped + stats.frames_short == stats.frames,
        "free %llu + mapped %llu + short %llu is not the pool's %llu", ull(stats.frames_free),
        ull(stats.frames_mapped), ull(stats.frames_short), ull(stats.frames));
  return stats;
}

#define CHECK_COUNT(stats, field, expected)                                                 \
  CHECK((stats).field == static_cast<std::uint64_t>(expected), #field " is %llu, not %llu", \
        ull((stats).field), ull(expected))

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  catch_faults();
  const Ledger ledger;
  {
    const Exmap map({.frames = 600, .interfaces = 2, .area_pages = 2048});
    exmap_stats2 stats = stats2_of(map.fd());
    CHECK_COUNT(stats, frames, 600);
    CHECK_COUNT(stats, frames_free, 600);
    CHECK_COUNT(stats, area_pages, 2048);
    CHECK_COUNT(stats, interfaces, 2);
    CHECK_COUNT(stats, state, EXMAP_STATE_READY | EXMAP_STATE_MAPPED);
    CHECK_COUNT(stats, alloc_calls, 0);

    CHECK_RESULT(0, map.alloc(0, 0, 10));
    CHECK_RESULT(0, map.alloc(1, 5, 10));
    CHECK_RESULT(-ENOMEM, map.alloc(1, 100, 600));
    CHECK_RESULT(-EINVAL, map.alloc(1, 2048, 1));
    stats = stats2_of(map.fd());
    CHECK_COUNT(stats, alloc_calls, 4);
    CHECK_COUNT(stats, alloc_pages, 600);
    CHECK_COUNT(stats, alloc_present, 5);
    CHECK_COUNT(stats, frames_mapped, 600);
    CHECK_COUNT(stats, fail_nomem, 1);
    CHECK_COUNT(stats, fail_input, 1);

    const std::uint64_t flushes = stats.flushes;
    CHECK_RESULT(0, map.free(0, 0, 20));
    CHECK_RESULT(0, map.free(1, 100, 585));
    stats = stats2_of(map.fd());
    CHECK_COUNT(stats, free_calls, 2);
    CHECK_COUNT(stats, free_pages, 600);
    CHECK_COUNT(stats, free_absent, 5);
    CHECK_COUNT(stats, frames_mapped, 0);
    CHECK(stats.flushes > flushes && stats.flushes <= flushes + 3,
          "%llu flushes for two FREE calls", ull(stats.flushes - flushes));

    std::uint64_t value = 0;
    const std::uint64_t denied = stats.fault_denied;
    CHECK(try_read(map.word(0), value) != 0 && try_write(map.word(0), 1) != 0,
          "an unmapped page is reachable");
    stats = stats2_of(map.fd());
    CHECK_COUNT(stats, fault_denied, denied + 2);

    CHECK_RESULT(0, map.alloc(0, 40, 4));
    CHECK_RESULT(0, result_of(madvise(map.page(40), 2 * kPageSize, MADV_DONTNEED)));
    stats = stats2_of(map.fd());
    CHECK_COUNT(stats, frames_mapped, 2);
    CHECK_COUNT(stats, zapped, 2);

    exmap_ioctl_stats published{};
    CHECK_RESULT(0, result_of(ioctl(map.fd(), EXMAP_IOCTL_STATS, &published)));
    CHECK_COUNT(published, buffer_size, 600);
    CHECK_COUNT(published, alloc_count, 2);
    CHECK_COUNT(published, max_interfaces, 2);
    CHECK_RESULT(0, map.free(0, 40, 4));
    map.check_all_frames(0, 600);
  }
  ledger.check_balanced();
  return 0;
}
