// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "common/rw_latch.hpp"
#include "plain/file.hpp"

namespace vmbench::plain {

//! The file mapped shared: the kernel caches, evicts and writes back. Latches stand beside it, one
//! a page.
class MmapCache {
 public:
  class Shared;
  class Exclusive;

  //! Throws std::runtime_error.
  explicit MmapCache(File& file);
  ~MmapCache();
  MmapCache(const MmapCache&) = delete;
  MmapCache& operator=(const MmapCache&) = delete;

  [[nodiscard]] Shared shared(PageNo page);
  [[nodiscard]] Exclusive exclusive(PageNo page);
  [[nodiscard]] std::pair<PageNo, Exclusive> allocate();

 private:
  [[nodiscard]] std::byte* address(PageNo page) const { return _base + page * kPageBytes; }

  File& _file;
  std::byte* _base;
  std::unique_ptr<RwLatch[]> _latches;
  std::atomic<PageNo> _next;
};

//! A page held through its latch; Data is const for readers.
template <typename Data, void (RwLatch::*unlock)()>
class LatchedPage {
 public:
  LatchedPage(RwLatch& latch, Data* data) : _latch(&latch), _data(data) {}
  LatchedPage(LatchedPage&& other) noexcept
      : _latch(std::exchange(other._latch, nullptr)), _data(other._data) {}
  LatchedPage& operator=(LatchedPage&& other) noexcept {
    if (this == &other) return *this;
    release();
    _latch = std::exchange(other._latch, nullptr);
    _data = other._data;
    return *this;
  }
  ~LatchedPage() { release(); }

  [[nodiscard]] Data* data() const { return _data; }
  void release() {
    if (_latch) (_latch->*unlock)();
    _latch = nullptr;
  }

 private:
  RwLatch* _latch;
  Data* _data;
};

class MmapCache::Shared : public LatchedPage<const std::byte, &RwLatch::unlock_shared> {
  using LatchedPage::LatchedPage;
};
class MmapCache::Exclusive : public LatchedPage<std::byte, &RwLatch::unlock> {
  using LatchedPage::LatchedPage;
};

inline MmapCache::Shared MmapCache::shared(PageNo page) {
  _latches[page].lock_shared();
  return {_latches[page], address(page)};
}
inline MmapCache::Exclusive MmapCache::exclusive(PageNo page) {
  _latches[page].lock();
  return {_latches[page], address(page)};
}

}  // namespace vmbench::plain
