// SPDX-License-Identifier: MIT
#include "pool/check_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "memory/memory.hpp"
#include "pool/engine_set.hpp"
#include "pool/file_set.hpp"
#include "vmcache/error.hpp"
#include "vmcache/types.hpp"

namespace vmcache {
namespace {

constexpr std::uint64_t kMinPoolBytes = 16 * kPageSize;
constexpr std::uint64_t kMinCapacityBytes = 32 * kPageSize;
constexpr std::uint64_t kMaxPaths = 64;
constexpr std::int64_t kMaxFrameWaitMs = 3'600'000;
constexpr std::uint64_t kMaxStripeBytes = std::uint64_t{1} << 30;
// Half of the address space of x86-64.
constexpr std::uint64_t kMaxCapacityBytes = std::uint64_t{64} << 40;
// As many as have contexts.
constexpr std::uint64_t kMaxWorkers = kMaxContexts - detail::EngineSet::contexts(0);
// Slots of residents have 32-bit numbers.
constexpr std::uint64_t kMaxPoolBytes = std::uint64_t{8} << 40;

void check(std::string_view name, std::uint64_t value, std::uint64_t min, std::uint64_t max,
           std::string_view unit) {
  if (value >= min && value <= max) return;
  throw Error(Errc::kInvalidOption,
              fmt::format("{} = {}{}: allowed are {} to {}{}", name, value, unit, min, max, unit));
}

//! `last` is the greatest enumerator.
template <typename Enum>
void check_enum(std::string_view name, Enum value, Enum last) {
  check(name, static_cast<std::uint64_t>(value), 0, static_cast<std::uint64_t>(last), "");
}

void check_enums(const PoolOptions& options) {
  check_enum("memory", options.memory, MemoryKind::kExmap);
  check_enum("storage", options.storage, StorageKind::kNvmePassthrough);
  check_enum("anonymous_release", options.anonymous_release, AnonymousRelease::kMadvisePages);
  const IoUringOptions& ring = options.io_uring;
  check_enum("io_uring.registered_files", ring.registered_files, Switch::kOff);
  check_enum("io_uring.registered_ring", ring.registered_ring, Switch::kOff);
  check_enum("io_uring.deferred", ring.deferred, Switch::kOff);
  check_enum("io_uring.polled", ring.polled, Switch::kOff);
  check_enum("io_uring.sq_polling", ring.sq_polling, Switch::kOff);
  check_enum("io_uring.registered_frames", ring.registered_frames, Switch::kOff);
}

void check_paths(const PoolOptions& options) {
  if (options.make_storage) return;
  if (options.paths.empty()) {
    if (options.path.empty() && options.files_bytes == 0) {
      throw Error(Errc::kInvalidOption,
                  "path is empty: name a file or a block device, or give files_bytes for files "
                  "that are opened later");
    }
  } else if (!options.path.empty()) {
    throw Error(Errc::kInvalidOption, "path and paths are both set: one of them, not both");
  }
  check("paths", options.paths.size(), 0, kMaxPaths, " of them");
  for (const auto& path : options.paths) {
    if (path.empty()) throw Error(Errc::kInvalidOption, "paths: one of them is empty");
  }
  if (options.stripe_bytes == 0) return;
  check("stripe_bytes", options.stripe_bytes, kPageSize, kMaxStripeBytes, " bytes");
  if (!std::has_single_bit(options.stripe_bytes))
    throw Error(Errc::kInvalidOption,
                fmt::format("stripe_bytes = {}: not a power of two", options.stripe_bytes));
  if (options.paths.size() < 2)
    throw Error(Errc::kInvalidOption,
                fmt::format("stripe_bytes = {}: there is one path only", options.stripe_bytes));
}

//! What a pool without a database would ignore.
void check_without_database(const PoolOptions& options) {
  if (options.has_database()) return;
  const char* what = nullptr;
  if (options.page_header) what = "page_header";
  if (options.write_ahead != nullptr) what = "write_ahead";
  if (options.change_log != nullptr) what = "change_log";
  if (options.recovered) what = "recovered";
  if (options.lost_write_check) what = "lost_write_check";
  if (what != nullptr)
    throw Error(Errc::kInvalidOption,
                fmt::format("{} is set, but there is no database: path is empty", what));
}

//! What would write, or needs a database that was not closed cleanly.
void check_read_only(const PoolOptions& options) {
  if (!options.read_only) return;
  const char* what = nullptr;
  if (!options.has_database()) what = "no database: path is empty";
  if (options.allow_unclean) what = "allow_unclean";
  if (options.recovered) what = "recovered";
  if (options.write_ahead != nullptr) what = "write_ahead";
  if (options.change_log != nullptr) what = "change_log";
  if (what != nullptr)
    throw Error(Errc::kInvalidOption, fmt::format("read_only is set, and {}", what));
}

void check_files_bytes(const PoolOptions& options) {
  constexpr std::uint64_t kUnit = PoolOptions::kFileRangeBytes;
  const std::uint64_t taken = detail::FileSet::first_page(options) * kPageSize;
  check("files_bytes", options.files_bytes, 0,
        kMaxCapacityBytes - std::min(taken, kMaxCapacityBytes), " bytes");
  if (options.files_bytes % kUnit != 0)
    throw Error(Errc::kInvalidOption,
                fmt::format("files_bytes = {}: not a multiple of {}", options.files_bytes, kUnit));
}

}  // namespace

void check_pool_bytes(std::uint64_t pool_bytes, const PoolOptions& options) {
  const std::uint64_t capacity_bytes = detail::FileSet::capacity_pages(options) * kPageSize;
  check("pool_bytes", pool_bytes, kMinPoolBytes, std::min(capacity_bytes, kMaxPoolBytes), " bytes");
}

void check_database_options(const PoolOptions& options) {
  check("capacity_bytes", options.capacity_bytes, kMinCapacityBytes, kMaxCapacityBytes, " bytes");
  check_read_only(options);
  if (options.write_ahead != nullptr && !options.page_header) {
    throw Error(Errc::kInvalidOption,
                "write_ahead is set and page_header is not: a page's LSN is in its header");
  }
}

void check_options(const PoolOptions& options) {
  check_paths(options);
  check_enums(options);
  check_database_options(options);
  check_files_bytes(options);
  check_without_database(options);
  check_pool_bytes(options.pool_bytes, options);
  check("workers", options.workers, 1, kMaxWorkers, "");
  check("io_depth", options.io_depth, 1, 4096, "");
  check("evict_batch", options.evict_batch, 1, 4096, "");
  const auto wait_ms = options.frame_wait.count();
  if (wait_ms < 1 || wait_ms > kMaxFrameWaitMs)
    throw Error(Errc::kInvalidOption, fmt::format("frame_wait = {} ms: allowed are 1 to {} ms",
                                                  wait_ms, kMaxFrameWaitMs));
}

}  // namespace vmcache
