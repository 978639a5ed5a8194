// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "vmcache/storage.hpp"

namespace vmbench {

//! A storage for measuring what stands above storage: a transfer completes at once and moves
//! nothing. The header and whatever else is transferred by blocking calls is kept, so that a pool
//! can be opened on it.
class NullStorage final : public vmcache::Storage {
 public:
  [[nodiscard]] std::uint64_t size_bytes() const override { return _bytes.load(); }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override { return _kept.empty(); }
  [[nodiscard]] std::unique_ptr<vmcache::IoQueue> make_queue(unsigned depth,
                                                             bool /*single_issuer*/) override {
    return std::make_unique<Queue>(depth);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    std::fill(bytes.begin(), bytes.end(), std::byte{0});
    if (offset < _kept.size())
      std::memcpy(bytes.data(), &_kept[offset], std::min(bytes.size(), _kept.size() - offset));
    return 0;
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (offset + bytes.size() <= kKeptBytes) {
      _kept.resize(std::max(_kept.size(), static_cast<std::size_t>(offset) + bytes.size()));
      std::memcpy(&_kept[offset], bytes.data(), bytes.size());
    }
    return 0;
  }
  [[nodiscard]] int flush() override { return 0; }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    _bytes.store(bytes);
    return 0;
  }
  [[nodiscard]] std::string description() const override { return "no storage"; }

 private:
  static constexpr std::size_t kKeptBytes = std::size_t{1} << 20;

  class Queue final : public vmcache::IoQueue {
   public:
    explicit Queue(unsigned depth) : _depth(depth) {}
    [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
    void submit(std::span<vmcache::IoRequest* const> requests) override {
      for (vmcache::IoRequest* request : requests) {
        request->error = 0;
        request->done_bytes = request->bytes;
        _done.push_back(request);
      }
    }
    std::size_t reap(std::span<vmcache::IoRequest*> completed, unsigned /*wait_for*/,
                     std::uint64_t /*timeout_ns*/) override {
      std::size_t count = 0;
      for (; count < completed.size() && !_done.empty(); count++) {
        completed[count] = _done.front();
        _done.pop_front();
      }
      return count;
    }
    [[nodiscard]] unsigned in_flight() const noexcept override {
      return static_cast<unsigned>(_done.size());
    }

   private:
    unsigned _depth;
    std::deque<vmcache::IoRequest*> _done;
  };

  std::atomic<std::uint64_t> _bytes{0};
  std::vector<std::byte> _kept;
};

}  // namespace vmbench
