// SPDX-License-Identifier: MIT
//
// What sysfs says of a block device.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace vmcache {

//! A number under the queue/ folder of block device `device` (or of the whole disk if that is a partition), such
//! as "io_poll". Empty if there is none.
[[nodiscard]] std::optional<std::uint64_t> block_queue_number(dev_t device, const char* name);
//! The kernel's name of the block device that belongs to an NVMe namespace's character device: "nvme0n1" for ng0n1. Empty
//! if it is not such a one.
[[nodiscard]] std::string nvme_block_name(dev_t character_device);
//! The same as above for the block device that belongs to an NVMe namespace's character device.
[[nodiscard]] std::optional<std::uint64_t> nvme_queue_number(dev_t character_device, const char* name);
//! The controller of such a namespace ("nvme0"); empty if it belongs to several (multipath).
[[nodiscard]] std::string nvme_controller_name(dev_t character_device);
//! The hardware queue that is polled for what each CPU submits, by CPU; empty if the kernel does not say.
[[nodiscard]] std::vector<unsigned> nvme_poll_queues(dev_t character_device);

}  // namespace vmcache
