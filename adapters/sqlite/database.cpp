// SPDX-License-Identifier: MIT
#include "database.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "report.hpp"

namespace vmcache::sqlite {
namespace {

constexpr std::uint64_t kGib = std::uint64_t{1} << 30;

std::uint64_t size_of(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) throw Error(Status{Errc::kIo, errno, kNoPage}, "fstat");
  return static_cast<std::uint64_t>(info.st_size);
}

//! A file that is large already gets room to become four times as large.
std::uint64_t max_gib_for(const Parameters& parameters, int fd) {
  if (parameters.file_max_gib) return *parameters.file_max_gib;
  const std::uint64_t four_times = (4 * size_of(fd) + kGib - 1) / kGib;
  return std::max(Parameters::kDefaultFileMaxGib, four_times);
}

}  // namespace

Database::Database(BufferPool& pool, std::string path, int fd, const Parameters& parameters)
    : _pool(pool),
      _path(std::move(path)),
      _fd(fd),
      _max_gib(max_gib_for(parameters, fd)),
      _direct_io(parameters.file_direct_io.value_or(true)),
      _process_lock(fd) {}

Database::~Database() {
  _cached.reset();  // writes back what is left; the lock goes after it
  _process_lock.give_back();
  ::close(_fd);
}

void Database::require_same(const Parameters& parameters) const {
  if (parameters.file_max_gib && *parameters.file_max_gib != _max_gib) {
    throw std::invalid_argument(
        "URI parameter file_max_gib=" + std::to_string(*parameters.file_max_gib) +
        ": the file is open with " + std::to_string(_max_gib));
  }
  if (parameters.file_direct_io && *parameters.file_direct_io != _direct_io) {
    throw std::invalid_argument(
        std::string("URI parameter file_direct_io: the file is open with ") +
        (_direct_io ? "1" : "0"));
  }
}

bool Database::moved() const noexcept {
  struct stat by_path {};
  struct stat by_fd {};
  return ::stat(_path.c_str(), &by_path) != 0 || ::fstat(_fd, &by_fd) != 0 ||
         by_path.st_dev != by_fd.st_dev || by_path.st_ino != by_fd.st_ino;
}

int Database::become_ready() noexcept {
  if (_cached && (!_cached->failed() || !_locks.unused())) return SQLITE_OK;
  return guarded(SQLITE_IOERR_LOCK, "opening", _path, [&] {
    if (const int code = _process_lock.take(_path); code != SQLITE_OK) return code;
    // After a flush that has failed: what was not durable is not committed either, and what other
    // connections need lies in a journal.
    _cached.reset();
    FileOptions options;
    // This very file, whatever its path leads to by now.
    options.path = "/proc/self/fd/" + std::to_string(_fd);
    options.create = false;
    options.direct_io = _direct_io;
    options.capacity_bytes = _max_gib * kGib;
    try {
      _cached = std::make_unique<CachedFile>(_pool, _pool.open_file(options));
    } catch (...) {
      _process_lock.give_back();
      throw;
    }
    return SQLITE_OK;
  });
}

int Database::lock(Holder& holder, int wanted) noexcept {
  const std::lock_guard guard(_mutex);
  if (holder.level >= wanted) return SQLITE_OK;
  if (_locks.unused()) {
    if (const int code = become_ready(); code != SQLITE_OK) return code;
  }
  return _locks.try_lock(holder, wanted);
}

int Database::unlock(Holder& holder, int to) noexcept {
  // Nothing is left to write after a transaction of SQLite's own (B3).
  const int code = holder.level >= kReserved ? write_back(holder) : SQLITE_OK;
  const std::lock_guard guard(_mutex);
  _locks.unlock(holder, to);
  return code;
}

bool Database::reserved() noexcept {
  const std::lock_guard guard(_mutex);
  return _locks.reserved();
}

template <typename Use>
int Database::change(const Holder& holder, int io_code, const char* doing, Use use) noexcept {
  return guarded(io_code, doing, _path, [&] {
    if (holder.level >= kShared) {
      use(*_cached);
      return SQLITE_OK;
    }
    const std::lock_guard guard(_mutex);
    if (const int code = become_ready(); code != SQLITE_OK) return code;
    use(*_cached);
    return SQLITE_OK;
  });
}

int Database::read(Holder& holder, std::span<std::byte> to, std::uint64_t offset) noexcept {
  return guarded(SQLITE_IOERR_READ, "reading", _path, [&] {
    std::size_t there = 0;
    if (holder.level >= kShared) {
      there = _cached->read(to, offset, holder.read_ahead);
    } else {
      const std::lock_guard guard(_mutex);
      if (_cached && !_cached->failed()) {
        there = _cached->read(to, offset, holder.read_ahead);
      } else {
        while (there < to.size()) {
          const ssize_t n = ::pread(_fd, to.data() + there, to.size() - there,
                                    static_cast<off_t>(offset + there));
          if (n < 0 && errno == EINTR) continue;
          if (n < 0) throw Error(Status{Errc::kIo, errno, kNoPage}, "pread");
          if (n == 0) break;
          there += static_cast<std::size_t>(n);
        }
        std::ranges::fill(to.subspan(there), std::byte{0});
      }
    }
    return there == to.size() ? SQLITE_OK : SQLITE_IOERR_SHORT_READ;
  });
}

int Database::write(const Holder& holder, std::span<const std::byte> from,
                    std::uint64_t offset) noexcept {
  return change(holder, SQLITE_IOERR_WRITE, "writing to",
                [&](CachedFile& file) { file.write(from, offset); });
}

int Database::truncate(const Holder& holder, std::uint64_t bytes) noexcept {
  return change(holder, SQLITE_IOERR_TRUNCATE, "cutting", [&](CachedFile& file) {
    file.resize(bytes);
    file.write_back();  // B3
  });
}

int Database::grow(const Holder& holder, std::uint64_t bytes) noexcept {
  if (holder.level < kShared) return SQLITE_OK;  // a hint
  return change(holder, SQLITE_IOERR_TRUNCATE, "extending",
                [&](CachedFile& file) { file.grow(bytes); });
}

int Database::write_back(const Holder& holder) noexcept {
  return change(holder, SQLITE_IOERR_WRITE, "writing back",
                [](CachedFile& file) { file.write_back(); });
}

int Database::sync(const Holder& holder) noexcept {
  return change(holder, SQLITE_IOERR_FSYNC, "syncing", [](CachedFile& file) { file.sync(); });
}

int Database::size(const Holder& holder, std::uint64_t& bytes) noexcept {
  return guarded(SQLITE_IOERR_FSTAT, "asking for the size of", _path, [&] {
    if (holder.level >= kShared) {
      bytes = _cached->size_bytes();
      return SQLITE_OK;
    }
    const std::lock_guard guard(_mutex);
    bytes = _cached && !_cached->failed() ? _cached->size_bytes() : size_of(_fd);
    return SQLITE_OK;
  });
}

int Database::fetch(Holder& holder, std::uint64_t offset, std::size_t bytes, PagePins& pins,
                    const std::byte*& data) noexcept {
  data = nullptr;
  if (holder.level < kShared) return SQLITE_OK;
  return guarded(SQLITE_IOERR_READ, "reading", _path, [&] {
    data = _cached->pin(offset, bytes, pins, holder.read_ahead);
    return SQLITE_OK;
  });
}

}  // namespace vmcache::sqlite
