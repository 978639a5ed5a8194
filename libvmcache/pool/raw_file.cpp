// SPDX-License-Identifier: MIT
#include "pool/raw_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <span>
#include <utility>

#include "clock.hpp"
#include "pool/engine.hpp"
#include "pool/freeing.hpp"
#include "pool/pool_core.hpp"
#include "pool/write_back.hpp"
#include "storage/made_file.hpp"
#include "vmcache/error.hpp"
#include "vmcache/guard.hpp"

namespace vmcache::detail {
namespace {

//! For somebody's latch, load or write of a page to end.
void wait_a_little(PoolCore& core) {
  constexpr timespec kPause{0, 50'000};
  if (Engine* own = engine_of_thread(core)) own->turn(false);
  core.engines.reap_idle();
  core.engines.with_service([](Engine& engine) {
    if (engine.in_flight() > 0) engine.turn(false);
  });
  ::nanosleep(&kPause, nullptr);
}

//! Latches a page of a file exclusively if it is in memory, with no write of it under way, so that
//! what is done to it and to its place in the file cannot be undone by that write.
class PageHold {
 public:
  enum class Result : std::uint8_t { kHeld, kNotThere, kBusy };

  //! Waits until `deadline_ns` at most.
  [[nodiscard]] static Result take(PoolCore& core, PageId page_id, std::uint64_t deadline_ns) {
    AtomicPageState& state = core.states()[page_id];
    for (;;) {
      const PageState word = state.load();
      if (word.evicted() && !core.writes.claimed(page_id)) return Result::kNotThere;
      if (!word.evicted() && latch::try_exclusive(state, word) == TryFix::kFixed) {
        if (!core.writes.claimed(page_id)) return Result::kHeld;
        give_back(core, page_id);
      }
      if (now_ns() > deadline_ns) return Result::kBusy;
      wait_a_little(core);
    }
  }
  //! Unchanged.
  static void give_back(PoolCore& core, PageId page_id) noexcept {
    ExclusiveGuard({&core.states()[page_id], core.memory->base() + page_id * kPageSize, page_id})
        .release_unmodified();
  }
};

enum class Dirty : std::uint8_t { kDrop, kKeep };

//! Takes the pages [begin, end) of a file out of memory, from the last one down, without writing
//! them. No more of them come in (D1). Stops at a page that is latched or pinned for frame_wait, or
//! is dirty and to be kept. Returns the lowest page of those that are gone.
[[nodiscard]] PageId take_out(PoolCore& core, PageId begin, PageId end, Dirty dirty) {
  std::array<Extent, 64> batch;
  std::size_t count = 0;
  const auto drop_batch = [&] {
    const std::lock_guard lock(core.freeing.mutex);
    // A failure is the page-table call's: the frames are gone from the pages all the same.
    (void)drop(core, core.freeing.context, std::span(batch).first(count), PageState::Use::kUnknown);
    count = 0;
  };
  std::uint64_t deadline = now_ns() + core.patience_ns();
  PageId page_id = end;
  for (; page_id > begin; --page_id) {
    const PageId one = page_id - 1;
    if (core.states()[one].load().evicted() && !core.writes.claimed(one)) continue;
    // Nothing is held while this waits.
    PageHold::Result result = PageHold::take(core, one, 0);
    if (result == PageHold::Result::kBusy) {
      if (count > 0) drop_batch();
      result = PageHold::take(core, one, deadline);
    }
    while (result == PageHold::Result::kHeld && core.residency.pinned(one)) {
      PageHold::give_back(core, one);
      if (count > 0) drop_batch();
      result = PageHold::Result::kBusy;
      if (now_ns() > deadline) break;
      wait_a_little(core);
      result = PageHold::take(core, one, deadline);
    }
    if (result == PageHold::Result::kBusy) break;
    if (result == PageHold::Result::kNotThere) continue;
    if (dirty == Dirty::kKeep && core.states()[one].load().dirty()) {
      PageHold::give_back(core, one);
      break;
    }
    batch[count++] = {one, 0};
    if (count == batch.size()) drop_batch();
    deadline = now_ns() + core.patience_ns();
  }
  if (count > 0) drop_batch();
  return page_id;
}

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

RawFile::RawFile(PoolCore& core, const FileOptions& options)
    : _core(core),
      _capacity_bytes(options.capacity_bytes),
      _pages((options.capacity_bytes + kPageSize - 1) / kPageSize),
      _path(options.path.string()),
      _device(open_device(options.path, device_options(core.options, options), core.logger)),
      _flush(*_device, [this] { drop_all(_core, _first, end_page(_capacity_bytes)); }),
      _format(options.format),
      _log(options.write_ahead),
      _lsn_memory((_log != nullptr ? _pages : 1) * sizeof(Lsn), "the pages' recovery LSNs"),
      _in_storage(reinterpret_cast<std::atomic<Lsn>*>(_lsn_memory.data())) {
  if (_device->kind() != Device::Kind::kFile) {
    throw Error(Errc::kUnsupported,
                _device->path() + ": only a regular file can be opened into a pool");
  }
  _buffered = FileDescriptor(::open(_device->path().c_str(), O_RDWR | O_CLOEXEC));
  if (!_buffered || !same_file(_buffered.get(), _device->fd())) {
    throw Error(Status{Errc::kIo, _buffered ? 0 : errno, kNoPage},
                "opening a second time " + _device->path());
  }
  _target.fd = _device->fd();
  _target.buffered_fd = _buffered.get();
}

std::shared_ptr<RawFile> RawFile::open(PoolCore& core, const FileOptions& options) {
  if (core.options.files_bytes == 0) {
    throw Error(Errc::kInvalidOption,
                "open_file: the pool was opened with files_bytes = 0: no address space for files");
  }
  if (options.path.empty()) throw Error(Errc::kInvalidOption, "open_file: path is empty");
  if (options.capacity_bytes < kPageSize || options.capacity_bytes > core.options.files_bytes) {
    throw Error(Errc::kInvalidOption,
                fmt::format("open_file: capacity_bytes = {}: allowed are {} to files_bytes = {}",
                            options.capacity_bytes, kPageSize, core.options.files_bytes));
  }
  if (options.write_ahead != nullptr && options.format == nullptr) {
    throw Error(Errc::kInvalidOption,
                "open_file: write_ahead is set and format is not: it says where a page's LSN is");
  }
  std::shared_ptr<RawFile> file(new RawFile(core, options));
  const std::uint64_t bytes = file->_device->size_bytes();
  if (bytes > options.capacity_bytes) {
    throw Error(Errc::kDatabaseFull,
                fmt::format("{}: has {} bytes, more than capacity_bytes = {}",
                            options.path.string(), bytes, options.capacity_bytes));
  }
  file->require_whole_pages(bytes, "open_file");
  file->_first = core.files.take(file, file->_pages);
  file->set_size(bytes);
  file->_device->keep();
  file->_open.store(true, std::memory_order_release);
  return file;
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
  const PageId page_id = end_page(bytes) - 1;
  switch (PageHold::take(_core, page_id, now_ns() + _core.patience_ns())) {
    case PageHold::Result::kNotThere:
      return;
    case PageHold::Result::kBusy:
      throw Error(Status{Errc::kBusy, 0, page_id}, "resize: the file's last page is latched");
    case PageHold::Result::kHeld:
      break;
  }
  std::byte* const data = _core.memory->base() + page_id * kPageSize;
  std::memset(data + used, 0, kPageSize - used);
  AtomicPageState& state = _core.states()[page_id];
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
  set_size(bytes);
}

//! The length that transfers go by (_target.bytes) changes when the pages are gone: until then, a
//! page that stays after all is written and read as before.
void RawFile::shrink(std::uint64_t bytes) {
  const std::uint64_t before = _target.bytes.load();
  const PageId end = end_page(bytes);
  set_end(end);
  const PageId gone = take_out(_core, end, end_page(before), Dirty::kDrop);
  const std::uint64_t now = gone > end ? std::min(before, (gone - _first) * kPageSize) : bytes;
  set_size(now);
  _too_long = true;
  settle_size();
  if (gone > end) {
    throw Error(Status{Errc::kBusy, 0, gone - 1},
                fmt::format("{}: resize to {} bytes: a page is latched or pinned; the file has {}",
                            path(), bytes, now));
  }
}

void RawFile::write_back() {
  write_back_range(_core, _first, end_page(_capacity_bytes), _log);
}

void RawFile::sync() {
  require_usable("sync");
  _flush.refuse_if_failed("sync");
  if (_too_long) {
    const std::lock_guard lock(_mutex);
    settle_size();
  }
  write_back();
  _flush.flush();
}

void RawFile::flush_written() {
  require_usable("flush");
  _flush.flush();
}

std::vector<DirtyPage> RawFile::dirty_pages() const {
  require_usable("dirty_pages");
  if (_log == nullptr)
    throw Error(Errc::kInvalidOption,
                path() + ": dirty_pages: the file was opened without write_ahead");
  std::vector<DirtyPage> pages;
  for (const Extent& extent : dirty_extents(_core, _first, end_page(_capacity_bytes))) {
    const std::uint64_t page = extent.page_id - _first;
    pages.push_back({page, _in_storage[page].load(std::memory_order_acquire)});
  }
  return pages;
}

void RawFile::close() {
  if (!is_open()) return;
  require_usable("close");
  const std::lock_guard lock(_mutex);
  // Nothing that could be written now would count, or the log allows no write any more.
  const bool lost = _flush.error() != 0 || (_log != nullptr && _log->log_error() != 0);
  if (!lost) settle_size();
  const PageId end = end_page(_target.bytes.load());
  // Pages that are changed meanwhile are written, too.
  constexpr int kTries = 16;
  PageId gone = end;
  for (int i = 0; i < kTries && gone > _first; ++i) {
    if (!lost) write_back();
    set_end(_first);
    gone = take_out(_core, _first, end, lost ? Dirty::kDrop : Dirty::kKeep);
    if (gone == _first) break;
    set_end(end);
    const bool changed = _core.states()[gone - 1].load().dirty();
    if (lost || !changed || _core.residency.pinned(gone - 1)) break;  // it was waited for
  }
  if (gone > _first) {
    throw Error(Status{Errc::kBusy, 0, gone - 1},
                path() + ": close: a page is latched, pinned, or changed all the time");
  }
  try {
    if (!lost) _flush.flush();
  } catch (const Error&) {
    finish();  // what could be written again is not in memory any more
    throw;
  }
  finish();
}

void RawFile::remove() {
  require_usable("remove");
  const std::lock_guard lock(_mutex);
  const PageId end = end_page(_target.bytes.load());
  set_end(_first);
  const PageId gone = take_out(_core, _first, end, Dirty::kDrop);
  if (gone > _first) {
    set_end(end);
    throw Error(Status{Errc::kBusy, 0, gone - 1}, path() + ": remove: a page is latched or pinned");
  }
  int error = ENOENT;  // the path leads to another file by now, or to none
  if (leads_to(_path, _device->fd())) error = ::unlink(_path.c_str()) == 0 ? 0 : errno;
  finish();
  if (error != 0) throw Error(Status{Errc::kIo, error, kNoPage}, "removing " + _path);
}

void RawFile::finish() noexcept {
  _open.store(false, std::memory_order_release);
  _core.files.set_end(_first, _pages, 0);
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
    if (!is_open()) return;
    set_end(_first);
    if (take_out(_core, _first, end_page(_target.bytes.load()), Dirty::kDrop) == _first) finish();
  } catch (const std::exception&) {  // NOLINT: not even for the words
  }
}

}  // namespace vmcache::detail

namespace vmcache {

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (_file) _file->close_or_complain();
    _file = std::move(other._file);
  }
  return *this;
}

File::~File() {
  if (_file) _file->close_or_complain();
}

File::operator bool() const noexcept {
  return _file && _file->is_open();
}

namespace {

detail::RawFile& opened(const std::shared_ptr<detail::RawFile>& file) {
  if (!file) throw Error(Errc::kClosed, "the File holds no file");
  return *file;
}

}  // namespace

PageId File::page_id(std::uint64_t n) const {
  return opened(_file).page_id(n);
}
std::uint64_t File::size_bytes() const {
  return opened(_file).size_bytes();
}
std::uint64_t File::pages() const {
  return (size_bytes() + kPageSize - 1) / kPageSize;
}
std::uint64_t File::capacity_bytes() const {
  return opened(_file).capacity_bytes();
}
void File::resize(std::uint64_t bytes) {
  opened(_file).resize(bytes);
}
void File::sync() {
  opened(_file).sync();
}
void File::flush() {
  opened(_file).flush_written();
}
std::vector<DirtyPage> File::dirty_pages() const {
  return opened(_file).dirty_pages();
}
void File::close() {
  if (_file) _file->close();
}
void File::remove() {
  opened(_file).remove();
}

}  // namespace vmcache
