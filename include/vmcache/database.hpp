// SPDX-License-Identifier: MIT
//
// A pool, a write-ahead log, and B+trees that transactions change. What was committed survives a
// crash; what was not committed leaves no trace. docs/recovery.md says how.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "vmcache/btree.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/export.hpp"
#include "vmcache/options.hpp"
#include "vmcache/task.hpp"
#include "vmcache/worker.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace VMCACHE_EXPORT vmcache {

struct DatabaseOptions {
  //! The database sets page_header, write_ahead, change_log, recovered and allow_unclean itself.
  PoolOptions pool;
  LogOptions log;
  //! true: a thread of the database takes checkpoints. false: the commit that finds one due takes
  //! it.
  bool checkpoint_thread = true;
  //! Maximum share of the time, in percent (1 .. 100), in which a checkpoint works, or the device
  //! works for it, at writing pages back. The checkpoint sleeps in between, so that it hardly slows
  //! transactions. It sleeps less, or not at all, if the log would otherwise be full before it
  //! ends. At open and close it does not sleep.
  unsigned checkpoint_percent = 10;
  //! If set, the pages lie in the memory of this pool, beside its other files: the page file
  //! becomes a PagedFile of it. `pool` then says only path, capacity_bytes (set it: at most the
  //! pool's files_bytes), create, direct_io, lost_write_check and logger. It must not say read_only
  //! or paths; the rest of it is not used.
  //! Database::pool() is the page file; a Worker may be the pool's. Close the database before the
  //! pool: else the close makes no checkpoint, and the next open recovers from the log.
  BufferPool* in = nullptr;
};

//! What the open had to do.
struct RecoveryStats {
  std::uint64_t records = 0;       //!< found in the log
  std::uint64_t log_bytes = 0;     //!< in them
  std::uint64_t pages = 0;         //!< written to the page file from images
  std::uint64_t transactions = 0;  //!< whose changes were applied again
  std::uint64_t changes = 0;       //!< in them; of all changes of one key only the last was made
  std::uint64_t duration_ns = 0;   //!< of the whole open, including its checkpoint
};

//! Threads. Any thread may make any call at any time, except open, close and destruction. A
//! Worker's tasks must not block. They use the forms that take the Worker (of pool()), and trees
//! that already exist. In a task the blocking forms throw Error kInvalidOption if they could wait
//! for a checkpoint. Trees are numbered 0 .. BufferPool::kRoots-1. Change them only through a
//! Transaction.
//!
//! Failed flush. If a flush of the page file fails, every later call except close() throws Error
//! kIo with the reason. What was committed is in the log, and the next open recovers it.
//!
//! Process. A database belongs to the process that opened it. In a child of fork() its calls, and
//! those of its Transactions, throw Error kWrongProcess, and destructors do nothing
//! (own_process.hpp).
class Database {
 public:
  static constexpr unsigned kTrees = BufferPool::kRoots;

  //! Opens a database and recovers it, or creates one if log and page file are both empty. Throws
  //! Error: what BufferPool and WriteAheadLog throw; kMismatch if page file and log do not belong
  //! together, or only one of them is empty; kCorrupt.
  explicit Database(const DatabaseOptions& options);
  //! Closes if close() was not called. What then fails goes to the log callback, and the next open
  //! repairs it.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  //! Makes a checkpoint and closes. No guard or Worker may be alive (kBusy). A Transaction
  //! that is alive can only be rolled back afterwards. Throws Error; it may then be
  //! tried again. After a failed flush of the page file it makes the log durable and closes, and
  //! throws only if the log fails. Later calls that need the pool throw kClosed. The files
  //! stay locked until the database is destroyed; in a shared pool the page file does not.
  void close();

  //! The pool: read from it, ask for its statistics, resize it.
  [[nodiscard]] BufferPool& pool() noexcept;
  [[nodiscard]] WriteAheadLog& log() noexcept;
  //! Tree `index`, which is created if it does not exist. Use it to read. What is seen is
  //! committed, and in rare cases not durable yet. Throws Error: kInvalidOption, and what the pool
  //! throws.
  [[nodiscard]] const BTree& tree(unsigned index);

