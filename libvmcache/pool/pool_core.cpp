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
      storage(open_storage(options, logger)),
      storage_flush(*storage, [this] { drop_all(*this, 0, files.database_pages()); }),
      database(*this, options, 0, files.database_pages(), *storage, storage_flush),
      memory(open_memory(options.memory, memory_config(options), logger)),
      residency(_states, options.pool_bytes / kPageSize, files.capacity_pages()),
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
  database.load_free();
  register_frames();
  if (memory->unlocked()) {
    logger(LogLevel::kWarning,
           "the process locks its memory (mlockall): the page area is not locked, so that pages "
           "can be evicted");
  }
  description = storage->description() + ", " + memory->description();
  database.begin();
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
  return file != nullptr ? file->write_ahead() : options.write_ahead;
}

int PoolCore::flush_error(PageId page_id) const noexcept {
  const RawFile* const file = files.file_of(page_id);
  return file != nullptr ? file->flush().error() : storage_flush.error();
}

bool PoolCore::read_only(PageId page_id) const noexcept {
  const RawFile* const file = files.file_of(page_id);
  return file != nullptr ? file->read_only() : options.read_only;
}

PagedStore* PoolCore::paged_of(PageId page_id) noexcept {
  RawFile* const file = files.file_of(page_id);
  return file != nullptr ? file->paged() : &database;
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
  logger(LogLevel::kError,
         fmt::format("{}: {} (failure {}); the page stays dirty",
                     file != nullptr ? file->path() : storage->description(),
                     (file != nullptr ? file->told(status) : status).to_string(), times));
} catch (const std::bad_alloc&) {  // NOLINT: the writer hears of it anyway
}

void PoolCore::report_dropped(PageId page_id) noexcept try {
  const std::uint64_t times = write_errors.add_dropped();
  if (!std::has_single_bit(times)) return;
  const RawFile* const file = files.file_of(page_id);
  const PageId told = file != nullptr ? file->offset_of(page_id) / kPageSize : page_id;
  logger(LogLevel::kError,
         fmt::format("{}: read only: what was changed in its page {} is lost (page number {} so)",
                     file != nullptr ? file->path() : storage->description(), told, times));
} catch (const std::exception&) {  // NOLINT: not even for the words
}

void PoolCore::report(const char* what) noexcept try {
  logger(LogLevel::kError, fmt::format("{}: {}", storage->description(), what));
} catch (const std::exception&) {  // NOLINT: not even for the words
}

}  // namespace vmcache::detail
