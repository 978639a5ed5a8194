// SPDX-License-Identifier: MIT
#include "vmcache/btree/tree_context.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <random>
#include <string>
#include <utility>

#include "vmcache/btree/large_value.hpp"

namespace vmcache::btree {

namespace {

// Starts where no earlier run did, so that a stamp in the file and a new one do not meet.
std::uint64_t first_stamp() {
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

}  // namespace

TreeContext::TreeContext(BufferPool& pool, PageId root) : _pool(pool), _root(root), _stamp(first_stamp()) {}

void TreeContext::value_changed(const ExclusiveGuard& leaf, std::span<const Extent> placed,
                                std::span<const Extent> left) const noexcept {
  ChangeLog* const log = _pool.change_log();
  if (log == nullptr) return;
  if (placed.empty() && left.empty()) return log->page_changed(leaf.page_id());
  std::array<PageChange, 1 + 2 * kMaxExtents> changes;
  std::size_t n = 0;
  changes[n++] = {leaf.page_id(), PageChange::Kind::kChanged};
  for (const Extent& extent : placed)
    changes[n++] = {extent.page_id, PageChange::Kind::kValueAllocated, extent.order};
  for (const Extent& extent : left)
    changes[n++] = {extent.page_id, PageChange::Kind::kValueFreed, extent.order};
  log->structure_changed({changes.data(), n});
}

bool TreeContext::try_enter_split() noexcept {
  const std::uint64_t places = std::max<std::uint64_t>(1, _pool.pool_pages() / 8);
  if (_splits.fetch_add(1, std::memory_order_relaxed) < places) return true;
  leave_split();
  return false;
}

void TreeContext::leave_orphans(std::vector<Extent>&& extents) noexcept {
  const std::lock_guard lock{_mutex};
  if (_orphans.empty()) _orphans.swap(extents);
  try {
    _orphans.insert(_orphans.end(), extents.begin(), extents.end());
  } catch (const std::bad_alloc&) {  // NOLINT: without memory even for this they stay in use by nobody
  }
  extents.clear();
  _orphans_left.store(!_orphans.empty(), std::memory_order_relaxed);
}

std::vector<Extent> TreeContext::take_orphans() {
  const std::lock_guard lock{_mutex};
  _orphans_left.store(false, std::memory_order_relaxed);
  return std::exchange(_orphans, {});
}

std::uint64_t TreeContext::orphan_pages() const {
  const std::lock_guard lock{_mutex};
  std::uint64_t pages = 0;
  for (const Extent& extent : _orphans) pages += extent.pages();
  return pages;
}

void throw_corrupt(PageId page_id, const char* what) {
  throw Error(Status{Errc::kCorrupt, 0, page_id}, std::string{"B+tree: "} + what);
}

}  // namespace vmcache::btree
