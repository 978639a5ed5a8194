// SPDX-License-Identifier: MIT
#include "log/bench_database.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "common/clock.hpp"
#include "vmcache/error.hpp"

namespace vmbench {

vmcache::PoolOptions plain_pool_options(const LogBenchOptions& options) {
  vmcache::PoolOptions pool;
  pool.path = options.file + ".plain";
  // Pages are filled to two thirds and more, and have headers.
  pool.pool_bytes = options.data_bytes * 2 + (std::uint64_t{16} << 20);
  pool.capacity_bytes = pool.pool_bytes * 4;
  pool.logger = [](vmcache::LogLevel level, std::string_view line) {
    if (level != vmcache::LogLevel::kInfo) fmt::print(stderr, "vmcache: {}\n", line);
  };
  return pool;
}

vmcache::DatabaseOptions database_options(const LogBenchOptions& options) {
  vmcache::DatabaseOptions database;
  database.pool = plain_pool_options(options);
  database.pool.path = options.file;
  database.log.path = options.log_path();
  database.log.capacity_bytes = options.log_bytes;
  return database;
}

void load(vmcache::Database& database, const LogBenchOptions& options) {
  constexpr std::uint64_t kInTransaction = 16;
  const KeySpace keys(options.records());
  for (std::uint64_t record = 0; record < keys.loaded();) {
    vmcache::Transaction transaction(database);
    for (std::uint64_t i = 0; i < kInTransaction && record < keys.loaded(); i++, record++) {
      const Key key = keys.key(record);
      transaction.put(0, KeyBytes(key), value_bytes(make_value(key, 0)));
    }
    transaction.commit_no_wait();
  }
  database.checkpoint();
}

void log_images(vmcache::Database& database, const LogBenchOptions& options) {
  constexpr std::uint64_t kMinInPage = 8;
  const KeySpace keys(options.records());
  for (std::uint64_t record = 0; record < keys.loaded(); record += kMinInPage)
    update_no_wait(database, keys.key(record), 0);
  database.log().flush();
}

void remove_files(const LogBenchOptions& options) {
  for (const std::string& path : {options.file, options.log_path(), options.file + ".plain",
                                  options.file + ".sealed", options.file + ".raw"})
    unlink(path.c_str());
}

vmcache::Lsn update_no_wait(vmcache::Database& database, Key key, std::uint64_t version) {
  for (;;) {
    try {
      vmcache::Transaction transaction(database);
      transaction.put(0, KeyBytes(key), value_bytes(make_value(key, version)));
      return transaction.commit_no_wait();
    } catch (const vmcache::Error& error) {
      if (error.code() != vmcache::Errc::kConflict) throw;
    }
  }
}

vmcache::Task<vmcache::Lsn> update(vmcache::Worker& worker, vmcache::Database& database, Key key,
                                   std::uint64_t version) {
  for (;;) {
    try {
      vmcache::Transaction transaction(database);
      transaction.put(0, KeyBytes(key), value_bytes(make_value(key, version)));
      co_return co_await transaction.commit(worker);
    } catch (const vmcache::Error& error) {
      if (error.code() != vmcache::Errc::kConflict) throw;
    }
    co_await worker.yield();
  }
}

void GroupAcknowledger::committed(vmcache::Lsn lsn) {
  if (_in_group++ == 0) _began_ns = now_ns();
  _last = lsn;
  if (_in_group < _group) return;
  _log.want_durable(_last);
  acknowledge_previous();
  _previous = _last;
  _previous_began_ns = _began_ns;
  _in_group = 0;
}

void GroupAcknowledger::acknowledge_previous() {
  if (_previous == 0) return;
  _log.wait_durable(_previous);
  _waits.add(now_ns() - _previous_began_ns);
  _previous = 0;
}

void GroupAcknowledger::finish() {
  acknowledge_previous();
  if (_in_group != 0) _log.wait_durable(_last);
  _in_group = 0;
}

}  // namespace vmbench
