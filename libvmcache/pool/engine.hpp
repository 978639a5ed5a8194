// SPDX-License-Identifier: MIT
//
// The fault engine: one thread's machinery for bringing pages in and taking pages out. Every way into and out
// of memory goes through it: faults of tasks and threads, eviction, checkpoints, shrinking.
//
// A turn
//  1. requests that waited for a latch, or for another engine's load, try again;
//  2. faults get frames: free ones first, then those of victims of a sweep. One exchange() with the memory takes
//     the victims' frames and puts frames under the faulted pages; only then are the victims published as evicted;
//  3. reads, and writes of dirty pages the sweep came across, go out in one submission;
//  4. completions are reaped, pages published, askers told. One that has nothing else to do waits for a quarter of what
//     is in flight, so that turns are few and their calls bring many pages each.
// Between turns an engine holds claims (0xfe) of pages being loaded, and shared latches and write claims of pages being
// written, and nothing else.
//
// Who may wait for whom. A fault waits for frames and for I/O, never for a latch, once its page is claimed. An
// engine that is borrowed for a blocking call holds nothing but claims, so it always comes to an end, and threads
// that wait for an engine, a claim or a frame wait for one that does. A worker's engine turns only when its thread
// turns it: so a blocking call inside a task turns the worker's own engine (engine_of_thread), or it could wait for
// a claim of another task of the same thread for ever. Waiting for latches is done outside (BufferPool) or by
// tasks. A fault that finds no frame for `frame_wait` gives its claim up and fails.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pool/counters.hpp"
#include "pool/page_seal.hpp"
#include "pool/residency.hpp"
#include "vmcache/fault.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::detail {

class PoolCore;

//! The pages of one write-back and how it went; outlives them.
struct WriteBatch {
  std::uint64_t outstanding = 0;  //!< requests
  Status first_error;
  //! To be written one by one, because a write of several failed; with room for all.
  std::vector<Extent> again;
};

//! Most pages that a checkpoint writes at a time: 128 KiB.
inline constexpr std::size_t kRunPages = 32;

//! Used by one thread at a time.
class Engine {
 public:
  Engine(PoolCore& core, unsigned context);

  //! Makes the queue fit for the thread that is about to use the engine.
  void bind(bool one_thread);
  //! Lets go of a queue that is of no use to another thread, while its own is still here.
  void unbind() {
    if (_queue_one_thread) _queue.reset();
    _queue_one_thread = false;
  }

  //! Makes start() of that many more requests unable to fail. Throws std::bad_alloc.
  void expect(std::size_t requests);
  //! Takes the request. `done` is called in a later turn, never from here. Throws std::bad_alloc, and then has not.
  void start(FaultRequest& request) {
    expect(1);
    ++_unfinished;
    (request.goal == FaultRequest::Goal::kPause ? _waiting : _arrived).push_back(&request);
  }

  //! All memory that turns need is taken before: by bind(), expect() and have_writes(). So they do not fail half-way,
  //! with latches held and requests of others on the way. One turn. With `may_wait` it sleeps until something can have changed.
  void turn(bool may_wait);
  //! Turns until nothing that was started is unfinished.
  void drain();
  [[nodiscard]] bool idle() const noexcept;

  //! Writes the page back if it is dirty, under a shared latch that is taken now. False if it is latched
  //! exclusively, or being written already.
  [[nodiscard]] bool write_back(Extent extent, WriteBatch& batch);
  //! Copies the first of `pages` that are dirty, and writes them with one request. They are single pages that lie one after the
  //! other. Returns how many it has dealt with; the next one is in the way as for write_back(), or the run was long enough.
  [[nodiscard]] std::size_t write_back_run(std::span<const Extent> pages, WriteBatch& batch);
  //! Sweeps once for `pages` pages and gives the frames it could take to the pool; starts to write dirty
  //! ones.
  void evict(std::uint64_t pages, SweepEffort effort);
  //! Takes away the frames of an extent the caller holds exclusively, and publishes it as evicted.
  [[nodiscard]] Status drop(Extent extent, PageState word);

  [[nodiscard]] const EngineCounters& counters() const noexcept { return _counters; }
  [[nodiscard]] unsigned in_flight() const noexcept { return _queue ? _queue->in_flight() : 0; }

 private:
  struct WriteRequest : IoRequest {
    Extent extent;  // of a run: its first page
    std::uint32_t slot = 0;
    std::uint32_t run = 0;                   // pages that were copied; 0: the extent is latched instead
    std::array<PageState, kRunPages> words;  // of a run, when they were copied
    WriteBatch* batch = nullptr;             // null: written to be evicted
    Lsn lsn = 0;                             // the log must be durable up to here first
    SealBuffer sealed;
  };
  enum class Copied : std::uint8_t { kYes, kClean, kBusy };

