// SPDX-License-Identifier: MIT
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "recovery/log_buffer.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! The thread that writes a log's buffer and flushes, and the threads that wait for it. One flush
//! serves all who wait. Thread-safe, except for start() and the destructor.
class VMCACHE_LOCAL LogWriter {
 public:
  //! Sets `progress`. All arguments must outlive it.
  LogWriter(Storage& storage, LogBuffer& buffer, std::uint64_t capacity,
            detail::LogProgress& progress) noexcept
      : _storage(storage), _buffer(buffer), _capacity(capacity), _progress(progress) {}
  //! Stops the thread. What is not durable yet stays so.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  //! Starts the thread. Throws Error kOutOfMemory.
  void start();
  [[nodiscard]] bool started() const noexcept { return _thread.joinable(); }
  //! Has the log made durable up to `lsn`, or up to its end if that is less. Does not wait.
  void want(Lsn lsn) noexcept;
  //! Waits until the log is durable up to `lsn`, or has failed. The caller has called want().
  void wait(Lsn lsn);
  //! Waits until the log is durable beyond `durable_seen`, or has failed.
  void wait_for_progress(Lsn durable_seen);
  //! Fails the log for good, with an errno.
  void fail(int error) noexcept;

 private:
  void run();
  [[nodiscard]] int write_out(Lsn from, Lsn to);
  [[nodiscard]] Lsn durable() const noexcept {
    return _progress.durable.load(std::memory_order_acquire);
  }
  [[nodiscard]] bool failed() const noexcept {
    return _progress.error.load(std::memory_order_acquire) != 0;
  }

  Storage& _storage;
  LogBuffer& _buffer;
  const std::uint64_t _capacity;
  detail::LogProgress& _progress;  // written under _mutex

  std::mutex _mutex;
  std::condition_variable _wake_writer;
  std::condition_variable _progressed;
  Lsn _wanted = 0;
  bool _stop = false;
  std::thread _thread;
};

}  // namespace vmcache
