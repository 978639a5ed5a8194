// SPDX-License-Identifier: MIT
#include "vmcache/file.hpp"

#include "pool/raw_file.hpp"
#include "vmcache/error.hpp"

namespace vmcache {

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    if (_file) _file->close_or_complain();
    _file = std::move(other._file);
  }
  return *this;
}

File::~File() {
  if (_file) _file->close_or_complain();
}

File::operator bool() const noexcept {
  return _file && _file->is_open();
}

namespace {

detail::RawFile& opened(const std::shared_ptr<detail::RawFile>& file) {
  if (!file) throw Error(Errc::kClosed, "the File holds no file");
  return *file;
}

}  // namespace

PageId File::page_id(std::uint64_t n) const {
  return opened(_file).page_id(n);
}
std::uint64_t File::size_bytes() const {
  return opened(_file).size_bytes();
}
std::uint64_t File::pages() const {
  return (size_bytes() + kPageSize - 1) / kPageSize;
}
std::uint64_t File::capacity_bytes() const {
  return opened(_file).capacity_bytes();
}
bool File::read_only() const {
  return opened(_file).read_only();
}
void File::resize(std::uint64_t bytes) {
  opened(_file).resize(bytes);
}
void File::sync() {
  opened(_file).sync();
}
void File::write_back() {
  opened(_file).write_back_only();
}
void File::write_back(std::span<const std::uint64_t> pages) {
  opened(_file).write_back_only(pages);
}
void File::drop(std::uint64_t first, std::uint64_t count) {
  opened(_file).drop(first, count);
}
void File::discard(std::uint64_t first, std::uint64_t count) {
  opened(_file).discard(first, count);
}
void File::flush() {
  opened(_file).flush_written();
}
std::vector<DirtyPage> File::dirty_pages() const {
  return opened(_file).dirty_pages();
}
void File::close() {
  if (_file) _file->close();
}
void File::remove() {
  opened(_file).remove();
}

}  // namespace vmcache
