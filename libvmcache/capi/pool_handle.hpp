// SPDX-License-Identifier: MIT
//
// What struct vmcache_pool is: a pool of its own or that of a database, and what was made from it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "capi/failure.hpp"
#include "capi/pin_table.hpp"
#include "vmcache.h"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/detail/own_process.hpp"
#include "vmcache/paged_file.hpp"

namespace vmcache::capi {

//! Hands what a pool logs to a C callback, one call at a time.
class Logger {
 public:
  Logger(vmcache_log_callback callback, void* user) noexcept : _callback(callback), _user(user) {}

  void log(int level, std::string_view text) noexcept;

 private:
  vmcache_log_callback _callback;
  void* _user;
  std::mutex _mutex;
};

//! The C++ options that stand for those of C. Fails with a code.
[[nodiscard]] int pool_options_of(const char* call, const struct vmcache_pool_options* given,
                                  PoolOptions& options, std::shared_ptr<Logger>& logger);

//! VMCACHE_INVALID_OPTION, with a message, for what is no enum vmcache_mode.
[[nodiscard]] int check_mode(const char* call, int mode) noexcept;

//! Counts a handle that was made from another one while it lives.
class Use {
 public:
  explicit Use(std::atomic<std::uint64_t>& count) noexcept : _count(count) {
    _count.fetch_add(1, std::memory_order_relaxed);
  }
  //! Release: pairs with the acquire in whoever destroys the other handle.
  ~Use() { _count.fetch_sub(1, std::memory_order_release); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  std::atomic<std::uint64_t>& _count;
};

}  // namespace vmcache::capi

struct vmcache_pool {
 public:
  //! A pool of its own.
  vmcache_pool(const vmcache::PoolOptions& options, std::shared_ptr<vmcache::capi::Logger> logger)
      : _logger(std::move(logger)),
        _own(std::make_shared<vmcache::BufferPool>(options)),
        _pool(*_own) {}
  //! The pool of a database, whose handle this is a part of.
  vmcache_pool(vmcache::BufferPool& pool, std::shared_ptr<vmcache::capi::Logger> logger)
      : _logger(std::move(logger)), _pool(pool) {}
  //! A paged file in the pool of another handle.
  vmcache_pool(vmcache_pool& pool, const vmcache::PagedFileOptions& options)
      : _use(std::in_place, pool._uses),
        _logger(pool._logger),
        _own(std::make_shared<vmcache::PagedFile>(pool.pool(), options)),
        _pool(*_own) {}
  vmcache_pool(const vmcache_pool&) = delete;
  vmcache_pool& operator=(const vmcache_pool&) = delete;

  [[nodiscard]] vmcache::BufferPool& pool() noexcept { return _pool; }
  [[nodiscard]] const vmcache::BufferPool& pool() const noexcept { return _pool; }
  [[nodiscard]] bool of_database() const noexcept { return _own == nullptr; }
  [[nodiscard]] const vmcache::detail::OwnProcess& process() const noexcept { return _process; }
  //! Not used again in this process, unlike the address.
  [[nodiscard]] std::uint64_t number() const noexcept { return _number; }
  [[nodiscard]] vmcache::capi::PinTable& pins() noexcept { return _pins; }
  //! Handles that were made from it and are alive.
  [[nodiscard]] std::atomic<std::uint64_t>& uses() noexcept { return _uses; }
  //! Keeps what the pool may call until the pool is gone.
  void keep_until_the_end(std::shared_ptr<void> object);
  //! Undoes that.
  void let_go(const std::shared_ptr<void>& object) noexcept;

  [[gnu::format(printf, 3, 4)]] void log_format(int level, const char* format, ...) noexcept;

  //! VMCACHE_INVALID_OPTION, with a message, if it is a database's: for what would change pages
  //! behind the back of its log.
  [[nodiscard]] int refuse_database(const char* call) const noexcept;
  //! The same for an exclusive fix of a page of a database; those of files are their owner's.
  [[nodiscard]] int refuse_change(const char* call, vmcache::PageId page_id,
                                  int mode) const noexcept {
    if (mode == VMCACHE_SHARED || !of_database() || !_pool.contains(page_id)) return VMCACHE_OK;
    return refuse_database(call);
  }
  //! VMCACHE_BUSY, with a message, if something that was made from the handle is alive.
  [[nodiscard]] int refuse_if_used(const char* call) noexcept;

 private:
  static std::uint64_t next_number() noexcept;

  const vmcache::detail::OwnProcess _process;
  const std::uint64_t _number = next_number();
  std::atomic<std::uint64_t> _uses{0};
  std::optional<vmcache::capi::Use> _use;  // of the pool that a paged file is in
  std::shared_ptr<vmcache::capi::Logger> _logger;
  std::mutex _mutex;
  std::vector<std::shared_ptr<void>> _kept;
  std::shared_ptr<vmcache::BufferPool> _own;  // shared: a PagedFile is deleted as such
  vmcache::BufferPool& _pool;
  vmcache::capi::PinTable _pins;  // goes first
};
