// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <vector>

#include "common/null_storage.hpp"
#include "common/random.hpp"
#include "vmcache/buffer_pool.hpp"

namespace vmbench {

//! A pool that holds all its pages, on no storage: what is measured is memory alone. In each page,
//! at an offset of its own (otherwise all would fall into the same sets of the caches), stands the
//! number of another page, so that following them visits all pages in random order, each access
//! waiting for the one before.
class CachedPages {
 public:
  //! `pages` > 1; they are resident for good.
  explicit CachedPages(std::uint64_t pages) : _pool(options(pages)), _page_ids(allocate(pages)) {
    link();
  }

  [[nodiscard]] vmcache::BufferPool& pool() { return _pool; }
  [[nodiscard]] vmcache::PageId first() const { return _page_ids.front(); }

  static std::size_t offset_of(vmcache::PageId page_id) {
    return (page_id * 0x9e3779b1u >> 7) % 64 * 64;
  }
  static vmcache::PageId next(const std::byte* page, vmcache::PageId page_id) {
    return *reinterpret_cast<const vmcache::PageId*>(page + offset_of(page_id));
  }

 private:
  static vmcache::PoolOptions options(std::uint64_t pages) {
    vmcache::PoolOptions options;
    options.make_storage = [] { return std::make_unique<NullStorage>(); };
    options.pool_bytes = (pages + pages / 8 + 1024) * vmcache::kPageSize;
    options.capacity_bytes = options.pool_bytes * 2;
    options.memory = vmcache::MemoryKind::kAnonymous;
    return options;
  }
  std::vector<vmcache::PageId> allocate(std::uint64_t pages) {
    std::vector<vmcache::PageId> ids(pages);
    for (vmcache::PageId& id : ids) id = _pool.allocate().page_id();
    return ids;
  }
  void link() {
    std::vector<vmcache::PageId> order = _page_ids;
    SplitMix64 random(7);
    for (std::size_t i = order.size() - 1; i > 0; i--)
      std::swap(order[i], order[random.below(i + 1)]);
    for (std::size_t i = 0; i < order.size(); i++) {
      const vmcache::ExclusiveGuard guard = _pool.fix_exclusive(order[i]);
      *reinterpret_cast<vmcache::PageId*>(guard.data() + offset_of(order[i])) =
          order[(i + 1) % order.size()];
    }
  }

  vmcache::BufferPool _pool;
  std::vector<vmcache::PageId> _page_ids;
};

}  // namespace vmbench
