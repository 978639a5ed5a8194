// SPDX-License-Identifier: MIT
//
// A pool, a write-ahead log and B+trees that are changed by transactions: what was committed survives a crash, what was
// not leaves no trace. How: docs/recovery.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "vmcache/btree.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/log.hpp"
#include "vmcache/options.hpp"
#include "vmcache/task.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {

struct DatabaseOptions {
  //! page_header, write_ahead, change_log, recovered and allow_unclean are the database's to set.
  PoolOptions pool;
  LogOptions log;
  //! Checkpoints that are due are made by a thread of the database's own; else by the commit that finds one due.
  bool checkpoint_thread = true;
  //! How much of the time a checkpoint may work, or the device for it, at writing pages back, in percent: 1 .. 100. It sleeps in between, so
  //! that transactions go on nearly as before; less or not at all where the log would be full before it is done, and not at
  //! open and close.
  unsigned checkpoint_percent = 10;
};

//! What opening had to do.
struct RecoveryStats {
  std::uint64_t records = 0;       //!< found in the log
  std::uint64_t log_bytes = 0;     //!< in them
  std::uint64_t pages = 0;         //!< written to the page file from images
  std::uint64_t transactions = 0;  //!< whose changes were applied again
  std::uint64_t changes = 0;       //!< in them; of those of one key only the last may have been made
  std::uint64_t duration_ns = 0;   //!< all of it, the closing checkpoint included
};

//! All calls may be made by any thread at any time, except open, close and destruction. A Worker's tasks must not block: they
//! use the forms that take the Worker (of pool()), and trees that are there already; in a task the others are refused
//! (Error kInvalidOption) where they could wait for a checkpoint. Trees are numbered 0 .. BufferPool::kRoots-1; change them through a
//! Transaction only.
class Database {
 public:
  static constexpr unsigned kTrees = BufferPool::kRoots;

  //! Opens a database and recovers it, or makes one if log and page file are both empty. Throws Error: what
  //! BufferPool and WriteAheadLog throw; kInvalidOption (one of log and page file is empty); kCorrupt.
  explicit Database(const DatabaseOptions& options);
  //! Closes if close() was not called; what fails then goes to the log callback, and is repaired by the next open.
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  //! Makes a checkpoint and closes. No Transaction, guard or Worker may be alive. Throws Error.
  void close();

  //! The pool, to read from, for statistics and to resize.
  [[nodiscard]] BufferPool& pool() noexcept;
  [[nodiscard]] WriteAheadLog& log() noexcept;
  //! Tree `index`, made if it is not there yet. To read from: what is seen is committed, and in rare cases not durable
  //! yet. Throws Error: kInvalidOption, and what the pool throws.
  [[nodiscard]] const BTree& tree(unsigned index);

  //! Lets recovery begin here: writes back what is dirty and gives the log's space back, while work goes on. Made by
  //! itself when half of the log is in use. Returns when it is done, which takes its time: DatabaseOptions::checkpoint_percent. Throws
  //! Error: kIo, kBusy; nothing is lost then.
  void checkpoint();
  //! Suspends a task until the log is durable up to `lsn`; of all that wait, one flush serves many. Throws Error kIo if it never
  //! will be.
  Task<> wait_durable(Worker& worker, Lsn lsn);
  [[nodiscard]] std::uint64_t checkpoints() const noexcept;
  [[nodiscard]] const RecoveryStats& recovery() const noexcept;

  class Impl;
  //! The inside, for Transaction.
  [[nodiscard]] Impl& impl() const noexcept { return *_impl; }

 private:
  std::unique_ptr<Impl> _impl;
};

//! Changes that become visible and durable together, or not at all. Kept in memory until commit(). Belongs to one thread at a time.
//!
//! Isolation: reads see what is committed, and the transaction's own changes. A key that is changed, or read with
//! get_for_update(), is locked until the transaction ends; if another one has it, Error kConflict says so at once (no
//! waiting, so no deadlock): roll back, and try again, in a task after Worker::yield(). After any Error but kConflict,
//! kTooLarge and kInvalidOption from a read or change, and after a failed commit(), the transaction is over.
class Transaction {
 public:
  //! Most bytes of keys and values in one transaction.
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 19;

  explicit Transaction(Database& database);
  //! Rolls back unless it was committed.
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  //! \name Reads. nullopt: the key is not there. Throw Error, get_for_update() also kConflict.
  //! @{
  [[nodiscard]] std::optional<std::string> get(unsigned tree, Bytes key);
  [[nodiscard]] std::optional<std::string> get_for_update(unsigned tree, Bytes key);
  //! @}

  //! \name Changes. Throw Error kConflict, kTooLarge (key, value or transaction), kInvalidOption (tree), and then changed
  //! nothing.
  //! @{
  void put(unsigned tree, Bytes key, Bytes value);
  void erase(unsigned tree, Bytes key);
  //! @}

  //! Makes the changes visible and durable, and returns their position in the log. Throws Error kIo if the log fails:
  //! whether the changes will be there after the next open is then unknown, and the database takes no more work.
  //! Throws kTooLarge before anything has happened if the log is too small for so many changes.
  Lsn commit();
  //! The same without waiting: visible, in the order of commits, and durable once the log is durable up to the
  //! returned position (WriteAheadLog::wait_durable).
  Lsn commit_no_wait();

  //! \name For a Worker's tasks
  //! They do what their namesakes do, but suspend the task where those wait. What is passed in must live until the co_await ends.
  //! A commit needs DatabaseOptions::checkpoint_thread (else Error kInvalidOption), and throws kIo if the log is full and its checkpoint
  //! fails; then nothing has happened.
  //! @{
  [[nodiscard]] Task<std::optional<std::string>> get(Worker& worker, unsigned tree, Bytes key);
  [[nodiscard]] Task<std::optional<std::string>> get_for_update(Worker& worker, unsigned tree, Bytes key);
  Task<Lsn> commit(Worker& worker);
  Task<Lsn> commit_no_wait(Worker& worker);
  //! @}

  //! Forgets the changes. Nothing can fail.
  void rollback() noexcept;

 private:
  class State;
  //! A small transaction asks for no other memory.
  static constexpr std::size_t kMemory = 832;

  State* const _state;
  alignas(std::max_align_t) std::byte _memory[kMemory];
};

}  // namespace vmcache
