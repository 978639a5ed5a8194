// SPDX-License-Identifier: MIT
#include "recovery/log_scan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <vector>

#include "recovery/log_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! Bytes of one read.
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;

std::byte* allocate_piece() {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageSize, kPieceBytes));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

LogReader::LogReader(Storage& storage, std::uint64_t capacity)
    : _storage(storage), _capacity(capacity), _piece(allocate_piece()) {}

void LogReader::read(Lsn at, std::byte* to, std::size_t size) {
  while (size > 0) {
    if (at < _piece_begin || at >= _piece_end) load(page_floor(at));
    const std::size_t now = std::min<std::size_t>(size, _piece_end - at);
    std::memcpy(to, _piece.get() + (at - _piece_begin), now);
    at += now;
    to += now;
    size -= now;
  }
}

void LogReader::load(Lsn first) {
  const std::uint64_t place = place_in_ring(first, _capacity);
  const std::size_t bytes = std::min<std::size_t>(kPieceBytes, kRingAt + _capacity - place);
  if (const int error = _storage.read(place, {_piece.get(), bytes}); error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage}, "reading " + _storage.description());
  _piece_begin = first;
  _piece_end = first + bytes;
}

Lsn LogScan::run(const WriteAheadLog::Visitor& visit, Lsn until) {
  LogReader reader(_storage, _log.capacity);
  std::vector<std::byte> body;
  std::uint32_t epoch = 0;
  const Lsn ring_end = _log.begin + _log.capacity;
  Lsn at = _log.begin;
  for (;;) {
    RecordHeader header;
    if (at >= until || at + sizeof header > ring_end) return at;
    reader.read(at, reinterpret_cast<std::byte*>(&header), sizeof header);
    const Lsn end = record_end(at, header.body_bytes);
    bool whole = is_record(header, at) && header.epoch >= epoch && end <= ring_end;
    if (whole) {
      body.resize(header.body_bytes);
      reader.read(at + sizeof header, body.data(), body.size());
      whole =
          crc32c_more(RecordSalt(_log.salt).body, body.data(), body.size()) == header.body_checksum;
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

//! Whether it is the header of a record that begins at `at`, in any epoch.
bool LogScan::is_record(const RecordHeader& header, Lsn at) const noexcept {
  return header.lsn == at && header.body_bytes <= WriteAheadLog::kMaxRecord &&
         header.checksum == header.compute_checksum(RecordSalt(_log.salt).header);
}

//! The scan ended at `at`. Finds out whether that is damage: throws Error kCorrupt if so. What was
//! appended and was not durable is never longer than the buffer. So if the record at `at` had been
//! durable, a record that shows it lies within a buffer's length, unless `at` was the last record.
//! A record of a later round of the ring was written after a newer master, which is lost (R6).
void LogScan::check_end(LogReader& reader, Lsn at, std::uint32_t epoch) const {
  const Lsn stop =
      std::min(at + 2 * LogBuffer::kMaxBytes, _log.begin + _log.capacity) - sizeof(RecordHeader);
  for (Lsn later = at; later <= stop; later += kRecordAlign) {
    RecordHeader header;
    reader.read(later, reinterpret_cast<std::byte*>(&header), sizeof header);
    if (header.lsn > later && header.lsn % _log.capacity == later % _log.capacity &&
        is_record(header, header.lsn)) {
      throw Error(
          Errc::kCorrupt,
          fmt::format("{}: what lay at position {} was overwritten by the record at {}: its "
                      "newer master is lost",
                      _storage.description(), later, header.lsn));
    }
    if (!is_record(header, later) || header.epoch < epoch) continue;
    const Lsn durable = later - std::uint64_t{header.durable_back} * kRecordAlign;
    if (durable > at || header.epoch > _log.epoch) {
      throw Error(
          Errc::kCorrupt,
          fmt::format("{}: damaged at position {}, which was durable, says the record at {}",
                      _storage.description(), at, later));
    }
  }
}

}  // namespace vmcache
