// SPDX-License-Identifier: MIT
//
// Tells the process that made an object from the children that it forks.
//
// A child of fork() has a copy of the memory and shares everything behind it: descriptors, file
// locks, rings of io_uring. What is right in the parent (unlock, write back, mark as closed) would
// be wrong in the child. The threads that a pool or a log waits for do not exist there.
//
// Invariants
//  F1  An object belongs to the process that made it. Elsewhere none of its calls, and no
//      destructor, takes a lock, writes to storage, submits I/O, waits for a thread or unlocks a
//      file. Calls throw Error kWrongProcess.
//  F2  The hit path does not check this. The kernel wipes a pool's state words in a child
//      (MADV_WIPEONFORK), so every fix there takes the slow path, which checks.
//  F3  A wiped word never becomes readable again: releasing a guard leaves an all-zero word evicted
//      (guard.hpp).
//  F4  The page area is wiped, too (anonymous memory), or absent (exmap memory). A child that reads
//      through a guard from before the fork sees zeros, which do not validate. What it writes stays
//      in the child.
//
// How it works: one page of the process, which fork() wipes, holds a token. Every object remembers
// the token it was made under. A child finds 0 there, and takes a token of its own when it makes
// its first object. Tokens are counted in ordinary memory, which the child inherits, so no
// inherited object has the child's token. The check costs a load and a comparison. Unlike getpid()
// it cannot be fooled by a process id that is used again.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT detail {

//! Remembers the process that made it. Thread-safe.
class OwnProcess {
 public:
  //! Throws Error kOutOfMemory.
  OwnProcess();

  //! Whether the calling process is that one.
  [[nodiscard]] bool here() const noexcept {
    return _page->load(std::memory_order_relaxed) == _token;
  }
  //! Throws Error kWrongProcess, which says that `what` belongs to another process, unless the
  //! calling process is that one.
  void require(const char* what) const {
    if (!here()) [[unlikely]]
      refuse(what);
  }

 private:
  [[noreturn]] static void refuse(const char* what);

  const std::atomic<std::uint64_t>* _page;
  std::uint64_t _token;
};

//! Keeps `object` for good and does not run its destructor. A leak checker still finds it.
void keep_for_good(void* object) noexcept;

//! Ends the use of an object that belongs to another process. Its destructor does not run and its
//! memory stays.
template <typename T, typename Deleter>
void abandon(std::unique_ptr<T, Deleter>& object) noexcept {
  keep_for_good(object.release());
}

//! Constructs a new object in the place of one whose waiters and owners are in another process. The
//! destructor of a condition variable, for example, would wait for threads that this process does
//! not have.
template <typename T>
void begin_anew(T& object) noexcept {
  ::new (static_cast<void*>(&object)) T();
}

}  // namespace detail
}  // namespace vmcache
