// SPDX-License-Identifier: MIT
//
// A file that was opened into a pool, as the queues see it.
//
// Its length need not be a multiple of kPageSize. In memory the bytes of the last page after the
// end are zeros. In storage they are not there: a write ends at the end.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

struct FileTarget {
  int fd = -1;           //!< with O_DIRECT if the file system has it
  int buffered_fd = -1;  //!< for a write that ends in the middle of a page
  //! The file's length as the pool knows it. It shrinks before the file does, and grows after it.
  std::atomic<std::uint64_t> bytes{0};
};

//! A transfer of such a file, as it goes to the kernel.
struct FileRun {
  int fd = -1;
  std::uint64_t bytes = 0;  //!< 0: all of it is after the end, and there is nothing to write
  std::uint64_t end = 0;    //!< the file's length now
};

[[nodiscard]] inline FileRun file_run(const FileTarget& file, IoRequest::Op op,
                                      std::uint64_t offset, std::uint64_t bytes) noexcept {
  FileRun run{file.fd, bytes, file.bytes.load(std::memory_order_acquire)};
  if (op == IoRequest::Op::kRead) return run;
  run.bytes = std::min(bytes, run.end - std::min(offset, run.end));
  if (run.bytes % kPageSize != 0) run.fd = file.buffered_fd;
  return run;
}

enum class ShortRead : std::uint8_t { kWhole, kMore, kPastEnd };

//! What a read means that has brought only `got` of the bytes from `offset` on. `end` is the
//! file's length from before the read. A read that has reached the end is whole, whether that is
//! the end of then or of now.
[[nodiscard]] inline ShortRead short_read(const FileTarget& file, std::uint64_t end,
                                          std::uint64_t offset, std::uint64_t got) noexcept {
  constexpr std::uint64_t kBlock = 512;  // direct I/O goes on only from here
  end = std::min(end, file.bytes.load(std::memory_order_acquire));
  if (offset + got >= end) return ShortRead::kWhole;
  return got > 0 && got % kBlock == 0 ? ShortRead::kMore : ShortRead::kPastEnd;
}

//! Makes zeros of what lies after the end, in memory that was read from `offset` on.
inline void clear_past_end(const FileTarget& file, std::uint64_t offset, std::byte* data,
                           std::uint64_t bytes) noexcept {
  const std::uint64_t end = file.bytes.load(std::memory_order_acquire);
  if (offset + bytes <= end) return;
  const std::uint64_t valid = end - std::min(offset, end);
  std::memset(data + valid, 0, bytes - valid);
}

}  // namespace vmcache
