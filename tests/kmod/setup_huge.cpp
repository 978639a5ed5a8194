// SPDX-License-Identifier: MIT
// Setup of more frames than any machine has is an error, comes promptly, can be killed, and leaves
// the fd usable.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

//! Within this long, in emulation with every kernel debug option on, on a busy host. One that went
//! through all these frames would take hours.
constexpr double kPromptSeconds = 120;
//! The frames are counted once all of them have been zeroed.
constexpr double kBeginSeconds = 400;

void refuse_promptly(std::size_t frames) {
  const int fd = open_device();
  const double start = seconds_now();
  const int result = call_setup(fd, frames, 1);
  const double took = seconds_now() - start;
  std::printf("# setup of %zu frames: %s after %.3f s\n", frames, strerror(-result), took);
  CHECK(result < 0, "%zu frames were given", frames);
  CHECK(took < kPromptSeconds, "it took %.1f s", took);
  CHECK_RESULT(0, call_setup(fd, 16, 1));
  close(fd);
}

//! As many frames as the machine nearly has: long enough to be caught half way by a signal.
void kill_half_way() {
  const auto frames =
      static_cast<std::size_t>(read_number("/proc/meminfo", "MemAvailable:") / 4 * 6 / 10);
  const pid_t child = spawn([&] {
    const int fd = open_device();
    call_setup(fd, frames, 1);
    pause();
  });
  const auto held = [] { return read_number("/sys/module/exmap/parameters/frames"); };
  CHECK(becomes_true([&] { return held() > 0; }, kBeginSeconds), "setup does not begin");
  const long long caught = held();
  const double start = seconds_now();
  kill(child, SIGKILL);
  wait_for(child);
  std::printf("# killed at %lld of %zu frames: gone after %.3f s\n", caught, frames,
              seconds_now() - start);
  CHECK(seconds_now() - start < kPromptSeconds, "the kill took %.1f s", seconds_now() - start);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  for (const unsigned shift : {40u, 41u, 51u, 52u, 53u, 62u, 63u})
    refuse_promptly(std::size_t{1} << shift);
  refuse_promptly(~std::size_t{0});
  refuse_promptly((std::size_t{1} << 52) + 16);  // 16 frames once shifted to bytes
  kill_half_way();
  ledger.check_balanced(32768);
  return 0;
}
