// SPDX-License-Identifier: MIT
#include "vmcache/database.hpp"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "log.hpp"
#include "pool/engine.hpp"
#include "pool/write_back.hpp"
#include "recovery/commit_redo.hpp"
#include "recovery/database_impl.hpp"
#include "recovery/redo.hpp"
#include "storage/open.hpp"

namespace vmcache {
namespace {

std::unique_ptr<Storage> open_page_file(const PoolOptions& options) {
  Log log(options.log);
  return open_storage(options, log);
}

//! Whether a checkpoint will be over before the log is full, at the rate at which the log has filled since its begin.
bool in_time(const detail::CheckpointProgress& progress, std::uint64_t filled, std::uint64_t room) noexcept {
  const std::uint64_t planned = room / 4 * 3;  // commits that come faster later than now find some left
  return static_cast<double>(filled) * static_cast<double>(progress.all) <=
         static_cast<double>(progress.done) * static_cast<double>(planned);
}

}  // namespace

Database::Impl::Impl(const DatabaseOptions& options)
    : log(options.log), _callback(options.pool.log), _pace(options.checkpoint_percent) {
  if (options.checkpoint_percent < 1 || options.checkpoint_percent > 100) {
    throw Error(Errc::kInvalidOption,
                fmt::format("checkpoint_percent = {}: allowed are 1 to 100", options.checkpoint_percent));
  }
  const auto start = std::chrono::steady_clock::now();
  open(options);
  if (options.checkpoint_thread) _checkpointer.emplace([this] { return try_checkpoint(); });
  recovery.duration_ns = static_cast<std::uint64_t>((std::chrono::steady_clock::now() - start).count());
}

Database::Impl::~Impl() = default;

void Database::Impl::open(const DatabaseOptions& options) {
  std::unique_ptr<Storage> storage = open_page_file(options.pool);
  Redo redo(options.pool.capacity_bytes / kPageSize);
  if (log.fresh()) {
    if (!storage->blank()) {
      throw Error(Errc::kInvalidOption,
                  fmt::format("{} holds something and its log {} is empty; neither was touched",
                              storage->description(), log.description()));
    }
    log.start(log.begin());
    append_snapshot(1, {}, {});
    log.flush();
    log.set_begin(log.begin());
  }
  // Found here even in a log just made, so that there is one way in only.
  const Lsn end = log.scan(
      [&](const WriteAheadLog::Record& record) {
        ++recovery.records;
        redo.visit(record);
      },
      log.fresh() ? log.end() : ~Lsn{0});
  recovery.log_bytes = end - log.begin();
  PoolOptions pool_options = options.pool;
  pool_options.recovered = redo.state();
  recovery.pages = redo.write_pages(*storage);
  if (!log.fresh()) log.start(end);

  pool_options.make_storage = [&] { return std::move(storage); };
  pool_options.page_header = true;
  pool_options.write_ahead = &log;
  pool_options.change_log = this;
  pool = std::make_unique<BufferPool>(pool_options);
  // Pages that were changed since the begin have their image behind it (R3), so what is done again needs no new ones.
  _image_after.store(log.begin(), std::memory_order_release);
  const auto tree_of = [this](PageId root) -> BTree& { return tree_at(root); };
  CommitRedo commits(*pool, tree_of);
  log.scan(
      [&](const WriteAheadLog::Record& record) {
        if (static_cast<RecordType>(record.type) != RecordType::kCommit) return;
        ++recovery.transactions;
        recovery.changes += commits.add(record.body);
      },
      end);
  commits.finish();
  _open = true;
  const Pace::Hurry hurry(_pace);
  checkpoint();
}

void Database::Impl::close() {
  if (!_open) return;
  const Pace::Hurry hurry(_pace);
  _checkpointer.reset();
  checkpoint();
  pool->close();
  _open = false;
}

void Database::Impl::report(const char* doing, const char* what) noexcept try {
  if (_callback) _callback(LogLevel::kError, fmt::format("{}: {}", doing, what));
} catch (const std::bad_alloc&) {  // NOLINT: not even for the words
}

bool Database::Impl::in_task() const noexcept {
  return detail::engine_of_thread(pool->core()) != nullptr;
}

void Database::Impl::refuse_in_task(const char* doing) const {
  if (in_task())
    throw Error(Errc::kInvalidOption, fmt::format("{} in a Worker's task, which it would block", doing));
}

void Database::Impl::checkpoint() {
  const std::lock_guard lock(_checkpoint_mutex);
  make_checkpoint();
}

void Database::Impl::make_checkpoint() {
  const Lsn begin = take_snapshot();
  const Lsn snapshot_end = log.end();
  const std::uint64_t used = log.used_bytes();
  const std::uint64_t room = _room.most() - std::min(_room.most(), used);
  detail::checkpoint(pool->core(), [&](const detail::CheckpointProgress& progress) {
    return in_time(progress, log.used_bytes() - used, room) && _pace.pause(progress.worked_ns);
  });
  log.wait_durable(snapshot_end);
  log.set_begin(begin);
  checkpoints.fetch_add(1, std::memory_order_relaxed);
}

bool Database::Impl::try_checkpoint() noexcept try {
  checkpoint();
  return true;
} catch (const std::exception& error) {
  // No commit is concerned. If it stays so, the next ones find no room, and say why.
  _failed_checkpoints.fetch_add(1, std::memory_order_release);
  report("checkpoint", error.what());
  return false;
}

//! Free extents and roots as of a moment at which no change is half made (R5). Returns where the snapshot begins.
Lsn Database::Impl::take_snapshot() {
  const Gate::Closed closed(_gate);
  const Lsn begin = log.end();
  std::vector<PageId> roots;
  for (unsigned i = 0; i < kTrees; ++i) roots.push_back(pool->root(i));
  pool->free_extents([&](std::uint64_t next_page, std::span<const Extent> free) {
    append_snapshot(next_page, free, roots);
  });
  _image_after.store(begin, std::memory_order_release);
  return begin;
}

void Database::Impl::append_snapshot(std::uint64_t next_page, std::span<const Extent> free,
                                     std::span<const PageId> roots) {
  constexpr std::size_t kMost = (WriteAheadLog::kMaxRecord - kPageSize) / sizeof(std::uint64_t);
  const SnapshotHeader header{next_page, roots.size(), free.size()};
  std::vector<std::uint64_t> packed;
  bool first = true;
  do {
    packed.clear();
    for (; !free.empty() && packed.size() < kMost; free = free.subspan(1)) {
      packed.push_back(free.front().page_id << 4 | free.front().order);
    }
    const Bytes extents = bytes_of_all(std::span<const std::uint64_t>(packed));
    if (first) {
      const Bytes parts[] = {bytes_of(header), bytes_of_all(roots), extents};
      log.append(number_of(RecordType::kSnapshot), parts);
    } else {
      log.append(number_of(RecordType::kSnapshotMore), {&extents, 1});
    }
    first = false;
  } while (!free.empty());
}

const BTree& Database::Impl::tree(unsigned index) {
  if (index >= kTrees)
    throw Error(Errc::kInvalidOption, fmt::format("tree {}: allowed are 0 to {}", index, kTrees - 1));
  const BTree* known = _by_index[index].load(std::memory_order_acquire);
  return known != nullptr ? *known : make_tree(index);
}

const BTree& Database::Impl::make_tree(unsigned index) {
  refuse_in_task("making a tree");
  const LogRoom::Held room = take_room(4 * kPageSize);
  const Gate::Inside inside(_gate);
  {
    const std::lock_guard lock(_trees_mutex);
    if (pool->root(index) == kNoPage) {
      const PageId root = BTree::create(*pool, [&](PageId page_id) {
        const PageChange change{page_id, PageChange::Kind::kAllocated};
        append_pages({&change, 1}, 1 + index);
      });
      pool->set_root(index, root);
    }
  }
  BTree& made = tree_at(pool->root(index));
  _by_index[index].store(&made, std::memory_order_release);
  return made;
}

BTree& Database::Impl::tree_at(PageId root) {
  const std::lock_guard lock(_trees_mutex);
  std::unique_ptr<BTree>& tree = _trees[root];
  if (!tree) tree = std::make_unique<BTree>(*pool, root);
  return *tree;
}

Database::Database(const DatabaseOptions& options) : _impl(std::make_unique<Impl>(options)) {}

Database::~Database() {
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
  return *_impl->pool;
}
WriteAheadLog& Database::log() noexcept {
  return _impl->log;
}
const BTree& Database::tree(unsigned index) {
  return _impl->tree(index);
}
void Database::checkpoint() {
  _impl->refuse_in_task("checkpoint()");
  _impl->checkpoint();
}
std::uint64_t Database::checkpoints() const noexcept {
  return _impl->checkpoints.load(std::memory_order_relaxed);
}
const RecoveryStats& Database::recovery() const noexcept {
  return _impl->recovery;
}

}  // namespace vmcache
