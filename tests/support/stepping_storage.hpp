// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "support/wrapped_storage.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::test {

//! How the queues are to be used, and were.
struct Uses {
  bool by_itself = true;        //!< a call that does not wait completes one, too
  std::uint64_t waits = 0;      //!< calls that were to wait
  std::uint64_t in_flight = 0;  //!< transfers now, in all queues
};

//! A device without a clock: it completes as many transfers as are waited for.
class SteppingQueue final : public IoQueue {
 public:
  SteppingQueue(Storage& inner, unsigned depth, Uses& uses)
      : _inner(inner), _depth(depth), _uses(uses) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_under_way.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    _under_way.insert(_under_way.end(), requests.begin(), requests.end());
    _uses.in_flight += requests.size();
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    const bool waits = timeout_ns > 0 && wait_for > 0;
    _uses.waits += waits ? 1 : 0;
    const std::size_t max = std::min(completed.size(), _under_way.size());
    const std::size_t n = std::min<std::size_t>(max, waits ? wait_for : unsigned(_uses.by_itself));
    for (std::size_t i = 0; i < n; ++i) {
      IoRequest& request = *_under_way.front();
      _under_way.pop_front();
      request.error = request.op == IoRequest::Op::kRead
                          ? _inner.read(request.offset, {request.data, request.bytes})
                          : _inner.write(request.offset, {request.data, request.bytes});
      completed[i] = &request;
    }
    _uses.in_flight -= n;
    return n;
  }

 private:
  Storage& _inner;
  const unsigned _depth;
  Uses& _uses;
  std::deque<IoRequest*> _under_way;
};

class SteppingStorage final : public WrappedStorage {
 public:
  SteppingStorage(std::unique_ptr<Storage> inner, Uses& uses)
      : WrappedStorage(std::move(inner)), _uses(uses) {}
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<SteppingQueue>(inner(), depth, _uses);
  }
  [[nodiscard]] std::string description() const override {
    return "stepping " + inner().description();
  }

 private:
  Uses& _uses;
};

}  // namespace vmcache::test
