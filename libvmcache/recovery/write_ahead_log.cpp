// SPDX-License-Identifier: MIT
#include "vmcache/write_ahead_log.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "logger.hpp"
#include "pool/page_buffer.hpp"
#include "recovery/log_buffer.hpp"
#include "recovery/log_masters.hpp"
#include "recovery/log_scan.hpp"
#include "recovery/log_writer.hpp"
#include "recovery/record.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! The writer begins unasked whenever one part in so many of the buffer was appended. Otherwise
//! appenders that wait for nothing would fill the buffer, and then wait until all of it is written.
constexpr std::uint64_t kWriteBehindShare = 4;
constexpr std::uint64_t kMinCapacity = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxCapacity = std::uint64_t{1} << 40;
//! Whole pages are written, so the log's end must stay so far away from its begin.
constexpr std::uint64_t kGap = 2 * kPageSize;

std::unique_ptr<Storage> open_log_storage(const LogOptions& options) {
  const std::uint64_t capacity = options.capacity_bytes;
  if (capacity < kMinCapacity || capacity > kMaxCapacity || capacity % kPageSize != 0) {
    throw Error(Errc::kInvalidOption,
                fmt::format("log: capacity_bytes = {}: allowed are {} to {}, multiples of {}",
                            capacity, kMinCapacity, kMaxCapacity, kPageSize));
  }
  Logger log(logger_of(options));
  PoolOptions file;
  if (options.make_storage) {
    file.make_storage = options.make_storage;
    return open_storage(file, log);
  }
  file.path = options.path;
  file.direct_io = options.direct_io;
  // The writer thread has nothing else to do, so it may block. NVMe passthrough has blocking calls
  // of its own.
  std::error_code ignored;
  if (!std::filesystem::is_character_file(options.path, ignored))
    file.storage = StorageKind::kPread;
  file.create = options.create;
  return open_storage(file, log);
}

}  // namespace

WriteAheadLog::WriteAheadLog(const LogOptions& options)
    : _storage(open_log_storage(options)), _masters(std::make_unique<LogMasters>(*_storage)) {
  _fresh = _masters->read();
  if (_fresh) _masters->begin_new(options.capacity_bytes);
  const Master& master = _masters->current();
  _capacity = master.capacity;
  _epoch = master.epoch;
  _salt = master.salt;
  if (!_fresh && _storage->size_bytes() < kRingAt + _capacity) {
    throw Error(
        Errc::kCorrupt,
        fmt::format(
            "{}: has {} bytes, but the log in it {}: it was cut off, or copied to something "
            "smaller; not touched",
            description(), _storage->size_bytes(), kRingAt + _capacity));
  }
  _begin = master.begin;
  _progress.durable = master.begin;
  _buffer = std::make_unique<LogBuffer>(_capacity);
  _buffer->start(begin(), {});
  _writer = std::make_unique<LogWriter>(*_storage, *_buffer, _capacity, _progress);
}

WriteAheadLog::~WriteAheadLog() {
  if (_process.here()) return;
  // The writer thread is the parent's, and so are those that wait for it.
  detail::abandon(_writer);
  detail::abandon(_masters);
  detail::abandon(_storage);
}

//! Writes masters of generation 0, which show that whatever follows is a creation: into both slots,
//! so that a slot of zeros beside one of them is damage later (R21). Then makes the storage long
//! enough. Returns 0 or an errno.
int WriteAheadLog::create() {
  const std::uint64_t bytes = kRingAt + _capacity;
  if (!_storage->can_grow() && _storage->size_bytes() < bytes) return ENOSPC;
  for (unsigned slot = 0; slot < Master::kSlots; ++slot) {
    if (const int error = _masters->write(); error != 0) return error;
  }
  return _storage->size_bytes() >= bytes ? 0 : _storage->resize(bytes);
}

void WriteAheadLog::throw_failed(const char* what) const {
  throw Error(Status{Errc::kIo, log_error(), kNoPage}, fmt::format("{} {}", what, description()));
}

Lsn WriteAheadLog::scan(const Visitor& visit, Lsn until) {
  _process.require("the log");
  return LogScan(*_storage, {_capacity, begin(), _salt, _epoch}).run(visit, until);
}

void WriteAheadLog::start(Lsn end) {
  start_unkept(end);
  keep();
}

void WriteAheadLog::keep() noexcept {
  _storage->keep();
}

