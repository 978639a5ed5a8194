// SPDX-License-Identifier: MIT
#include "pool/helper_threads.hpp"

#include <system_error>
#include <utility>

namespace vmcache::detail {

void HelperCall::run() noexcept {
  try {
    call();
  } catch (...) {
    failure = std::current_exception();
  }
  ended.store(true, std::memory_order_release);
}

HelperThreads::~HelperThreads() {
  {
    const std::lock_guard lock(_mutex);
    _end = true;
  }
  _more.notify_all();
  for (std::thread& thread : _threads) thread.join();
}

void HelperThreads::start(const std::shared_ptr<HelperCall>& call) {
  bool by_itself = false;
  {
    const std::lock_guard lock(_mutex);
    if (_idle <= _calls.size() && _threads.size() < kMax) {
      try {
        _threads.emplace_back([this] { serve(); });
      } catch (const std::system_error&) {
        by_itself = _threads.empty();
      }
    }
    if (!by_itself) _calls.push_back(call);
  }
  if (by_itself) return call->run();
  _more.notify_one();
}

void HelperThreads::serve() {
  std::unique_lock lock(_mutex);
  for (;;) {
    ++_idle;
    _more.wait(lock, [&] { return _end || !_calls.empty(); });
    --_idle;
    if (_calls.empty()) return;
    const std::shared_ptr<HelperCall> call = std::move(_calls.front());
    _calls.pop_front();
    lock.unlock();
    call->run();
    lock.lock();
  }
}

}  // namespace vmcache::detail
