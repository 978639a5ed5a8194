// SPDX-License-Identifier: MIT
#include "recovery/opening.hpp"

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <utility>

#include "pool/header.hpp"
#include "pool/pool_access.hpp"
#include "recovery/commit_redo.hpp"
#include "recovery/pair_check.hpp"
#include "recovery/snapshot.hpp"
#include "storage/open.hpp"
#include "vmcache/paged_file.hpp"

namespace vmcache {
namespace {

//! Throws Error kMismatch if `what` is not empty.
void refuse(const std::string& what, const Storage& pages, const WriteAheadLog& log) {
  if (what.empty()) return;
  throw Error(Errc::kMismatch, fmt::format("{} and {}: {}; neither was touched",
                                           pages.description(), log.description(), what));
}

}  // namespace

Opening::Opening(const DatabaseOptions& options, WriteAheadLog& log, ChangeRecorder& recorder,
                 const Logger& messages, RecoveryStats& stats)
    : _options(options),
      _log(log),
      _recorder(recorder),
      _messages(messages),
      _stats(stats),
      _storage(open_storage(options.pool, _messages)),
      _redo(options.pool.capacity_bytes / kPageSize) {}

std::shared_ptr<BufferPool> Opening::open() {
  const Lsn end = _log.fresh() ? begin_log() : read_log();
  _stats.log_bytes = end - _log.begin();
  // Only now is anything written. The log comes first, because what was found in it may not be
  // durable yet (R1).
  if (!_log.fresh()) _log.start_unkept(end);
  const auto scan_again = [&](const WriteAheadLog::Visitor& visit) { _log.scan(visit, end); };
  _stats.pages = _redo.write_pages(*_storage, scan_again);
  _stats.transactions = _redo.commits();
  _stats.changes = _redo.changes();

  std::shared_ptr<BufferPool> pool = open_pool();
  // Page file and log stay from now on. Had the pool failed, neither would.
  _log.keep();
  _recorder.begin_recovery(*pool);
  CommitRedo(*pool, detail::store_of(*pool)).run(scan_again, _redo.changes());
  _recorder.end_recovery();
  return pool;
}

std::shared_ptr<BufferPool> Opening::open_pool() {
  if (_options.in != nullptr) return open_in(*_options.in);
  return std::make_shared<BufferPool>(pool_options());
}

//! The file is opened once more, as one of that pool; whoever takes it in between makes this fail.
//! What was written to it is made durable first: that pool's flushes need not tell of a failure
//! from before its open.
std::shared_ptr<BufferPool> Opening::open_in(BufferPool& shared) {
  PagedFileOptions options;
  options.path = _options.pool.path;
  options.capacity_bytes = _options.pool.capacity_bytes;
  options.create = _options.pool.create;
  options.direct_io = _options.pool.direct_io;
  options.lost_write_check = _options.pool.lost_write_check;
  options.page_header = true;
  options.write_ahead = &_log;
  options.change_log = &_recorder;
  options.recovered = _redo.state();
  options.recovered->identity = _log.identity();
  if (const int error = _stats.pages > 0 ? _storage->flush() : 0; error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage}, "flushing " + _storage->description());
  _storage.reset();
  return std::make_shared<PagedFile>(shared, options);
}

PoolOptions Opening::pool_options() {
  PoolOptions options = _options.pool;
  options.recovered = _redo.state();
  options.recovered->identity = _log.identity();
  options.make_storage = [this] { return std::move(_storage); };
  if (logger_of(_options.pool)) {
    options.logger = [messages = _messages](LogLevel level, std::string_view what) {
      messages(level, what);
    };
  }
  options.page_header = true;
  options.write_ahead = &_log;
  options.change_log = &_recorder;
  return options;
}

//! Begins a new log, or begins one again whose creation was cut. Returns its end. If there is a
//! page file that cannot belong to it, throws before anything is written.
Lsn Opening::begin_log() {
  const FirstPage first = FirstPage::read(*_storage);
  refuse(mismatch_with_new_log(first, _log.identity()), *_storage, _log);
  if (!_options.pool.create)
    throw Error(Errc::kNotADatabase, _storage->description() + ": is empty, and create = false");
  _log.start_unkept(_log.begin());
  append_snapshot(_log, _log.identity(), {}, {});
  _log.flush();
  // The snapshot is read as in an old log, so that there is only one way to open.
  return scan_log(_log.end());
}

//! Reads an old log, and returns its end. If it does not belong to the page file, throws before
//! anything is written.
Lsn Opening::read_log() {
  const FirstPage first = FirstPage::read(*_storage);
  const Lsn end = scan_log(~Lsn{0});
  _redo.require_snapshot();
  refuse(mismatch(first, _storage->size_bytes(), {_log.identity(), end, _redo.snapshots()}),
         *_storage, _log);
  _redo.read_free_list(*_storage);
  return end;
}

Lsn Opening::scan_log(Lsn until) {
  return _log.scan(
      [&](const WriteAheadLog::Record& record) {
        ++_stats.records;
        _redo.visit(record);
      },
      until);
}

}  // namespace vmcache
