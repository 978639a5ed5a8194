// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "logger.hpp"
#include "pool/page_allocator.hpp"
#include "recovery/change_recorder.hpp"
#include "recovery/checkpointer.hpp"
#include "recovery/gate.hpp"
#include "recovery/log_space.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/function_ref.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

namespace detail {
class PagedStore;
}

//! Makes a database's checkpoints, one at a time. A checkpoint has two steps: it appends a snapshot
//! to the log while no commit is being applied, and then writes back all pages that were dirty,
//! beside the commits. Afterwards the log begins with the snapshot. Thread-safe, except for
//! start_thread() and stop_thread(), beside which there are no other calls.
class Checkpoints {
 public:
  Checkpoints(WriteAheadLog& log, BufferPool& pool, detail::PagedStore& store, Gate& gate,
              ChangeRecorder& recorder, const LogSpace& log_space, const Logger& messages,
              unsigned percent);

  //! From now on a thread makes the checkpoints that request() asks for. Throws Error kOutOfMemory.
  void start_thread();
  void stop_thread() noexcept { _checkpointer.reset(); }
  [[nodiscard]] bool has_thread() const noexcept { return _checkpointer.has_value(); }

  //! Makes a checkpoint, as fast as the throttle allows. Throws Error.
  void make();
  //! Waits until no other thread makes one, and then makes one, unless `not_needed` says that it is
  //! not needed any more. Does not sleep. Throws Error.
  void make_unless(FunctionRef<bool()> not_needed);
  //! Asks the thread for a checkpoint. There must be a thread. Does not wait.
  void request() noexcept { _checkpointer->request(); }
  //! After something was appended up to `end`: requests or makes a checkpoint if half of the log is
  //! in use. Does not wait for another thread's checkpoint.
  void make_if_due(Lsn end) noexcept {
    if (end - _log.begin() >= _log.capacity_bytes() / 2) [[unlikely]]
      make_due();
  }

  //! While one of its Lifted lives, no checkpoint sleeps.
  [[nodiscard]] Throttle& throttle() noexcept { return _throttle; }
  //! Checkpoints made since the database was opened.
  [[nodiscard]] std::uint64_t made() const noexcept {
    return _made.load(std::memory_order_relaxed);
  }
  //! Checkpoints that have failed without a caller who could be told.
  [[nodiscard]] std::uint64_t failed() const noexcept {
    return _failed.load(std::memory_order_acquire);
  }

 private:
  //! Free extents and roots at a moment when no change is half made (R5).
  struct Snapshot {
    Lsn begin = 0;  // of its record
    Lsn end = 0;
    Identity identity;
    PageAllocator::FreeList free;  // until it is written
  };

  void make_due() noexcept;
  [[nodiscard]] bool try_make() noexcept;
  void make_locked();
  void take_snapshot();
  void finish();

  WriteAheadLog& _log;
  BufferPool& _pool;
  detail::PagedStore& _store;
  Gate& _gate;
  ChangeRecorder& _recorder;
  const LogSpace& _log_space;
  const Logger _messages;
  //! A cache line that commits do not read.
  alignas(64) std::mutex _mutex;  // around a checkpoint
  //! A snapshot in the log with which the log does not begin yet: its checkpoint is being made, or
  //! has failed. However often a checkpoint fails, the last eighth of the log holds only one
  //! snapshot, of a few hundred bytes (R19). Under _mutex.
  std::optional<Snapshot> _unfinished;
  Throttle _throttle;
  std::atomic<std::uint64_t> _made{0};
  std::atomic<std::uint64_t> _failed{0};
  std::optional<Checkpointer> _checkpointer;  // last, because its thread uses the other members
};

}  // namespace vmcache
