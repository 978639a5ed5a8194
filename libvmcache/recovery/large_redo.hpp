// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <vector>

#include "pool/page_checksum.hpp"
#include "vmcache/bytes.hpp"
#include "vmcache/detail/btree/large_value.hpp"
#include "vmcache/detail/btree/tree_context.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {

namespace detail {
class PagedStore;
}
class PageAllocator;

//! Brings large values of committed changes back. It writes their bytes directly to storage,
//! because the pool may be smaller than a value. That is safe because recovery has loaded no extent
//! of a value. One thread's.
//!
//! The change is the key's last one (CommitRedo). If the change was applied before the crash, the
//! image of its leaf leads to its extents, and they are written again in place. If the leaf leads
//! to other extents of the same size, the change was not applied. Nobody needs what lies there any
//! more, not even the next recovery, so those extents are taken. In all other cases the value gets
//! new extents, and those that the leaf leads to are freed.
class LargeRedo {
 public:
  LargeRedo(BufferPool& pool, detail::PagedStore& store) noexcept;

  //! Whether the tree would keep the value in extents.
  [[nodiscard]] static bool is_large(Bytes key, Bytes value) noexcept;
  //! `lsn` is the end of the commit's record. While the tree may not split leaves, it does only
  //! what needs no new extents. Returns false if there is more to do, and has then changed nothing.
  //! Throws Error; std::bad_alloc.
  Task<bool> put(Worker& worker, btree::TreeContext& tree, Bytes key, Bytes value, Lsn lsn);

 private:
  void write(const btree::LargeValue& large, Bytes value, Lsn lsn);
  [[nodiscard]] Extent allocate(unsigned order);

  BufferPool& _pool;
  Storage& _storage;
  PageAllocator& _allocator;
  FormatBuffer _buffer;
};

}  // namespace vmcache
