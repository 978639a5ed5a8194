// SPDX-License-Identifier: MIT
//
// Write-back in a Worker's tasks: Worker::checkpoint(), sync() and their like; and the free that
// may have to wait.
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "clock.hpp"
#include "pool/engine.hpp"
#include "pool/engine_set.hpp"
#include "pool/helper_threads.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "pool/raw_file.hpp"
#include "pool/write_back.hpp"
#include "pool/write_back_op.hpp"
#include "vmcache/error.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using detail::RawFile;

RawFile::Use use_of(const File& file, const BufferPool& pool, const char* doing) {
  const std::shared_ptr<RawFile>& raw = detail::PoolAccess::file(file);
  if (!raw) throw Error(Errc::kClosed, "the File holds no file");
  if (!raw->is_in(detail::core_of(pool)))
    throw Error(Errc::kInvalidOption, raw->path() + ": is in another pool than the Worker's");
  return {raw, doing};
}

//! Frees an extent once nobody is in the way.
class FreeExtentOp {
 public:
  FreeExtentOp(BufferPool& file, Extent extent) noexcept : _file(file), _extent(extent) {}

  [[nodiscard]] BufferPool& pool() const noexcept { return _file; }

  [[nodiscard]] Need step(BufferPool& pool) {
    if (pool.try_free(_extent)) return Need::nothing();
    const std::uint64_t now = detail::now_ns();
    if (_since_ns == 0) _since_ns = now;
    if (now - _since_ns > detail::core_of(pool).patience_ns()) {
      throw Error(Status{Errc::kBusy, 0, _extent.page_id},
                  "free: the extent stays latched or pinned");
    }
    // A pin is nothing that a latch's end tells of.
    return pool.pinned(_extent.page_id) ? Need::pause() : Need::latch(_extent.page_id);
  }
  void supply(ExclusiveGuard&& /*fresh*/) noexcept {}

 private:
  BufferPool& _file;
  const Extent _extent;
  std::uint64_t _since_ns = 0;
};

}  // namespace

Task<> Worker::free(BufferPool& file, Extent extent) {
  require_same_pool(file);
  FreeExtentOp op(file, extent);
  co_await perform(op);
}

Task<> Worker::in_thread(std::function<void()> call) {
  require_usable();
  require_own_task();
  if (!_helpers) _helpers = std::make_unique<detail::HelperThreads>();
  const auto made = std::make_shared<detail::HelperCall>();
  made->call = std::move(call);
  _helpers->start(made);
  detail::HelperOp op(*made);
  co_await perform(op);
}

Task<> Worker::write_extents(BufferPool& file, std::vector<Extent> extents, WriteAhead* log) {
  require_usable();
  require_own_task();
  detail::WriteBackOp op(file, **_engine, std::move(extents), log);
  co_await perform(op);
}

Task<> Worker::checkpoint(BufferPool& file) {
  require_usable();
  require_same_pool(file);
  std::optional<RawFile::Use> open;  // a paged file cannot be closed meanwhile
  if (const auto& raw = detail::PoolAccess::file(file)) open.emplace(raw, "checkpoint");
  detail::PagedStore& store = detail::store_of(file);
  store.refuse_read_only("checkpoint");
  store.storage_flush.refuse_if_failed("checkpoint");
  const std::uint64_t freed = store.allocator.freed_mark();
  co_await write_extents(file,
                         detail::dirty_extents(store.core, store.first, store.first + store.pages),
                         store.options.write_ahead);
  co_await in_thread([&store, freed] { detail::end_checkpoint(store, freed, nullptr); });
}

//! What the write-backs of a file have in common. The Worker's thread must not wait.
struct Worker::FileTasks {
  static Task<> prepare(Worker& worker, RawFile* file, const char* doing) {
    if (!file->is_too_long()) {
      file->prepare_write_back(doing);
      co_return;
    }
    co_await worker.in_thread([file, doing] { file->prepare_write_back(doing); });
  }
  static Task<> write_back(Worker& worker, RawFile::Use file, const char* doing, bool flushes) {
    co_await prepare(worker, file.get(), doing);
    co_await worker.write_extents(worker.pool(), file->dirty(), file->write_ahead());
    if (flushes) co_await flush(worker, file.get());
  }
  static Task<> write_pages(Worker& worker, RawFile::Use file, std::vector<std::uint64_t> pages) {
    co_await prepare(worker, file.get(), "write_back");
    co_await worker.write_extents(worker.pool(), file->extents_of(pages), file->write_ahead());
  }
  static Task<> flush(Worker& worker, RawFile* file) {
    co_await worker.in_thread([file] { file->flush_written(); });
  }
  static Task<> flush_used(Worker& worker, RawFile::Use file) {
    co_await flush(worker, file.get());
  }
};

Task<> Worker::sync(File& file) {
  return FileTasks::write_back(*this, use_of(file, _pool, "sync"), "sync", true);
}
Task<> Worker::write_back(File& file) {
  return FileTasks::write_back(*this, use_of(file, _pool, "write_back"), "write_back", false);
}
Task<> Worker::write_back(File& file, std::span<const std::uint64_t> pages) {
  return FileTasks::write_pages(*this, use_of(file, _pool, "write_back"),
                                {pages.begin(), pages.end()});
}
Task<> Worker::flush(File& file) {
  return FileTasks::flush_used(*this, use_of(file, _pool, "flush"));
}

}  // namespace vmcache
