// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmcache/error.hpp"
#include "vmcache/export.hpp"
#include "vmcache/write_ahead.hpp"

namespace VMCACHE_EXPORT vmcache {

//! What the pages of a file look like in storage, where that is not what they look like in memory
//! (FileOptions::format): checksums, encryption, the place of the LSN. PageHeader is one of these.
//! Any thread may call it, several at once, with latches held. It must not wait and must not use
//! the pool.
class PageFormat {
 public:
  virtual ~PageFormat() = default;
  //! `bytes` is a copy of what lies at `offset` of the file and is about to be written: fills in a
  //! checksum, or encrypts. Its length is a multiple of kPageSize, whatever the file's size is.
  virtual void before_write(std::uint64_t offset, std::span<std::byte> bytes) const noexcept = 0;
  //! `bytes` were read from `offset`, and nobody sees them yet: checks them, or decrypts. A page
  //! that was never written, because the file was made longer, is zeros. If the result is not ok
  //! the page does not come in, and whoever wanted it gets this status as Error.
  [[nodiscard]] virtual Status after_read(std::uint64_t offset,
                                          std::span<std::byte> bytes) const noexcept = 0;
  //! The page's LSN: the file's log must be durable up to there before the page is written. 0 for
  //! a page that the log does not concern. Called only with FileOptions::write_ahead, with the
  //! page as it is in memory.
  [[nodiscard]] virtual Lsn lsn_of(std::span<const std::byte> bytes) const noexcept {
    (void)bytes;
    return 0;
  }
};

//! A page that storage does not have in its newest version.
struct DirtyPage {
  std::uint64_t page = 0;  //!< of the file
  //! All changes of the page whose LSN is below this are in storage.
  Lsn recovery_lsn = 0;
};

}  // namespace vmcache
