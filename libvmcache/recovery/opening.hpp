// SPDX-License-Identifier: MIT
#pragma once

#include <memory>

#include "logger.hpp"
#include "recovery/change_recorder.hpp"
#include "recovery/redo.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/database.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! Opens a database's page file and recovers it from the log, or creates both. Exists only while
//! the database opens. One thread's.
class VMCACHE_LOCAL Opening {
 public:
  //! Opens the page file. Throws Error.
  Opening(const DatabaseOptions& options, WriteAheadLog& log, ChangeRecorder& recorder,
          const Logger& messages, RecoveryStats& stats);

  //! Returns the pool, with all that is committed in the trees. The log still begins where it did,
  //! until the next checkpoint. Throws Error; std::bad_alloc. Has written nothing if page file and
  //! log do not belong together (kMismatch).
  [[nodiscard]] std::shared_ptr<BufferPool> open();

 private:
  [[nodiscard]] Lsn begin_log();
  [[nodiscard]] Lsn read_log();
  [[nodiscard]] Lsn scan_log(Lsn until);
  [[nodiscard]] PoolOptions pool_options();
  [[nodiscard]] std::shared_ptr<BufferPool> open_pool();
  [[nodiscard]] std::shared_ptr<BufferPool> open_in(BufferPool& shared);

  const DatabaseOptions& _options;
  WriteAheadLog& _log;
  ChangeRecorder& _recorder;
  Logger _messages;
  RecoveryStats& _stats;
  std::unique_ptr<Storage> _storage;  // until the pool has it
  Redo _redo;
};

}  // namespace vmcache
