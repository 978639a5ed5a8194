// SPDX-License-Identifier: MIT
#include "recovery/log_writer.hpp"

#include <time.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "pool/page_buffer.hpp"
#include "recovery/record.hpp"
#include "recovery/start_thread.hpp"

namespace vmcache {
namespace {

//! Maximum bytes of one write.
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;
//! How long the writer waits for an appender that has not filled its piece yet.
constexpr timespec kFillPause{0, 20'000};

}  // namespace

LogWriter::~LogWriter() {
  {
    const std::lock_guard lock(_mutex);
    _stop = true;
  }
  _wake_writer.notify_all();
  if (_thread.joinable()) _thread.join();
}

void LogWriter::start() {
  _thread = start_thread("the log", [this] { run(); });
}

void LogWriter::want(Lsn lsn) noexcept {
  {
    const std::lock_guard lock(_mutex);
    if (_wanted >= lsn) return;
    _wanted = std::min(lsn, _buffer.end());
  }
  _wake_writer.notify_one();
}

void LogWriter::wait(Lsn lsn) {
  std::unique_lock lock(_mutex);
  _progressed.wait(lock, [&] { return durable() >= lsn || failed(); });
}

void LogWriter::wait_for_progress(Lsn durable_seen) {
  std::unique_lock lock(_mutex);
  _wanted = _buffer.end();
  _wake_writer.notify_one();
  _progressed.wait(lock, [&] { return durable() != durable_seen || failed(); });
}

void LogWriter::fail(int error) noexcept {
  {
    const std::lock_guard lock(_mutex);
    if (!failed()) _progress.error.store(error, std::memory_order_release);
  }
  _progressed.notify_all();
  _wake_writer.notify_all();
}

//! Everything appended so far goes out in one flush.
void LogWriter::run() {
  std::unique_lock lock(_mutex);
  for (;;) {
    _wake_writer.wait(lock, [&] { return _stop || (!failed() && _wanted > durable()); });
    if (_stop) return;
    const Lsn from = durable();
    lock.unlock();
    const Lsn to = _buffer.filled();
    int error = 0;
    if (to > from) {
      // Appenders do not change what lies before `to` until it is durable.
      error = write_out(from, to);
      if (error == 0) error = _storage.flush();
      _progress.flushes.fetch_add(1, std::memory_order_relaxed);
    } else {
      ::nanosleep(&kFillPause, nullptr);  // what is wanted is being filled
    }
    lock.lock();
    if (error != 0 && !failed()) _progress.error.store(error, std::memory_order_release);
    if (!failed() && to > from) _progress.durable.store(to, std::memory_order_release);
    _progressed.notify_all();
  }
}

//! Writes whole pages. The first page may have been written before, with the same bytes up to
//! `from`, which survive if this write is torn.
int LogWriter::write_out(Lsn from, Lsn to) {
  PageBuffer last;
  for (Lsn at = page_floor(from); at < to;) {
    const std::uint64_t place = place_in_ring(at, _capacity);
    std::span<const std::byte> bytes = _buffer.bytes_at(at);
    const std::uint64_t max =
        std::min<std::uint64_t>({kPieceBytes, kRingAt + _capacity - place, to - at});
    if (max >= kPageSize) {
      bytes = bytes.first(std::min<std::size_t>(bytes.size(), page_floor(max)));
    } else {
      // Appenders may be filling the rest of the page, so it is written as zeros.
      std::memcpy(last.bytes.data(), bytes.data(), max);
      std::memset(last.bytes.data() + max, 0, kPageSize - max);
      bytes = last.bytes;
    }
    if (const int error = _storage.write(place, bytes); error != 0) return error;
    at += bytes.size();
  }
  return 0;
}

}  // namespace vmcache
