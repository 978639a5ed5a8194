// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "capi/failure.hpp"
#include "capi/held_pages.hpp"
#include "capi/pool_handle.hpp"
#include "capi/structs.hpp"
#include "vmcache.h"

namespace vmcache::capi {
namespace {

static_assert(VMCACHE_PAGE_SIZE == kPageSize && VMCACHE_NO_PAGE == kNoPage);
static_assert(VMCACHE_MAX_ORDER == kMaxOrder && VMCACHE_ROOTS == BufferPool::kRoots);
static_assert(VMCACHE_FILE_RANGE_BYTES == PoolOptions::kFileRangeBytes);
static_assert(VMCACHE_LOG_ERROR == static_cast<int>(LogLevel::kError));
static_assert(VMCACHE_MEMORY_EXMAP == static_cast<int>(MemoryKind::kExmap));
static_assert(VMCACHE_STORAGE_NVME_PASSTHROUGH == static_cast<int>(StorageKind::kNvmePassthrough));
// Part of the ABI: a change of a struct adds a size to known_size().
static_assert(sizeof(struct vmcache_pool_options) == 112);
static_assert(sizeof(struct vmcache_paged_options) == 32);
static_assert(sizeof(struct vmcache_pool_stats) == 34 * sizeof(std::uint64_t));

constexpr std::uint64_t kAllPoolFlags = VMCACHE_POOL_NO_CREATE | VMCACHE_POOL_ALLOW_UNCLEAN |
                                        VMCACHE_POOL_NO_DIRECT_IO | VMCACHE_POOL_NO_DEALLOCATE |
                                        VMCACHE_POOL_PAGE_HEADER | VMCACHE_POOL_LOST_WRITE_CHECK |
                                        VMCACHE_POOL_READ_ONLY;
// The file system's blocks stay a file's.
constexpr std::uint64_t kAllPagedFlags = kAllPoolFlags & ~std::uint64_t{VMCACHE_POOL_NO_DEALLOCATE};

template <typename Target, typename Value>
void take_unless_zero(Target& target, Value value) {
  if (value != 0) target = Target(value);
}

}  // namespace

void Logger::log(int level, std::string_view text) noexcept {
  if (_callback == nullptr) return;
  std::array<char, 1024> line;
  const std::size_t length = std::min(text.size(), line.size() - 1);
  std::copy_n(text.data(), length, line.data());
  line[length] = '\0';
  const std::lock_guard lock(_mutex);
  _callback(_user, level, line.data());
}

int check_mode(const char* call, int mode) noexcept {
  if (mode == VMCACHE_SHARED || mode == VMCACHE_EXCLUSIVE) return VMCACHE_OK;
  return fail(VMCACHE_INVALID_OPTION,
              "%s: mode is %d: allowed are VMCACHE_SHARED (1) and VMCACHE_EXCLUSIVE (2)", call,
              mode);
}

int pool_options_of(const char* call, const struct vmcache_pool_options* given,
                    PoolOptions& options, std::shared_ptr<Logger>& logger) {
  struct vmcache_pool_options from;
  if (const int code = take_struct(call, "options", given, from)) return code;
  if ((from.flags & ~kAllPoolFlags) != 0)
    return fail(VMCACHE_INVALID_OPTION, "%s: options->flags is %#llx: allowed are bits of %#llx",
                call, static_cast<unsigned long long>(from.flags),
                static_cast<unsigned long long>(kAllPoolFlags));
  if (from.memory > VMCACHE_MEMORY_EXMAP)
    return fail(VMCACHE_INVALID_OPTION, "%s: options->memory is %u: allowed are 0 to %d", call,
                from.memory, VMCACHE_MEMORY_EXMAP);
  if (from.storage > VMCACHE_STORAGE_NVME_PASSTHROUGH)
    return fail(VMCACHE_INVALID_OPTION, "%s: options->storage is %u: allowed are 0 to %d", call,
                from.storage, VMCACHE_STORAGE_NVME_PASSTHROUGH);
  if (from.path_count != 0 && from.paths == nullptr) return fail_null(call, "options->paths");
  if (from.path_count != 0 && from.path != nullptr)
    return fail(VMCACHE_INVALID_OPTION, "%s: options->path and paths are both set", call);
  if (from.path != nullptr) options.path = from.path;
  for (std::size_t n = 0; n < from.path_count; ++n) {
    if (from.paths[n] == nullptr) return fail_null(call, "an entry of options->paths");
    options.paths.emplace_back(from.paths[n]);
  }
  options.stripe_bytes = from.stripe_bytes;
  take_unless_zero(options.pool_bytes, from.pool_bytes);
  take_unless_zero(options.capacity_bytes, from.capacity_bytes);
  options.files_bytes = from.files_bytes;
  take_unless_zero(options.workers, from.workers);
  take_unless_zero(options.io_depth, from.io_depth);
  take_unless_zero(options.evict_batch, from.evict_batch);
  take_unless_zero(options.frame_wait, from.frame_wait_ms);
  options.memory = static_cast<MemoryKind>(from.memory);
  options.storage = static_cast<StorageKind>(from.storage);
  options.create = (from.flags & VMCACHE_POOL_NO_CREATE) == 0;
  options.allow_unclean = (from.flags & VMCACHE_POOL_ALLOW_UNCLEAN) != 0;
  options.direct_io = (from.flags & VMCACHE_POOL_NO_DIRECT_IO) == 0;
  options.deallocate = (from.flags & VMCACHE_POOL_NO_DEALLOCATE) == 0;
  options.page_header = (from.flags & VMCACHE_POOL_PAGE_HEADER) != 0;
  options.lost_write_check = (from.flags & VMCACHE_POOL_LOST_WRITE_CHECK) != 0;
  options.read_only = (from.flags & VMCACHE_POOL_READ_ONLY) != 0;
  logger = std::make_shared<Logger>(from.log, from.log_user);
  if (from.log != nullptr) {
    options.logger = [logger](LogLevel level, std::string_view text) {
      logger->log(static_cast<int>(level), text);
    };
  }
  return VMCACHE_OK;
}

}  // namespace vmcache::capi

