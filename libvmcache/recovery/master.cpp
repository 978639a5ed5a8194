// SPDX-License-Identifier: MIT
#include "recovery/master.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "pool/page_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! Of another version than ours; 0 if it is ours, or no master of any version.
std::uint32_t other_version(const Master& master) {
  constexpr std::array<char, 8> kVersion2{'v', 'm', 'c', 'l', 'o', 'g', '2', '\0'};
  if (master.magic == kVersion2) return 2;
  if (master.magic != Master::kMagic || master.version == Master::kVersion) return 0;
  // Damage there must not look like another version.
  Master as_ours = master;
  as_ours.version = Master::kVersion;
  return as_ours.checksum == as_ours.compute_checksum() ? 0 : master.version;
}

}  // namespace

MasterSlot read_master_slot(Storage& storage, unsigned slot) {
  PageBuffer page;
  if (const int error = storage.read(slot * kPageSize, page.bytes); error != 0) {
    throw Error(Status{Errc::kIo, error, kNoPage}, "reading " + storage.description());
  }
  MasterSlot found;
  found.blank =
      std::ranges::all_of(page.bytes, [](std::byte byte) { return byte == std::byte{0}; });
  std::memcpy(&found.master, page.bytes.data(), sizeof found.master);
  if (const std::uint32_t version = other_version(found.master); version != 0) {
    throw Error(Errc::kNotADatabase,
                fmt::format("{}: a log of version {}; this library reads version {}; not touched",
                            storage.description(), version, Master::kVersion));
  }
  found.whole = found.master.magic == Master::kMagic && found.master.version == Master::kVersion &&
                found.master.checksum == found.master.compute_checksum();
  if (found.whole &&
      std::ranges::any_of(found.master.reserved, [](std::uint8_t byte) { return byte != 0; })) {
    throw Error(
        Errc::kNotADatabase,
        fmt::format("{}: the log has fields set that this library, of version {}, does not know; "
                    "not touched",
                    storage.description(), Master::kVersion));
  }
  return found;
}

}  // namespace vmcache
