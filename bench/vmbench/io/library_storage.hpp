// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "io/layer.hpp"
#include "io/ways.hpp"
#include "vmcache/options.hpp"

namespace vmbench {

//! The library's options for the devices of a layer.
[[nodiscard]] vmcache::PoolOptions library_options(const Layer& layer, const RingOptions& ring);

//! The library's storage over them, in which every block has its number: striped devices are
//! labelled and numbered anew, because the library's layout is not the bench's. Throws RungMissing,
//! vmcache::Error.
[[nodiscard]] std::shared_ptr<vmcache::Storage> open_library_storage(const Layer& layer,
                                                                     const RingOptions& ring);

}  // namespace vmbench
