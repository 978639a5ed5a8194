// SPDX-License-Identifier: MIT
#include "pool/pool_core.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "pool/check_options.hpp"
#include "pool/freeing.hpp"
#include "pool/page_checksum.hpp"
#include "pool/raw_file.hpp"
#include "random_id.hpp"
#include "storage/file_queues.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

PoolOptions checked(const PoolOptions& options) {
  check_options(options);
  return options;
}

std::uint32_t format_of(const PoolOptions& options) {
  return options.page_header ? HeaderFront::kPageHeaders : 0;
}

Header new_header(const PoolOptions& options) {
  Header header;
  header.front.format = format_of(options);
  header.front.identity.database = random_id();
  return header;
}

//! From the log. Of page 0 only its front is looked at: the rest may be torn.
Header recovered_header(const FirstPage& page, const Storage& storage, const PoolOptions& options) {
  const RecoveredState& state = *options.recovered;
  if (state.next_page == 0 || state.next_page > options.capacity_bytes / kPageSize ||
      state.roots.size() > Header::kRoots) {
    throw Error(
        Errc::kInvalidOption,
        fmt::format("recovered: next_page = {}, {} roots; allowed are 1 to {}, and {} roots",
                    state.next_page, state.roots.size(), options.capacity_bytes / kPageSize,
                    Header::kRoots));
  }
  Header header = new_header(options);
  header.next_page = state.next_page;
  std::ranges::copy(state.roots, header.roots.begin());
  const bool logged = state.identity.database != DatabaseId{};
  if (logged && page.front && page.front->identity.database != state.identity.database) {
    throw Error(Errc::kMismatch,
                fmt::format("{}: is of database {}, the log of database {}; not touched",
                            storage.description(), to_text(page.front->identity.database),
                            to_text(state.identity.database)));
  }
  if (logged) {
    header.front.identity = state.identity;
    header.front.format |= HeaderFront::kLogged;
  } else if (page.front) {
    header.front.identity = page.front->identity;
  }
  return header;
}

//! A file that is no longer than its header: no page was ever handed out, so there is none that
//! could be torn.
bool nothing_handed_out(const Header& header, const Storage& storage) {
  return storage.can_grow() && storage.size_bytes() == kPageSize && header.next_page == 1;
}

void check_header(const Header& header, const Storage& storage, const PoolOptions& options) {
  if (header.logged() && !options.allow_unclean) {
    throw Error(Errc::kMismatch,
                storage.description() +
                    ": a log belongs to this database, so only Database opens it, with that log; "
                    "allow_unclean opens it as it is, and the log does not belong to it any more");
  }
  if (header.clean == 0 && !options.allow_unclean && !nothing_handed_out(header, storage)) {
    throw Error(Errc::kUncleanShutdown,
                storage.description() +
                    ": was not closed; allow_unclean opens it as it is, which may be torn");
  }
  if (header.page_headers() != options.page_header) {
    throw Error(Errc::kInvalidOption,
                fmt::format("page_header = {}: the database was made {} page headers",
                            options.page_header, options.page_header ? "without" : "with"));
  }
  if (header.next_page > options.capacity_bytes / kPageSize) {
    throw Error(Errc::kInvalidOption,
                fmt::format("capacity_bytes = {}: the database has {} bytes already",
                            options.capacity_bytes, header.next_page * kPageSize));
  }
  if (header.next_page * kPageSize > storage.size_bytes()) {
    throw Error(
        Errc::kCorrupt,
        fmt::format("{}: has {} bytes, but the database on it {}: it was cut off, or copied "
                    "to something smaller; nothing was written",
                    storage.description(), storage.size_bytes(), header.next_page * kPageSize));
  }
}

