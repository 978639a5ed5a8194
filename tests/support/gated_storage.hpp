// SPDX-License-Identifier: MIT
#pragma once

#include <time.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "support/wrapped_storage.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::test {

//! A device that completes nothing while its gate is shut.
struct IoGate {
  std::atomic<bool> shut{false};
  std::atomic<unsigned> submitted{0};  //!< transfers, in all queues
};

class GatedQueue final : public IoQueue {
 public:
  GatedQueue(std::unique_ptr<IoQueue> inner, IoGate& gate)
      : _inner(std::move(inner)), _gate(gate) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _inner->depth(); }
  [[nodiscard]] unsigned in_flight() const noexcept override { return _inner->in_flight(); }
  void submit(std::span<IoRequest* const> requests) override {
    _inner->submit(requests);
    _gate.submitted += static_cast<unsigned>(requests.size());
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    if (!_gate.shut) return _inner->reap(completed, wait_for, timeout_ns);
    const timespec pause{0, timeout_ns > 0 ? 1'000'000 : 0};
    ::nanosleep(&pause, nullptr);
    return 0;
  }

 private:
  std::unique_ptr<IoQueue> _inner;
  IoGate& _gate;
};

class GatedStorage final : public WrappedStorage {
 public:
  GatedStorage(std::unique_ptr<Storage> inner, IoGate& gate)
      : WrappedStorage(std::move(inner)), _gate(gate) {}
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    return std::make_unique<GatedQueue>(inner().make_queue(depth, single_issuer), _gate);
  }
  [[nodiscard]] std::string description() const override {
    return "gated " + inner().description();
  }

 private:
  IoGate& _gate;
};

}  // namespace vmcache::test
