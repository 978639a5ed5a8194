// SPDX-License-Identifier: MIT
//
// On a machine that others use too, only what runs by turns can be compared: short slices of each
// system, round after round, and the medians.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

namespace vmbench {

//! A thread's share of a slice: works until `stop` and returns how many operations it has done.
using SliceWork = std::function<std::uint64_t(unsigned thread, const std::atomic<bool>& stop)>;

struct Slice {
  std::uint64_t ops = 0;
  //! Until the last thread had ended, so that what is waited for at the end counts.
  double seconds = 0;

  [[nodiscard]] double ops_per_s() const { return static_cast<double>(ops) / seconds; }
};

//! Runs `work` on so many threads for so long. `meanwhile`, if given, runs on the calling thread
//! instead of a pause, and the slice ends when it returns. Throws what the first thread that failed
//! threw.
Slice run_slice(unsigned threads, double seconds, const SliceWork& work,
                const std::function<void()>& meanwhile = {});

}  // namespace vmbench
