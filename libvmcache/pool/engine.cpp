// SPDX-License-Identifier: MIT
#include "pool/engine.hpp"

#include <time.h>

#include <algorithm>
#include <new>
#include <span>

#include "pool/pool_core.hpp"

namespace vmcache::detail {
namespace {

// Between looks at what no completion announces: an eighth of the time that was waited so far,
// within these bounds. A latch that is held for a moment is looked for without a pause.
constexpr std::uint64_t kSpinNs = 20'000;
constexpr std::uint64_t kPollNs = 50'000;
constexpr std::uint64_t kLongPollNs = 1'000'000;
constexpr std::uint64_t kPollShare = 8;
constexpr std::uint64_t kIdleWaitNs = 100'000'000;
// While I/O is in flight: in a loop that hears of completions, for what none announces (a command
// that is to be submitted again), and in one that does not.
constexpr std::uint64_t kHeardNs = 10'000'000;
constexpr std::uint64_t kUnheardNs = 200'000;

// A turn costs a page-table call and a submission, whatever it brings; so it waits for a share of
// the reads in flight, and leaves the device the others to work on. What `vmbench io` asks of a
// bare ring (--batch of --depth), too. Writes do not count: nobody waits for those of victims, and
// they may take much longer.
constexpr unsigned kShareAwaited = 4;

void sleep_ns(std::uint64_t ns) noexcept {
  const timespec duration{0, static_cast<long>(ns)};
  ::nanosleep(&duration, nullptr);
}

thread_local EngineOfThread* innermost = nullptr;

}  // namespace

EngineOfThread::EngineOfThread(const PoolCore& core, Engine& engine) noexcept
    : _core(core), _engine(engine), _outer(innermost) {
  innermost = this;
}

EngineOfThread::~EngineOfThread() {
  innermost = _outer;
}

Engine* engine_of_thread(const PoolCore& core) noexcept {
  for (const EngineOfThread* entry = innermost; entry != nullptr; entry = entry->_outer) {
    if (&entry->_core == &core) return &entry->_engine;
  }
  return nullptr;
}

const Engine* innermost_engine() noexcept {
  return innermost != nullptr ? &innermost->_engine : nullptr;
}

bool runs_on_thread(const Engine& engine) noexcept {
  for (const EngineOfThread* entry = innermost; entry != nullptr; entry = entry->_outer) {
    if (&entry->_engine == &engine) return true;
  }
  return false;
}

Engine::Engine(PoolCore& core, unsigned context)
    : _base{.core = core, .context = context, .counters = {}} {}

Engine::~Engine() {
  drain_writes();
}

void Engine::bind(bool single_issuer) {
  if (_io.serves(single_issuer)) return;
  drain_writes();
  _io.open(single_issuer);
  try {
    _writer.bind();
    _evictor.bind();
    _faults.bind();
  } catch (const std::bad_alloc&) {
    _io.close();  // or the next bind() would find a queue, and the lists too short
    throw;
  }
}

void Engine::reserve(std::size_t requests) {
  const std::size_t max = _ends.unfinished() + requests;
  if (_requests.has_room(max)) return;
  _faults.reserve(2 * max);
  _requests.reserve(2 * max);  // last: it is asked
}

bool Engine::idle() const noexcept {
  return may_be_given_back() && in_flight() == 0 && _writer.written_victims().empty();
}

void Engine::drain() {
  while (!idle()) turn(true);
}

void Engine::reap_writes() noexcept {
  if (in_flight() > 0) (void)reap(0, 0);
}

//! Ends: what was submitted is always returned some time (IoQueue).
void Engine::drain_writes() noexcept {
  while (in_flight() > 0) (void)reap(1, kIdleWaitNs);
}

void Engine::settle_writes() noexcept {
  _writer.give_up_all_held();
  _io.submit();
  drain_writes();
}

void Engine::turn(bool may_wait) {
  const bool left = _left_ns.load(std::memory_order_relaxed) != 0;  // a blocking call of a task
  if (left) come_back();
  _base.now = now_ns();
  _ends.begin_turn();
  _writer.begin_turn();
  _requests.advance();
  _writer.release_held();
  _faults.serve();
  _io.submit();
  wait(may_wait && _ends.nothing_to_tell());
  _requests.end_pauses();
  leave();  // callbacks are the tasks'
  _ends.tell();
  if (!left) come_back();
}

void Engine::wait(bool may_wait) {
  const unsigned in_flight_now = in_flight();
  const bool polling = _requests.waits() || !_faults.empty() || _writer.holds();
  if (polling) _base.core.engines.reap_idle();  // E3
  if (!may_wait) {
    if (in_flight_now > 0) reap(0, 0);
  } else if (polling) {
    const std::uint64_t ns = poll_ns();
    if (in_flight_now > 0) {
      reap(1, ns);
    } else if (ns > 0) {
      sleep_ns(ns);
    }
  } else if (in_flight_now > 0) {
    // What has completed waits for the rest of its share no longer than a read takes: in that time
    // a device that is not stuck completes all that was in flight.
    const auto share = static_cast<unsigned>(_faults.reads_in_flight() / kShareAwaited);
    const std::uint64_t read_ns = _faults.read_ns();
    if (share > 1 && read_ns > 0 && reap(share, std::min(read_ns, kIdleWaitNs))) return;
    reap(1, kIdleWaitNs);
  }
}

std::uint64_t Engine::wants_turn_in_ns(bool hears) const noexcept {
  if (_requests.has_new()) return 0;
  if (_requests.waits() || !_faults.empty() || _writer.holds()) return poll_ns();
  if (in_flight() > 0) return hears ? kHeardNs : kUnheardNs;
  return _ends.unfinished() > 0 ? 0 : kNoTurn;
}

std::uint64_t Engine::poll_ns() const noexcept {
  if (!_faults.empty() || _writer.holds()) return kPollNs;
  const std::uint64_t waited_ns = _base.now - _requests.waits_since_ns();
  return waited_ns < kSpinNs ? 0 : std::clamp(waited_ns / kPollShare, kPollNs, kLongPollNs);
}

bool Engine::reap(unsigned wait_for, std::uint64_t timeout_ns) {
  const std::span<IoRequest* const> completed = _io.reap(wait_for, timeout_ns);
  if (completed.empty()) return false;
  _base.now = now_ns();
  for (IoRequest* const request : completed) {
    request->op == IoRequest::Op::kRead ? _faults.complete(*request) : _writer.complete(*request);
  }
  return true;
}

}  // namespace vmcache::detail
