// SPDX-License-Identifier: MIT
#include "pool/pool_core.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "pool/check_options.hpp"
#include "pool/page_buffer.hpp"
#include "storage/open.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

PoolOptions checked(const PoolOptions& options) {
  check_options(options);
  return options;
}

std::uint32_t format_of(const PoolOptions& options) {
  return options.page_header ? Header::kPageHeaders : 0;
}

//! From the log. Page 0 is looked at only to tell a foreign file: what is ours may be torn.
Header recovered_header(Storage& storage, const PoolOptions& options) {
  const RecoveredState& state = *options.recovered;
  PageBuffer page;
  if (storage.size_bytes() >= kPageSize) {
    if (const int error = storage.read(0, page.bytes); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "reading the header of " + storage.description());
    }
  }
  std::array<char, Header::kMagic.size()> magic{};
  const bool none = std::memcmp(page.bytes.data(), magic.data(), magic.size()) == 0;
  std::memcpy(magic.data(), page.bytes.data(), magic.size());
  if (!none && magic != Header::kMagic) {
    throw Error(Errc::kNotADatabase,
                storage.description() + ": does not begin with a database header; not touched");
  }
  if (state.next_page == 0 || state.next_page > options.capacity_bytes / kPageSize ||
      state.roots.size() > Header::kRoots) {
    throw Error(
        Errc::kInvalidOption,
        fmt::format("recovered: next_page = {}, {} roots; allowed are 1 to {}, and {} roots", state.next_page,
                    state.roots.size(), options.capacity_bytes / kPageSize, Header::kRoots));
  }
  Header header;
  header.format = format_of(options);
  header.next_page = state.next_page;
  std::ranges::copy(state.roots, header.roots.begin());
  return header;
}

//! What the storage holds, or a new header if it holds nothing. Writes nothing.
Header read_header(Storage& storage, const PoolOptions& options) {
  if (options.recovered) return recovered_header(storage, options);
  if (!storage.blank()) {
    Header header = Header::read(storage);
    if (header.clean == 0 && !options.allow_unclean) {
      throw Error(
          Errc::kUncleanShutdown,
          storage.description() + ": was not closed; allow_unclean opens it as it is, which may be torn");
    }
    if (header.format != format_of(options)) {
      throw Error(Errc::kInvalidOption,
                  fmt::format("page_header = {}: the database was made {} page headers", options.page_header,
                              options.page_header ? "without" : "with"));
    }
    if (header.next_page > options.capacity_bytes / kPageSize) {
      throw Error(Errc::kInvalidOption, fmt::format("capacity_bytes = {}: the database has {} bytes already",
                                                    options.capacity_bytes, header.next_page * kPageSize));
    }
    if (header.next_page * kPageSize > storage.size_bytes()) {
      throw Error(Errc::kCorrupt,
                  fmt::format("{}: has {} bytes, but the database on it {}: it was cut off, or copied "
                              "to something smaller; nothing was written",
                              storage.description(), storage.size_bytes(), header.next_page * kPageSize));
    }
    return header;
  }
  if (!options.create) {
    throw Error(Errc::kNotADatabase, storage.description() + ": is empty, and create = false");
  }
  Header header;
  header.clean = 1;
  header.format = format_of(options);
  return header;
}

MemoryConfig memory_config(const PoolOptions& options) {
  return {.capacity_pages = options.capacity_bytes / kPageSize,
          .frames = options.pool_bytes / kPageSize,
          .contexts = options.workers + 1,
          .stock_release = options.stock_release};
}

}  // namespace

PoolCore::PoolCore(const PoolOptions& given)
    : options(checked(given)),
      log(options.log),
      _state_memory(options.capacity_bytes / kPageSize * sizeof(AtomicPageState), "the page states"),
      _states(reinterpret_cast<AtomicPageState*>(_state_memory.data())),
      capacity_pages(options.capacity_bytes / kPageSize),
      write_ahead(options.write_ahead),
      storage(open_storage(options, log)),
      header(read_header(*storage, options)),
      memory(open_memory(options.memory, memory_config(options), log)),
      residency(_states, options.pool_bytes / kPageSize, capacity_pages,
                (options.workers + 1) * options.io_depth + 64),
      allocator(*storage, capacity_pages, header.next_page),
      pool_frames(options.pool_bytes / kPageSize),
      engines(*this, options.workers),
      _free_frames(static_cast<std::int64_t>(options.pool_bytes / kPageSize)) {
  _state_memory.advise(MADV_HUGEPAGE);
  if (options.lost_write_check) sums.emplace(capacity_pages);
  if (options.recovered) {
    allocator.adopt(options.recovered->free);
    const std::uint64_t bytes = header.next_page * kPageSize;
    if (const int error = storage->size_bytes() < bytes ? storage->resize(bytes) : 0; error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage},
                  "making " + storage->description() + " as long as it was");
    }
  }
  if (header.clean != 0 && header.free_list != kNoPage) allocator.load(header.free_list);
  register_frames();
  description = storage->description() + ", " + memory->description();
  if (storage->size_bytes() < kPageSize) {
    if (const int error = storage->resize(kPageSize); error != 0) {
      throw Error(Status{Errc::kIo, error, kNoPage}, "making " + storage->description());
    }
  }
  write_header(false, kNoPage);
  // With a log, what was freed may still be wanted by a recovery that begins before the free.
  if (options.deallocate && options.change_log == nullptr && storage->deallocate({}) == 0)
    allocator.remember_freed();
  open = true;
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
  log(LogLevel::kInfo, "without registered frames: " + why_not);
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

void PoolCore::report_write_error(const Status& status) noexcept try {
  _last_write_error.store(status.os_error, std::memory_order_relaxed);
  const std::uint64_t times = _write_errors.fetch_add(1, std::memory_order_relaxed) + 1;
  if (!std::has_single_bit(times)) return;
  log(LogLevel::kError, fmt::format("{}: {} (failure {}); the page stays dirty", storage->description(),
                                    status.to_string(), times));
} catch (const std::bad_alloc&) {  // NOLINT: the writer hears of it anyway
}

void PoolCore::write_header(bool clean, PageId free_list) {
  const std::lock_guard lock(header_mutex);
  Header next = header;
  next.clean = clean ? 1 : 0;
  next.next_page = allocator.next_page();
  next.free_list = free_list;
  next.write(*storage);
  header = next;
}

}  // namespace vmcache::detail
