// SPDX-License-Identifier: MIT
//
// Threads of a Worker for calls that wait in the kernel and have no place in its queue: flushes
// above all. A flush that has begun must end and tell how, whatever becomes of the task that asked
// for it: others wait for that (F1, F2 of storage_flush.hpp). So a thread does all of it, and the
// task only looks whether it has ended.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/operation.hpp"

namespace vmcache::detail {

//! A call, and what has become of it. It stays until both the thread and the task are through.
struct HelperCall {
  std::function<void()> call;
  std::exception_ptr failure;      //!< before `ended`
  std::atomic<bool> ended{false};  //!< release: pairs with the acquire in HelperOp::step()

  void run() noexcept;
};

//! The Worker's thread uses it, and makes it no more than once.
class VMCACHE_LOCAL HelperThreads {
 public:
  HelperThreads() = default;
  //! Waits for the calls that have begun, and for those that were to come.
  ~HelperThreads();
  HelperThreads(const HelperThreads&) = delete;
  HelperThreads& operator=(const HelperThreads&) = delete;

  //! Has the call made by a thread that does nothing else; by the next one that is through if there
  //! are kMax. Makes it itself, and returns when it has ended, if there is no thread and the system
  //! refuses one. Throws std::bad_alloc.
  void start(const std::shared_ptr<HelperCall>& call);
  static constexpr std::size_t kMax = 32;

 private:
  void serve();

  std::mutex _mutex;
  std::condition_variable _more;
  std::deque<std::shared_ptr<HelperCall>> _calls;
  std::size_t _idle = 0;
  bool _end = false;
  std::vector<std::thread> _threads;
};

//! An Operation that ends when the call has.
class HelperOp {
 public:
  explicit HelperOp(const HelperCall& call) noexcept : _call(call) {}

  //! Throws what the call has thrown.
  [[nodiscard]] Need step(BufferPool& /*pool*/) {
    if (!_call.ended.load(std::memory_order_acquire)) return Need::pause();
    if (_call.failure) std::rethrow_exception(_call.failure);
    return Need::nothing();
  }
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}

 private:
  const HelperCall& _call;
};

}  // namespace vmcache::detail