std::uint64_t vmcache_pool::next_number() noexcept {
  static std::atomic<std::uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void vmcache_pool::keep_until_the_end(std::shared_ptr<void> object) {
  const std::lock_guard lock(_mutex);
  _kept.push_back(std::move(object));
}

void vmcache_pool::let_go(const std::shared_ptr<void>& object) noexcept {
  const std::lock_guard lock(_mutex);
  std::erase(_kept, object);
}

void vmcache_pool::log_format(int level, const char* format, ...) noexcept {
  std::array<char, 256> line;
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line.data(), line.size(), format, arguments);
  va_end(arguments);
  _logger->log(level, line.data());
}

int vmcache_pool::refuse_database(const char* call) const noexcept {
  if (!of_database()) return VMCACHE_OK;
  return vmcache::capi::fail(VMCACHE_INVALID_OPTION,
                             "%s: the pool is a database's, which does that itself", call);
}

int vmcache_pool::refuse_if_used(const char* call) noexcept {
  using vmcache::capi::fail;
  const auto pins = static_cast<unsigned long long>(_pins.held());
  // Acquire: pairs with ~Use().
  const auto uses = static_cast<unsigned long long>(_uses.load(std::memory_order_acquire));
  if (pins > 0) return fail(VMCACHE_BUSY, "%s: %llu pages are pinned", call, pins);
  if (uses > 0)
    return fail(VMCACHE_BUSY, "%s: %llu handles that were made from it are alive", call, uses);
  if (vmcache::capi::holds_pages(_number)) return fail(VMCACHE_BUSY, "%s: a page is fixed", call);
  return VMCACHE_OK;
}

using vmcache::capi::fail_null;
using vmcache::capi::guarded;

int vmcache_pool_open(const struct vmcache_pool_options* options, struct vmcache_pool** pool) {
  constexpr const char* kCall = "vmcache_pool_open";
  if (pool == nullptr) return fail_null(kCall, "pool");
  *pool = nullptr;
  return guarded(kCall, [&] {
    vmcache::PoolOptions cpp;
    std::shared_ptr<vmcache::capi::Logger> logger;
    if (const int code = vmcache::capi::pool_options_of(kCall, options, cpp, logger)) return code;
    *pool = new vmcache_pool(cpp, std::move(logger));
    return int{VMCACHE_OK};
  });
}

int vmcache_pool_open_paged(struct vmcache_pool* pool, const struct vmcache_paged_options* options,
                            struct vmcache_pool** file) {
  constexpr const char* kCall = "vmcache_pool_open_paged";
  if (file == nullptr) return fail_null(kCall, "file");
  *file = nullptr;
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] {
    struct vmcache_paged_options from;
    if (const int code = vmcache::capi::take_struct(kCall, "options", options, from)) return code;
    if (from.path == nullptr) return fail_null(kCall, "options->path");
    using vmcache::capi::kAllPagedFlags;
    if ((from.flags & ~kAllPagedFlags) != 0)
      return vmcache::capi::fail(VMCACHE_INVALID_OPTION,
                                 "%s: options->flags is %#llx: allowed are bits of %#llx", kCall,
                                 static_cast<unsigned long long>(from.flags),
                                 static_cast<unsigned long long>(kAllPagedFlags));
    const auto has = [&](std::uint64_t flag) { return (from.flags & flag) != 0; };
    vmcache::PagedFileOptions cpp;
    cpp.path = from.path;
    if (from.capacity_bytes != 0) cpp.capacity_bytes = from.capacity_bytes;
    cpp.create = !has(VMCACHE_POOL_NO_CREATE);
    cpp.direct_io = !has(VMCACHE_POOL_NO_DIRECT_IO);
    cpp.allow_unclean = has(VMCACHE_POOL_ALLOW_UNCLEAN);
    cpp.read_only = has(VMCACHE_POOL_READ_ONLY);
    cpp.page_header = has(VMCACHE_POOL_PAGE_HEADER);
    cpp.lost_write_check = has(VMCACHE_POOL_LOST_WRITE_CHECK);
    *file = new vmcache_pool(*pool, cpp);
    return int{VMCACHE_OK};
  });
}

