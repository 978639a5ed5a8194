// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "support/wrapped_storage.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::test {

//! Which transfers fail. Shared by the test and the storage; may be changed while the pool runs.
struct FaultPlan {
  enum class Kind : std::uint8_t { kRead, kWrite, kFlush, kResize };

  //! The operation counted as number `fail_at` (0-based, over the kinds armed) fails with `error`;
  //! so do the next `times - 1`.
  std::atomic<std::uint64_t> fail_at{~std::uint64_t{0}};
  std::atomic<std::uint64_t> times{1};
  std::atomic<int> error{EIO};
  //! If set, transfers of a queue count only if they begin there (bytes).
  std::atomic<std::uint64_t> only_at{~std::uint64_t{0}};
  std::atomic<bool> reads{false}, writes{false}, flushes{false}, resizes{false};
  std::atomic<std::uint64_t> seen{0};
  std::atomic<std::uint64_t> failed{0};

  int next(Kind kind) {
    const bool armed = kind == Kind::kRead    ? reads.load()
                       : kind == Kind::kWrite ? writes.load()
                       : kind == Kind::kFlush ? flushes.load()
                                              : resizes.load();
    if (!armed) return 0;
    const std::uint64_t number = seen.fetch_add(1);
    if (number < fail_at || number - fail_at >= times) return 0;
    failed.fetch_add(1);
    return error;
  }
  int next(const IoRequest& request) {
    if (only_at != ~std::uint64_t{0} && only_at != request.offset) return 0;
    return next(request.op == IoRequest::Op::kRead ? Kind::kRead : Kind::kWrite);
  }
};

//! Passes transfers on, and fails those the plan names before they reach the device.
class FaultyQueue final : public IoQueue {
 public:
  FaultyQueue(std::unique_ptr<IoQueue> inner, FaultPlan& plan)
      : _inner(std::move(inner)), _plan(plan) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _inner->depth(); }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return _inner->in_flight() + static_cast<unsigned>(_failed.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      request->error = _plan.next(*request);
      if (request->error != 0) {
        _failed.push_back(request);
      } else {
        _inner->submit({&request, 1});
      }
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    std::size_t n = 0;
    while (n < completed.size() && !_failed.empty()) {
      completed[n++] = _failed.back();
      _failed.pop_back();
    }
    return n + _inner->reap(completed.subspan(n), n > 0 ? 0 : wait_for, n > 0 ? 0 : timeout_ns);
  }

 private:
  std::unique_ptr<IoQueue> _inner;
  FaultPlan& _plan;
  std::vector<IoRequest*> _failed;
};

class FaultyStorage final : public WrappedStorage {
 public:
  FaultyStorage(std::unique_ptr<Storage> inner, FaultPlan& plan)
      : WrappedStorage(std::move(inner)), _plan(plan) {}
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    return std::make_unique<FaultyQueue>(inner().make_queue(depth, single_issuer), _plan);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    if (const int error = _plan.next(FaultPlan::Kind::kRead); error != 0) return error;
    return inner().read(offset, bytes);
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (const int error = _plan.next(FaultPlan::Kind::kWrite); error != 0) return error;
    return inner().write(offset, bytes);
  }
  [[nodiscard]] int flush() override {
    if (const int error = _plan.next(FaultPlan::Kind::kFlush); error != 0) return error;
    return inner().flush();
  }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    if (const int error = _plan.next(FaultPlan::Kind::kResize); error != 0) return error;
    return inner().resize(bytes);
  }
  [[nodiscard]] std::string description() const override {
    return "faulty " + inner().description();
  }

 private:
  FaultPlan& _plan;
};

//! Makes pools opened with `options` use the file through a FaultyStorage. `plan` must outlive the
//! pool.
inline void inject_faults(PoolOptions& options, FaultPlan& plan) {
  wrap_storage<FaultyStorage>(options, plan);
}

}  // namespace vmcache::test
