// SPDX-License-Identifier: MIT
//
// The fault engine: what one thread needs to bring pages in and to take pages out. Every way into
// and out of memory goes through an engine: faults of tasks and threads, eviction, checkpoints,
// shrinking.
//
// A turn
//  1. Requests that waited for a latch, or for another engine's load, try again.
//  2. Faults get frames: free ones first, then those of victims of a sweep. One exchange() with the
//     memory takes the victims' frames away and puts frames under the faulted pages. Only then are
//     the victims published as evicted.
//  3. Reads, and writes of dirty pages that the sweep met, go out in one submission.
//  4. Completions are reaped and pages published. A turn that has nothing else to do waits for a
//     quarter of the reads in flight, so that turns are few and their calls bring many pages each.
//  5. The callers of requests that have ended are told.
//
// Its parts, each with the state that only it changes. A part calls those below it:
//
//   Engine: the steps of a turn, and its waits
//      |
//   RequestQueue   requests until they claim their page: 1
//      |
//   FaultQueue     claimed pages: frames, reads, publishing: 2
//      |
//   Evictor        free frames, sweeps, the exchange with the memory: 2
//      |
//   PageWriter     write-back of victims and checkpoints
//      |
//   IoChannel      the queue to the storage: 3, 4        RequestEnds   who is to be told: 5
//
// A fault: start() -> RequestQueue claims the page -> FaultQueue asks the Evictor for a frame, has
// it exchanged, and prepares the read -> IoChannel -> FaultQueue checks and publishes the page ->
// RequestEnds. An eviction of a dirty page: the Evictor's sweep -> PageWriter -> IoChannel ->
// PageWriter notes it as written -> the next turn's Evictor takes it, if nobody has used it since.
//
// Between turns an engine holds claims (0xfe) of pages that it loads, and shared latches and write
// claims of pages that it writes. It holds nothing else.
//
// Invariants
//  E1  No code of a caller runs in steps 1 to 4. RequestEnds::finish() only notes that a request
//      has ended. Step 5 calls the request's `done`, when no list or scratch memory of the engine
//      is in use.
//  E2  Callbacks do not nest. A callback may make a blocking call, which turns this engine. The
//      turn that called the callback, or a later one, tells the callers of what ends in it. The
//      blocking call itself need not be told: it looks at its own requests (FaultRequest::ended).
//  E3  An engine that no thread has holds nothing but writes in flight. They end by themselves, and
//      only their completions are left to process (reap_writes()). That never waits, and any thread
//      may do it. Whoever waits for a latch, a write claim or a frame does it
//      (EngineSet::reap_idle()), and so does a try_fix() that was refused. close() and the
//      destructor wait for the writes.
//  E4  A page that is to be evicted is not latched while it waits for the log. Such pages stay
//      where they are, the log is asked to go on, and a later sweep finds them again. A
//      checkpoint's copies wait for the log without a latch. Only one case holds a latch meanwhile:
//      an extent of several pages that a checkpoint has long found ahead of the log. That wait has
//      a bound.
//  E5  A fault waits for a write-back only if no clean page can leave, or for the millisecond or so
//      in which a healthy device ends one. (To take clean pages at once would take those that were
//      loaded a moment ago.) So writes of victims take at most half of the queue's places, and then
//      the sweep goes on among clean pages.
//
// What else runs inside a turn, and must not use the pool: WriteAhead, the log callback, the queues
// of a Storage. Their headers say so.
//
// Interleavings that would break them (tests in tests/pool/engine_test.cpp)
//  E1  reap() goes through the completions. The callback of the first one makes a blocking call,
//      whose turn reaps into the same list. The outer loop goes on over entries that are not its
//      own: requests end twice or never.
//  E2  64 callbacks each make a blocking call, nested: the stack grows with the number of tasks. Or
//      a blocking call waits for its own `done`, behind a callback that waits for the call: neither
//      ends.
//  E3  A reader's engine is given back with a write in flight, and nobody reads any more. A writer
//      wants the page. Its shared latch goes when some thread processes the completion, so the
//      writer has to. Or the thread that submitted the write ends: the kernel may cancel what it
//      has not begun (RingQueue submits it again).
//  E4  A thread that flushes its log between two calls of the pool evicts a page ahead of the log,
//      under a latch. Then it wants the page exclusively: it waits for the log, which waits for it.
//  E5  Seven of eight pages are clean, and one write takes a second: a read that finds 64 dirty
//      pages first waits for them.
//
// Who may wait for whom. Once its page is claimed, a fault waits for frames and for I/O, never for
// a latch. An engine that is borrowed for a blocking call holds only claims, and latches of writes
// in flight, so it always finishes. Threads that wait for an engine, a claim or a frame therefore
// wait for one that finishes. A Worker's engine turns only when its thread turns it. A blocking
// call inside a task therefore turns the Worker's own engine (engine_of_thread); otherwise it could
// wait for ever for a claim of another task of its thread. A Worker's thread may also stop turning
// its engine, because a task waits, for example, for a mutex whose holder waits for a page that the
// Worker loads. So a thread that waits for another's claim checks after `frame_wait` whether a
// Worker stands still, and then fails with kBusy. Waiting for latches is done outside (BufferPool)
// or by tasks. A fault that finds no frame for `frame_wait` gives up its claim and fails.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "pool/counters.hpp"
#include "pool/engine_base.hpp"
#include "pool/evictor.hpp"
#include "pool/fault_queue.hpp"
#include "pool/io_channel.hpp"
#include "pool/page_writer.hpp"
#include "pool/request_ends.hpp"
#include "pool/request_queue.hpp"
#include "vmcache/detail/fault.hpp"

