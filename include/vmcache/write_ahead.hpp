// SPDX-License-Identifier: MIT
//
// What connects pages to a log: the page header that a user may opt into, what the pool asks the
// log before it writes a page, and what structures report about their changes. The protocol is in
// docs/recovery.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "vmcache/bytes.hpp"
#include "vmcache/export.hpp"
#include "vmcache/guard.hpp"
#include "vmcache/types.hpp"

namespace VMCACHE_EXPORT vmcache {

//! A position in a log. Positions only grow; 0 is before everything.
using Lsn = std::uint64_t;

//! The front of every extent with PoolOptions::page_header. The user sets `lsn` under the exclusive
//! latch, like any byte of the page. Write-back fills in the other fields, in its copy, and a load
//! checks them.
struct PageHeader {
  Lsn lsn = 0;                 //!< the log must be durable up to here before the page is written
  PageId page_id = kNoPage;    //!< where the bytes belong; reveals a misdirected write
  std::uint32_t checksum = 0;  //!< CRC32C of the whole extent with this field 0
  std::uint32_t reserved = 0;
};
static_assert(sizeof(PageHeader) == 24);

//! What the pool asks before it writes a page. Whoever has the log implements it. Any thread may
//! call it, often, and with latches held. It must not wait and must not use the pool.
class WriteAhead {
 public:
  virtual ~WriteAhead() = default;
  //! Everything before this position is durable.
  [[nodiscard]] virtual Lsn durable_lsn() const noexcept = 0;
  //! Someone waits until durable_lsn() >= lsn. Starts what is needed and returns.
  virtual void want_durable(Lsn lsn) noexcept = 0;
  //! True if want_durable() is enough: a thread of the log makes it durable, however long that
  //! takes. False if some thread has to return to a loop that flushes, perhaps the very thread that
  //! asks. checkpoint() and close() then wait at most PoolOptions::frame_wait for a log that does
  //! not move, and fail with Errc::kBusy.
  [[nodiscard]] virtual bool flushes_itself() const noexcept { return false; }
  //! 0, or the errno with which the log has failed for good. No page is written any more then.
  [[nodiscard]] virtual int log_error() const noexcept = 0;
};

//! One page of a structure change, which the caller has latched exclusively. Or an extent of a
//! large value, which can be reached only through such a page.
struct PageChange {
  enum class Kind : std::uint8_t {
    kChanged,
    kAllocated,  //!< changed, and part of the structure from now on
    kFreed,      //!< no longer part of it; its bytes do not matter
    //! An extent that holds a value from now on. Its bytes are already in the log.
    kValueAllocated,
    kValueFreed,  //!< an extent that no longer holds a value
  };
  PageId page_id = kNoPage;
  Kind kind = Kind::kChanged;
  unsigned order = 0;  //!< of an extent with a value, else 0

  //! Whether the page's bytes are part of the change.
  [[nodiscard]] constexpr bool has_image() const noexcept {
    return kind == Kind::kChanged || kind == Kind::kAllocated;
  }
};

//! Structures (the B+tree) report their changes to it. They hold the pages latched exclusively
//! during the call.
class ChangeLog {
 public:
  virtual ~ChangeLog() = default;
  //! The page is about to change, alone or with others, or to be freed.
  virtual void page_will_change(PageId page_id) noexcept = 0;
  //! The page has changed; no other page is concerned.
  virtual void page_changed(PageId page_id) noexcept = 0;
  //! These pages have changed together. A crash must leave all of the change or nothing.
  virtual void structure_changed(std::span<const PageChange> pages) noexcept = 0;
  //! An extent that nothing leads to yet was filled with the bytes of a value.
  virtual void value_written(PageId page_id) noexcept = 0;

  //! \name For readers that may meet a commit which is applied only in part
  //! Any thread calls these, without latches.
  //! @{

  //! A page whose LSN is not greater than this holds no change of a commit that is being applied.
  //! Only grows.
  [[nodiscard]] virtual Lsn applied_lsn() noexcept { return ~Lsn{0}; }
  //! The number of the commit that is being applied and changes this key in the tree with this
  //! root, or 0. Throws Error kIo if that commit will never be applied, because the log has failed.
  [[nodiscard]] virtual std::uint64_t commit_being_applied(PageId /*root*/, Bytes /*key*/) {
    return 0;
  }
  //! @}
};

}  // namespace vmcache
