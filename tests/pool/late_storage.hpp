// SPDX-License-Identifier: MIT
//
// A device in memory that lets time pass between submission and completion, completes in an order
// of its own, and fails transfers now and then; all by its seed.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::test {

//! Outlives the storages on it. Bytes are moved when a transfer completes, by whoever reaps it and
//! without a lock: two transfers of one page at a time, or a page that is changed while it is
//! transferred, are data races that ThreadSanitizer sees.
class LateDevice {
 public:
  LateDevice(std::uint64_t max_pages, std::uint64_t seed)
      : _bytes(max_pages * kPageSize), _seed(seed) {}

  //! Of a thousand transfers, how many fail with EIO. May be changed while a pool runs.
  std::atomic<unsigned> read_failures{0}, write_failures{0};

  [[nodiscard]] std::uint64_t next_seed() { return _seed * 1000 + _queues.fetch_add(1); }
  [[nodiscard]] std::byte* at(std::uint64_t offset) { return _bytes.data() + offset; }
  [[nodiscard]] std::uint64_t max_bytes() const { return _bytes.size(); }
  std::atomic<std::uint64_t> size{0};

 private:
  std::vector<std::byte> _bytes;
  const std::uint64_t _seed;
  std::atomic<std::uint64_t> _queues{0};
};

class LateQueue final : public IoQueue {
 public:
  LateQueue(LateDevice& device, unsigned depth)
      : _device(device), _depth(depth), _random(device.next_seed()) {
    _under_way.reserve(depth);
  }
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_under_way.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    _under_way.insert(_under_way.end(), requests.begin(), requests.end());
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for, std::uint64_t) override {
    const std::size_t max = std::min(completed.size(), _under_way.size());
    const std::size_t min = std::min<std::size_t>(max, wait_for);
    const std::size_t n = min + _random() % (max - min + 1);
    for (std::size_t i = 0; i < n; ++i) {
      std::swap(_under_way[_random() % _under_way.size()], _under_way.back());
      completed[i] = _under_way.back();
      _under_way.pop_back();
      transfer(*completed[i]);
    }
    return n;
  }

 private:
  void transfer(IoRequest& request) {
    const bool read = request.op == IoRequest::Op::kRead;
    const unsigned failures = read ? _device.read_failures : _device.write_failures;
    request.error = _random() % 1000 < failures ? EIO : 0;
    if (request.error != 0) return;
    std::byte* const stored = _device.at(request.offset);
    read ? std::memcpy(request.data, stored, request.bytes)
         : std::memcpy(stored, request.data, request.bytes);
    request.done_bytes = request.bytes;
  }

  LateDevice& _device;
  const unsigned _depth;
  std::mt19937_64 _random;
  std::vector<IoRequest*> _under_way;
};

class LateStorage final : public Storage {
 public:
  explicit LateStorage(LateDevice& device) noexcept : _device(device) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return _device.size; }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override {
    return std::all_of(_device.at(0), _device.at(kPageSize),
                       [](std::byte byte) { return byte == std::byte{0}; });
  }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<LateQueue>(_device, depth);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    std::memcpy(bytes.data(), _device.at(offset), bytes.size());
    return 0;
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    std::memcpy(_device.at(offset), bytes.data(), bytes.size());
    return 0;
  }
  [[nodiscard]] int flush() override { return 0; }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    if (bytes > _device.max_bytes()) return ENOSPC;
    _device.size = bytes;
    return 0;
  }
  [[nodiscard]] std::string description() const override { return "late memory"; }

 private:
  LateDevice& _device;
};

}  // namespace vmcache::test
