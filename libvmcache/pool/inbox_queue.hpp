// SPDX-License-Identifier: MIT
//
// What other threads have handed to a Worker. One mutex, held for a few instructions.
//
// Invariants
//  B1  While something waits in the queue, the Worker's descriptor is readable, or the Worker is in
//      a round that takes it. Who puts something into an empty queue writes the eventfd after it
//      has set _news. The Worker clears the eventfd before it looks at _news.
//  B2  The eventfd is written only while the Worker lives: both happen under the mutex.
//  B3  A task of another Worker that is woken needs no room: its Wake lies in its own frame.
//
// Interleavings that would break them (tests in tests/pool/inbox_test.cpp)
//  B1  The Worker looks at _news and finds none, another thread posts and writes the eventfd, the
//      Worker clears the eventfd and sleeps.
//  B2  A thread has put its work, the Worker is destroyed, and the descriptor's number belongs to a
//      file of the program when the thread writes 8 bytes to it.
//  B3  Two Workers whose inboxes are full call each other: neither answer finds room.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "vmcache/detail/own_process.hpp"
#include "vmcache/export.hpp"
#include "vmcache/inbox.hpp"
#include "vmcache/task.hpp"

namespace vmcache::detail {

//! Thread-safe. take() and close() are the Worker's.
class VMCACHE_LOCAL InboxQueue {
 public:
  //! `event_fd` is written when there is news. Throws std::bad_alloc; Error kOutOfMemory.
  explicit InboxQueue(int event_fd);

  [[nodiscard]] Inbox::Post put(Task<>& task);
  void wake(Wake& wake) noexcept;
  void stop();

  struct Taken {
    Wake* wakes;  // a list by next
    bool stop;
  };
  //! Whether take() would find something. One load of a line that only those write who post.
  [[nodiscard]] bool news() const noexcept { return _news.load(std::memory_order_acquire); }
  //! Exchanges the tasks for `tasks`, which is empty, and takes the rest.
  [[nodiscard]] Taken take(std::vector<Task<>>& tasks) noexcept;
  //! From now on nothing is taken. Drops the tasks that wait.
  void close() noexcept;

 private:
  void tell() noexcept;

  const OwnProcess _process;
  std::atomic<bool> _news{false};
  std::mutex _mutex;
  std::vector<Task<>> _tasks;
  Wake* _wakes = nullptr;
  bool _stop = false;
  int _event_fd;  // -1: closed
};

}  // namespace vmcache::detail
