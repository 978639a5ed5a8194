// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

namespace vmbench {

//! A control group that the calling process puts itself into before it takes its memory, so that
//! page cache, page tables and heap together stay below a limit. Taken away again by the process
//! that made it.
class MemoryGroup {
 public:
  //! Makes the group, of version 2 or 1, whichever this machine has its memory controller on.
  //! Throws std::runtime_error with what was tried and the errnos.
  explicit MemoryGroup(std::uint64_t limit_bytes);
  //! Removes it; its processes must have ended.
  ~MemoryGroup();
  MemoryGroup(const MemoryGroup&) = delete;
  MemoryGroup& operator=(const MemoryGroup&) = delete;

  //! Moves the calling process, which must have one thread, into the group. Throws
  //! std::runtime_error.
  void enter() const;
  //! For the report: which controller, and how many bytes.
  [[nodiscard]] const std::string& description() const { return _description; }

 private:
  std::string _path;
  std::string _description;
};

//! What a run with a pool of `pool_bytes` may use in all: the pool, and page tables, page states,
//! hash table and heap beside it. mmap and LMDB may use all of it for data.
[[nodiscard]] constexpr std::uint64_t memory_limit_for(std::uint64_t pool_bytes) {
  return pool_bytes + pool_bytes / 16 + (std::uint64_t{32} << 20);
}

}  // namespace vmbench
