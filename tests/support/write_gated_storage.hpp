// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>

#include "support/wrapped_storage.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::test {

//! When writes may complete. Reads always may.
struct WriteGate {
  std::atomic<bool> open{true};
  std::atomic<std::uint64_t> held{0};  //!< writes that wait for it now, in all queues
};

//! A device whose writes end only while the gate is open: what waits for one of them while it is
//! closed, hangs.
class WriteGatedQueue final : public IoQueue {
 public:
  WriteGatedQueue(Storage& inner, unsigned depth, WriteGate& gate)
      : _inner(inner), _depth(depth), _gate(gate) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_reads.size() + _writes.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      const bool read = request->op == IoRequest::Op::kRead;
      (read ? _reads : _writes).push_back(request);
      if (!read) ++_gate.held;
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
    for (std::size_t n = 0;;) {
      while (n < completed.size() && !_reads.empty()) completed[n++] = perform(_reads);
      while (n < completed.size() && !_writes.empty() && _gate.open) {
        completed[n++] = perform(_writes);
        --_gate.held;
      }
      if (n >= wait_for || in_flight() == 0 || std::chrono::steady_clock::now() >= deadline)
        return n;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

 private:
  IoRequest* perform(std::deque<IoRequest*>& requests) {
    IoRequest* const request = requests.front();
    requests.pop_front();
    request->error = request->op == IoRequest::Op::kRead
                         ? _inner.read(request->offset, {request->data, request->bytes})
                         : _inner.write(request->offset, {request->data, request->bytes});
    return request;
  }

  Storage& _inner;
  const unsigned _depth;
  WriteGate& _gate;
  std::deque<IoRequest*> _reads, _writes;
};

class WriteGatedStorage final : public WrappedStorage {
 public:
  WriteGatedStorage(std::unique_ptr<Storage> inner, WriteGate& gate)
      : WrappedStorage(std::move(inner)), _gate(gate) {}
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<WriteGatedQueue>(inner(), depth, _gate);
  }
  [[nodiscard]] std::string description() const override {
    return "write-gated " + inner().description();
  }

 private:
  WriteGate& _gate;
};

}  // namespace vmcache::test
