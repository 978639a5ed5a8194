// SPDX-License-Identifier: MIT
//
// NVMe commands in the two forms that the kernel's passthrough takes: an ioctl, and a 128-byte SQE.
#pragma once

#include <linux/nvme_ioctl.h>

#include <cstdint>

#include "storage/nvme_identify.hpp"

struct io_uring_sqe;

namespace vmcache::nvme {

enum class Opcode : std::uint8_t {
  kFlush = 0x00,
  kWrite = 0x01,
  kRead = 0x02,
  kDatasetManagement = 0x09
};

//! Fills `sqe`, which has 128 bytes, with a read or write of `bytes` (at most max_transfer_bytes)
//! at `offset`. The caller sets flags and user data.
void prepare_transfer(io_uring_sqe& sqe, int fd, const Namespace& name_space, Opcode opcode,
                      std::uint64_t offset, void* data, std::uint32_t bytes) noexcept;

//! The same as a blocking ioctl. Returns 0, a positive NVMe status, or -errno.
[[nodiscard]] int transfer(int fd, const Namespace& name_space, Opcode opcode, std::uint64_t offset,
                           void* data, std::uint32_t bytes) noexcept;
//! Makes completed writes durable. Returns as transfer() does.
[[nodiscard]] int flush(int fd, const Namespace& name_space) noexcept;

//! One range of a Dataset Management command.
struct Range {
  std::uint32_t attributes = 0;
  std::uint32_t blocks = 0;
  std::uint64_t first_block = 0;
};
inline constexpr unsigned kMaxRanges = 256;
//! Tells the device that `count` ranges (1 .. kMaxRanges) are no longer needed. Returns as
//! transfer() does.
[[nodiscard]] int deallocate(int fd, const Namespace& name_space, const Range* ranges,
                             unsigned count) noexcept;

//! Sends Identify with this CNS. `page` gets kIdentifyBytes. Returns as transfer() does.
[[nodiscard]] int identify(int fd, std::uint32_t namespace_id, std::uint32_t cns,
                           void* page) noexcept;

}  // namespace vmcache::nvme
