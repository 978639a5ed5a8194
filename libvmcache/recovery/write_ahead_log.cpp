// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include "log.hpp"
#include "pool/page_buffer.hpp"
#include "recovery/log_buffer.hpp"
#include "recovery/master.hpp"
#include "recovery/record.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"
#include "vmcache/log.hpp"

namespace vmcache {
namespace {

//! One read's or write's worth.
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
//! The writer begins by itself when that much was appended: else appenders that wait for nothing would fill the buffer, and
//! then wait for all of it.
constexpr std::uint64_t kWriteBehindShare = 4;  // of the buffer, one in so many
//! How long the writer waits for an appender that is about to fill its piece.
constexpr timespec kFillPause{0, 20'000};
constexpr std::uint64_t kLeastCapacity = std::uint64_t{1} << 20;
constexpr std::uint64_t kMostCapacity = std::uint64_t{1} << 40;
//! Whole pages are written, so the end must not come nearer to the begin.
constexpr std::uint64_t kGap = 2 * kPageSize;

std::byte* take_memory(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageSize, bytes));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

constexpr Lsn page_floor(Lsn lsn) noexcept {
  return lsn / kPageSize * kPageSize;
}

std::unique_ptr<Storage> open_log_storage(const LogOptions& options) {
  const std::uint64_t capacity = options.capacity_bytes;
  if (capacity < kLeastCapacity || capacity > kMostCapacity || capacity % kPageSize != 0) {
    throw Error(Errc::kInvalidOption,
                fmt::format("log: capacity_bytes = {}: allowed are {} to {}, multiples of {}", capacity,
                            kLeastCapacity, kMostCapacity, kPageSize));
  }
  if (options.make_storage) return options.make_storage();
  PoolOptions file;
  file.path = options.path;
  file.direct_io = options.direct_io;
  // Its own thread has nothing else to do than to wait; NVMe passthrough has blocking calls of its own.
  std::error_code ignored;
  if (!std::filesystem::is_character_file(options.path, ignored)) file.storage = StorageKind::kPread;
  Log silent({});
  return open_storage(file, silent);
}

}  // namespace

void WriteAheadLog::Free::operator()(std::byte* memory) const noexcept {
  std::free(memory);
}

//! Reads the ring in large pieces.
class WriteAheadLog::Reader {
 public:
  explicit Reader(WriteAheadLog& log) : _log(log), _piece(take_memory(kPieceBytes)) {}

  void read(Lsn at, std::byte* to, std::size_t size) {
    while (size > 0) {
      if (at < _piece_begin || at >= _piece_end) load(page_floor(at));
      const std::size_t now = std::min<std::size_t>(size, _piece_end - at);
      std::memcpy(to, _piece.get() + (at - _piece_begin), now);
      at += now;
      to += now;
      size -= now;
    }
  }

 private:
  void load(Lsn first) {
    const std::uint64_t place = _log.place_of(first);
    const std::size_t bytes = std::min<std::size_t>(kPieceBytes, kRingAt + _log._capacity - place);
    if (const int error = _log._storage->read(place, {_piece.get(), bytes}); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "reading " + _log.description());
    }
    _piece_begin = first;
    _piece_end = first + bytes;
  }

  WriteAheadLog& _log;
  Memory _piece;
  Lsn _piece_begin = 0;
  Lsn _piece_end = 0;
};

WriteAheadLog::WriteAheadLog(const LogOptions& options) : _storage(open_log_storage(options)) {
  Master master;
  if (read_masters(master)) {
    _capacity = master.capacity;
    _master_number = master.number;
    _epoch = master.epoch;
    _begin = master.begin;
  } else {
    make(options);
  }
  _durable = begin();
  _buffer = std::make_unique<LogBuffer>(_capacity);
  _buffer->start(begin(), {});
}

WriteAheadLog::~WriteAheadLog() {
  {
    const std::lock_guard lock(_mutex);
    _stop = true;
  }
  _wake_writer.notify_all();
  if (_writer.joinable()) _writer.join();
}

//! False if there is none because nothing was ever written. Throws if there is something else.
bool WriteAheadLog::read_masters(Master& newest) {
  if (_storage->size_bytes() < kRingAt) {
    if (_storage->size_bytes() > 0 && !_storage->blank()) {
      throw Error(Errc::kNotADatabase, description() + ": is not a log; not touched");
    }
    return false;
  }
  bool found = false;
  bool blank = true;
  bool damaged = false;
  for (unsigned slot = 0; slot < Master::kSlots; ++slot) {
    const MasterSlot read = read_master_slot(*_storage, slot);
    blank = blank && read.blank;
    damaged = damaged || (!read.whole && !read.blank);
    if (!read.whole) continue;
    if (!found || read.master.number > newest.number) newest = read.master;
    found = true;
  }
  // The damaged one may have been the newer one, of the next epoch: that one must not be taken again.
  if (damaged) ++newest.epoch;
  if (!found && !blank) throw Error(Errc::kNotADatabase, description() + ": is not a log; not touched");
  return found;
}