namespace vmcache::detail {

class PoolCore;

//! Used by one thread at a time.
class Engine {
 public:
  Engine(PoolCore& core, unsigned context);
  //! Waits for the writes in flight, because they use its memory.
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  //! Gives the engine a queue that the calling thread may use. With `single_issuer` no other thread
  //! will use the engine until unbind(). Throws what making a queue throws; std::bad_alloc.
  void bind(bool single_issuer);
  //! Drops a queue that another thread could not use. Call it on the queue's thread.
  void unbind() noexcept { _io.unbind(); }

  //! Reserves room for that many more requests, so that start() of them cannot fail. Throws
  //! std::bad_alloc.
  void reserve(std::size_t requests);
  //! Takes the request. A later turn calls `done`; start() never does. Throws std::bad_alloc, and
  //! has then not taken it.
  void start(FaultRequest& request) {
    reserve(1);
    _ends.started();
    request.starved_ns = 0;
    request.ended = false;
    _requests.add(request);
  }

  //! Runs one turn. With `may_wait` it sleeps until something can have changed. Never allocates:
  //! bind(), reserve() and PageWriter::reserve() have reserved everything. So a turn cannot fail
  //! half-way, with latches held and requests of others under way.
  void turn(bool may_wait);
  //! For a loop that is not the engine's own: in how many ns it wants the next turn; 0: at once;
  //! kNoTurn: it wants none. `hears`: completions are announced to that loop, which comes earlier
  //! then.
  [[nodiscard]] std::uint64_t wants_turn_in_ns(bool hears) const noexcept;
  static constexpr std::uint64_t kNoTurn = ~std::uint64_t{0};
  //! Turns until every request that was started has ended.
  void drain();
  [[nodiscard]] bool idle() const noexcept;

  //! \name For an engine that no thread has (E3)
  //! @{
  //! True if nothing is left to do but to process completions of writes.
  [[nodiscard]] bool may_be_given_back() const noexcept {
    return _ends.unfinished() == 0 && _io.nothing_prepared() && !_writer.holds();
  }
  //! Processes the writes that have ended. Does not wait for any.
  void reap_writes() noexcept;
  //! Waits for all writes in flight.
  void drain_writes() noexcept;
  //! The same, and for those that are prepared; ends those that wait for the log, whose pages stay
  //! dirty. Nobody turns the engine afterwards.
  void settle_writes() noexcept;
  //! @}

