// SPDX-License-Identifier: MIT
//
// A write-ahead log on a file or device of its own: a ring of records that are found again after a crash, up to the
// first that is not whole. What the records mean is their writer's business (Database's, or an embedder's own).
// The protocol: docs/recovery.md.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

class LogBuffer;
struct Master;
struct RecordHeader;

//! How to open a log.
struct LogOptions {
  //! A file (made if missing), a block device or an NVMe namespace's character device, not the database's.
  std::filesystem::path path;
  //! Used instead of `path` if set; called once at open.
  std::function<std::unique_ptr<Storage>()> make_storage;
  //! Size of the ring when the log is made: 1 MiB .. 1 TiB, a multiple of 4 KiB. A database's checkpoint interval: it
  //! makes a checkpoint when half of it is in use.
  std::uint64_t capacity_bytes = std::uint64_t{256} << 20;
  bool direct_io = true;
};

//! Appending is for any thread; opening, scanning and closing for one. A thread of its own writes and flushes: one
//! flush serves all who wait (group commit). A failed write or flush is final: nothing is ever durable after it.
class WriteAheadLog final : public WriteAhead {
 public:
  //! Longest body of a record.
  static constexpr std::size_t kMaxRecord = std::size_t{1} << 20;

  struct Record {
    std::uint32_t type = 0;
    Bytes body;  //!< for the time of the call
    Lsn begin = 0;
    Lsn end = 0;
  };
  using Visitor = std::function<void(const Record&)>;

  //! Opens it, or makes an empty one if `path` holds nothing. Appends nothing until start() is called. Throws Error:
  //! kInvalidOption, kNotADatabase, kInUse, kIo.
  explicit WriteAheadLog(const LogOptions& options);
  //! Stops without writing what is not durable yet: call flush() to keep it.
  ~WriteAheadLog() override;
  WriteAheadLog(const WriteAheadLog&) = delete;
  WriteAheadLog& operator=(const WriteAheadLog&) = delete;

  //! \name Opening
  //! @{

  //! True if it was empty: nothing was ever made durable in it.
  [[nodiscard]] bool fresh() const noexcept { return _fresh; }
  //! Where recovery begins: what the last set_begin() said.
  [[nodiscard]] Lsn begin() const noexcept { return _begin.load(std::memory_order_acquire); }
  //! Calls visit for all whole records from begin() on that end at or before `until`, and returns where they end. With an
  //! `until`, also after start(). Throws Error: kIo; kCorrupt, if a later record shows that the one it ends before was
  //! durable; and what visit throws.
  Lsn scan(const Visitor& visit, Lsn until = ~Lsn{0});
  //! Takes records from `end` (scan()'s result) on. In an old log all that was found is durable then. Throws Error kIo.
  void start(Lsn end);
  //! @}

  //! Adds a record whose body is the parts together, at most kMaxRecord bytes, and returns its end: the record is durable
  //! when durable_lsn() is not less. Appenders do not wait for each other, only for the writer thread when it is a whole
  //! buffer (4 to 16 MiB) behind. Throws Error: kTooLarge, kIo (the log has failed, or no room is left).
  Lsn append(std::uint32_t type, std::span<const Bytes> parts);
  //! End of the last record.
  [[nodiscard]] Lsn end() const noexcept;
  //! Waits until the log is durable up to `lsn`. Throws Error kIo if it never will be.
  void wait_durable(Lsn lsn);
  //! Makes all durable. Throws Error kIo.
  void flush() { wait_durable(end()); }

  //! Says that records before `lsn` are of no use any more: scan() begins there after the next open, and their space is used
  //! again. Durable on return. `lsn` is where a record begins, durable, and not before begin(). Throws Error kIo.
  void set_begin(Lsn lsn);

  //! Says that this thread is about to append, so that the log's end may come to its core meanwhile.
  void about_to_append() const noexcept;
  //! Bytes between begin() and end(), and how many there may be.
  [[nodiscard]] std::uint64_t used_bytes() const noexcept { return end() - begin(); }
  [[nodiscard]] std::uint64_t capacity_bytes() const noexcept { return _capacity; }

  //! Fails it for good, as a failed flush does: what is not durable yet never will be.
  void fail(int error) noexcept;

  [[nodiscard]] Lsn durable_lsn() const noexcept override { return _durable.load(std::memory_order_acquire); }
  void want_durable(Lsn lsn) noexcept override;
  [[nodiscard]] int log_error() const noexcept override { return _error.load(std::memory_order_acquire); }

  //! Throws Error kIo, "`what` ..." the log, if it has failed.
  void throw_if_failed(const char* what) const {
    if (log_error() != 0) throw_failed(what);
  }

  //! Flushes of the storage so far; commits divided by it is the size of the commit groups.
  [[nodiscard]] std::uint64_t flushes() const noexcept { return _flushes.load(std::memory_order_relaxed); }
  //! File or device, for messages.
  [[nodiscard]] std::string description() const { return _storage->description(); }

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept;
  };
  using Memory = std::unique_ptr<std::byte, Free>;
  class Reader;

  [[nodiscard]] bool read_masters(Master& newest);
  void make(const LogOptions& options);
  [[nodiscard]] int write_master(Lsn begin);
  [[nodiscard]] bool is_record(const RecordHeader& header, Lsn at) const noexcept;
  void check_end(Reader& reader, Lsn at, std::uint32_t epoch) const;
  void write_loop();
  [[nodiscard]] int write_out(Lsn from, Lsn to);
  void wait_for_room(Lsn durable_seen);
  [[nodiscard]] std::uint64_t place_of(Lsn lsn) const noexcept;
  [[noreturn]] void throw_failed(const char* what) const;

  std::unique_ptr<Storage> _storage;
  std::uint64_t _capacity = 0;
  std::uint32_t _epoch = 0;
  std::uint64_t _master_number = 0;
  bool _fresh = false;
  std::unique_ptr<LogBuffer> _buffer;
  std::mutex _master_mutex;

  std::mutex _mutex;
  std::condition_variable _wake_writer;
  std::condition_variable _progress;
  Lsn _wanted = 0;
  bool _stop = false;
  std::atomic<Lsn> _begin{0};
  std::atomic<Lsn> _durable{0};
  std::atomic<int> _error{0};
  std::atomic<std::uint64_t> _flushes{0};
  std::thread _writer;
};

}  // namespace vmcache