void WriteAheadLog::make(const LogOptions& options) {
  _fresh = true;
  _capacity = options.capacity_bytes;
  _begin = kFirstLsn;
  const std::uint64_t bytes = kRingAt + _capacity;
  const int error = _storage->size_bytes() < bytes ? _storage->resize(bytes) : 0;
  if (error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("making {} {} bytes long", description(), bytes));
}

std::uint64_t WriteAheadLog::place_of(Lsn lsn) const noexcept {
  return kRingAt + lsn % _capacity;
}

void WriteAheadLog::throw_failed(const char* what) const {
  throw Error(Status{Errc::kIo, log_error(), kNoPage}, fmt::format("{} {}", what, description()));
}

Lsn WriteAheadLog::scan(const Visitor& visit, Lsn until) {
  Reader reader(*this);
  std::vector<std::byte> body;
  std::uint32_t epoch = 0;
  Lsn at = begin();
  for (;;) {
    RecordHeader header;
    if (at >= until || at + sizeof header > begin() + _capacity) return at;
    reader.read(at, reinterpret_cast<std::byte*>(&header), sizeof header);
    const Lsn end = record_end(at, header.body_bytes);
    bool whole = is_record(header, at) && header.epoch >= epoch && end <= begin() + _capacity;
    if (whole) {
      body.resize(header.body_bytes);
      reader.read(at + sizeof header, body.data(), body.size());
      whole = crc32c(body.data(), body.size()) == header.body_checksum;
    }
    if (!whole) {
      check_end(reader, at, epoch);
      return at;
    }
    visit({header.type, {body.data(), body.size()}, at, end});
    epoch = header.epoch;
    at = end;
  }
}

//! Whether it is the header of a record at `at`, of whatever epoch.
bool WriteAheadLog::is_record(const RecordHeader& header, Lsn at) const noexcept {
  return header.lsn == at && header.body_bytes <= kMaxRecord && header.checksum == header.compute_checksum();
}

//! The log ends at `at`: a crash, or damage? What was appended and not durable is never longer than the buffer, so a record
//! that knows better lies within it, unless it was the last one.
void WriteAheadLog::check_end(Reader& reader, Lsn at, std::uint32_t epoch) const {
  const Lsn stop = std::min(at + 2 * LogBuffer::kMostBytes, begin() + _capacity) - sizeof(RecordHeader);
  for (Lsn later = at; later <= stop; later += kRecordAlign) {
    RecordHeader header;
    reader.read(later, reinterpret_cast<std::byte*>(&header), sizeof header);
    if (!is_record(header, later) || header.epoch < epoch) continue;
    const Lsn durable = later - std::uint64_t{header.durable_back} * kRecordAlign;
    if (durable > at || header.epoch > _epoch) {
      throw Error(Errc::kCorrupt,
                  fmt::format("{}: damaged at position {}, which was durable, says the record at {}",
                              description(), at, later));
    }
  }
}

void WriteAheadLog::start(Lsn end) {
  // Records go on inside the page the last one ended in.
  PageBuffer page;
  const std::size_t before = end % kPageSize;
  Reader(*this).read(page_floor(end), page.bytes.data(), before);
  ++_epoch;
  _buffer->start(end, {page.bytes.data(), before});
  _durable = end;
  // A new log has no master until its maker has something in it to begin at: set_begin().
  const int error = _fresh ? 0 : write_master(begin());
  if (error != 0) {
    fail(error);
    throw_failed("opening");
  }
  _writer = std::thread([this] { write_loop(); });
}

int WriteAheadLog::write_master(Lsn begin) {
  Master master;
  master.number = _master_number + 1;
  master.capacity = _capacity;
  master.begin = begin;
  master.epoch = _epoch;
  master.checksum = master.compute_checksum();
  PageBuffer page;
  std::memcpy(page.bytes.data(), &master, sizeof master);
  // Not the slot that counts: that one must outlive a torn write.
  int error = _storage->write(master.number % 2 * kPageSize, page.bytes);
  if (error == 0) error = _storage->flush();
  if (error == 0) _master_number = master.number;
  return error;
}

