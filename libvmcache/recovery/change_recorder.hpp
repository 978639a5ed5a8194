// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "recovery/visibility.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache {

//! Turns what trees report about their pages into log records, and gives the pages their LSNs. It
//! appends the records of commits and of page changes; snapshots are appended elsewhere. R1, R2 ...
//! are rules of docs/recovery.md. Thread-safe, except for the three calls that say so.
class ChangeRecorder final : public ChangeLog {
 public:
  ChangeRecorder(WriteAheadLog& log, Visibility& visibility) noexcept
      : _log(log), _visibility(visibility) {}

  //! \name Called by one thread, which no other thread may work beside
  //! @{

  //! What the trees change from now on is a recovery.
  void begin_recovery(BufferPool& pool) noexcept;
  void end_recovery() noexcept { _recovering = false; }
  //! From now on, a page whose LSN is at most `begin` needs an image when it changes. The gate is
  //! closed.
  void begin_images(Lsn begin) noexcept { _image_after.store(begin, std::memory_order_release); }
  //! @}

  //! Appends the record of a commit before its changes are made (R2), and returns the record's end.
  //! The caller has log space reserved and is inside the gate. Throws what WriteAheadLog::append()
  //! throws.
  Lsn append_commit(Bytes body);
  //! Appends the record of a new tree's root. `root` is 1 + its index. Throws the same.
  void append_root(PageId page_id, unsigned root);

  // ChangeLog: called under the exclusive latches of the pages.
  void page_will_change(PageId page_id) noexcept override;
  void page_changed(PageId page_id) noexcept override;
  void structure_changed(std::span<const PageChange> pages) noexcept override;
  void value_written(PageId page_id) noexcept override;
  [[nodiscard]] Lsn applied_lsn() noexcept override { return _visibility.applied_lsn(); }
  [[nodiscard]] std::uint64_t commit_being_applied(PageId root, Bytes key) override {
    return _visibility.commit_being_applied(root, key);
  }

 private:
  void append_pages(std::span<const PageChange> pages, unsigned root);
  void append_or_fail(std::span<const PageChange> pages) noexcept;

  WriteAheadLog& _log;
  Visibility& _visibility;
  BufferPool* _pool = nullptr;
  bool _recovering = true;
  //! A page whose LSN is greater has an image behind the begin of the checkpoint taken last (R3).
  std::atomic<Lsn> _image_after{0};
};

}  // namespace vmcache
