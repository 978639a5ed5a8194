// SPDX-License-Identifier: MIT
//
// A device in memory with a volatile cache, and the failures that a test chooses for it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::test {

//! What lies on it outlives the storages on it. Thread-safe.
class VolatileDevice {
 public:
  //! \name What the test chooses, at any time
  //! @{
  //! The flush with this number (0 is the first one from now on) fails with EIO and loses what was
  //! not flushed, as a drive's cache may do; the error is told once. ~0: none.
  std::atomic<std::uint64_t> fail_flush{~std::uint64_t{0}};
  std::atomic<int> write_error{0};  //!< all writes fail with it
  //! A file system that is full at that size.
  std::atomic<std::uint64_t> max_bytes{~std::uint64_t{0}};
  std::atomic<bool> hold_reads{false};  //!< queued reads do not complete
  //! @}

  std::atomic<std::uint64_t> flushes{0};
  std::atomic<std::uint64_t> reads_begun{0};

  [[nodiscard]] std::uint64_t size() const {
    const std::lock_guard lock(_mutex);
    return _cached.size();
  }
  int read(std::uint64_t offset, std::byte* to, std::size_t bytes) const {
    const std::lock_guard lock(_mutex);
    if (offset + bytes > _cached.size()) return ENODATA;
    std::memcpy(to, _cached.data() + offset, bytes);
    return 0;
  }
  int write(std::uint64_t offset, const std::byte* from, std::size_t bytes) {
    if (const int error = write_error; error != 0) return error;
    const std::lock_guard lock(_mutex);
    if (offset + bytes > _cached.size() && offset + bytes > max_bytes) return ENOSPC;
    if (offset + bytes > _cached.size()) _cached.resize(offset + bytes);
    std::memcpy(_cached.data() + offset, from, bytes);
    return 0;
  }
  int resize(std::uint64_t bytes) {
    const std::lock_guard lock(_mutex);
    if (bytes > _cached.size() && bytes > max_bytes) return ENOSPC;
    _cached.resize(bytes);
    return 0;
  }
  int flush() {
    const std::lock_guard lock(_mutex);
    ++flushes;
    if (fail_flush.load() != ~std::uint64_t{0} && fail_flush.fetch_sub(1) == 0) {
      const std::size_t size = _cached.size();
      _cached = _durable;
      _cached.resize(size);
      return EIO;
    }
    _durable = _cached;
    return 0;
  }
  //! Of a power cut: what was not flushed is gone.
  void cut_power() {
    const std::lock_guard lock(_mutex);
    _cached = _durable;
  }
  //! Makes its content what `other` holds now, or would hold after a power cut; all of it durable.
  void copy(const VolatileDevice& other, bool only_durable) {
    const std::scoped_lock lock(_mutex, other._mutex);
    _cached = only_durable ? other._durable : other._cached;
    _durable = _cached;
  }

 private:
  mutable std::mutex _mutex;
  std::vector<std::byte> _cached;
  std::vector<std::byte> _durable;
};

class VolatileQueue final : public IoQueue {
 public:
  VolatileQueue(VolatileDevice& device, unsigned depth) : _device(device), _depth(depth) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_done.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      const bool read = request->op == IoRequest::Op::kRead;
      request->error = read ? _device.read(request->offset, request->data, request->bytes)
                            : _device.write(request->offset, request->data, request->bytes);
      if (read) ++_device.reads_begun;
      _done.push_back(request);
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for, std::uint64_t) override {
    std::size_t n = 0;
    for (auto next = _done.begin(); next != _done.end() && n < completed.size();) {
      if (_device.hold_reads && (*next)->op == IoRequest::Op::kRead) {
        ++next;
        continue;
      }
      completed[n++] = *next;
      next = _done.erase(next);
    }
    if (n == 0 && wait_for > 0) std::this_thread::sleep_for(std::chrono::microseconds(50));
    return n;
  }

 private:
  VolatileDevice& _device;
  const unsigned _depth;
  std::vector<IoRequest*> _done;
};

class VolatileStorage : public Storage {
 public:
  explicit VolatileStorage(VolatileDevice& device) noexcept : _device(device) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return _device.size(); }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override {
    std::array<std::byte, kPageSize> page{};
    if (_device.size() < kPageSize) return true;
    return _device.read(0, page.data(), page.size()) == 0 &&
           std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; });
  }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<VolatileQueue>(_device, depth);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return _device.read(offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return _device.write(offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] int flush() override { return _device.flush(); }
  [[nodiscard]] int resize(std::uint64_t bytes) override { return _device.resize(bytes); }
  [[nodiscard]] std::string description() const override { return "volatile memory"; }

 private:
  VolatileDevice& _device;
};

}  // namespace vmcache::test
