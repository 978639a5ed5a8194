// SPDX-License-Identifier: MIT
#include "plain/mmap_cache.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace vmbench::plain {

MmapCache::MmapCache(File& file)
    : _file(file), _base(nullptr), _latches(new RwLatch[file.pages()]), _next(file.first_unused()) {
  void* address =
      mmap(nullptr, file.pages() * kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
  if (address == MAP_FAILED)
    throw std::runtime_error(fmt::format("mmap of the data file: {}", std::strerror(errno)));
  _base = static_cast<std::byte*>(address);
  // Read-ahead and fault-around would fetch neighbours that random accesses do not want.
  if (madvise(_base, file.pages() * kPageBytes, MADV_RANDOM) != 0)
    throw std::runtime_error(fmt::format("madvise(MADV_RANDOM): {}", std::strerror(errno)));
}

MmapCache::~MmapCache() {
  munmap(_base, _file.pages() * kPageBytes);
}

std::pair<PageNo, MmapCache::Exclusive> MmapCache::allocate() {
  const PageNo page = _next.fetch_add(1, std::memory_order_relaxed);
  if (page >= _file.pages())
    throw std::runtime_error("the data file has no room for further inserts");
  return {page, exclusive(page)};
}

}  // namespace vmbench::plain
