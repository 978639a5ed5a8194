// SPDX-License-Identifier: MIT
//
// A write-ahead log on a file or device of its own. It is a ring of records. After a crash all
// records are found again, up to the first one that is not whole. Their writer (Database, or an
// embedder) decides what they mean. The protocol is in docs/recovery.md.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "vmcache/bytes.hpp"
#include "vmcache/detail/own_process.hpp"
#include "vmcache/export.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/options.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead.hpp"

namespace VMCACHE_EXPORT vmcache {

class LogBuffer;
class LogMasters;
class LogWriter;

namespace detail {
//! How far a log is durable. Its writer thread sets it.
struct LogProgress {
  std::atomic<Lsn> durable{0};
  std::atomic<int> error{0};  //!< 0, or the errno with which the log has failed
  std::atomic<std::uint64_t> flushes{0};
};
}  // namespace detail

//! How to open a log.
struct LogOptions {
  //! A file (created if missing), a block device, or the character device of an NVMe namespace. Not
  //! the database's.
  std::filesystem::path path;
  //! Called once at open if set, and used instead of `path`.
  std::function<std::unique_ptr<Storage>()> make_storage;
  //! Size of the ring when the log is created: 1 MiB .. 1 TiB, a multiple of 4 KiB. It sets a
  //! database's checkpoint interval: a checkpoint begins when half of the ring is in use.
  std::uint64_t capacity_bytes = std::uint64_t{256} << 20;
  bool direct_io = true;
  bool create = true;  //!< create the file if it is missing
  //! Empty: a database uses its pool's callback; a log on its own logs nothing.
  LogCallback logger;
  //! The name of logger before 0.2.0, deprecated: counts if logger is empty.
  LogCallback log;
};

//! Any thread may append; one thread opens, scans and closes. The log has a thread of its own that
//! writes and flushes. One flush serves all who wait (group commit). A failed write or flush is
//! final: nothing becomes durable after it. A log belongs to the process that opened it. In a child
//! of fork() its calls throw Error kWrongProcess (own_process.hpp).
class WriteAheadLog final : public WriteAhead {
 public:
  //! Longest body of a record, in bytes.
  static constexpr std::size_t kMaxRecord = std::size_t{1} << 20;

  struct Record {
    std::uint32_t type = 0;
    Bytes body;  //!< valid during the call
    Lsn begin = 0;
    Lsn end = 0;
  };
  using Visitor = std::function<void(const Record&)>;

  //! Opens the log, or begins an empty one if `path` holds nothing. Writes nothing until start() is
  //! called. Throws Error: kInvalidOption, kNotADatabase, kCorrupt (it is shorter than it was),
  //! kInUse, kIo.
  explicit WriteAheadLog(const LogOptions& options);
  //! Stops, and does not write what is not durable yet; call flush() to keep it. Does nothing in a
  //! child of fork().
  ~WriteAheadLog() override;
  WriteAheadLog(const WriteAheadLog&) = delete;
  WriteAheadLog& operator=(const WriteAheadLog&) = delete;

  //! \name Opening
  //! @{

  //! True if the log is empty, or its creation was cut: set_begin() has never returned.
  [[nodiscard]] bool fresh() const noexcept { return _fresh; }
  //! Where recovery begins: the argument of the last set_begin().
  [[nodiscard]] Lsn begin() const noexcept { return _begin.load(std::memory_order_acquire); }
  //! Calls visit for all whole records from begin() on that end at or before `until`, and returns
  //! where they end. With an `until` it may also be called after start(). Throws Error kIo;
  //! kCorrupt if a later record shows that the record at which the scan ended had been durable; and
  //! what visit throws.
  Lsn scan(const Visitor& visit, Lsn until = ~Lsn{0});
  //! Accepts records from `end` on, which is the result of scan(). In an old log everything that
  //! the scan found is durable afterwards. A new log is created now, and its `end` is begin().
  //! Throws Error kIo; kOutOfMemory if the system refuses the thread.
  void start(Lsn end);
  //! @}

  //! Adds a record whose body is the parts together, at most kMaxRecord bytes, and returns its end.
  //! The record is durable once durable_lsn() is at least that. Appenders do not wait for each
  //! other. They wait for the writer thread only if it is a whole buffer (4 to 16 MiB) behind.
  //! Throws Error: kTooLarge, kIo (the log has failed, or is full).
  Lsn append(std::uint32_t type, std::span<const Bytes> parts);
  //! End of the last record.
  [[nodiscard]] Lsn end() const noexcept;
  //! Waits until the log is durable up to `lsn`. Throws Error kIo if it never will be.
  void wait_durable(Lsn lsn);
  //! Waits until every record is durable. Throws Error kIo.
  void flush() { wait_durable(end()); }

  //! Discards the records before `lsn`: scan() begins there after the next open, and their space is
  //! used again. Durable on return; identity() is then what next_identity() was. `lsn` must be the
  //! durable begin of a record, and not before begin(). Throws Error kIo.
  void set_begin(Lsn lsn);

  //! \name What distinguishes this log from others. For any thread.
  //! @{

  //! As of the last set_begin(). The generation is the number of these calls; 0 while the log is
  //! being created.
  [[nodiscard]] Identity identity() const;
  //! What identity() will be after the next set_begin().
  [[nodiscard]] Identity next_identity() const;
  //! @}

  //! A hint that this thread is about to append, so that the cache line with the log's end can come
  //! to its core meanwhile.
  void about_to_append() const noexcept;
  //! Bytes between begin() and end(), and the maximum of that.
  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return end() - begin(); }
  [[nodiscard]] std::uint64_t capacity_bytes() const noexcept { return _capacity; }

  //! Fails the log for good, as a failed flush does. What is not durable yet never will be.
  void fail(int error) noexcept;

  [[nodiscard]] Lsn durable_lsn() const noexcept override {
    return _progress.durable.load(std::memory_order_acquire);
  }
  void want_durable(Lsn lsn) noexcept override;
  [[nodiscard]] bool flushes_itself() const noexcept override { return true; }
  [[nodiscard]] int log_error() const noexcept override {
    return _progress.error.load(std::memory_order_acquire);
  }

  //! Throws Error kIo, "`what` ..." the log, if the log has failed.
  void throw_if_failed(const char* what) const {
    if (log_error() != 0) throw_failed(what);
  }

  //! Flushes of the storage so far. Commits divided by this is the average size of a commit group.
  [[nodiscard]] std::uint64_t flushes() const noexcept {
    return _progress.flushes.load(std::memory_order_relaxed);
  }
  //! File or device, for messages.
  [[nodiscard]] std::string description() const { return _storage->description(); }

 private:
  friend class Opening;

  [[nodiscard]] int create();
  //! start(), but the destructor still removes a file that the constructor has created, unless
  //! keep() is called.
  void start_unkept(Lsn end);
  void keep() noexcept;
  [[noreturn]] void throw_failed(const char* what) const;

  detail::OwnProcess _process;
  std::unique_ptr<Storage> _storage;
  std::unique_ptr<LogMasters> _masters;
  std::unique_ptr<LogBuffer> _buffer;
  std::uint64_t _capacity = 0;
  std::uint64_t _salt = 0;
  std::uint32_t _epoch = 0;
  bool _fresh = false;
  std::atomic<Lsn> _begin{0};
  detail::LogProgress _progress;
  std::unique_ptr<LogWriter> _writer;  // last, because its thread uses the other members
};

}  // namespace vmcache
