// SPDX-License-Identifier: MIT
#include "pool/raw_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "clock.hpp"
#include "pool/freeing.hpp"
#include "pool/inner_pages.hpp"
#include "pool/pool_core.hpp"
#include "pool/take_out.hpp"
#include "pool/write_back.hpp"
#include "random_id.hpp"
#include "storage/made_file.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

bool same_file(int one, int other) noexcept {
  struct stat first {};
  struct stat second {};
  return ::fstat(one, &first) == 0 && ::fstat(other, &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

PoolOptions device_options(const PoolOptions& pool, const FileOptions& options) {
  PoolOptions device;
  device.path = options.path;
  device.create = options.create;
  device.direct_io = options.direct_io;
  device.storage = StorageKind::kPread;  // no character device
  device.logger = logger_of(pool);
  return device;
}

}  // namespace

RawFile::RawFile(PoolCore& core, const FileOptions& options, bool temporary)
    : _core(core),
      _temporary(temporary),
      _read_only(options.read_only),
      _capacity_bytes(options.capacity_bytes),
      _pages((options.capacity_bytes + kPageSize - 1) / kPageSize),
      _path(std::filesystem::absolute(options.path).string()),
      _device(open_device(options.path, device_options(core.options, options), core.logger,
                          options.read_only ? Access::kReadOnly : Access::kReadWrite)),
      _flush(*_device, [this] { drop_all(_core, _first, end_page(_capacity_bytes)); }),
      _format(options.format),
      _log(options.write_ahead),
      _lsn_memory((_log != nullptr || temporary ? _pages : 1) * sizeof(Lsn),
                  "what is known of the pages in storage"),
      _in_storage(reinterpret_cast<std::atomic<Lsn>*>(_lsn_memory.data())) {
  _lsn_memory.advise(MADV_NOHUGEPAGE);
  if (_device->kind() != Device::Kind::kFile) {
    throw Error(Errc::kUnsupported,
                _device->path() + ": only a regular file can be opened into a pool");
  }
  _buffered =
      FileDescriptor(::open(_device->path().c_str(), (_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!_buffered || !same_file(_buffered.get(), _device->fd())) {
    throw Error(Status{Errc::kIo, _buffered ? 0 : errno, kNoPage},
                "opening a second time " + _device->path());
  }
  _target.fd = _device->fd();
  _target.buffered_fd = _buffered.get();
  // Its blocks go with the last descriptor, however the process ends.
  if (temporary && options.create && ::unlink(_path.c_str()) != 0)
    throw Error(Status{Errc::kIo, errno, kNoPage}, "removing the name of " + _path);
}

void RawFile::check_room(const PoolOptions& pool, std::uint64_t capacity_bytes, const char* doing) {
  if (pool.files_bytes == 0) {
    throw Error(
        Errc::kInvalidOption,
        fmt::format("{}: the pool was opened with files_bytes = 0: no address space for files",
                    doing));
  }
  if (capacity_bytes < kPageSize || capacity_bytes > pool.files_bytes) {
    throw Error(Errc::kInvalidOption,
                fmt::format("{}: capacity_bytes = {}: allowed are {} to files_bytes = {}", doing,
                            capacity_bytes, kPageSize, pool.files_bytes));
  }
}

std::shared_ptr<RawFile> RawFile::open_temporary(PoolCore& core, const TemporaryOptions& options) {
  check_room(core.options, options.capacity_bytes, "open_temporary");
  std::error_code error;
  const std::filesystem::path folder =
      options.folder.empty() ? std::filesystem::temp_directory_path(error) : options.folder;
  if (folder.empty() || !std::filesystem::is_directory(folder, error)) {
    throw Error(Errc::kInvalidOption, fmt::format("open_temporary: {} is no folder",
                                                  folder.empty() ? "TMPDIR" : folder.string()));
  }
  FileOptions scratch;
  scratch.capacity_bytes = options.capacity_bytes;
  scratch.direct_io = options.direct_io;
  // Without a name from the beginning, so that nothing stays of a process that is killed.
  const FileDescriptor nameless(
      ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_EXCL | O_CLOEXEC, 0600));
  if (nameless) {
    scratch.path = fmt::format("/proc/self/fd/{}", nameless.get());
    scratch.create = false;
  } else {  // a file system that cannot do that
    scratch.path = folder / fmt::format("vmcache-temporary-{:016x}", random_number());
  }
  std::shared_ptr<RawFile> file(new RawFile(core, scratch, true));
  file->begin(file);
  return file;
}

std::shared_ptr<RawFile> RawFile::open(PoolCore& core, const FileOptions& options) {
  check_room(core.options, options.capacity_bytes, "open_file");
  if (options.path.empty()) throw Error(Errc::kInvalidOption, "open_file: path is empty");
  if (options.write_ahead != nullptr && options.format == nullptr) {
    throw Error(Errc::kInvalidOption,
                "open_file: write_ahead is set and format is not: it says where a page's LSN is");
  }
  std::shared_ptr<RawFile> file(new RawFile(core, options, false));
  file->begin(file);
  return file;
}

void RawFile::begin(const std::shared_ptr<RawFile>& self) {
  const std::uint64_t bytes = _device->size_bytes();
  if (bytes > _capacity_bytes) {
    throw Error(Errc::kDatabaseFull, fmt::format("{}: has {} bytes, more than capacity_bytes = {}",
                                                 path(), bytes, _capacity_bytes));
  }
  require_whole_pages(bytes, "open_file");
  _first = _core.files.take(self, _pages);
  try {
    begin_layer();
  } catch (...) {
    finish();
    throw;
  }
  const std::uint64_t now = _device->size_bytes();
  expect_size(now);
  set_size(now);
  _device->keep();
  _open.store(true, std::memory_order_release);
}

Status RawFile::told(Status status) const noexcept {
  if (_paged != nullptr && status.page_id != kNoPage) status.page_id -= _first;
  return status;
}

int RawFile::set_length(std::uint64_t bytes) {
  const int error = _device->resize(bytes);
  if (error == 0 && is_open() && bytes > _target.bytes.load()) {
    expect_size(bytes);
    set_size(bytes);
  }
  return error;
}

void RawFile::require_named(const char* doing) const {
  if (!_temporary) return;
  throw Error(Errc::kInvalidOption, fmt::format("{}: the file is temporary: {}", doing, path()));
}

void RawFile::require_writable(const char* doing) const {
  if (!_read_only) return;
  throw Error(Errc::kReadOnly, fmt::format("{}: {} was opened with read_only", doing, path()));
}

void RawFile::require_usable(const char* doing) const {
  if (!is_open()) throw Error(Errc::kClosed, fmt::format("{}: the file was closed", doing));
  _core.require_usable();
}

PageId RawFile::page_id(std::uint64_t n) const {
  if (!is_open()) throw Error(Errc::kClosed, "page_id: the file was closed");
  if (n >= _pages) {
    throw Error(Errc::kInvalidPage,
                fmt::format("page {} of a file of up to {} bytes", n, _capacity_bytes));
  }
  return _first + n;
}

std::uint64_t RawFile::size_bytes() const {
  require_usable("size_bytes");
  return _target.bytes.load(std::memory_order_acquire);
}

std::uint64_t RawFile::capacity_bytes() const {
  require_usable("capacity_bytes");
  return _capacity_bytes;
}

//! D1: the barrier between the write of the end and the reads of the words that follow.
void RawFile::set_end(PageId end) noexcept {
  _core.files.set_end(_first, _pages, end);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void RawFile::set_size(std::uint64_t bytes) noexcept {
  _target.bytes.store(bytes, std::memory_order_seq_cst);
  set_end(end_page(bytes));
}

//! The pages' words take 2 MiB a range if all are used, and then want a large page.
void RawFile::expect_size(std::uint64_t bytes) const noexcept {
  const std::uint64_t ranges =
      (bytes + PoolOptions::kFileRangeBytes / 2) / PoolOptions::kFileRangeBytes;
  _core.expect_many_pages(_first, ranges * FileSet::kRangePages);
}

//! A page of which a part is in the file has no format: what before_write() makes of it is cut.
void RawFile::require_whole_pages(std::uint64_t bytes, const char* doing) const {
  if (_format == nullptr || bytes % kPageSize == 0) return;
  throw Error(Errc::kInvalidOption,
              fmt::format("{}: {}: {} bytes: with a format, a file has whole pages of {} bytes",
                          path(), doing, bytes, kPageSize));
}

//! Makes zeros of the last page's bytes after the end, if it is in memory.
void RawFile::clear_tail(std::uint64_t bytes) {
  const std::uint64_t used = bytes % kPageSize;
  if (used == 0) return;
  const PageId last = end_page(bytes) - 1;
  const PageId page_id = extent_head(_core, last);
  switch (PageHold::take(_core, page_id, now_ns() + _core.patience_ns())) {
    case PageHold::Result::kNotThere:
      return;
    case PageHold::Result::kBusy:
      throw Error(Status{Errc::kBusy, 0, page_id}, "resize: the file's last page is latched");
    case PageHold::Result::kHeld:
      break;
  }
  AtomicPageState& state = _core.states()[page_id];
  // Else it was another extent, and is gone.
  if (last - page_id < Extent{page_id, state.load(std::memory_order_relaxed).order()}.pages())
    std::memset(_core.memory->base() + last * kPageSize + used, 0, kPageSize - used);
  // As clean or dirty as before: these bytes are not written.
  state.store(state.load(std::memory_order_relaxed)
                  .next_version()
                  .without(PageState::kWriterWaits)
                  .with_latch(PageState::kUnlocked));
}

//! Cuts off what an earlier call has left after the end: blocks that it took before it failed, or
//! pages that it could not cut off because the last page was latched.
void RawFile::settle_size() {
  if (!_too_long.load(std::memory_order_acquire)) return;
  const std::uint64_t bytes = _target.bytes.load();
  clear_tail(bytes);
  if (const int error = _device->resize(bytes); error != 0) {
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("{}: cutting it to {} bytes", path(), bytes));
  }
  _too_long.store(false, std::memory_order_release);
}

void RawFile::resize(std::uint64_t bytes) {
  require_usable("resize");
  require_writable("resize");
  const std::lock_guard lock(_mutex);
  _flush.refuse_if_failed("resize");
  require_whole_pages(bytes, "resize");
  if (bytes > _capacity_bytes) {
    throw Error(Errc::kDatabaseFull, fmt::format("{}: resize to {} bytes: capacity_bytes = {}",
                                                 path(), bytes, _capacity_bytes));
  }
  settle_size();
  bytes < _target.bytes.load() ? shrink(bytes) : grow(bytes);
}

void RawFile::grow(std::uint64_t bytes) {
  clear_tail(_target.bytes.load());
  if (const int error = _device->resize(bytes); error != 0) {
    _too_long = true;  // perhaps: a part of the blocks may have been taken
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    throw Error(Status{full ? Errc::kDatabaseFull : Errc::kIo, error, kNoPage},
                fmt::format("{}: resize to {} bytes", path(), bytes));
  }
  expect_size(bytes);
  set_size(bytes);
}

//! The length that transfers go by (_target.bytes) changes when the pages are gone: until then, a
//! page that stays after all is written and read as before.
void RawFile::shrink(std::uint64_t bytes) {
  const std::uint64_t before = _target.bytes.load();
  const PageId end = end_page(bytes);
  const auto refuse_inside_extent = [&] {
    if (end == end_page(before) || _core.states()[end].load().use() != PageState::Use::kInner)
      return;
    set_end(end_page(before));
    throw Error(Status{Errc::kInvalidPage, 0, end},
                fmt::format("{}: resize to {} bytes: that is inside the extent that begins at page "
                            "{} of the file; drop it first",
                            path(), bytes, extent_head(_core, end) - _first));
  };
  refuse_inside_extent();
  set_end(end);
  refuse_inside_extent();  // D1
  const PageId gone = take_out(_core, end, end_page(before), Dirty::kDrop).gone;
  const std::uint64_t now = gone > end ? std::min(before, (gone - _first) * kPageSize) : bytes;
  set_size(now);
  // What comes there next is zeros again.
  if (_temporary) {
    for (PageId page = end_page(now); page < end_page(before); ++page)
      _in_storage[page - _first].store(0, std::memory_order_release);
  }
  _too_long = true;
  settle_size();
  if (gone > end) {
    throw Error(Status{Errc::kBusy, 0, gone - 1},
                fmt::format("{}: resize to {} bytes: a page is latched or pinned; the file has {}",
                            path(), bytes, now));
  }
}

void RawFile::write_back() {
  write_back_pages(_core, dirty(), _log, _paged);
}

void RawFile::prepare_write_back(const char* doing) {
  require_usable(doing);
  require_named(doing);
  require_writable(doing);
  _flush.refuse_if_failed(doing);
  if (_too_long) {
    const std::lock_guard lock(_mutex);
    settle_size();
  }
}

void RawFile::sync() {
  prepare_write_back("sync");
  write_back();
  _flush.flush();
}

void RawFile::write_back_only() {
  prepare_write_back("write_back");
  write_back();
}

void RawFile::flush_written() {
  require_usable("flush");
  require_named("flush");
  require_writable("flush");
  _flush.flush();
}

void RawFile::require_unused(const char* doing) const {
  if (_uses.load(std::memory_order_relaxed) == 0) return;
  throw Error(Errc::kBusy,
              fmt::format("{}: {}: a Worker's task waits for a write-back", path(), doing));
}

void RawFile::close() {
  if (!is_open()) return;
  require_usable("close");
  const std::lock_guard lock(_mutex);
  require_unused("close");
  // Nothing that could be written now would count, or the log allows no write any more.
  const bool lost = _temporary || _read_only || _flush.error() != 0 ||
                    (_log != nullptr && _log->log_error() != 0);
  if (!lost) settle_size();
  const PageId end = end_page(_target.bytes.load());
  // Pages that are changed meanwhile are written, too.
  constexpr int kTries = 16;
  PageId gone = end;
  PageId held = kNoPage;
  for (int i = 0; i < kTries && gone > _first; ++i) {
    if (!lost) write_back();
    set_end(_first);
    const TakenOut taken = take_out(_core, _first, end, lost ? Dirty::kDrop : Dirty::kKeep);
    gone = taken.gone;
    held = taken.held;
    if (gone == _first) break;
    set_end(end);
    const bool changed = _core.states()[held].load().dirty();
    if (lost || !changed || _core.residency.pinned(held)) break;  // it was waited for
  }
  if (gone > _first) {
    throw Error(told({Errc::kBusy, 0, held}),
                path() + ": close: a page is latched, pinned, or changed all the time");
  }
  try {
    if (!lost) end_layer();
  } catch (const Error&) {
    if (_flush.error() != 0) {
      finish();  // what could be written again is not in memory any more
    } else {
      set_end(end);
    }
    throw;
  }
  finish();
}

void RawFile::remove() {
  require_usable("remove");
  require_writable("remove");
  const std::lock_guard lock(_mutex);
  require_unused("remove");
  const PageId end = end_page(_target.bytes.load());
  set_end(_first);
  // Nothing is dropped before it is known that all can be. Who fixes a page after that has broken
  // the rule that nobody uses a file that is being removed.
  PageId held = find_held(_core, _first, end);
  if (held == kNoPage) held = take_out(_core, _first, end, Dirty::kDrop).held;
  if (held != kNoPage) {
    set_end(end);
    throw Error(Status{Errc::kBusy, 0, held}, path() + ": remove: a page is latched or pinned");
  }
  int error = ENOENT;  // the path leads to another file by now, or to none
  if (_temporary) {
    error = 0;
  } else if (leads_to(_path, _device->fd())) {
    error = ::unlink(_path.c_str()) == 0 ? 0 : errno;
  }
  finish();
  if (error != 0) throw Error(Status{Errc::kIo, error, kNoPage}, "removing " + _path);
}

void RawFile::finish() noexcept {
  if (_user != nullptr) *_user = 0;
  _open.store(false, std::memory_order_release);
  _core.files.set_end(_first, _pages, 0);
  if (_paged != nullptr) forget(_core, _first, end_page(_target.bytes.load()));  // T4
  _core.files.give_back(_first, _pages);
  _buffered = FileDescriptor();
  _device.reset();  // and with it the lock
}

void RawFile::close_or_complain() noexcept {
  if (!is_open() || !_core.process.here()) return;
  try {
    try {
      return close();
    } catch (const std::exception& error) {
      _core.logger(LogLevel::kError, fmt::format("closing {}: {}", path(), error.what()));
    }
    // Nobody has the file any more, nor may the format and the log be there for long.
    const std::lock_guard lock(_mutex);
    if (!is_open() || _uses.load(std::memory_order_relaxed) > 0) return;
    set_end(_first);
    const PageId end = end_page(_target.bytes.load());
    if (take_out(_core, _first, end, Dirty::kDrop).held == kNoPage) finish();
  } catch (const std::exception&) {  // NOLINT: not even for the words
  }
}

}  // namespace vmcache::detail
