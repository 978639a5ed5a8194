// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <vector>

#include "storage/device.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

class Logger;

//! A Storage over one device, or striped over several of the same kind. Throws Error.
[[nodiscard]] std::unique_ptr<Storage> make_device_storage(
    std::vector<std::unique_ptr<Device>> devices, const PoolOptions& options, Logger& logger);

}  // namespace vmcache