//! What the storage holds, or a new header if it holds nothing. Writes nothing.
Header read_header(Storage& storage, const PoolOptions& options) {
  const FirstPage page = FirstPage::read(storage);
  if (options.recovered) return recovered_header(page, storage, options);
  if (page.blank || page.made_in_part) {
    if (!options.create)
      throw Error(Errc::kNotADatabase, storage.description() + ": is empty, and create = false");
    Header header = new_header(options);
    header.clean = 1;
    return header;
  }
  if (!page.header) throw Error(Errc::kCorrupt, storage.description() + ": " + page.damage);
  Header header = *page.header;
  check_header(header, storage, options);
  if (header.logged()) {  // its log must not take it for its own again
    header.front.format &= ~HeaderFront::kLogged;
    header.front.identity = {.database = random_id()};
  }
  return header;
}

MemoryConfig memory_config(const PoolOptions& options) {
  return {.capacity_pages = FileSet::capacity_pages(options),
          .frames = options.pool_bytes / kPageSize,
          .contexts = EngineSet::contexts(options.workers),
          .anonymous_release = options.stock_release.value_or(options.anonymous_release)};
}

}  // namespace

PoolCore::PoolCore(const PoolOptions& given)
    : options(checked(given)),
      logger(logger_of(options)),
      _state_memory(FileSet::capacity_pages(options) * sizeof(AtomicPageState), "the page states"),
      _states(reinterpret_cast<AtomicPageState*>(_state_memory.data())),
      files(options),
      write_ahead(options.write_ahead),
      storage(open_storage(options, logger)),
      storage_flush(*storage, [this] { drop_all(*this, 0, files.database_pages()); }),
      header{.mutex = {}, .now = read_header(*storage, options)},
      memory(open_memory(options.memory, memory_config(options), logger)),
      residency(_states, options.pool_bytes / kPageSize, files.capacity_pages()),
      allocator(*storage, files.database_pages(), header.now.next_page),
      pool_frames(options.pool_bytes / kPageSize),
      engines(*this, options.workers),
      freeing{.mutex = {}, .context = options.workers + EngineSet::kMore},
      _free_frames(static_cast<std::int64_t>(options.pool_bytes / kPageSize)) {
  // Not for files before it is known that they are large: a thousand small ones would take 2 GiB.
  const std::size_t of_database = files.first_file_page() * sizeof(AtomicPageState);
  _state_memory.advise(0, of_database, MADV_HUGEPAGE);
  _state_memory.advise(of_database, _state_memory.bytes() - of_database, MADV_NOHUGEPAGE);
  residency.expect_few_pages_from(files.first_file_page());
  _state_memory.wipe_on_fork();  // F2
  if (options.lost_write_check) sums.emplace(files.database_pages());
  if (options.recovered) {
    std::vector<Extent> free = options.recovered->free;
    const std::vector<PageId>& list = options.recovered->list_pages;
    if (options.change_log != nullptr) {
      allocator.keep_lists(list);
    } else {
      for (const PageId page_id : list) free.push_back({page_id, 0});
    }
    allocator.adopt(std::move(free));
    const std::uint64_t bytes = header.now.next_page * kPageSize;
    if (const int error = storage->size_bytes() < bytes ? storage->resize(bytes) : 0; error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage},
                  "making " + storage->description() + " as long as it was");
    }
  }
  if (header.now.clean != 0 && header.now.free_list != kNoPage)
    allocator.load(header.now.free_list);
  register_frames();
  if (memory->unlocked()) {
    logger(LogLevel::kWarning,
           "the process locks its memory (mlockall): the page area is not locked, so that pages "
           "can be evicted");
  }
  description = storage->description() + ", " + memory->description();
  if (storage->can_grow() && storage->size_bytes() <= kPageSize) {
    if (const int error = storage->resize(kPageSize); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "making " + storage->description());
    }
    // A header that is torn is then a page of which some sectors are zeros, and never shorter.
    storage_flush.flush();
  }
  write_header(false, kNoPage);
  // With a log, what was freed may still be wanted by a recovery that begins before the free.
  if (options.deallocate && options.change_log == nullptr && storage->deallocate({}) == 0)
    allocator.remember_freed();
  engines.open();
  storage->keep();
  open = true;
}

void PoolCore::refuse_closed() {
  throw Error(Errc::kClosed, "the pool was closed");
}

