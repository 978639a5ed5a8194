// SPDX-License-Identifier: MIT
#pragma once

#include "capi/pool_handle.hpp"
#include "vmcache.h"
#include "vmcache/file.hpp"

namespace vmcache::capi {

//! What a handle is of.
[[nodiscard]] File& file_of(vmcache_file& file) noexcept;
[[nodiscard]] vmcache_pool& pool_of(vmcache_file& file) noexcept;

}  // namespace vmcache::capi