  //! Writes back what is dirty and gives log space back, so that recovery would begin here, while
  //! other threads go on working. The database does this by itself when half of the log is in use.
  //! Returns when it is done, which takes time: DatabaseOptions::checkpoint_percent. Throws Error
  //! kIo or kBusy; nothing is lost then. A failed flush of the page file is final: see above.
  void checkpoint();
  //! Suspends a task until the log is durable up to `lsn`. One flush serves many tasks that wait.
  //! Throws Error kIo if the log never will be.
  Task<> wait_durable(Worker& worker, Lsn lsn);
  [[nodiscard]] std::uint64_t checkpoints() const noexcept;
  [[nodiscard]] const RecoveryStats& recovery() const noexcept;

 private:
  friend class Transaction;
  class Impl;

  std::unique_ptr<Impl> _impl;
};

//! Changes that become visible and durable together, or not at all. They are kept in memory until
//! commit(). A Transaction belongs to one thread at a time.
//!
//! Isolation. Reads see what is committed, and the transaction's own changes. A reader that has
//! seen one change of a commit sees all of them in every later get(), lookup() and lookup_each(),
//! inside or outside a transaction. A scan may show a part of a commit and miss another. If a task
//! makes a blocking read that meets a commit which another task of its thread is applying, the read
//! throws Error kBusy.
//!
//! Locks. A key that is changed, or read with get_for_update(), is locked until the transaction
//! ends. If another transaction holds the lock, the call throws Error kConflict at once. Nothing
//! waits, so there is no deadlock. Roll back then, and try again; in a task, after Worker::yield().
//!
//! Errors. The transaction is over after a failed commit(), and after any Error from a read or
//! change except kConflict, kTooLarge and kInvalidOption.
class Transaction {
 public:
  //! Maximum bytes of keys and values in one transaction.
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 19;

  explicit Transaction(Database& database);
  //! Rolls back unless it was committed.
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  //! \name Reads. nullopt: the key does not exist. They throw Error; get_for_update() also
  //! kConflict.
  //! @{
  [[nodiscard]] std::optional<std::string> get(unsigned tree, Bytes key);
  [[nodiscard]] std::optional<std::string> get_for_update(unsigned tree, Bytes key);
  //! @}

  //! \name Changes. They throw Error kConflict, kTooLarge (key, value or transaction) or
  //! kInvalidOption (tree), and have then changed nothing.
  //! @{
  void put(unsigned tree, Bytes key, Bytes value);
  void erase(unsigned tree, Bytes key);
  //! @}

  //! Makes the changes visible and durable and returns their position in the log. Without changes
  //! it returns once everything the transaction has read is durable, with the position of that.
  //!
  //! Throws Error kIo if the log fails. It is then unknown whether the next open finds the changes,
  //! and the database takes no more work. The other errors are thrown before anything has happened,
  //! and only this transaction has failed: kTooLarge (the log is too small for so many changes),
  //! kDatabaseFull (the capacity or the device has no room for them), kPoolExhausted (no frames for
  //! a large value). After kDatabaseFull reads, erases, and values no longer than those they
  //! replace still work; erasing makes room.
  Lsn commit();
  //! Like commit(), but does not wait. The changes are visible in the order of commits. They are
  //! durable once the log is durable up to the returned position (WriteAheadLog::wait_durable).
  //! Without changes the same holds for what was read.
  Lsn commit_no_wait();

  //! \name For a Worker's tasks
  //! They do what their namesakes do, but suspend the task where those wait. Arguments must live
  //! until the co_await ends. A commit needs DatabaseOptions::checkpoint_thread (otherwise Error
  //! kInvalidOption). It throws kIo if the log is full and its checkpoint fails; nothing has then
  //! happened.
  //! @{
  [[nodiscard]] Task<std::optional<std::string>> get(Worker& worker, unsigned tree, Bytes key);
  [[nodiscard]] Task<std::optional<std::string>> get_for_update(Worker& worker, unsigned tree,
                                                                Bytes key);
  Task<Lsn> commit(Worker& worker);
  Task<Lsn> commit_no_wait(Worker& worker);
  //! @}

  //! Forgets the changes. Cannot fail.
  void rollback() noexcept;

 private:
  class State;
  //! Bytes inside the object; a small transaction allocates nothing else.
  static constexpr std::size_t kMemory = 832;

  State* const _state;
  alignas(std::max_align_t) std::byte _memory[kMemory];
};

}  // namespace vmcache
