// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <span>

#include "io/ways.hpp"

namespace vmbench {

//! One row's interface.
struct Rung {
  //! The kind of layer that it runs on.
  enum class On : std::uint8_t { kTop, kFile, kArray, kDisks };
  //! How it transfers. kNull is no rung: it does only the bench's own work.
  enum class Via : std::uint8_t { kPread, kPreadDirect, kMmap, kRing, kLibrary, kPool, kNull };

  const char* name;
  const char* description;
  On on = On::kDisks;
  Via via = Via::kRing;
  RingOptions ring = {};

  //! One transfer at a time, whatever the depth.
  [[nodiscard]] bool synchronous() const {
    return via == Via::kPread || via == Via::kPreadDirect || via == Via::kMmap;
  }
  //! Past the page cache.
  [[nodiscard]] bool direct() const { return !synchronous() || via == Via::kPreadDirect; }
};

[[nodiscard]] std::span<const Rung> all_rungs();

//! The rung's interface for the calling thread. Throws RungMissing.
[[nodiscard]] std::unique_ptr<IoWay> make_way(const Rung& rung, IoLane& lane);

}  // namespace vmbench
