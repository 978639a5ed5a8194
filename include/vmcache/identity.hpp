// SPDX-License-Identifier: MIT
//
// What a page file and its log both carry, so that two files that do not belong together are
// recognised.
#pragma once

#include <array>
#include <cstdint>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! Random, chosen when the database is created. All zeros: none.
using DatabaseId = std::array<std::uint8_t, 16>;

//! Which database a file belongs to, and as of which of its checkpoints.
struct Identity {
  DatabaseId database{};
  //! Checkpoints since the database was created; 0 while it is being created.
  std::uint64_t generation = 0;
  //! A random number of the open that took the checkpoint. It distinguishes two histories that
  //! began with copies of the same files.
  std::uint64_t nonce = 0;

  friend bool operator==(const Identity&, const Identity&) = default;
};
static_assert(sizeof(Identity) == 32);

}  // namespace vmcache
