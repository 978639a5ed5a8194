// SPDX-License-Identifier: MIT
#include "pool/file_set.hpp"

#include <fmt/format.h>

#include "pool/raw_file.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {

PageId FileSet::first_page(const PoolOptions& options) noexcept {
  // Page id 0 is kNoPage.
  const std::uint64_t pages = options.has_database() ? options.capacity_bytes / kPageSize : 1;
  return in_ranges(pages) * kRangePages;
}

std::uint64_t FileSet::capacity_pages(const PoolOptions& options) noexcept {
  if (options.files_bytes == 0) return options.capacity_bytes / kPageSize;
  return first_page(options) + options.files_bytes / kPageSize;
}

FileSet::FileSet(const PoolOptions& options)
    : _database_pages(options.has_database() ? options.capacity_bytes / kPageSize : 1),
      _first(options.files_bytes == 0 ? _database_pages : first_page(options)),
      _ranges(options.files_bytes / PoolOptions::kFileRangeBytes) {}

FileSet::~FileSet() {
  for (const auto& file : _files) file->abandon();
}

PageId FileSet::take(const std::shared_ptr<RawFile>& file, std::uint64_t pages) {
  const std::size_t wanted = in_ranges(pages);
  const std::lock_guard lock(_mutex);
  std::size_t free = 0;
  for (std::size_t i = 0; i < _ranges.size(); ++i) {
    free = _ranges[i].file.load(std::memory_order_relaxed) == nullptr ? free + 1 : 0;
    if (free < wanted) continue;
    _files.push_back(file);
    const PageId first = _first + (i + 1 - wanted) * kRangePages;
    for (Range& range : ranges_of(first, pages))
      range.file.store(file.get(), std::memory_order_release);
    return first;
  }
  throw Error(
      Errc::kDatabaseFull,
      fmt::format("opening a file of up to {} bytes: files_bytes = {} has no such range left",
                  pages * kPageSize, _ranges.size() * PoolOptions::kFileRangeBytes));
}

void FileSet::give_back(PageId first, std::uint64_t pages) noexcept {
  const std::lock_guard lock(_mutex);
  RawFile* const file = file_of(first);
  for (Range& range : ranges_of(first, pages)) range.file.store(nullptr, std::memory_order_release);
  std::erase_if(_files, [&](const auto& one) { return one.get() == file; });
}

void FileSet::set_end(PageId first, std::uint64_t pages, PageId end) noexcept {
  for (Range& range : ranges_of(first, pages)) range.end.store(end, std::memory_order_seq_cst);
}

std::unique_ptr<IoQueue> FileSet::make_queue(const PoolOptions& options, Logger& logger,
                                             unsigned depth, bool single_issuer) {
  const std::lock_guard lock(_mutex);
  if (!_queues) _queues = std::make_unique<FileQueues>(options, logger);
  return _queues->make(depth, single_issuer);
}

std::vector<std::shared_ptr<RawFile>> FileSet::all() const {
  const std::lock_guard lock(_mutex);
  return _files;
}

}  // namespace vmcache::detail
