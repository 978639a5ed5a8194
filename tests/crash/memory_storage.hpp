// SPDX-License-Identifier: MIT
//
// Storage in memory that asks for none once it is there, so that a test of failing allocations
// fails the library's alone.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::test {

//! A device's bytes; outlive the storages on it. Thread-safe.
class MemoryDevice {
 public:
  explicit MemoryDevice(std::size_t max) : _bytes(max) {}

  [[nodiscard]] std::uint64_t size() const {
    const std::lock_guard lock(_mutex);
    return _size;
  }
  int read(std::uint64_t offset, std::byte* to, std::size_t bytes) const {
    const std::lock_guard lock(_mutex);
    if (offset + bytes > _size) return ENODATA;
    std::memcpy(to, _bytes.data() + offset, bytes);
    return 0;
  }
  int write(std::uint64_t offset, const std::byte* from, std::size_t bytes) {
    const std::lock_guard lock(_mutex);
    if (offset + bytes > _bytes.size()) return ENOSPC;
    std::memcpy(_bytes.data() + offset, from, bytes);
    _size = std::max<std::uint64_t>(_size, offset + bytes);
    return 0;
  }
  int resize(std::uint64_t bytes) {
    const std::lock_guard lock(_mutex);
    if (bytes > _bytes.size()) return ENOSPC;
    if (bytes < _size)
      std::fill(_bytes.begin() + static_cast<std::ptrdiff_t>(bytes), _bytes.end(), std::byte{0});
    _size = bytes;
    return 0;
  }
  //! Makes it what `other`, of the same most, is.
  void copy(const MemoryDevice& other) {
    std::ranges::copy(other._bytes, _bytes.begin());
    _size = other._size;
  }
  void clear() {
    std::ranges::fill(_bytes, std::byte{0});
    _size = 0;
  }

 private:
  mutable std::mutex _mutex;
  std::vector<std::byte> _bytes;
  std::uint64_t _size = 0;
};

class MemoryQueue final : public IoQueue {
 public:
  static constexpr unsigned kDepth = 64;
  explicit MemoryQueue(MemoryDevice& device) noexcept : _device(device) {}
  [[nodiscard]] unsigned depth() const noexcept override { return kDepth; }
  [[nodiscard]] unsigned in_flight() const noexcept override { return _finished; }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      request->error = request->op == IoRequest::Op::kRead
                           ? _device.read(request->offset, request->data, request->bytes)
                           : _device.write(request->offset, request->data, request->bytes);
      _done.at(_finished++) = request;
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned, std::uint64_t) override {
    std::size_t n = 0;
    while (n < completed.size() && _finished > 0) completed[n++] = _done.at(--_finished);
    return n;
  }

 private:
  MemoryDevice& _device;
  std::array<IoRequest*, kDepth> _done{};
  unsigned _finished = 0;
};

class MemoryStorage final : public Storage {
 public:
  explicit MemoryStorage(MemoryDevice& device) noexcept : _device(device) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return _device.size(); }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override {
    std::array<std::byte, kPageSize> page{};
    if (_device.size() < kPageSize) return true;
    return _device.read(0, page.data(), page.size()) == 0 &&
           std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; });
  }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned, bool) override {
    return std::make_unique<MemoryQueue>(_device);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    return _device.read(offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    return _device.write(offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] int flush() override { return 0; }
  [[nodiscard]] int resize(std::uint64_t bytes) override { return _device.resize(bytes); }
  [[nodiscard]] std::string description() const override { return "memory"; }

 private:
  MemoryDevice& _device;
};

}  // namespace vmcache::test
