// SPDX-License-Identifier: MIT
#include "vmcache/database.hpp"

#include <fmt/format.h>

#include "clock.hpp"
#include "logger.hpp"
#include "pool/check_options.hpp"
#include "pool/engine.hpp"
#include "pool/pool_access.hpp"
#include "recovery/database_impl.hpp"
#include "recovery/opening.hpp"

namespace vmcache {
namespace {

//! Of a page file in another pool.
void check_in(const DatabaseOptions& options) {
  const PoolOptions& pool = options.pool;
  const char* what = nullptr;
  if (pool.path.empty()) what = "path is empty";
  if (!pool.paths.empty()) what = "paths is set";
  if (pool.make_storage) what = "make_storage is set";
  if (pool.files_bytes != 0) what = "files_bytes is set";
  if (what != nullptr)
    throw Error(Errc::kInvalidOption,
                fmt::format("pool.{}: a page file in another pool is one file there", what));
  check_database_options(pool);
  detail::PoolAccess::require_usable(*options.in);
  const std::uint64_t room = detail::core_of(*options.in).options.files_bytes;
  if (pool.capacity_bytes > room)
    throw Error(Errc::kInvalidOption, fmt::format("pool.capacity_bytes = {}: the other pool has "
                                                  "files_bytes = {}",
                                                  pool.capacity_bytes, room));
}

//! Checks the options before any file is opened. Returns the log's, with what it shares with the
//! pool.
LogOptions checked(const DatabaseOptions& options) {
  if (options.pool.read_only)
    throw Error(Errc::kInvalidOption,
                "pool.read_only is set: a database that was closed cleanly is read without its "
                "log, by BufferPool and BTree");
  if (options.checkpoint_percent < 1 || options.checkpoint_percent > 100) {
    throw Error(Errc::kInvalidOption, fmt::format("checkpoint_percent = {}: allowed are 1 to 100",
                                                  options.checkpoint_percent));
  }
  if (options.in != nullptr) {
    check_in(options);
  } else {
    check_options(options.pool);
  }
  LogOptions log = options.log;
  log.create = log.create && options.pool.create;
  if (!logger_of(log)) log.logger = logger_of(options.pool);
  return log;
}

}  // namespace

// duration_ns holds the begin until it is known how long the open took.
Database::Impl::Impl(const DatabaseOptions& options)
    : _messages(logger_of(options.pool)),
      _log(checked(options)),
      _recovery{.duration_ns = detail::now_ns()},
      _pool(Opening(options, _log, _recorder, _messages, _recovery).open()),
      _core(detail::core_of(*_pool)),
      _store(detail::store_of(*_pool)),
      _checkpoints(_log, *_pool, _store, _gate, _recorder, _log_space, _messages,
                   options.checkpoint_percent),
      _committer(_log, *_pool, _store, _gate, _trees, _recorder, _log_space, _checkpoints) {
  _open = true;
  {
    const Throttle::Lifted lifted(_checkpoints.throttle());
    _checkpoints.make();
  }
  if (options.checkpoint_thread) _checkpoints.start_thread();
  _recovery.duration_ns = detail::now_ns() - _recovery.duration_ns;
}

void Database::Impl::refuse_closed() {
  throw Error(Errc::kClosed, "the database was closed");
}

void Database::Impl::refuse_index(unsigned index) {
  throw Error(Errc::kInvalidOption, fmt::format("tree {}: allowed are 0 to {}", index, kTrees - 1));
}

void Database::Impl::close() {
  _process.require("the database");
  if (!_open) return;
  const Throttle::Lifted lifted(_checkpoints.throttle());
  _checkpoints.stop_thread();
  const bool flush_failed = _store.storage_flush.error() != 0;
  if (!flush_failed) _checkpoints.make();
  _pool->close();
  _open = false;
  _closed.store(true, std::memory_order_relaxed);
  // What was committed is in the log, and the next open brings it from there to the page file
  // (R14).
  if (flush_failed) _log.flush();
}

void Database::Impl::report(const char* doing, const char* what) noexcept try {
  _messages(LogLevel::kError, fmt::format("{}: {}", doing, what));
} catch (const std::exception&) {  // NOLINT: there is no memory for the message
}

bool Database::Impl::in_task() const noexcept {
  return detail::engine_of_thread(_core) != nullptr;
}

void Database::Impl::refuse_in_task(const char* doing) const {
  if (in_task())
    throw Error(Errc::kInvalidOption,
                fmt::format("{} in a Worker's task, which it would block", doing));
}

const BTree& Database::Impl::open_tree(unsigned index) {
  refuse_in_task("making a tree");
  return _committer.open_tree(index);
}

Database::Database(const DatabaseOptions& options) : _impl(std::make_unique<Impl>(options)) {}

Database::~Database() {
  if (!_impl->here()) {
    detail::abandon(_impl);
    return;
  }
  try {
    close();
  } catch (const std::exception& error) {
    _impl->report("closing the database", error.what());  // what was committed is in the log
  }
}

void Database::close() {
  _impl->close();
}
BufferPool& Database::pool() noexcept {
  return _impl->pool();
}
WriteAheadLog& Database::log() noexcept {
  return _impl->log();
}
const BTree& Database::tree(unsigned index) {
  return _impl->tree(index);
}
void Database::checkpoint() {
  _impl->require_usable();
  _impl->refuse_in_task("checkpoint()");
  _impl->checkpoints().make();
}
std::uint64_t Database::checkpoints() const noexcept {
  return _impl->checkpoints().made();
}
const RecoveryStats& Database::recovery() const noexcept {
  return _impl->recovery();
}

}  // namespace vmcache
