// SPDX-License-Identifier: MIT
#include "vmcache/detail/btree/large_value.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "vmcache/detail/btree/node_reader.hpp"

namespace vmcache::btree {

namespace {

constexpr std::size_t kFixedBytes = 2 * sizeof(std::uint64_t);
static_assert(kFixedBytes + kMaxExtents * sizeof(PageId) <= kMaxInlineValue);
static_assert(kFixedBytes + kMaxExtents * sizeof(PageId) + kMaxKey <= kMaxLeafPayload);

}  // namespace

std::size_t LargeValue::extents() const noexcept {
  return static_cast<std::size_t>((_size + max_bytes() - 1) / max_bytes());
}

std::size_t LargeValue::bytes(std::size_t n) const noexcept {
  return std::min<std::uint64_t>(max_bytes(), _size - offset(n));
}

unsigned LargeValue::order(std::size_t n) const noexcept {
  const std::size_t pages = (_front + bytes(n) + kPageSize - 1) / kPageSize;
  return static_cast<unsigned>(std::bit_width(pages - 1));
}

bool LargeValue::parse(Bytes descriptor) {
  if (descriptor.size() < kFixedBytes) return false;
  std::memcpy(&_size, descriptor.data(), sizeof _size);
  std::memcpy(&_stamp, descriptor.data() + sizeof _size, sizeof _stamp);
  if (_size == 0 || _size > kMaxValue) return false;
  const Bytes pages = descriptor.after(kFixedBytes);
  if (pages.size() != extents() * sizeof(PageId)) return false;
  _pages.resize(extents());
  std::memcpy(_pages.data(), pages.data(), pages.size());
  return true;
}

void LargeValue::append_extents(std::vector<Extent>& list) const {
  for (std::size_t n = 0; n < placed(); ++n) list.push_back(extent(n));
}

std::vector<std::byte> LargeValue::descriptor() const {
  std::vector<std::byte> bytes(kFixedBytes + _pages.size() * sizeof(PageId));
  std::memcpy(bytes.data(), &_size, sizeof _size);
  std::memcpy(bytes.data() + sizeof _size, &_stamp, sizeof _stamp);
  if (!_pages.empty())
    std::memcpy(bytes.data() + kFixedBytes, _pages.data(), _pages.size() * sizeof(PageId));
  return bytes;
}

Need LargeReader::copy(BufferPool& pool, std::span<std::byte> to) {
  for (; _next < _value.extents() && _value.offset(_next) < to.size(); ++_next) {
    const Extent extent = _value.extent(_next);
    SharedGuard guard;
    if (const TryFix result = pool.try_fix(extent.page_id, guard); result != TryFix::kFixed) {
      return Need::after(result, extent.page_id, extent.order);
    }
    const std::size_t done = _value.offset(_next);
    NodeReader::copy(to.data() + done, guard.data() + _value.front(),
                     std::min(_value.bytes(_next), to.size() - done));
  }
  return Need::nothing();
}

}  // namespace vmcache::btree
