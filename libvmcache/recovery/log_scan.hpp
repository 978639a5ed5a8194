// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "recovery/record.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! Reads a log's ring in large pieces. One thread's.
class LogReader {
 public:
  //! Throws std::bad_alloc.
  LogReader(Storage& storage, std::uint64_t capacity);
  //! Throws Error kIo.
  void read(Lsn at, std::byte* to, std::size_t size);

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };

  void load(Lsn first);

  Storage& _storage;
  const std::uint64_t _capacity;
  const std::unique_ptr<std::byte, Free> _piece;
  Lsn _piece_begin = 0;
  Lsn _piece_end = 0;
};

//! Finds the records of a log. One thread's.
class LogScan {
 public:
  struct Log {
    std::uint64_t capacity = 0;
    Lsn begin = 0;
    std::uint64_t salt = 0;
    std::uint32_t epoch = 0;
  };

  LogScan(Storage& storage, const Log& log) : _storage(storage), _log(log) {}

  //! WriteAheadLog::scan().
  Lsn run(const WriteAheadLog::Visitor& visit, Lsn until);

 private:
  [[nodiscard]] bool is_record(const RecordHeader& header, Lsn at) const noexcept;
  void check_end(LogReader& reader, Lsn at, std::uint32_t epoch) const;

  Storage& _storage;
  const Log _log;
};

}  // namespace vmcache
