// SPDX-License-Identifier: MIT
#include "recovery/large_redo.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include "pool/paged_store.hpp"
#include "vmcache/detail/btree/descent.hpp"
#include "vmcache/detail/btree/write_operations.hpp"

namespace vmcache {
namespace {

using btree::LargeValue;
using btree::NodeReader;

//! Finds the large value that a key has, without reading it.
class FindLargeOp {
 public:
  FindLargeOp(const btree::TreeContext& tree, Bytes key) noexcept : _tree(tree), _key(key) {}

  [[nodiscard]] Need step(BufferPool& pool) {
    btree::Spot spot;
    if (const Need need = btree::descend(_tree, btree::TowardsKey{_key}, 0, spot); !need.done())
      return need;
    const NodeReader leaf{spot.node.data()};
    const NodeReader::Position position = leaf.lower_bound(_key);
    _found.reset();
    if (position.found) {
      if (const NodeReader::Value value = leaf.value(position.index); value.large) {
        std::array<std::byte, btree::kMaxInlineValue> bytes;  // NOLINT: filled as far as it is read
        const std::size_t size = std::min(value.size, bytes.size());
        NodeReader::copy(bytes.data(), value.data, size);
        if (!_found.emplace(btree::extent_front(pool)).parse({bytes.data(), size}) &&
            spot.node.validate())
          btree::throw_corrupt(spot.node.page_id(), "a large value's descriptor makes no sense");
      }
    }
    return spot.node.validate() ? Need::nothing() : Need::latch();
  }
  void supply(ExclusiveGuard&&) noexcept {}
  [[nodiscard]] const std::optional<LargeValue>& found() const noexcept { return _found; }

 private:
  const btree::TreeContext& _tree;
  Bytes _key;
  std::optional<LargeValue> _found;
};

}  // namespace

LargeRedo::LargeRedo(BufferPool& pool, detail::PagedStore& store) noexcept
    : _pool(pool), _storage(store.storage), _allocator(store.allocator) {}

bool LargeRedo::is_large(Bytes key, Bytes value) noexcept {
  return btree::is_large(key.size(), value.size());
}

Task<bool> LargeRedo::put(Worker& worker, btree::TreeContext& tree, Bytes key, Bytes value,
                          Lsn lsn) {
  const bool last_pass = tree.structure().may_split;
  FindLargeOp find(tree, key);
  co_await worker.perform(find);
  if (find.found() && find.found()->size() == value.size()) {
    if (!last_pass) write(*find.found(), value, lsn);  // else it was written in the first one
    co_return true;
  }
  if (!last_pass) co_return false;
  LargeValue fresh(btree::extent_front(_pool), value.size(), tree.next_stamp());
  fresh.reserve();
  for (std::size_t n = 0; n < fresh.extents(); ++n) fresh.place(allocate(fresh.order(n)).page_id);
  write(fresh, value, lsn);
  btree::WriteOp op(tree, key, std::move(fresh));
  try {
    co_await worker.perform(op);
  } catch (const Error&) {
    if (!op.committed()) throw;
  }
  co_return true;
}

void LargeRedo::write(const LargeValue& large, Bytes value, Lsn lsn) {
  for (std::size_t n = 0; n < large.extents(); ++n) {
    const Extent extent = large.extent(n);
    std::byte* const bytes = _buffer.reserve(extent.bytes());
    if (bytes == nullptr) throw std::bad_alloc();
    std::memset(bytes, 0, large.front());
    std::memcpy(bytes + large.front(), value.data() + large.offset(n), large.bytes(n));
    const std::size_t used = large.front() + large.bytes(n);
    std::memset(bytes + used, 0, extent.bytes() - used);
    set_lsn(bytes, lsn);
    set_checksum(extent, bytes);
    if (const int error = _storage.write(extent.page_id * kPageSize, {bytes, extent.bytes()});
        error != 0)
      throw Error(Status{Errc::kIo, error, extent.page_id}, "recovering a large value");
  }
}

//! Of pages that the pool has not touched since it was opened: of others it might keep frames, or
//! what they were.
Extent LargeRedo::allocate(unsigned order) {
  const auto touched = [&](Extent extent) {
    for (PageId page_id = extent.page_id; page_id < extent.page_id + extent.pages(); ++page_id) {
      if (_pool.page_ref(page_id).state().load() != PageState{}) return true;
    }
    return false;
  };
  std::vector<Extent> aside;
  const auto give_back = [&] {
    for (const Extent& extent : aside) (void)_allocator.free(extent);
  };
  try {
    for (;;) {  // ends: each turn takes an extent away, and there are only so many
      const Extent extent = _allocator.allocate(order);
      if (!touched(extent)) {
        give_back();
        return extent;
      }
      aside.push_back(extent);
    }
  } catch (...) {
    give_back();
    throw;
  }
}

}  // namespace vmcache