int vmcache_pool_close(struct vmcache_pool* pool) {
  constexpr const char* kCall = "vmcache_pool_close";
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] { pool->pool().close(); });
}

int vmcache_pool_destroy(struct vmcache_pool* pool) {
  constexpr const char* kCall = "vmcache_pool_destroy";
  if (pool == nullptr) return VMCACHE_OK;
  if (const int code = pool->refuse_database(kCall)) return code;
  // A child of fork() has the parent's threads' pages in its tables, but nobody who holds them.
  if (pool->process().here()) {
    if (const int busy = pool->refuse_if_used(kCall)) return busy;
  }
  const int closed = guarded(kCall, [&] { pool->pool().close(); });
  if (closed == VMCACHE_BUSY) return closed;
  delete pool;
  return closed;
}

int vmcache_pool_checkpoint(struct vmcache_pool* pool) {
  constexpr const char* kCall = "vmcache_pool_checkpoint";
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] { pool->pool().checkpoint(); });
}

int vmcache_pool_resize(struct vmcache_pool* pool, uint64_t pool_bytes) {
  constexpr const char* kCall = "vmcache_pool_resize";
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] { pool->pool().resize(pool_bytes); });
}

int vmcache_pool_root(struct vmcache_pool* pool, unsigned index, uint64_t* page_id) {
  constexpr const char* kCall = "vmcache_pool_root";
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (page_id == nullptr) return fail_null(kCall, "page_id");
  return guarded(kCall, [&] { *page_id = pool->pool().root(index); });
}

int vmcache_pool_set_root(struct vmcache_pool* pool, unsigned index, uint64_t page_id) {
  constexpr const char* kCall = "vmcache_pool_set_root";
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] { pool->pool().set_root(index, page_id); });
}

int vmcache_pool_get_stats(struct vmcache_pool* pool, struct vmcache_pool_stats* stats) {
  constexpr const char* kCall = "vmcache_pool_get_stats";
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] {
    const vmcache::PoolStats from = pool->pool().stats();
    struct vmcache_pool_stats all {};
    all.misses = from.misses;
    all.reads = from.reads;
    all.read_pages = from.read_pages;
    all.writes = from.writes;
    all.written_pages = from.written_pages;
    all.read_errors = from.read_errors;
    all.write_errors = from.write_errors;
    all.retries = from.retries;
    all.submissions = from.submissions;
    all.flushes = from.flushes;
    all.evictions = from.evictions;
    all.evicted_pages = from.evicted_pages;
    all.page_table_calls = from.page_table_calls;
    all.page_table_pages = from.page_table_pages;
    all.frame_waits = from.frame_waits;
    all.latch_waits = from.latch_waits;
    all.empty_poll_ns = from.empty_poll_ns;
    all.restarts = from.restarts;
    all.promotions = from.promotions;
    all.allocated_pages = from.allocated_pages;
    all.freed_pages = from.freed_pages;
    all.pool_pages = from.pool_pages;
    all.free_frames = from.free_frames;
    all.database_pages = from.database_pages;
    all.capacity_pages = from.capacity_pages;
    all.pins = from.pins;
    all.open_files = from.open_files;
    all.read_p50_ns = from.read_latency.quantile_ns(0.5);
    all.read_p99_ns = from.read_latency.quantile_ns(0.99);
    all.read_p999_ns = from.read_latency.quantile_ns(0.999);
    all.write_p50_ns = from.write_latency.quantile_ns(0.5);
    all.write_p99_ns = from.write_latency.quantile_ns(0.99);
    all.write_p999_ns = from.write_latency.quantile_ns(0.999);
    return vmcache::capi::give_struct(kCall, "stats", all, stats);
  });
}

const char* vmcache_pool_description(struct vmcache_pool* pool) {
  if (pool == nullptr) {
    (void)fail_null("vmcache_pool_description", "pool");
    return nullptr;
  }
  return pool->pool().description().c_str();
}
