// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

namespace vmbench {

//! What a command on an NVMe character device must know of its namespace.
struct NvmeNamespace {
  std::uint32_t nsid = 0;
  unsigned lba_shift = 0;
};

//! Asks the namespace behind `fd` (Identify Namespace). Throws RungMissing with path, call and
//! errno or status.
[[nodiscard]] NvmeNamespace identify_namespace(int fd, const std::string& path);

//! The text for a result of a passthrough command: minus errno, or a status as the NVMe base
//! specification (status field: type and code) has it.
[[nodiscard]] std::string nvme_result_text(int result);

}  // namespace vmbench
