// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pool/engine_base.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::detail {

//! An engine's queue to the storage, and the requests that go out at the end of its turn.
class IoChannel {
 public:
  explicit IoChannel(EngineBase& base) noexcept : _base(base) {}

  //! Whether the queue can be used by the calling thread, and by it alone if `single_issuer`.
  [[nodiscard]] bool serves(bool single_issuer) const noexcept {
    return _queue && !_single_issuer && !single_issuer;
  }
  //! Makes a queue instead of the one there is, which has nothing in flight. Throws what making a
  //! queue throws; std::bad_alloc. Then there is none.
  void open(bool single_issuer);
  void close() noexcept {
    _queue.reset();
    _single_issuer = false;
  }
  //! Drops a queue that another thread could not use. Call it on the queue's thread.
  void unbind() noexcept {
    if (_single_issuer) close();
  }

  [[nodiscard]] std::size_t depth() const noexcept { return _queue->depth(); }
  [[nodiscard]] unsigned in_flight() const noexcept { return _queue ? _queue->in_flight() : 0; }
  //! As IoQueue::announce(). Of the queue that there is now.
  [[nodiscard]] bool announce(int event_fd) noexcept {
    return _queue && _queue->announce(event_fd);
  }
  [[nodiscard]] bool nothing_prepared() const noexcept { return _prepared.empty(); }
  //! Requests that can still be prepared.
  [[nodiscard]] std::size_t room() const noexcept {
    const std::size_t taken = in_flight() + _prepared.size() + _kept;
    return _queue->depth() > taken ? _queue->depth() - taken : 0;
  }
  //! Keeps that many places free, for requests that are to be prepared later.
  void keep(std::size_t places) noexcept { _kept = places; }

  //! Adds a request to those that submit() sends. There is room().
  void prepare(IoRequest& request) { _prepared.push_back(&request); }
  //! noexcept like reap(): see IoQueue.
  void submit() noexcept {
    if (!_prepared.empty()) submit_prepared();
  }
  //! What has completed, until the next call. Waits for `wait_for` of them, but no longer than
  //! `timeout_ns`.
  [[nodiscard]] std::span<IoRequest* const> reap(unsigned wait_for,
                                                 std::uint64_t timeout_ns) noexcept;

 private:
  void submit_prepared() noexcept;

  EngineBase& _base;
  std::unique_ptr<IoQueue> _queue;
  bool _single_issuer = false;
  std::size_t _kept = 0;
  std::vector<IoRequest*> _prepared;
  std::vector<IoRequest*> _completed;
};

}  // namespace vmcache::detail
