// SPDX-License-Identifier: MIT
//
// Pages with a PageHeader on their way to storage and back.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>

#include "vmcache/error.hpp"
#include "vmcache/page_format.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

//! Memory that direct I/O takes, kept from write to write. A page gets its format in a copy: it is
//! written under a shared latch, and optimistic readers would see its bytes change (I3).
class FormatBuffer {
 public:
  //! Copies the extent's bytes, which belong at `offset`, and brings the copy into the format. Null
  //! if there is no memory for it.
  [[nodiscard]] std::byte* copy_in_format(const PageFormat& format, std::uint64_t offset,
                                          std::span<const std::byte> page) noexcept;
  //! Memory for so many bytes, or null.
  [[nodiscard]] std::byte* reserve(std::size_t bytes) noexcept;

 private:
  struct Free {
    void operator()(std::byte* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> _memory;
  std::size_t _bytes = 0;
};

//! Fills in the header of an extent that is ours alone, but for its LSN.
void set_checksum(Extent extent, std::byte* bytes) noexcept;
//! Whether the bytes have the right checksum and page id. Else kChecksum or kWrongPage, with both
//! values.
[[nodiscard]] Status verify_checksum(Extent extent, const std::byte* bytes) noexcept;

//! Pages that begin with a PageHeader.
[[nodiscard]] const PageFormat& header_format() noexcept;

//! The LSN in the header of a page that the caller has latched.
[[nodiscard]] Lsn lsn_of(const std::byte* page) noexcept;
//! The caller has latched the page exclusively.
void set_lsn(std::byte* page, Lsn lsn) noexcept;

}  // namespace vmcache
