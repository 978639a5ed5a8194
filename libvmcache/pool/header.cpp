// SPDX-License-Identifier: MIT
#include "pool/header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "crc32c.hpp"
#include "pool/page_buffer.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

HeaderFront front_at(std::span<const std::byte> page, std::size_t offset) {
  HeaderFront front;
  std::memcpy(&front, page.data() + offset, sizeof front);
  return front;
}

template <std::size_t kBytes>
bool zeros(const std::array<std::uint8_t, kBytes>& bytes) {
  return std::ranges::all_of(bytes, [](std::uint8_t byte) { return byte == 0; });
}

//! Whether all but what tells ours from others is whole: damage there must not look like somebody
//! else's file.
bool was_ours(HeaderFront front) {
  front.magic = HeaderFront::kMagic;
  front.version = HeaderFront::kVersion;
  front.page_bytes = kPageSize;
  return front.checksum == front.compute_checksum();
}

std::string checksum_text(const char* what, std::uint32_t found, std::uint32_t expected) {
  return fmt::format("{} is damaged: its checksum is {:#010x}, its bytes give {:#010x}", what,
                     found, expected);
}

//! Neither front is whole.
[[noreturn]] void refuse(const std::string& name, const HeaderFront& first,
                         const HeaderFront& second) {
  if (was_ours(first) || was_ours(second) ||
      (first.magic == HeaderFront::kMagic && first.version == HeaderFront::kVersion)) {
    throw Error(Errc::kCorrupt, name + ": " +
                                    checksum_text("the front of the header", first.checksum,
                                                  first.compute_checksum()));
  }
  if (first.magic == HeaderFront::kMagic) {
    throw Error(
        Errc::kNotADatabase,
        fmt::format("{}: version {} with pages of {} bytes; this library reads version {} with {}; "
                    "not touched",
                    name, first.version, first.page_bytes, HeaderFront::kVersion, kPageSize));
  }
  throw Error(Errc::kNotADatabase, name + ": does not begin with a database header; not touched");
}

[[noreturn]] void refuse_unknown_fields(const std::string& name) {
  throw Error(
      Errc::kNotADatabase,
      fmt::format("{}: the header has fields set that this library, of version {}, does not know; "
                  "not touched",
                  name, HeaderFront::kVersion));
}

bool all_known(const HeaderFront& front) {
  constexpr std::uint32_t kKnown = HeaderFront::kPageHeaders | HeaderFront::kLogged;
  return front.reserved == 0 && zeros(front.reserved_more) && (front.format & ~kKnown) == 0;
}

bool all_known(const Header& header) {
  return header.reserved == 0 && header.reserved_last == 0 && zeros(header.reserved_more);
}

}  // namespace

std::uint32_t HeaderFront::compute_checksum() const noexcept {
  return crc32c(this, offsetof(HeaderFront, checksum));
}

bool HeaderFront::whole() const noexcept {
  return magic == kMagic && version == kVersion && page_bytes == kPageSize &&
         checksum == compute_checksum();
}

std::uint32_t Header::compute_checksum() const noexcept {
  return crc32c_more(crc32c(this, offsetof(Header, checksum)), roots.data(), sizeof roots);
}

FirstPage FirstPage::read(Storage& storage) {
  FirstPage found;
  const std::string name = storage.description();
  const std::uint64_t size = storage.size_bytes();
  if (size == 0) {
    found.blank = true;
    return found;
  }
  // A creation writes the header before it makes a file longer.
  const bool could_be_cut = !storage.can_grow() || size <= kPageSize;
  if (storage.blank() && could_be_cut) {
    found.blank = true;
    return found;
  }
  if (size < kPageSize)
    throw Error(Errc::kNotADatabase,
                fmt::format("{}: has {} bytes, less than a page; not touched", name, size));
  PageBuffer page;
  if (const int error = storage.read(0, page.bytes); error != 0) {
    throw Error(Status{Errc::kIo, error, kNoPage},
                fmt::format("reading the header of {} {}", name, storage.last_failure()));
  }
  if (std::ranges::all_of(page.bytes, [](std::byte byte) { return byte == std::byte{0}; })) {
    // An embedder's storage may call itself blank only while it is empty.
    found.blank = storage.can_grow() && size <= kPageSize;
    if (found.blank) return found;
    throw Error(
        Errc::kNotADatabase,
        fmt::format(
            "{}: begins with zeros and has {} bytes: neither empty nor what a creation that was "
            "cut has left; not touched",
            name, size));
  }
  const HeaderFront first = front_at(page.bytes, 0);
  const HeaderFront second = front_at(page.bytes, HeaderFront::kCopyAt);
  if (!first.whole() && !second.whole()) refuse(name, first, second);
  found.front = first.whole() ? first : second;
  if (!all_known(*found.front)) refuse_unknown_fields(name);
  Header header;
  std::memcpy(&header, page.bytes.data(), sizeof header);
  if (!first.whole()) {
    const auto sector = std::span(page.bytes).first(512);
    found.made_in_part =
        std::ranges::all_of(sector, [](std::byte byte) { return byte == std::byte{0}; });
    found.damage =
        checksum_text("the front of the header", first.checksum, first.compute_checksum());
  } else if (header.checksum != header.compute_checksum()) {
    found.damage = checksum_text("the header", header.checksum, header.compute_checksum());
  } else {
    if (!all_known(header)) refuse_unknown_fields(name);
    found.header = header;
  }
  return found;
}

Header Header::read(Storage& storage) {
  const FirstPage page = FirstPage::read(storage);
  if (page.blank)
    throw Error(Errc::kNotADatabase,
                storage.description() + ": does not begin with a database header; not touched");
  if (!page.header) throw Error(Errc::kCorrupt, storage.description() + ": " + page.damage);
  return *page.header;
}

void Header::write(Storage& storage) {
  front.checksum = front.compute_checksum();
  checksum = compute_checksum();
  PageBuffer page;
  std::memcpy(page.bytes.data(), this, sizeof *this);
  std::memcpy(page.bytes.data() + HeaderFront::kCopyAt, &front, sizeof front);
  if (const int error = storage.write(0, page.bytes); error != 0)
    throw Error(
        Status{Errc::kIo, error, kNoPage},
        fmt::format("writing the header of {} {}", storage.description(), storage.last_failure()));
}

}  // namespace vmcache
