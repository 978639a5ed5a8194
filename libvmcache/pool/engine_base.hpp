// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>

#include "clock.hpp"
#include "pool/counters.hpp"

namespace vmcache::detail {

class PoolCore;

//! Maximum number of faults served by one page-table call (exmap takes 512 entries).
inline constexpr std::size_t kMaxBatch = 512;

//! What the parts of one engine share.
struct EngineBase {
  PoolCore& core;
  const unsigned context;  //!< the engine's number, and that of its context in the memory
  //! The time as the engine sees it: read at the start of a turn and after each wait.
  std::uint64_t now = 0;
  std::uint64_t progress_ns = 0;  //!< when frames were last found, or a page written
  unsigned idle_turns = 0;        //!< since then, turns in which faults found no frame
  EngineCounters counters;

  void progressed() noexcept {
    progress_ns = now;
    idle_turns = 0;
  }
};

}  // namespace vmcache::detail