void WriteAheadLog::set_begin(Lsn lsn) {
  const std::lock_guard lock(_master_mutex);
  if (const int error = log_error() != 0 ? log_error() : write_master(lsn); error != 0) {
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
  std::size_t bytes = 0;
  for (const Bytes& part : parts) bytes += part.size();
  const std::size_t size = record_end(0, bytes);
  _buffer->prefetch_piece(size);
  RecordHeader header;
  header.type = type;
  header.epoch = _epoch;
  for (const Bytes& part : parts) {
    header.body_checksum = crc32c_more(header.body_checksum, part.data(), part.size());
  }
  if (bytes > kMaxRecord) {
    throw Error(Errc::kTooLarge,
                fmt::format("log: a record of {} bytes; at most {} are allowed", bytes, kMaxRecord));
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
      header.checksum = header.compute_checksum();
      piece.fill(&header, sizeof header);
      for (const Bytes& part : parts) piece.fill(part.data(), part.size());
      constexpr std::array<std::byte, kRecordAlign> kZeros{};
      piece.fill(kZeros.data(), size - sizeof header - bytes);
      break;
    }
    if (end() + size <= log_full) {
      wait_for_room(durable_seen);
    } else if (begin() == begin_seen) {
      throw Error(Status{Errc::kIo, ENOSPC, kNoPage}, "appending to " + description());
    }
  }
  const Lsn ends = header.lsn + size;
  const std::uint64_t behind = _buffer->size() / kWriteBehindShare;
  if (header.lsn / behind != ends / behind) want_durable(ends);
  return ends;
}

//! Until the log is durable further than `durable_seen`, or has failed.
void WriteAheadLog::wait_for_room(Lsn durable_seen) {
  std::unique_lock lock(_mutex);
  _wanted = end();
  _wake_writer.notify_one();
  _progress.wait(lock, [&] { return durable_lsn() != durable_seen || log_error() != 0; });
}

void WriteAheadLog::want_durable(Lsn lsn) noexcept {
  if (durable_lsn() >= lsn) return;
  {
    const std::lock_guard lock(_mutex);
    if (_wanted >= lsn) return;
    _wanted = std::min(lsn, end());
  }
  _wake_writer.notify_one();
}

void WriteAheadLog::wait_durable(Lsn lsn) {
  if (durable_lsn() >= lsn) return;
  want_durable(lsn);
  std::unique_lock lock(_mutex);
  _progress.wait(lock, [&] { return durable_lsn() >= lsn || log_error() != 0; });
  if (durable_lsn() < lsn) throw_failed("making durable");
}

void WriteAheadLog::fail(int error) noexcept {
  {
    const std::lock_guard lock(_mutex);
    if (log_error() == 0) _error.store(error, std::memory_order_release);
  }
  _progress.notify_all();
  _wake_writer.notify_all();
}

//! The writer thread: everything appended so far goes out in one flush, for whoever waits.
void WriteAheadLog::write_loop() {
  std::unique_lock lock(_mutex);
  for (;;) {
    _wake_writer.wait(lock, [&] { return _stop || (log_error() == 0 && _wanted > durable_lsn()); });
    if (_stop) return;
    const Lsn from = durable_lsn();
    lock.unlock();
    const Lsn to = _buffer->filled();
    int error = 0;
    if (to > from) {
      // What lies before `to` is not changed by appenders until it is durable.
      error = write_out(from, to);
      if (error == 0) error = _storage->flush();
      _flushes.fetch_add(1, std::memory_order_relaxed);
    } else {
      ::nanosleep(&kFillPause, nullptr);  // what is wanted is being filled
    }
    lock.lock();
    if (error != 0 && log_error() == 0) _error.store(error, std::memory_order_release);
    if (log_error() == 0 && to > from) _durable.store(to, std::memory_order_release);
    _progress.notify_all();
  }
}

//! In whole pages. The first one may have been written before, with the same bytes up to `from`: tearing it leaves them.
int WriteAheadLog::write_out(Lsn from, Lsn to) {
  PageBuffer last;
  for (Lsn at = page_floor(from); at < to;) {
    const std::uint64_t place = place_of(at);
    std::span<const std::byte> bytes = _buffer->bytes_at(at);
    const std::uint64_t most = std::min<std::uint64_t>({kPieceBytes, kRingAt + _capacity - place, to - at});
    if (most >= kPageSize) {
      bytes = bytes.first(std::min<std::size_t>(bytes.size(), page_floor(most)));
    } else {
      // The rest of the page belongs to appenders: they may be filling it.
      std::memcpy(last.bytes.data(), bytes.data(), most);
      std::memset(last.bytes.data() + most, 0, kPageSize - most);
      bytes = last.bytes;
    }
    if (const int error = _storage->write(place, bytes); error != 0) return error;
    at += bytes.size();
  }
  return 0;
}

}  // namespace vmcache
