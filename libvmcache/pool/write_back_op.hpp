// SPDX-License-Identifier: MIT
//
// A write-back that a Worker's task waits for. WriteBackAll (write_back.cpp) is the same for a
// thread that waits. Here each step starts what the queue has room for, looks at what has ended,
// and never waits; between two steps the Worker's other tasks run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "pool/busy_watch.hpp"
#include "pool/log_watch.hpp"
#include "pool/page_writer.hpp"
#include "vmcache/error.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/operation.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

class Engine;
class PoolCore;

//! An Operation (operation.hpp). Its step() is called at the end of a turn of `engine`, or between
//! two: there it may start writes (E1 of engine.hpp).
class WriteBackOp {
 public:
  //! Of these extents, in ascending order, those that are dirty. All of them have this log or none.
  //! Throws std::bad_alloc.
  //! Errors count pages as `pages` does.
  WriteBackOp(BufferPool& pages, Engine& engine, std::vector<Extent> extents, WriteAhead* log);
  //! If step() has not said that all is done, waits for the writes that were started: they use this
  //! object.
  ~WriteBackOp();
  WriteBackOp(const WriteBackOp&) = delete;
  WriteBackOp& operator=(const WriteBackOp&) = delete;

  //! Throws, once no write is under way any more, what write_back_all() throws.
  [[nodiscard]] Need step(BufferPool& pool);
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}
  [[nodiscard]] BufferPool& pool() const noexcept { return _pages; }

 private:
  struct Waiting {
    Extent extent;
    BusyWatch busy;
  };

  [[nodiscard]] bool may_start() const noexcept;
  void start_runs();
  void start_waiting();
  [[nodiscard]] bool try_start(const Waiting& waiting);
  void watch_log() noexcept;
  void begin_second_try();
  void throw_failure(const BufferPool& pool) const;

  BufferPool& _pages;
  PoolCore& _core;
  Engine& _engine;
  WriteAhead* const _log;
  const std::vector<Extent> _extents;
  std::size_t _next = 0;          // of _extents, to be started
  std::vector<Waiting> _waiting;  // were latched exclusively, on their way, or ahead of the log
  WriteBatch _batch;
  Status _of_several;  // of writes of several pages, which are then written one by one
  Status _late;
  std::optional<LogWatch> _watch;  // while something waits for the log
  bool _ahead_of_log = false;      // one of _waiting, when it was last tried
  bool _log_stands = false;        // what is late waits for the log
  bool _out_of_memory = false;
};

}  // namespace vmcache::detail
