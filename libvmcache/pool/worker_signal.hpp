// SPDX-License-Identifier: MIT
//
// What Worker::fd() is: an epoll descriptor over an eventfd, to which the Worker adds when there is
// something to do now, and its queue when a transfer completes, and a timer for all that no
// completion announces. The ring of AsyncIo joins them when there is one.
#pragma once

#include <cstdint>

#include "file_descriptor.hpp"
#include "vmcache/export.hpp"

namespace vmcache::detail {

class VMCACHE_LOCAL WorkerSignal {
 public:
  //! Throws Error kOutOfMemory.
  WorkerSignal();

  [[nodiscard]] int fd() const noexcept { return _epoll.get(); }
  //! For IoQueue::announce(), whose answer is kept in `announced`.
  [[nodiscard]] int event_fd() const noexcept { return _event.get(); }
  bool announced = false;
  //! From now on it is readable when `fd` is, too. Throws Error kOutOfMemory.
  void watch(int fd);

  //! Forgets what was announced.
  void clear() noexcept;
  //! Makes it readable in that many ns; at once for 0, and not by itself for Engine::kNoTurn.
  void set(std::uint64_t ns) noexcept;

 private:
  FileDescriptor _event;
  FileDescriptor _timer;
  FileDescriptor _epoll;
  bool _set = false;
};

}  // namespace vmcache::detail
