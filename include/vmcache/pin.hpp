// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <utility>

#include "vmcache/export.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

class BufferPool;

//! Keeps a page in memory, and data() valid, without a latch; for pointers that are handed to code
//! which knows nothing of guards. BufferPool::pin() makes it.
//!
//! Who holds only a pin may read, and must know by other means that nobody changes the page
//! meanwhile: writers take an exclusive latch as ever, and do not wait for pins. Eviction passes a
//! pinned page by, and write-back takes it as any other. Such a page cannot be freed, and its file
//! not be closed or cut before it: kBusy.
//!
//! A pin belongs to no thread, but one thread at a time may use the object. It must not outlive the
//! pool.
class Pin {
 public:
  Pin() noexcept = default;
  Pin(Pin&& other) noexcept
      : _pool(std::exchange(other._pool, nullptr)), _data(other._data), _page_id(other._page_id) {}
  Pin& operator=(Pin&& other) noexcept {
    if (this != &other) {
      release();
      _pool = std::exchange(other._pool, nullptr);
      _data = other._data;
      _page_id = other._page_id;
    }
    return *this;
  }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;
  ~Pin() { release(); }

  [[nodiscard]] explicit operator bool() const noexcept { return _pool != nullptr; }
  [[nodiscard]] PageId page_id() const noexcept { return _page_id; }
  [[nodiscard]] const std::byte* data() const noexcept { return _data; }
  //! Ends the pin; data() must not be used afterwards. Does nothing on an empty pin.
  void release() noexcept;

 private:
  friend class BufferPool;
  Pin(BufferPool& pool, const std::byte* data, PageId page_id) noexcept
      : _pool(&pool), _data(data), _page_id(page_id) {}

  BufferPool* _pool = nullptr;
  const std::byte* _data = nullptr;
  PageId _page_id = kNoPage;
};

}  // namespace vmcache
