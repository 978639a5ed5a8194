// SPDX-License-Identifier: MIT
//
// What ties pages to a log: the page format that a user may opt into, the question the pool asks before it writes a
// page, and what structures tell about their changes. The protocol: docs/recovery.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmcache/guard.hpp"
#include "vmcache/types.hpp"

namespace vmcache {

//! A position in a log; grows. 0 is before everything.
using Lsn = std::uint64_t;

//! The front of every extent with PoolOptions::page_header. `lsn` is the user's, changed under the exclusive latch
//! like any byte of the page; the rest is filled in the copy that is written back, and checked at load.
struct PageHeader {
  Lsn lsn = 0;                 //!< the log must be durable up to here before the page is written
  PageId page_id = kNoPage;    //!< where it was meant to go: a misdirected write is told by it
  std::uint32_t checksum = 0;  //!< CRC32C of the whole extent with this field 0
  std::uint32_t reserved = 0;
};
static_assert(sizeof(PageHeader) == 24);

//! What the pool asks before it writes a page. Implemented by whoever has the log; called by any thread, often, with
//! latches held: must not wait and must not use the pool.
class WriteAhead {
 public:
  virtual ~WriteAhead() = default;
  //! Everything before this position is durable.
  [[nodiscard]] virtual Lsn durable_lsn() const noexcept = 0;
  //! Somebody waits until durable_lsn() >= lsn. Starts what is needed and returns.
  virtual void want_durable(Lsn lsn) noexcept = 0;
  //! 0, or the errno with which the log has failed for good; then no page is written any more.
  [[nodiscard]] virtual int log_error() const noexcept = 0;
};

//! One of the pages of a structure change, exclusively latched by the caller; or an extent of a large value, which nobody
//! can reach but through such a page.
struct PageChange {
  enum class Kind : std::uint8_t {
    kChanged,
    kAllocated,       //!< changed, and part of the structure from now on
    kFreed,           //!< not part of it any more; its bytes do not matter
    kValueAllocated,  //!< an extent that holds a value from now on: its bytes are in the log already
    kValueFreed,      //!< an extent that does not hold one any more
  };
  PageId page_id = kNoPage;
  Kind kind = Kind::kChanged;
  unsigned order = 0;  //!< of an extent with a value; else 0

  //! Whether its bytes belong to the change.
  [[nodiscard]] constexpr bool has_image() const noexcept {
    return kind == Kind::kChanged || kind == Kind::kAllocated;
  }
};

//! Told by structures (the B+tree) of what they change, in a pool that has one. The pages are latched exclusively
//! during the call.
class ChangeLog {
 public:
  virtual ~ChangeLog() = default;
  //! The page is going to change, alone or together with others, or to be freed.
  virtual void page_will_change(PageId page_id) noexcept = 0;
  //! The page has changed within itself.
  virtual void page_changed(PageId page_id) noexcept = 0;
  //! These pages have changed together: a crash must leave all of it or nothing.
  virtual void structure_changed(std::span<const PageChange> pages) noexcept = 0;
  //! An extent that nothing leads to yet was filled with a value's bytes.
  virtual void value_written(PageId page_id) noexcept = 0;
};

}  // namespace vmcache
