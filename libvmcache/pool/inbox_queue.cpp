// SPDX-License-Identifier: MIT
#include "pool/inbox_queue.hpp"

#include <unistd.h>

#include <cstdint>
#include <utility>

namespace vmcache {

Inbox::Post Inbox::put(Task<>& task) {
  return _queue->put(task);
}

void Inbox::stop() {
  _queue->stop();
}

void Inbox::refuse() {
  throw Error(Errc::kClosed, "the Worker whose inbox was used is gone");
}

namespace detail {

void wake(InboxQueue& queue, Wake& wake) noexcept {
  queue.wake(wake);
}

InboxQueue::InboxQueue(int event_fd) : _event_fd(event_fd) {
  _tasks.reserve(Inbox::kSlots);
}

Inbox::Post InboxQueue::put(Task<>& task) {
  _process.require("the Worker");
  if (!task) throw Error(Errc::kInvalidOption, "post: the Task has no coroutine");
  const std::lock_guard lock(_mutex);
  if (_event_fd < 0) return Inbox::Post::kClosed;
  if (_tasks.size() == Inbox::kSlots) return Inbox::Post::kFull;
  _tasks.push_back(std::move(task));
  tell();
  return Inbox::Post::kTaken;
}

void InboxQueue::wake(Wake& wake) noexcept {
  if (!_process.here()) return;
  const std::lock_guard lock(_mutex);
  if (_event_fd < 0) return;
  wake.next = std::exchange(_wakes, &wake);
  tell();
}

void InboxQueue::stop() {
  _process.require("the Worker");
  const std::lock_guard lock(_mutex);
  if (_event_fd < 0) return;
  _stop = true;
  tell();
}

void InboxQueue::tell() noexcept {
  if (_news.load(std::memory_order_relaxed)) return;
  _news.store(true, std::memory_order_release);
  constexpr std::uint64_t kOne = 1;
  (void)!::write(_event_fd, &kOne, sizeof kOne);  // fails when it is readable as it is
}

InboxQueue::Taken InboxQueue::take(std::vector<Task<>>& tasks) noexcept {
  const std::lock_guard lock(_mutex);
  _news.store(false, std::memory_order_relaxed);
  _tasks.swap(tasks);
  return {std::exchange(_wakes, nullptr), std::exchange(_stop, false)};
}

void InboxQueue::close() noexcept {
  std::vector<Task<>> dropped;  // outside the lock: what they destroy may use an inbox
  {
    const std::lock_guard lock(_mutex);
    _event_fd = -1;
    _news.store(false, std::memory_order_relaxed);
    _tasks.swap(dropped);
    _wakes = nullptr;
  }
}

}  // namespace detail
}  // namespace vmcache
