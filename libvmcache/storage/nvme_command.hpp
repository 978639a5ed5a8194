// SPDX-License-Identifier: MIT
//
// NVMe commands as the kernel's passthrough takes them: by ioctl, and in a 128-byte SQE.
#pragma once

#include <linux/nvme_ioctl.h>

#include <cstdint>

#include "storage/nvme_identify.hpp"

struct io_uring_sqe;

namespace vmcache::nvme {

enum class Opcode : std::uint8_t { kFlush = 0x00, kWrite = 0x01, kRead = 0x02, kDatasetManagement = 0x09 };

//! Fills `sqe`, which has 128 bytes, with a read or write of `bytes` (at most max_transfer_bytes) at `offset`. The
//! caller sets flags and user data.
void prepare_transfer(io_uring_sqe& sqe, int fd, const Namespace& name_space, Opcode opcode,
                      std::uint64_t offset, void* data, std::uint32_t bytes) noexcept;

//! The same as a blocking ioctl: 0, a positive NVMe status, or -errno.
[[nodiscard]] int transfer(int fd, const Namespace& name_space, Opcode opcode, std::uint64_t offset,
                           void* data, std::uint32_t bytes) noexcept;
//! Makes what was written durable.
[[nodiscard]] int flush(int fd, const Namespace& name_space) noexcept;

//! One range of a Dataset Management command.
struct Range {
  std::uint32_t attributes = 0;
  std::uint32_t blocks = 0;
  std::uint64_t first_block = 0;
};
inline constexpr unsigned kMaxRanges = 256;
//! `count` of them, 1..kMaxRanges, are of no use any more.
[[nodiscard]] int deallocate(int fd, const Namespace& name_space, const Range* ranges,
                             unsigned count) noexcept;

//! Identify with that CNS into kIdentifyBytes at `page`.
[[nodiscard]] int identify(int fd, std::uint32_t namespace_id, std::uint32_t cns, void* page) noexcept;

}  // namespace vmcache::nvme
