// SPDX-License-Identifier: MIT
#include "vmcache/paged_file.hpp"

#include <fmt/format.h>

#include <atomic>

#include "pool/paged_range.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/error.hpp"

namespace vmcache {

PagedFile::PagedFile(BufferPool& pool, const PagedFileOptions& options)
    : BufferPool(pool, options) {}

BufferPool::BufferPool(BufferPool& pool, const PagedFileOptions& options) {
  pool.require_usable();
  const std::shared_ptr<detail::PagedRange> file = detail::PagedRange::open(*pool._core, options);
  _core = pool._core;
  _core->users.fetch_add(1, std::memory_order_relaxed);
  _store = file->paged();
  _first_page = _store->first;
  _base = _core->memory->base() + _first_page * kPageSize;
  _states = _core->states() + _first_page;
  _fixable_pages = _store->pages;
  _change_log = options.change_log;
  _page_headers = options.page_header;
  _read_only = options.read_only;
  _file = file;
  _file->set_user(&_fixable_pages);
}

void BufferPool::require_pool(const char* doing) const {
  require_usable();
  if (_file)
    throw Error(Errc::kInvalidOption,
                fmt::format("{}: {} is a file in a pool: ask the pool", doing, _file->path()));
}

void BufferPool::close_file() {
  const unsigned workers = _store->workers.load(std::memory_order_acquire);
  if (_file->is_open() && workers > 0) {
    throw Error(Errc::kBusy, fmt::format("close: {} workers that were made for {} are alive",
                                         workers, _file->path()));
  }
  _file->close();
}

void BufferPool::leave_file() noexcept {
  _file->close_or_complain();
  _file->set_user(nullptr);
}

}  // namespace vmcache
