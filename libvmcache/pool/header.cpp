// SPDX-License-Identifier: MIT
#include "pool/header.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstring>

#include "crc32c.hpp"
#include "pool/page_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! Whether all but what tells ours from others is whole: damage there must not look like somebody else's file.
bool was_ours(Header header) {
  header.magic = Header::kMagic;
  header.version = Header::kVersion;
  header.page_bytes = kPageSize;
  return header.checksum == header.compute_checksum();
}

}  // namespace

std::uint32_t Header::compute_checksum() const noexcept {
  return crc32c(this, offsetof(Header, checksum));
}

Header Header::read(Storage& storage) {
  PageBuffer page;
  if (storage.size_bytes() < kPageSize) {
    throw Error(Errc::kNotADatabase,
                fmt::format("{}: shorter than a page; not touched", storage.description()));
  }
  if (const int error = storage.read(0, page.bytes); error != 0) {
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("reading the header of {} {}", storage.description(), storage.last_failure()));
  }
  Header header;
  std::memcpy(&header, page.bytes.data(), sizeof header);
  const std::uint32_t expected = header.compute_checksum();
  const auto damaged = [&](const char* what) {
    return Error(Errc::kCorrupt,
                 fmt::format("{}: {} is damaged: its checksum is {:#010x}, its bytes give {:#010x}",
                             storage.description(), what, header.checksum, expected));
  };
  if (header.checksum != expected && was_ours(header)) throw damaged("the front of the header");
  if (header.magic != kMagic) {
    throw Error(Errc::kNotADatabase,
                fmt::format("{}: does not begin with a database header; not touched", storage.description()));
  }
  if (header.version != kVersion || header.page_bytes != kPageSize) {
    throw Error(
        Errc::kNotADatabase,
        fmt::format(
            "{}: version {} with pages of {} bytes; this library reads version {} with {}; not touched",
            storage.description(), header.version, header.page_bytes, kVersion, kPageSize));
  }
  if (header.checksum != expected) throw damaged("the header");
  return header;
}

void Header::write(Storage& storage) {
  checksum = compute_checksum();
  PageBuffer page;
  std::memcpy(page.bytes.data(), this, sizeof *this);
  int error = storage.write(0, page.bytes);
  if (error == 0) error = storage.flush();
  if (error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("writing the header of {} {}", storage.description(), storage.last_failure()));
}

}  // namespace vmcache
