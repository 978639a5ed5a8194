// SPDX-License-Identifier: MIT
#include "pool/page_checksum.hpp"

#include <bit>
#include <cstring>

#include "crc32c.hpp"

namespace vmcache {
namespace {

PageHeader header_of(const std::byte* page) noexcept {
  PageHeader header;
  std::memcpy(&header, page, sizeof header);
  return header;
}

//! Of the extent as if it began with `header`.
std::uint32_t checksum_of(PageHeader header, Extent extent, const std::byte* bytes) noexcept {
  header.checksum = 0;
  const std::uint32_t front = crc32c(&header, sizeof header);
  return crc32c_more(front, bytes + sizeof header, extent.bytes() - sizeof header);
}

class HeaderFormat final : public PageFormat {
 public:
  void before_write(std::uint64_t offset, std::span<std::byte> bytes) const noexcept override {
    set_checksum(extent_at(offset, bytes.size()), bytes.data());
  }
  [[nodiscard]] Status after_read(std::uint64_t offset,
                                  std::span<std::byte> bytes) const noexcept override {
    return verify_checksum(extent_at(offset, bytes.size()), bytes.data());
  }
  [[nodiscard]] Lsn lsn_of(std::span<const std::byte> bytes) const noexcept override {
    return vmcache::lsn_of(bytes.data());
  }

 private:
  static Extent extent_at(std::uint64_t offset, std::size_t bytes) noexcept {
    return {offset / kPageSize, static_cast<unsigned>(std::countr_zero(bytes / kPageSize))};
  }
};

}  // namespace

const PageFormat& header_format() noexcept {
  static const HeaderFormat format;
  return format;
}

std::byte* FormatBuffer::reserve(std::size_t bytes) noexcept {
  if (_bytes < bytes) {
    _memory.reset(static_cast<std::byte*>(std::aligned_alloc(kPageSize, bytes)));
    _bytes = _memory ? bytes : 0;
  }
  return _memory.get();
}

std::byte* FormatBuffer::copy_in_format(const PageFormat& format, std::uint64_t offset,
                                        std::span<const std::byte> page) noexcept {
  std::byte* const copy = reserve(page.size());
  if (copy == nullptr) return nullptr;
  std::memcpy(copy, page.data(), page.size());
  format.before_write(offset, {copy, page.size()});
  return copy;
}

void set_checksum(Extent extent, std::byte* bytes) noexcept {
  PageHeader header{.lsn = lsn_of(bytes), .page_id = extent.page_id};
  header.checksum = checksum_of(header, extent, bytes);
  std::memcpy(bytes, &header, sizeof header);
}

Status verify_checksum(Extent extent, const std::byte* bytes) noexcept {
  const PageHeader header = header_of(bytes);
  const std::uint32_t expected = checksum_of(header, extent, bytes);
  // Told first, though it checks: whole, but somebody else's.
  if (header.checksum == expected && header.page_id != extent.page_id) {
    return {.code = Errc::kWrongPage,
            .page_id = extent.page_id,
            .expected = extent.page_id,
            .found = header.page_id};
  }
  if (header.checksum != expected)
    return {.code = Errc::kChecksum,
            .page_id = extent.page_id,
            .expected = expected,
            .found = header.checksum};
  return {};
}

Lsn lsn_of(const std::byte* page) noexcept {
  return header_of(page).lsn;
}

void set_lsn(std::byte* page, Lsn lsn) noexcept {
  // Under the page's exclusive latch, and whole: who reads it without a latch validates afterwards,
  // as with a page's other bytes.
  __atomic_store_n(reinterpret_cast<Lsn*>(page + offsetof(PageHeader, lsn)), lsn, __ATOMIC_RELAXED);
}

}  // namespace vmcache