  // engine.cpp: requests
  void advance(FaultRequest& request);
  void advance_resident(FaultRequest& request, PageState word);
  void finish(FaultRequest& request, Status status);
  void fail_claim(FaultRequest& request, Status status);
  void take_new(FaultRequest& request);
  void enlist(FaultRequest& request, PageState word);
  void publish(FaultRequest& request);
  void complete_read(FaultRequest& request);
  void wait(bool may_wait);
  //! False if nothing has completed.
  bool reap(unsigned wait_for, std::uint64_t timeout_ns);

  // engine_frames.cpp: frames and eviction
  void serve_faults();
  void claim_written();
  [[nodiscard]] std::size_t pick_faults(std::uint64_t& pages) const;
  [[nodiscard]] std::uint64_t find_frames(std::uint64_t wanted);
  [[nodiscard]] std::uint64_t starved_for_ns() const noexcept;
  void sweep(std::uint64_t pages, SweepEffort effort);
  [[nodiscard]] Status exchange_victims();
  [[nodiscard]] std::size_t room() const noexcept;
  void admit(FaultRequest& request, std::uint32_t slot);
  void starve();

  // engine_writes.cpp
  void have_writes(std::size_t count);
  [[nodiscard]] Copied copy_page(Extent page, std::byte* to, WriteRequest& request) noexcept;
  [[nodiscard]] bool start_write(Extent extent, std::uint32_t slot, WriteBatch* batch) noexcept;
  [[nodiscard]] bool claim(Extent extent) noexcept;
  static void prepare_request(WriteRequest& request, WriteBatch* batch, std::byte* data,
                              std::size_t bytes) noexcept;
  void submit_or_hold(WriteRequest& request) noexcept;
  void prepare_write(WriteRequest& request);
  void release_held();
  void complete_write(WriteRequest& request);
  void settle_latched(const WriteRequest& request) noexcept;
  void settle_copies(const WriteRequest& request) noexcept;
  void fail_write(const WriteRequest& request) noexcept;

  PoolCore& _core;
  const unsigned _context;
  std::unique_ptr<IoQueue> _queue;
  bool _queue_one_thread = false;

  std::vector<FaultRequest*> _arrived;  // started, not looked at
  std::vector<FaultRequest*> _waiting;  // for a latch, or for another's load
  std::vector<FaultRequest*> _faults;   // claimed, without frames
  std::vector<IoRequest*> _prepared;    // to be submitted at the end of the turn
  std::vector<IoRequest*> _completed;
  std::vector<FaultRequest*> _turn;  // scratch of advance's callers
  std::vector<Extent> _wanted;       // scratch of exchange()
  std::vector<Extent> _leaving;
  std::vector<std::uint32_t> _slots;      // scratch of serve_faults()
  Harvest _harvest;                       // of this turn's sweeps
  std::vector<Harvest::Victim> _written;  // written back in the last turn's completions, not latched
  std::vector<std::unique_ptr<WriteRequest>> _writes;  // all there are
  std::vector<WriteRequest*> _free_writes;
  std::vector<WriteRequest*> _held;         // wait for the log, their pages latched or copied
  std::vector<WriteRequest*> _held_before;  // scratch of release_held()
  std::size_t _unfinished = 0;              // requests that were started and have not ended
  std::size_t _eviction_writes = 0;         // in flight
  std::uint64_t _now_ns = 0;
  std::uint64_t _write_failed_ns = 0;
  std::uint64_t _read_ns = 0;      // a read's time of late (moving average)
  std::uint64_t _progress_ns = 0;  // when frames were last found, or a page written
  EngineCounters _counters;
};

//! Faults served by one page-table call (exmap takes 512 entries).
inline constexpr std::size_t kMaxBatch = 512;

//! The engine of the Worker that runs on this thread, if it is one of the pool's; else null.
[[nodiscard]] Engine* engine_of_thread(const PoolCore& core) noexcept;

//! While it lives, `engine` is this thread's. They nest: a task may run another pool's Worker.
class EngineOfThread {
 public:
  EngineOfThread(const PoolCore& core, Engine& engine) noexcept;
  ~EngineOfThread();
  EngineOfThread(const EngineOfThread&) = delete;
  EngineOfThread& operator=(const EngineOfThread&) = delete;

 private:
  friend Engine* engine_of_thread(const PoolCore& core) noexcept;
  const PoolCore& _core;
  Engine& _engine;
  EngineOfThread* const _outer;
};

[[nodiscard]] std::uint64_t now_ns() noexcept;

}  // namespace vmcache::detail