void WriteAheadLog::start_unkept(Lsn end) {
  _process.require("the log");
  _masters->begin_epoch();
  _epoch = _masters->current().epoch;
  if (_fresh) {
    if (const int error = create(); error != 0) {
      fail(error);
      throw Error(Status{Errc::kIo, error, kNoPage},
                  fmt::format("making {} {} bytes long", description(), kRingAt + _capacity));
    }
  }
  // New records begin in the page in which the last one has ended.
  PageBuffer page;
  const std::size_t before = end % kPageSize;
  LogReader(*_storage, _capacity).read(page_floor(end), page.bytes.data(), before);
  _buffer->start(end, {page.bytes.data(), before});
  _progress.durable = end;
  if (const int error = _fresh ? 0 : _masters->write(); error != 0) {
    fail(error);
    throw_failed("opening");
  }
  _writer->start();
}

Identity WriteAheadLog::identity() const {
  return _masters->identity();
}

Identity WriteAheadLog::next_identity() const {
  return _masters->next_identity();
}

void WriteAheadLog::set_begin(Lsn lsn) {
  _process.require("the log");
  if (const int error = log_error() != 0 ? log_error() : _masters->advance(lsn); error != 0) {
    fail(error);
    throw_failed("moving the begin of");
  }
  _begin.store(lsn, std::memory_order_release);
}

Lsn WriteAheadLog::end() const noexcept {
  return _buffer->end();
}

void WriteAheadLog::about_to_append() const noexcept {
  _buffer->prefetch_end();
}

Lsn WriteAheadLog::append(std::uint32_t type, std::span<const Bytes> parts) {
  _process.require("the log");
  std::size_t bytes = 0;
  for (const Bytes& part : parts) bytes += part.size();
  const std::size_t size = record_end(0, bytes);
  _buffer->prefetch_piece(size);
  const RecordSalt salt(_salt);
  RecordHeader header;
  header.type = type;
  header.epoch = _epoch;
  header.body_checksum = salt.body;
  for (const Bytes& part : parts) {
    header.body_checksum = crc32c_more(header.body_checksum, part.data(), part.size());
  }
  if (bytes > kMaxRecord) {
    throw Error(Errc::kTooLarge, fmt::format("log: a record of {} bytes; at most {} are allowed",
                                             bytes, kMaxRecord));
  }
  header.body_bytes = static_cast<std::uint32_t>(bytes);

  for (;;) {
    throw_if_failed("appending to");
    const Lsn begin_seen = begin();
    const Lsn durable_seen = durable_lsn();
    const Lsn log_full = begin_seen + _capacity - kGap;
    const Lsn buffer_full = page_floor(durable_seen) + _buffer->size();
    if (LogBuffer::Piece piece = _buffer->reserve(size, std::min(log_full, buffer_full))) {
      header.lsn = piece.begin();
      header.durable_back = durable_back(header.lsn, durable_seen);
      header.checksum = header.compute_checksum(salt.header);
      piece.fill(&header, sizeof header);
      for (const Bytes& part : parts) piece.fill(part.data(), part.size());
      constexpr std::array<std::byte, kRecordAlign> kZeros{};
      piece.fill(kZeros.data(), size - sizeof header - bytes);
      break;
    }
    if (end() + size <= log_full) {
      _writer->wait_for_progress(durable_seen);
    } else if (begin() == begin_seen) {
      throw Error(Status{Errc::kIo, ENOSPC, kNoPage}, "appending to " + description());
    }
  }
  const Lsn ends = header.lsn + size;
  const std::uint64_t behind = _buffer->size() / kWriteBehindShare;
  if (header.lsn / behind != ends / behind) want_durable(ends);
  return ends;
}

void WriteAheadLog::want_durable(Lsn lsn) noexcept {
  if (durable_lsn() < lsn && _process.here()) _writer->want(lsn);
}

void WriteAheadLog::wait_durable(Lsn lsn) {
  _process.require("the log");
  if (durable_lsn() >= lsn) return;
  // Without the writer thread it would never become durable.
  if (!_writer->started())
    throw Error(Errc::kInvalidOption, "making the log durable: start() was not called");
  _writer->want(lsn);
  _writer->wait(lsn);
  if (durable_lsn() < lsn) throw_failed("making durable");
}

void WriteAheadLog::fail(int error) noexcept {
  if (_process.here()) _writer->fail(error);
}

}  // namespace vmcache
