// SPDX-License-Identifier: MIT
// A process that dies, by SIGKILL or by exit, with operations and direct I/O into the area in
// flight loses no frame.
#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr int kThreads = 4;
constexpr std::uint64_t kPagesPerThread = 64;

void churn(const Exmap& map, int interface) {
  const std::uint64_t base = static_cast<std::uint64_t>(interface) * kPagesPerThread;
  Random random(static_cast<std::uint64_t>(interface) + 1);
  for (;;) {
    const Run run{base + random.below(kPagesPerThread - 8), 1 + random.below(8)};
    CHECK_RESULT(0, map.alloc(interface, run.page, run.len));
    std::memset(map.page(run.page), 1, run.len * kPageSize);
    CHECK_RESULT(0, map.free(interface, run.page, run.len));
  }
}

//! Direct reads into mapped pages; half of the pages are freed while their read is under way.
void direct_reads(const Exmap& map, int interface, int device) {
  const std::uint64_t base = static_cast<std::uint64_t>(interface) * kPagesPerThread;
  io_uring ring{};
  CHECK(io_uring_queue_init(32, &ring, 0) == 0, "io_uring_queue_init");
  for (;;) {
    CHECK_RESULT(0, map.alloc(interface, base, 32));
    for (unsigned i = 0; i < 32; i++)
      io_uring_prep_read(io_uring_get_sqe(&ring), device, map.page(base + i), kPageSize,
                         i * kPageSize);
    CHECK(io_uring_submit(&ring) == 32, "io_uring_submit");
    CHECK_RESULT(0, map.free(interface, base, 16));
    for (int i = 0; i < 32; i++) reap_one(ring);
    CHECK_RESULT(0, map.free(interface, base + 16, 16));
  }
}

[[noreturn]] void live(int device, std::uint64_t exit_after_us) {
  auto* const map = new Exmap({.frames = kThreads * kPagesPerThread, .interfaces = kThreads});
  for (int i = 0; i < kThreads; i++)
    std::thread([map, i, device] {
      if (device >= 0 && i % 2) direct_reads(*map, i, device);
      churn(*map, i);
    }).detach();
  usleep(static_cast<useconds_t>(exit_after_us));
  std::fflush(stdout);
  _exit(0);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::string device_path = options.text("device", "");
  const int device = device_path.empty() ? -1 : open(device_path.c_str(), O_RDWR | O_DIRECT);
  CHECK(device_path.empty() || device >= 0, "open %s: %s", device_path.c_str(), strerror(errno));
  if (device < 0) std::printf("# without --device: no direct I/O in flight\n");
  Random random(options.number("seed", 1));
  const Ledger ledger;
  const std::uint64_t rounds = options.scaled("deaths in flight", 40);
  for (std::uint64_t i = 0; i < rounds; i++) {
    const std::uint64_t lifetime_us = 5000 + random.below(60000);
    const bool by_signal = i % 2 == 0;
    const pid_t child = spawn([&] { live(device, by_signal ? 60'000'000 : lifetime_us); });
    if (by_signal) {
      usleep(static_cast<useconds_t>(lifetime_us));
      kill(child, SIGKILL);
    }
    const int status = wait_for(child);
    CHECK(by_signal ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0,
          "child ended with 0x%x", status);
  }
  ledger.check_balanced();
  return 0;
}
