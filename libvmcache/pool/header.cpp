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

std::uint32_t checksum_of(const Header& header) {
  return crc32c(&header, offsetof(Header, checksum));
}

}  // namespace

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
  if (const std::uint32_t expected = checksum_of(header); header.checksum != expected) {
    throw Error(Errc::kCorrupt, fmt::format("{}: header checksum is {:#010x}, its bytes give {:#010x}",
                                            storage.description(), header.checksum, expected));
  }
  return header;
}

void Header::write(Storage& storage) {
  checksum = checksum_of(*this);
  PageBuffer page;
  std::memcpy(page.bytes.data(), this, sizeof *this);
  int error = storage.write(0, page.bytes);
  if (error == 0) error = storage.flush();
  if (error != 0)
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("writing the header of {} {}", storage.description(), storage.last_failure()));
}

}  // namespace vmcache
