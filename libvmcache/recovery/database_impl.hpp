// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "logger.hpp"
#include "pool/pool_core.hpp"
#include "recovery/change_recorder.hpp"
#include "recovery/checkpoints.hpp"
#include "recovery/committer.hpp"
#include "recovery/gate.hpp"
#include "recovery/lock_table.hpp"
#include "recovery/log_space.hpp"
#include "recovery/tree_set.hpp"
#include "recovery/visibility.hpp"
#include "vmcache/database.hpp"

namespace vmcache {

//! The parts of a Database (docs/design.md, "The database"), and what it refuses.
class VMCACHE_LOCAL Database::Impl {
 public:
  explicit Impl(const DatabaseOptions& options);
  ~Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  //! Whether the calling process opened it. In another process even what cannot fail must do
  //! nothing (own_process.hpp).
  [[nodiscard]] bool here() const noexcept { return _process.here(); }
  //! Every call begins with it. Throws Error kWrongProcess, kClosed.
  void require_usable() const {
    _process.require("the database");
    if (_closed.load(std::memory_order_relaxed)) [[unlikely]]
      refuse_closed();
  }
  //! Whether a Worker is running tasks of this thread.
  [[nodiscard]] bool in_task() const noexcept;
  //! In a task nothing may wait for the gate or for a checkpoint, which may wait for another task
  //! of the same thread. Throws Error kInvalidOption.
  void refuse_in_task(const char* doing) const;
  //! After a failed flush of the page file everything but close() is refused (R14). Throws Error
  //! kIo with the reason.
  void refuse_if_failed(const char* doing) const { _store.storage_flush.refuse_if_failed(doing); }

  void close();
  //! Logs an error that no caller can be told.
  void report(const char* doing, const char* what) noexcept;
  [[nodiscard]] const BTree& tree(unsigned index) {
    require_usable();
    if (index >= kTrees) [[unlikely]]
      refuse_index(index);
    refuse_if_failed("tree");
    const BTree* const known = _trees.find(index);
    return known != nullptr ? *known : open_tree(index);
  }

  [[nodiscard]] WriteAheadLog& log() noexcept { return _log; }
  [[nodiscard]] BufferPool& pool() noexcept { return *_pool; }
  [[nodiscard]] LockTable& locks() noexcept { return _locks; }
  [[nodiscard]] Checkpoints& checkpoints() noexcept { return _checkpoints; }
  [[nodiscard]] Committer& committer() noexcept { return _committer; }
  [[nodiscard]] const RecoveryStats& recovery() const noexcept { return _recovery; }

 private:
  [[noreturn]] static void refuse_closed();
  [[noreturn]] static void refuse_index(unsigned index);
  [[nodiscard]] const BTree& open_tree(unsigned index);

  const detail::OwnProcess _process;
  std::atomic<bool> _closed{false};
  bool _open = false;
  //! The pool's messages go through it, too, so that the callback is never called by two threads at
  //! a time.
  Logger _messages;
  WriteAheadLog _log;
  Gate _gate;
  LockTable _locks;
  TreeSet _trees;
  Visibility _visibility{_log, _gate, _trees, _locks};
  ChangeRecorder _recorder{_log, _visibility};
  RecoveryStats _recovery;
  const std::shared_ptr<BufferPool> _pool;  // shared: it may be a PagedFile
  detail::PoolCore& _core;
  detail::PagedStore& _store;
  LogSpace _log_space{_log};
  Checkpoints _checkpoints;
  Committer _committer;
};

}  // namespace vmcache
