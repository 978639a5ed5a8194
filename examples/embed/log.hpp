// SPDX-License-Identifier: MIT
//
// A write-ahead log in a file, as small as it can be.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <vmcache/write_ahead.hpp>

namespace embed {

using vmcache::kPageSize;
using vmcache::Lsn;

//! FNV-1a. An engine would take a CRC.
inline std::uint64_t sum_of(std::uint64_t seed, std::span<const std::byte> bytes) {
  std::uint64_t sum = 0xcbf29ce484222325 ^ seed;
  for (const std::byte b : bytes) sum = (sum ^ static_cast<std::uint64_t>(b)) * 0x100000001b3;
  return sum;
}

[[noreturn]] inline void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

//! A position in it is a number of bytes.
class Log final : public vmcache::WriteAhead {
 public:
  struct Entry {
    Lsn lsn = 0;  //!< where it ends
    std::uint64_t sum = 0;
    std::uint64_t page = 0;
    std::uint32_t image = 0;  //!< 1: of the page, else a record
    std::uint32_t bytes = 0;
  };

  explicit Log(const std::string& path) : _fd(::open(path.c_str(), O_RDWR | O_CREAT, 0640)) {
    if (_fd < 0) fail("opening " + path);
  }
  ~Log() override { ::close(_fd); }

  [[nodiscard]] Lsn durable_lsn() const noexcept override { return _durable; }
  void want_durable(Lsn) noexcept override {}  // each commit flushes
  [[nodiscard]] int log_error() const noexcept override { return _error; }

  [[nodiscard]] Lsn end() const { return _end; }
  //! Goes on behind what read_from() has found. What may be there from a commit that a crash has
  //! cut must not be taken for the next one, and what was read may not be durable yet.
  void begin_at(Lsn lsn) {
    if (::ftruncate(_fd, static_cast<off_t>(lsn)) != 0 || ::fdatasync(_fd) != 0)
      fail("cutting the log");
    _end = _durable = lsn;
  }

  //! Returns the entry's LSN.
  Lsn append(std::uint64_t page, bool image, std::span<const std::byte> bytes) {
    Entry entry{
        .page = page, .image = image ? 1U : 0U, .bytes = static_cast<std::uint32_t>(bytes.size())};
    entry.lsn = _end += sizeof entry + bytes.size();
    entry.sum = sum_of(entry.lsn + page, bytes);
    const auto* front = reinterpret_cast<const std::byte*>(&entry);
    _tail.insert(_tail.end(), front, front + sizeof entry);
    _tail.insert(_tail.end(), bytes.begin(), bytes.end());
    return _end;
  }
  //! An error is final: what is behind it may be lost, whatever a later flush says.
  void flush() {
    errno = _error;
    if (_error != 0) fail("the log has failed");
    const Lsn from = _end - _tail.size();
    const ssize_t n = ::pwrite(_fd, _tail.data(), _tail.size(), static_cast<off_t>(from));
    if (n != static_cast<ssize_t>(_tail.size()) || ::fdatasync(_fd) != 0) {
      _error = errno != 0 ? errno : EIO;
      fail("writing the log");
    }
    _tail.clear();
    _durable = _end;
  }
  //! Calls use(entry, bytes) for all whole entries from `lsn` on. Returns where they end.
  template <typename Use>
  Lsn read_from(Lsn lsn, Use use) const {
    for (Entry entry;; lsn = entry.lsn) {
      if (::pread(_fd, &entry, sizeof entry, static_cast<off_t>(lsn)) != sizeof entry) return lsn;
      if (entry.bytes > kPageSize || entry.lsn != lsn + sizeof entry + entry.bytes) return lsn;
      std::vector<std::byte> bytes(entry.bytes);
      const auto at = static_cast<off_t>(lsn + sizeof entry);
      if (::pread(_fd, bytes.data(), entry.bytes, at) != static_cast<ssize_t>(entry.bytes))
        return lsn;
      if (entry.sum != sum_of(entry.lsn + entry.page, bytes)) return lsn;
      use(entry, bytes);
    }
  }
  //! What is before `lsn` will not be read again.
  void forget_before(Lsn lsn) {
    (void)::fallocate(_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(lsn));
  }

 private:
  int _fd;
  std::vector<std::byte> _tail;  // not written yet
  Lsn _end = 0;
  std::atomic<Lsn> _durable{0};
  std::atomic<int> _error{0};
};

}  // namespace embed
