// SPDX-License-Identifier: MIT
#include "recovery/master.hpp"

#include <algorithm>
#include <cstring>

#include "pool/page_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {

MasterSlot read_master_slot(Storage& storage, unsigned slot) {
  PageBuffer page;
  if (const int error = storage.read(slot * kPageSize, page.bytes); error != 0) {
    throw Error(Status{Errc::kIo, error, kNoPage}, "reading " + storage.description());
  }
  MasterSlot found;
  found.blank = std::ranges::all_of(page.bytes, [](std::byte byte) { return byte == std::byte{0}; });
  std::memcpy(&found.master, page.bytes.data(), sizeof found.master);
  found.whole =
      found.master.magic == Master::kMagic && found.master.checksum == found.master.compute_checksum();
  return found;
}

}  // namespace vmcache
