// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <span>

#include "vmcache/types.hpp"

namespace vmcache {

//! Page-aligned memory, as O_DIRECT needs it. The size is a multiple of kPageSize. Throws
//! std::bad_alloc.
class AlignedBuffer {
 public:
  explicit AlignedBuffer(std::size_t bytes)
      : _data(static_cast<std::byte*>(std::aligned_alloc(kPageSize, bytes))), _bytes(bytes) {
    if (_data == nullptr) throw std::bad_alloc();
  }
  ~AlignedBuffer() { std::free(_data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {_data, _bytes}; }

 private:
  std::byte* _data;
  std::size_t _bytes;
};

}  // namespace vmcache
