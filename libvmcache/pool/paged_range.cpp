// SPDX-License-Identifier: MIT
#include "pool/paged_range.hpp"

#include <fmt/format.h>

#include "pool/check_options.hpp"
#include "pool/page_checksum.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {
namespace {

PoolOptions as_database(const PoolCore& core, const PagedFileOptions& options) {
  PoolOptions database;
  database.path = options.path;
  database.capacity_bytes = options.capacity_bytes;
  database.frame_wait = core.options.frame_wait;
  database.create = options.create;
  database.direct_io = options.direct_io;
  database.allow_unclean = options.allow_unclean;
  database.read_only = options.read_only;
  database.page_header = options.page_header;
  database.lost_write_check = options.lost_write_check;
  database.write_ahead = options.write_ahead;
  database.change_log = options.change_log;
  database.recovered = options.recovered;
  return database;
}

FileOptions as_file(const PagedFileOptions& options) {
  FileOptions file;
  file.path = options.path;
  file.capacity_bytes = options.capacity_bytes;
  file.create = options.create;
  file.direct_io = options.direct_io;
  file.read_only = options.read_only;
  if (options.page_header) file.format = &header_format();
  file.write_ahead = options.write_ahead;
  return file;
}

}  // namespace

std::shared_ptr<PagedRange> PagedRange::open(PoolCore& core, const PagedFileOptions& options) {
  if (options.path.empty())
    throw Error(Errc::kInvalidOption, "opening a paged file: path is empty");
  check_room(core.options, options.capacity_bytes, "opening a paged file");
  const PoolOptions database = as_database(core, options);
  check_database_options(database);
  std::shared_ptr<PagedRange> file(new PagedRange(core, options, database));
  file->begin(file);
  return file;
}

PagedRange::PagedRange(PoolCore& core, const PagedFileOptions& options, const PoolOptions& database)
    : RawFile(core, as_file(options), false), _options(database) {}

void PagedRange::begin_layer() {
  _store.emplace(core(), _options, first(), capacity_pages(), _bytes, storage_flush());
  _store->load_free();
  _store->begin();
  set_paged(*_store);
}

void PagedRange::end_layer() {
  _store->end();
}

std::uint64_t PagedRange::Bytes::size_bytes() const {
  return _file.device().size_bytes();
}
bool PagedRange::Bytes::blank() {
  return _file.device().blank();
}
std::unique_ptr<IoQueue> PagedRange::Bytes::make_queue(unsigned /*depth*/, bool /*single_issuer*/) {
  throw Error(Errc::kUnsupported, "a file in a pool has the pool's queues");
}
int PagedRange::Bytes::read(std::uint64_t offset, std::span<std::byte> bytes) {
  return _file.device().read(offset, bytes);
}
int PagedRange::Bytes::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  return _file.device().write(offset, bytes);
}
int PagedRange::Bytes::flush() {
  return _file.device().flush();
}
int PagedRange::Bytes::resize(std::uint64_t bytes) {
  return _file.set_length(bytes);
}
std::string PagedRange::Bytes::last_failure() const {
  return _file.device().last_failure();
}
std::string PagedRange::Bytes::description() const {
  return _file.device().description();
}

}  // namespace vmcache::detail
