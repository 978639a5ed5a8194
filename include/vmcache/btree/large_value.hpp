// SPDX-License-Identifier: MIT
//
// Values too large for a leaf. The leaf then holds a descriptor: size, stamp and the page ids of the extents.
// A value that fits is in one extent of up to 1 MiB; a longer one in extents of 1 MiB and a last one for the rest. The
// bytes of an extent, behind the page header where the pool has them, are all the value's, and are not changed once
// the value is in the tree (but by update(), for values of one extent): whoever has read the same descriptor before
// and after reading the extents has read one value. The stamp makes descriptors unique, page ids are used again.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/btree/node_layout.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache::btree {

//! Longest value: 64 extents of 1 MiB.
inline constexpr std::uint64_t kMaxValue = std::uint64_t{64} * (kPageSize << kMaxOrder);
//! The most extents that a value has.
inline constexpr std::size_t kMaxExtents = kMaxValue / ((kPageSize << kMaxOrder) - sizeof(PageHeader)) + 1;

//! Bytes at the front of each extent of the pool that are not the value's.
[[nodiscard]] inline std::size_t extent_front(const BufferPool& pool) noexcept {
  return pool.page_headers() ? sizeof(PageHeader) : 0;
}

//! Where a large value is, in memory; parsed from and written to the bytes in the leaf.
class LargeValue {
 public:
  //! Of a pool with this extent_front(); to be parsed.
  explicit LargeValue(std::size_t front) noexcept : _front(front) {}
  //! A value that is to be written.
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
  [[nodiscard]] std::size_t offset(std::size_t n) const noexcept { return n * most_bytes(); }
  //! Where in the extent they begin.
  [[nodiscard]] std::size_t front() const noexcept { return _front; }
  [[nodiscard]] Extent extent(std::size_t n) const noexcept { return {_pages[n], order(n)}; }

  //! Extents whose page ids are known: all of them in a value that was parsed.
  [[nodiscard]] std::size_t placed() const noexcept { return _pages.size(); }
  //! Makes place() of all extents unable to fail.
  void reserve() { _pages.reserve(extents()); }
  void place(PageId page_id) { _pages.push_back(page_id); }
  void append_extents(std::vector<Extent>& list) const;

  //! The bytes for the leaf.
  [[nodiscard]] std::vector<std::byte> descriptor() const;

  friend bool operator==(const LargeValue&, const LargeValue&) = default;

 private:
  //! Of the value, in an extent.
  [[nodiscard]] std::size_t most_bytes() const noexcept { return (kPageSize << kMaxOrder) - _front; }

  std::size_t _front = 0;
  std::uint64_t _size = 0;
  std::uint64_t _stamp = 0;
  std::vector<PageId> _pages;
};

//! Copies a large value out, extent by extent, over as many steps as its misses take.
class LargeReader {
 public:
  explicit LargeReader(LargeValue value) noexcept : _value(std::move(value)) {}

  [[nodiscard]] const LargeValue& value() const noexcept { return _value; }
  //! Goes on copying the first to.size() bytes to `to`, the same in every call. Done when all is copied; it is
  //! right if the leaf still has the same descriptor then.
  [[nodiscard]] Need copy(BufferPool& pool, std::span<std::byte> to);

 private:
  LargeValue _value;
  std::size_t _next = 0;
};

}  // namespace vmcache::btree
