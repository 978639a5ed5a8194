// SPDX-License-Identifier: MIT
//
// What sysfs says about block devices.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vmcache {

//! A number under the queue/ folder of block device `device` (or of the whole disk if that is a
//! partition), such as "io_poll". Empty if there is none.
[[nodiscard]] std::optional<std::uint64_t> block_queue_number(dev_t device, const char* name);
//! The kernel's name of the block device that belongs to an NVMe namespace's character device:
//! "nvme0n1" for ng0n1. Empty for any other device.
[[nodiscard]] std::string nvme_block_name(dev_t character_device);
//! Like block_queue_number(), for the block device that belongs to an NVMe namespace's character
//! device.
[[nodiscard]] std::optional<std::uint64_t> nvme_queue_number(dev_t character_device,
                                                             const char* name);
//! The controller of such a namespace ("nvme0"); empty if it belongs to several (multipath).
[[nodiscard]] std::string nvme_controller_name(dev_t character_device);
//! For each CPU, the poll queue that gets what the CPU submits. Empty if the kernel does not say.
[[nodiscard]] std::vector<unsigned> nvme_poll_queues(dev_t character_device);

}  // namespace vmcache
