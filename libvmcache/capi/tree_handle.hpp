// SPDX-License-Identifier: MIT
//
// What struct vmcache_tree is.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "capi/failure.hpp"
#include "capi/pool_handle.hpp"
#include "vmcache.h"
#include "vmcache/btree.hpp"

struct vmcache_tree {
  vmcache_tree(vmcache_pool& pool, vmcache::PageId root)
      : use(pool.uses()), own(std::in_place, pool.pool(), root), tree(&*own) {}
  //! A database's tree, which only its transactions may change.
  vmcache_tree(vmcache_pool& pool, const vmcache::BTree& of_database)
      : use(pool.uses()), tree(&of_database) {}
  vmcache_tree(const vmcache_tree&) = delete;
  vmcache_tree& operator=(const vmcache_tree&) = delete;

  vmcache::capi::Use use;
  std::optional<vmcache::BTree> own;  //!< empty: a database's
  const vmcache::BTree* tree;
  std::atomic<std::uint64_t> cursors{0};
};

namespace vmcache::capi {

[[nodiscard]] inline Bytes bytes_of(const void* data, std::size_t size) noexcept {
  return {static_cast<const std::byte*>(data), size};
}

//! Bytes may be null only if there are none.
[[nodiscard]] inline int check_bytes(const char* call, const char* argument, const void* data,
                                     std::size_t size) noexcept {
  return data == nullptr && size != 0 ? fail_null(call, argument) : int{VMCACHE_OK};
}

}  // namespace vmcache::capi