  //! \name Its parts, for who has the engine
  //! @{
  [[nodiscard]] PageWriter& writer() noexcept { return _writer; }
  [[nodiscard]] Evictor& evictor() noexcept { return _evictor; }
  //! Whether one more write can be started, as the writer needs.
  [[nodiscard]] bool has_room() const noexcept { return _io.room() > 0; }
  //! The same for one that leaves a quarter of the queue to faults, which go on meanwhile.
  [[nodiscard]] bool has_room_beside_faults() const noexcept {
    return _io.room() > (_io.depth() + 3) / 4;
  }
  //! @}

  [[nodiscard]] const EngineCounters& counters() const noexcept { return _base.counters; }
  [[nodiscard]] unsigned in_flight() const noexcept { return _io.in_flight(); }
  //! As IoQueue::announce().
  [[nodiscard]] bool announce(int event_fd) noexcept { return _io.announce(event_fd); }
  //! The number of the engine, and of its context in the memory.
  [[nodiscard]] unsigned context() const noexcept { return _base.context; }
  //! A Worker's thread calls leave() when it goes to run tasks, and come_back() when it returns to
  //! turn the engine.
  void leave() noexcept {
    _left_ns.store(_ends.unfinished() > 0 ? _base.now : 0, std::memory_order_relaxed);
  }
  void come_back() noexcept { _left_ns.store(0, std::memory_order_relaxed); }
  //! True if requests are under way and the thread has been running tasks for more than
  //! `patience_ns`. Any thread may call it.
  [[nodiscard]] bool stands_still(std::uint64_t now_ns, std::uint64_t patience_ns) const noexcept {
    const std::uint64_t since = _left_ns.load(std::memory_order_relaxed);
    return since != 0 && now_ns > since && now_ns - since > patience_ns;
  }

 private:
  void wait(bool may_wait);
  [[nodiscard]] std::uint64_t poll_ns() const noexcept;
  //! False if nothing has completed.
  bool reap(unsigned wait_for, std::uint64_t timeout_ns);

  EngineBase _base;
  IoChannel _io{_base};
  RequestEnds _ends{_base};
  PageWriter _writer{_base, _io};
  Evictor _evictor{_base, _io, _writer};
  FaultQueue _faults{_base, _io, _evictor, _ends};
  RequestQueue _requests{_base, _faults, _ends};
  //! Since when the thread runs tasks while requests are under way; 0 if it does not, or none are.
  std::atomic<std::uint64_t> _left_ns{0};
};

//! The engine of the Worker that runs on this thread, if that is a Worker of this pool; else null.
[[nodiscard]] Engine* engine_of_thread(const PoolCore& core) noexcept;

//! The engine of the innermost Worker that runs on this thread, of whatever pool; else null.
[[nodiscard]] const Engine* innermost_engine() noexcept;

//! Whether a Worker with that engine runs on this thread, innermost or not.
[[nodiscard]] bool runs_on_thread(const Engine& engine) noexcept;

//! Makes `engine` this thread's while it lives. They nest: a task may run another pool's Worker.
class EngineOfThread {
 public:
  EngineOfThread(const PoolCore& core, Engine& engine) noexcept;
  ~EngineOfThread();
  EngineOfThread(const EngineOfThread&) = delete;
  EngineOfThread& operator=(const EngineOfThread&) = delete;

 private:
  friend Engine* engine_of_thread(const PoolCore& core) noexcept;
  friend const Engine* innermost_engine() noexcept;
  friend bool runs_on_thread(const Engine& engine) noexcept;
  const PoolCore& _core;
  Engine& _engine;
  EngineOfThread* const _outer;
};

}  // namespace vmcache::detail
