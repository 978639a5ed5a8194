// SPDX-License-Identifier: MIT
#pragma once

#include "common/report.hpp"
#include "io/idle_clock.hpp"
#include "io/rungs.hpp"

namespace vmbench {

//! One row of `vmbench io`.
struct IoRun {
  const Rung* rung = nullptr;
  const Layer* layer = nullptr;  //!< null: none of the kind was given
  unsigned threads = 1;
  unsigned depth = 32;
  unsigned batch = 8;
  std::uint64_t io_bytes = kBlock;
  bool write = false;
  double seconds = 1;
  std::uint64_t ios = 0;  //!< of all threads; 0: for `seconds`
  std::uint64_t seed = 42;
  //! The machine's clock counts instructions, and this tells those of waiting; null elsewhere.
  const IdleClock* idle_clock = nullptr;
};

//! The transfers that may be in flight a thread: 1 for a synchronous rung.
[[nodiscard]] unsigned depth_of(const IoRun& run);

//! True if each thread polls hardware queues that no other may: then thread i runs on CPU i.
[[nodiscard]] bool polls_apart(const IoRun& run);

//! A row with every key, all figures null.
[[nodiscard]] Json empty_row(const IoRun& run);

//! Measures it in a process of its own and fills the row: figures, or "reason". Throws WrongData.
void measure(const IoRun& run, Json& row);

}  // namespace vmbench
