// SPDX-License-Identifier: MIT
#include "vmcache/task_sync.hpp"

#include "pool/inbox_queue.hpp"

namespace vmcache {
namespace detail {

void prepare_wait(Worker& worker, Waiter& waiter, std::coroutine_handle<> task) {
  worker.require_own_task();
  waiter.home = worker.inbox().queue();
  waiter.wake.task = task;
}

void wake_up(Waiter& waiter) noexcept {
  const std::shared_ptr<InboxQueue> home = std::move(waiter.home);
  home->wake(waiter.wake);
}

}  // namespace detail

bool Semaphore::try_acquire() noexcept {
  const std::lock_guard lock(_mutex);
  if (_permits == 0) return false;
  --_permits;
  return true;
}

bool Semaphore::wait(detail::Waiter& waiter) noexcept {
  const std::lock_guard lock(_mutex);
  if (_permits > 0) {
    --_permits;
    return false;
  }
  _waiting.push(waiter);
  return true;
}

// A permit goes to a task that waits without being counted, so that nobody can come in between.
void Semaphore::release(std::size_t permits) noexcept {
  for (; permits > 0; --permits) {
    detail::Waiter* first = nullptr;
    {
      const std::lock_guard lock(_mutex);
      first = _waiting.pop();
      if (first == nullptr) {
        _permits += permits;
        return;
      }
    }
    detail::wake_up(*first);
  }
}

}  // namespace vmcache