void PoolCore::register_frames() {
  const Switch wanted = options.io_uring.registered_frames;
  if (wanted == Switch::kOff) return;
  std::string why_not;
  int error = 0;
  if (const std::span<std::byte> frames = memory->show_frames(why_not); !frames.empty()) {
    error = storage->register_memory(frames);
    if (error == 0) return;
    memory->hide_frames();
    why_not = fmt::format("refused: {} (errno {})", std::strerror(error), error);
  }
  if (wanted == Switch::kOn) {
    throw Error(Status{Errc::kUnsupported, error, kNoPage},
                "registered frames were asked for, but " + why_not);
  }
  logger(LogLevel::kInfo, "without registered frames: " + why_not);
}

std::uint64_t PoolCore::take_frames(std::uint64_t wanted) noexcept {
  std::int64_t free = _free_frames.load(std::memory_order_acquire);
  for (;;) {
    if (free <= 0) return 0;
    const std::int64_t taken = std::min(free, static_cast<std::int64_t>(wanted));
    if (_free_frames.compare_exchange_weak(free, free - taken, std::memory_order_acq_rel)) {
      return static_cast<std::uint64_t>(taken);
    }
  }
}

void PoolCore::set_place(IoRequest& request, PageId page_id) const noexcept {
  const RawFile* const file = files.file_of(page_id);
  request.file = file != nullptr ? &file->target() : nullptr;
  request.offset = offset_of(page_id);
}

std::uint64_t PoolCore::offset_of(PageId page_id) const noexcept {
  const RawFile* const file = files.file_of(page_id);
  return file != nullptr ? file->offset_of(page_id) : page_id * kPageSize;
}

void PoolCore::expect_many_pages(PageId first, std::uint64_t pages) const noexcept {
  _state_memory.advise(first * sizeof(AtomicPageState), pages * sizeof(AtomicPageState),
                       MADV_HUGEPAGE);
}

const PageFormat* PoolCore::format_of(PageId page_id) const noexcept {
  if (const RawFile* const file = files.file_of(page_id)) return file->format();
  return options.page_header ? &header_format() : nullptr;
}

WriteAhead* PoolCore::log_of(PageId page_id) const noexcept {
  const RawFile* const file = files.file_of(page_id);
  return file != nullptr ? file->write_ahead() : write_ahead;
}

int PoolCore::flush_error(PageId page_id) const noexcept {
  const RawFile* const file = files.file_of(page_id);
  return file != nullptr ? file->flush().error() : storage_flush.error();
}

std::unique_ptr<IoQueue> PoolCore::make_queue(unsigned depth, bool single_issuer) {
  auto queue = storage->make_queue(depth, single_issuer);
  if (options.files_bytes == 0 || queue->serves_files()) return queue;
  return join_queues(std::move(queue), files.make_queue(options, logger, depth, single_issuer));
}

void PoolCore::report_write_error(const Status& status, std::uint64_t now_ns) noexcept try {
  const std::uint64_t times = write_errors.add(status, now_ns);
  if (!std::has_single_bit(times)) return;
  const RawFile* const file = files.file_of(status.page_id);
  logger(LogLevel::kError, fmt::format("{}: {} (failure {}); the page stays dirty",
                                       file != nullptr ? file->path() : storage->description(),
                                       status.to_string(), times));
} catch (const std::bad_alloc&) {  // NOLINT: the writer hears of it anyway
}

void PoolCore::report(const char* what) noexcept try {
  logger(LogLevel::kError, fmt::format("{}: {}", storage->description(), what));
} catch (const std::exception&) {  // NOLINT: not even for the words
}

void PoolCore::write_header(bool clean, PageId free_list, const Identity* checkpoint) {
  const std::lock_guard lock(header.mutex);
  Header next = header.now;
  if (checkpoint != nullptr) next.front.identity = *checkpoint;
  next.front.log_end = write_ahead != nullptr ? write_ahead->durable_lsn() : 0;
  next.clean = clean ? 1 : 0;
  next.next_page = allocator.next_page();
  next.free_list = free_list;
  next.write(*storage);
  storage_flush.flush();
  header.now = next;
}

}  // namespace vmcache::detail
