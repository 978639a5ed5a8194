// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>

#include "vmcache/bytes.hpp"
#include "vmcache/detail/btree/node_layout.hpp"
#include "vmcache/detail/btree/node_reader.hpp"
#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! A whole key, put together from prefix and suffix.
class KeyBuffer {
 public:
  KeyBuffer() noexcept {}  // NOLINT: the bytes stay as they are
  void assign(Bytes prefix, Bytes suffix) noexcept {
    // Only what is corrupt is longer; verify() then tells.
    const std::size_t prefix_size = std::min(prefix.size(), kMaxKey);
    const std::size_t suffix_size = std::min(suffix.size(), kMaxKey - prefix_size);
    NodeReader::copy(_bytes.data(), prefix.data(), prefix_size);
    NodeReader::copy(_bytes.data() + prefix_size, suffix.data(), suffix_size);
    _size = prefix_size + suffix_size;
  }
  void assign(Bytes key) noexcept { assign(key, {}); }
  [[nodiscard]] Bytes key() const noexcept { return {_bytes.data(), _size}; }

 private:
  std::size_t _size = 0;
  std::array<std::byte, kMaxKey> _bytes;
};

}  // namespace btree
}  // namespace vmcache
