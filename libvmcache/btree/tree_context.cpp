// SPDX-License-Identifier: MIT
#include "vmcache/detail/btree/tree_context.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <random>
#include <string>
#include <utility>

#include "vmcache/detail/btree/large_value.hpp"

namespace vmcache::btree {

namespace {

// Starts where no earlier run started, so that a new stamp differs from all stamps in the file.
std::uint64_t first_stamp() {
  std::random_device random;
  return (std::uint64_t{random()} << 32) | random();
}

}  // namespace

TreeContext::TreeContext(BufferPool& pool, PageId root)
    : _pool(pool),
      _root(root),
      _applied(pool.change_log() != nullptr ? Lsn{0} : ~Lsn{0}),
      _stamp(first_stamp()) {}

void TreeContext::refuse_change() const {
  throw Error(Status{Errc::kReadOnly, 0, _root},
              "B+tree: a change, but " + _pool.description() + " was opened with read_only");
}

std::uint64_t TreeContext::commit_on(Bytes key, Lsn leaf) const {
  const Lsn applied = _pool.change_log()->applied_lsn();
  // Another thread may store a lower number. Then the next reader asks again.
  if (applied > _applied.load(std::memory_order_relaxed))
    _applied.store(applied, std::memory_order_release);
  return leaf <= applied ? 0 : _pool.change_log()->commit_being_applied(_root, key);
}

bool TreeContext::still_on(Bytes key, std::uint64_t commit) const {
  return _pool.change_log()->commit_being_applied(_root, key) == commit;
}

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

void TreeContext::give_back(Extent extent) noexcept {
  try {
    if (_pool.try_free(extent)) return;
  } catch (const std::exception&) {  // NOLINT: as if a latch had been in the way
  }
  try {
    leave_orphans({extent});
  } catch (const std::bad_alloc&) {
    _pool.leave(extent);
  }
}

void TreeContext::leave_orphans(std::vector<Extent>&& extents) noexcept {
  for (const Extent& extent : extents) _pool.leave(extent);
  const std::lock_guard lock{_mutex};
  if (_orphans.empty()) _orphans.swap(extents);
  try {
    _orphans.insert(_orphans.end(), extents.begin(), extents.end());
  } catch (
      // NOLINT: without memory even for this they are free after the next open only.
      const std::bad_alloc&) {
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
