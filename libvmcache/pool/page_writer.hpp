// SPDX-License-Identifier: MIT
//
// The engine's side of write-back.
//
// There are two ways. A page that is to leave memory, and an extent of several pages, is written
// under a shared latch that is held until the write has completed. A checkpoint copies: it has
// thousands of pages to write that are in use and stay so, and whoever changes one must not wait
// for storage, nor for the log. So it latches a page for as long as the copy takes, and the copies
// of neighbours go out as one write. W1 ... are the invariants of write_claims.hpp, E4 and E5 those
// of engine.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pool/engine_base.hpp"
#include "pool/io_channel.hpp"
#include "pool/page_checksum.hpp"
#include "pool/residency.hpp"
#include "vmcache/error.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

//! The pages of one write-back, and how it went. It must outlive their writes.
struct WriteBatch {
  std::uint64_t outstanding = 0;  //!< requests
  Status first_error;
  //! To be written one by one, because a write of several pages failed. Has room for all.
  std::vector<Extent> again;
};

//! Maximum number of pages in one write of a checkpoint: 128 KiB.
inline constexpr std::size_t kRunPages = 32;

class PageWriter {
 public:
  PageWriter(EngineBase& base, IoChannel& io) noexcept : _base(base), _core(base.core), _io(io) {}

  //! After a new queue of the channel. Throws std::bad_alloc.
  void bind();
  //! Makes `count` requests, so that as many writes can be started. Call it before pages are
  //! latched for write-back. Throws std::bad_alloc.
  void reserve(std::size_t count);
  //! Requests that are there, and in no use.
  [[nodiscard]] std::size_t reserved() const noexcept { return _free.size(); }

  //! \name Checkpoints
  //! While the channel has room.
  //! @{
  enum class Outcome : std::uint8_t { kDone, kBusy, kAheadOfLog };
  //! Writes the page back if it is dirty, under a shared latch that it takes now. Returns kBusy if
  //! the page is exclusively latched or already being written, and kAheadOfLog if the log is not
  //! durable up to it. With `ahead_of_log` it then keeps the latch until the log has come that far,
  //! or give_up_held() ends it. Throws std::bad_alloc.
  [[nodiscard]] Outcome write_back(Extent extent, WriteBatch& batch, bool ahead_of_log);
  //! Copies the first of `pages` that are dirty and writes the copies with one request. `pages` are
  //! single pages that follow one another. Returns how many it has dealt with. It stops before a
  //! page that is in the way as for write_back(), or when the run is long enough. Throws
  //! std::bad_alloc.
  [[nodiscard]] std::size_t write_back_run(std::span<const Extent> pages, WriteBatch& batch);
  //! Ends the writes of the batch that wait for the log, without writing. Their pages stay dirty.
  //! Returns one of the pages, or kNoPage if there were none.
  PageId give_up_held(WriteBatch& batch) noexcept;
  //! The same of all batches.
  void give_up_all_held() noexcept;
  //! @}

  //! \name Eviction
  //! @{
  //! Writes a victim, under a shared latch that is the caller's until now (I5). Where the page is
  //! claimed, or ahead of the log (E4), it only gives the latch back.
  void write_victim(Extent extent) noexcept { (void)start(extent, nullptr); }
  //! Victims that have been written, and that nobody has used since. They are not latched.
  [[nodiscard]] std::vector<SweepResult::Victim>& written_victims() noexcept { return _written; }
  [[nodiscard]] const std::vector<SweepResult::Victim>& written_victims() const noexcept {
    return _written;
  }
  //! Writes of victims in flight.
  [[nodiscard]] std::size_t victims_in_flight() const noexcept { return _victims_in_flight; }
  //! Victims of this turn's sweeps that are ahead of the log.
  [[nodiscard]] std::size_t victims_ahead_of_log() const noexcept { return _victims_ahead; }
  //! @}

  void begin_turn() noexcept { _victims_ahead = 0; }
  //! Log before page: what waited for the log goes on if the log is durable, and fails if it never
  //! will be.
  void release_held() {
    if (holds()) release_all_held();
  }
  //! Whether writes wait for the log.
  [[nodiscard]] bool holds() const noexcept { return !_held.empty(); }
  //! A write, started here, has ended.
  void complete(IoRequest& request) { complete_write(static_cast<WriteRequest&>(request)); }

 private:
  struct WriteRequest : IoRequest {
    Extent extent;  // of a run: its first page
    // Pages that were copied; 0: the extent is latched instead.
    std::uint32_t run = 0;
    std::array<PageState, kRunPages> words;  // of a run, when they were copied
    WriteBatch* batch = nullptr;             // null: a victim
    WriteAhead* log = nullptr;               // asked before the write, or none
    Lsn lsn = 0;                             // it must be durable up to here first
    Lsn durable = 0;                         // it was up to here when the pages were as written
    FormatBuffer copies;
  };
  enum class Copied : std::uint8_t { kYes, kClean, kBusy };

  [[nodiscard]] Copied copy_page(Extent page, std::byte* to, WriteRequest& request) noexcept;
  void give_up(WriteRequest& request) noexcept;
  [[nodiscard]] bool start(Extent extent, WriteBatch* batch) noexcept;
  [[nodiscard]] bool claim(Extent extent) noexcept;
  static void describe(WriteRequest& request, WriteBatch* batch, std::byte* data,
                       std::size_t bytes) noexcept;
  [[nodiscard]] std::span<std::byte> bytes_of(Extent extent) const noexcept;
  [[nodiscard]] Lsn lsn_in(PageId page_id, std::span<const std::byte> page) const noexcept;
  void ask_log(WriteRequest& request, PageId page_id) const noexcept;
  void note_in_storage(const WriteRequest& request) noexcept;
  void submit_or_hold(WriteRequest& request) noexcept;
  void prepare(WriteRequest& request);
  void drop_changes(WriteRequest& request) noexcept;
  void release_all_held();
  void complete_write(WriteRequest& request);
  void settle(WriteRequest& request) noexcept;
  void settle_latched(const WriteRequest& request) noexcept;
  void settle_copies(const WriteRequest& request) noexcept;
  void fail(const WriteRequest& request) noexcept;

  EngineBase& _base;
  PoolCore& _core;
  IoChannel& _io;
  std::vector<std::unique_ptr<WriteRequest>> _all;
  std::vector<WriteRequest*> _free;
  // Of checkpoints: they wait for the log, their pages copied or latched.
  std::vector<WriteRequest*> _held;
  std::vector<WriteRequest*> _held_before;  // scratch of release_held()
  std::vector<SweepResult::Victim> _written;
  std::size_t _victims_in_flight = 0;
  std::size_t _victims_ahead = 0;
};

}  // namespace vmcache::detail
