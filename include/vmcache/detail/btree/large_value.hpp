// SPDX-License-Identifier: MIT
//
// Values too large for a leaf. The leaf then holds a descriptor: size, stamp, and the page ids of
// the extents. A value of up to 1 MiB lies in one extent. A longer one lies in extents of 1 MiB,
// and a last one for the rest. If the pool has page headers, each extent begins with one. All other
// bytes of an extent are the value's.
// The extents do not change once the value is in the tree. (The exception is update(), for values
// of one extent.) So a reader that finds the same descriptor before and after it has copied the
// extents has copied one value. Page ids are used again, so the stamp makes descriptors unique.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "vmcache/buffer_pool.hpp"
#include "vmcache/bytes.hpp"
#include "vmcache/detail/btree/node_layout.hpp"
#include "vmcache/export.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! Longest value: 64 extents of 1 MiB.
inline constexpr std::uint64_t kMaxValue = std::uint64_t{64} * (kPageSize << kMaxOrder);
//! The maximum number of extents of a value.
inline constexpr std::size_t kMaxExtents =
    kMaxValue / ((kPageSize << kMaxOrder) - sizeof(PageHeader)) + 1;

//! Bytes at the front of each extent that are not the value's: the page header, if the pool has
//! them.
[[nodiscard]] inline std::size_t extent_front(const BufferPool& pool) noexcept {
  return pool.page_headers() ? sizeof(PageHeader) : 0;
}

//! Where a large value is, in memory; parsed from and written to the bytes in the leaf.
class LargeValue {
 public:
  //! A value that parse() will fill, in a pool with this extent_front().
  explicit LargeValue(std::size_t front) noexcept : _front(front) {}
  //! A value of `size` bytes that is to be written.
  LargeValue(std::size_t front, std::uint64_t size, std::uint64_t stamp) noexcept
      : _front(front), _size(size), _stamp(stamp) {}
  //! From validated bytes of a leaf. False if they make no sense.
  [[nodiscard]] bool parse(Bytes descriptor);

  [[nodiscard]] std::uint64_t size() const noexcept { return _size; }
  [[nodiscard]] std::size_t extents() const noexcept;
  //! Order of the n-th extent.
  [[nodiscard]] unsigned order(std::size_t n) const noexcept;
  //! Bytes of the value in the n-th extent.
  [[nodiscard]] std::size_t bytes(std::size_t n) const noexcept;
  //! Where in the value they begin.
  [[nodiscard]] std::size_t offset(std::size_t n) const noexcept { return n * max_bytes(); }
  //! Where in the extent they begin.
  [[nodiscard]] std::size_t front() const noexcept { return _front; }
  [[nodiscard]] Extent extent(std::size_t n) const noexcept { return {_pages[n], order(n)}; }

  //! Extents whose page ids are known: all of them in a value that was parsed.
  [[nodiscard]] std::size_t placed() const noexcept { return _pages.size(); }
  //! Allocates now, so that place() cannot fail.
  void reserve() { _pages.reserve(extents()); }
  void place(PageId page_id) { _pages.push_back(page_id); }
  void append_extents(std::vector<Extent>& list) const;

  //! The bytes for the leaf.
  [[nodiscard]] std::vector<std::byte> descriptor() const;

  friend bool operator==(const LargeValue&, const LargeValue&) = default;

 private:
  //! Of the value, in an extent.
  [[nodiscard]] std::size_t max_bytes() const noexcept { return (kPageSize << kMaxOrder) - _front; }

  std::size_t _front = 0;
  std::uint64_t _size = 0;
  std::uint64_t _stamp = 0;
  std::vector<PageId> _pages;
};

//! True if an entry's value does not go into the leaf.
[[nodiscard]] constexpr bool is_large(std::size_t key_bytes, std::uint64_t value_bytes) noexcept {
  return value_bytes > kMaxInlineValue || key_bytes + value_bytes > kMaxLeafPayload;
}

//! Copies a large value out, extent by extent, over as many steps as its misses take.
class LargeReader {
 public:
  explicit LargeReader(LargeValue value) noexcept : _value(std::move(value)) {}

  [[nodiscard]] const LargeValue& value() const noexcept { return _value; }
  //! Continues to copy the first to.size() bytes of the value to `to`, which is the same in every
  //! call. Returns Need::nothing() once all is copied. The copy is valid if the leaf then still has
  //! the same descriptor.
  [[nodiscard]] Need copy(BufferPool& pool, std::span<std::byte> to);

 private:
  LargeValue _value;
  std::size_t _next = 0;
};

}  // namespace btree
}  // namespace vmcache
