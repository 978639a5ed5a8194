// SPDX-License-Identifier: MIT
#include "pages/area.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace vmbench {

AnonymousArea::AnonymousArea(std::size_t pages) : _base(nullptr), _bytes(pages * kPage) {
  void* address = mmap(nullptr, _bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    throw std::system_error(errno, std::generic_category(), "mmap of the page area");
  _base = static_cast<std::byte*>(address);
  // A kernel without transparent huge pages refuses this with EINVAL, and then has none to keep
  // out.
  madvise(_base, _bytes, MADV_NOHUGEPAGE);
}

AnonymousArea::~AnonymousArea() {
  munmap(_base, _bytes);
}

}  // namespace vmbench
