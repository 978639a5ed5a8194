// SPDX-License-Identifier: MIT
#include "vmcache/worker.hpp"

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "pool/async_ring.hpp"
#include "pool/engine.hpp"
#include "pool/engine_set.hpp"
#include "pool/freeing.hpp"
#include "pool/helper_threads.hpp"
#include "pool/inbox_queue.hpp"
#include "pool/paged_store.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "pool/quantum_clock.hpp"
#include "pool/worker_signal.hpp"
#include "pool/write_back.hpp"
#include "vmcache/async_io.hpp"
#include "vmcache/detail/own_process.hpp"

namespace vmcache {

//! The frame of a spawned task: counts it, keeps its exception, and is gone when it ends.
struct Worker::Detached {
  struct promise_type {
    Detached get_return_object() noexcept {
      return {std::coroutine_handle<promise_type>::from_promise(*this)};
    }
    [[nodiscard]] std::suspend_always initial_suspend() const noexcept { return {}; }
    [[nodiscard]] std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    void unhandled_exception() const noexcept { std::terminate(); }  // drive() catches everything
  };
  std::coroutine_handle<promise_type> handle;
};

Worker::Detached Worker::drive(Worker& worker, Task<void> task) {
  try {
    co_await task;
  } catch (...) {
    if (!worker._first_error) worker._first_error = std::current_exception();
  }
  --worker._alive;
}

Worker::Worker(BufferPool& pool) : WorkerCore(pool) {
  detail::QuantumClock::of_process().add(_safepoint);
}

Worker::~Worker() {
  const bool here = detail::core_of(_pool).process.here();
  if (here) {
    detail::QuantumClock::of_process().remove(_safepoint);
    if (_inbox) _inbox->close();
    _async.reset();
  } else if (_inbox) {  // its tasks are the parent's: none is destroyed here
    detail::keep_for_good(new (std::nothrow) std::shared_ptr(_inbox));
  }
  if (here && !_has_run) {
    for (const std::coroutine_handle<> task : _ready) task.destroy();
    _alive = 0;
  }
  if (here && _alive == 0) {
    // After poll(), writes of victims may be in flight. They end by themselves.
    if (std::this_thread::get_id() == _thread) (*_engine)->drain();
    if ((*_engine)->idle()) return;
  }
  // Others may write the pages back that were on their way here.
  if (here && std::this_thread::get_id() == _thread) (*_engine)->settle_writes();
  // Requests in the frames of suspended tasks may be under way, so the frames stay. Most are known
  // to the engine; those that wait for a turn are known to this list only.
  detail::abandon(_engine);
  detail::keep_for_good(new (std::nothrow) std::vector(std::move(_ready)));
  if (!here) detail::abandon(_helpers);  // its threads are the parent's
  if (here)
    detail::core_of(_pool).report(
        "a Worker was destroyed before its tasks had ended; its place in the pool is lost");
}

void Worker::spawn(Task<void> task) {
  require_usable();
  if (!task) throw Error(Errc::kInvalidOption, "spawn: the Task has no coroutine");
  begin(std::move(task));
  if (_signal) _signal->set(0);
}

void Worker::begin(Task<void> task) {
  // A task is in one of the lists once at most: so whoever makes it ready later, in a completion
  // say, needs no memory.
  for (auto* list : {&_ready, &_running}) {
    if (list->capacity() <= _alive) list->reserve(2 * _alive + 1);
  }
  const std::coroutine_handle<> handle = drive(*this, std::move(task)).handle;
  ++_alive;
  make_ready(handle);
  share();  // the task that spawns it may run on and on
}

void Worker::require_outside(const char* call) const {
  require_usable();
  if (detail::runs_on_thread(**_engine))
    throw Error(Errc::kInvalidOption, std::string(call) + ": called in a task of the same Worker");
}

void Worker::run() {
  require_outside("run");
  _has_run = true;
  detail::Engine& engine = **_engine;
  bool stopped = false;
  {
    const detail::EngineOfThread own(detail::core_of(_pool), engine);
    for (;;) {
      take_posted();
      stopped = stop_asked();
      if (stopped || _alive == 0) break;
      wait_and_round(-1);
    }
    if (!stopped) engine.drain();
  }
  if (_signal && !stopped) _signal->clear();
  (void)leave_round();
}

void Worker::serve() {
  require_outside("serve");
  (void)inbox();
  _has_run = true;
  {
    const detail::EngineOfThread own(detail::core_of(_pool), **_engine);
    for (;;) {
      take_posted();
      if (_first_error || stop_asked()) break;
      wait_and_round(-1);
    }
  }
  (void)leave_round();
}

std::size_t Worker::run_once(std::chrono::milliseconds timeout) {
  require_outside("run_once");
  (void)fd();
  _has_run = true;
  {
    const detail::EngineOfThread own(detail::core_of(_pool), **_engine);
    constexpr std::chrono::milliseconds::rep kMost = std::numeric_limits<int>::max();
    wait_and_round(timeout.count() < 0 ? -1 : static_cast<int>(std::min(timeout.count(), kMost)));
  }
  return leave_round();
}

std::size_t Worker::poll() {
  require_outside("poll");
  _has_run = true;
  if (_signal) _signal->clear();  // before the round looks for what it announces
  {
    const detail::EngineOfThread own(detail::core_of(_pool), **_engine);
    round(false);
  }
  return leave_round();
}

//! The thread goes on with something else.
std::size_t Worker::leave_round() {
  // Whoever waits for a page that is being loaded here may wait in vain: the next call may be far.
  (*_engine)->leave();
  share();
  if (_async) _async->_ring->enter(0);
  set_signal();
  throw_first_error();
  return _alive;
}

bool Worker::stop_asked() noexcept {
  return std::exchange(_stopping, false);
}

Inbox Worker::inbox() {
  (void)fd();
  if (!_inbox) {
    _posted.reserve(Inbox::kSlots);
    _inbox = std::make_shared<detail::InboxQueue>(_signal->event_fd());
  }
  return Inbox(_inbox);
}

//! What other threads have handed over becomes tasks.
void Worker::take_posted() {
  if (!_inbox || !_inbox->news()) return;
  const detail::InboxQueue::Taken taken = _inbox->take(_posted);
  _stopping = _stopping || taken.stop;
  for (detail::Wake* wake = taken.wakes; wake != nullptr; wake = wake->next) make_ready(wake->task);
  for (Task<>& task : _posted) {
    try {
      begin(std::move(task));
    } catch (const std::bad_alloc&) {  // this one is dropped: whoever waits for it is told
      if (!_first_error) _first_error = std::current_exception();
    }
  }
  _posted.clear();
}

//! One round, and before it a wait of at most `timeout_ms` (-1: no bound) for something to do.
void Worker::wait_and_round(int timeout_ms) {
  if (!_async && !_inbox && timeout_ms < 0) return round(true);  // the queue's own wait costs less
  wait(timeout_ms);
  round(false);
}

void Worker::wait(int timeout_ms) {
  const std::uint64_t ns = wants_round_in_ns();
  if (_async) {
    constexpr std::uint64_t kNsPerMs = 1'000'000;
    const auto most = static_cast<std::uint64_t>(timeout_ms) * kNsPerMs;
    return _async->_ring->enter(timeout_ms < 0 ? ns : std::min(ns, most));
  }
  if (ns == 0) return;
  _signal->set(ns);
  pollfd waits{_signal->fd(), POLLIN, 0};
  (void)::poll(&waits, 1, timeout_ms);  // a signal ends it early: no harm
  _signal->clear();
}

std::uint64_t Worker::wants_round_in_ns() noexcept {
  if (!_ready.empty() || (_inbox && _inbox->news())) return 0;
  return (*_engine)->wants_turn_in_ns(_signal->announced);
}

int Worker::fd() {
  require_usable();
  if (!_signal) {
    auto signal = std::make_unique<detail::WorkerSignal>();
    signal->announced = (*_engine)->announce(signal->event_fd());
    _signal = std::move(signal);
    set_signal();
  }
  return _signal->fd();
}

void Worker::set_signal() noexcept {
  if (_signal) _signal->set(wants_round_in_ns());
}

void Worker::set_quantum(std::chrono::microseconds quantum) {
  using Clock = detail::QuantumClock;
  if (quantum < Clock::kMinQuantum || quantum > Clock::kMaxQuantum) {
    throw Error(Errc::kInvalidOption,
                "set_quantum: " + std::to_string(quantum.count()) +
                    " us (allowed: " + std::to_string(Clock::kMinQuantum.count()) + " .. " +
                    std::to_string(Clock::kMaxQuantum.count()) + " us)");
  }
  Clock::of_process().set_quantum(quantum);
}

//! Whether there are others to give way to.
void Worker::share() noexcept {
  const bool before = _safepoint.shared();
  _safepoint.set_shared(_alive > 1);
  if (!before && _alive > 1) begin_slice();
}

void Worker::round(bool may_wait) {
  detail::Engine& engine = **_engine;
  if (_async) _async->_ring->reap();
  share();
  take_posted();
  engine.leave();
  resume_ready();
  engine.come_back();
  detail::core_of(_pool).process.require("the Worker");  // a task may have forked
  engine.turn(may_wait && _ready.empty() && _alive > 0);
}

void Worker::throw_first_error() {
  if (_first_error) std::rethrow_exception(std::exchange(_first_error, nullptr));
}

void Worker::resume_ready() {
  // One round: what becomes ready meanwhile (yields) comes after the turn.
  _running.swap(_ready);
  change_order();
  // By number: a task that spawns another may move them. A task may have forked: what the others
  // hold is not there in the child, so none of them goes on.
  const detail::OwnProcess& process = detail::core_of(_pool).process;
  for (std::size_t n = 0; n < _running.size() && process.here(); ++n) {
    begin_slice();
    _running[n].resume();
  }
  _running.clear();
}

//! Three tasks that each hold a lock, find the next one taken, give up and try again can do so for
//! ever if they always come in the same order. One exchange with the first place a round leads to
//! every order sooner or later.
void Worker::change_order() noexcept {
  if (_running.size() > 1) std::swap(_running.front(), _running[_random() % _running.size()]);
}

detail::FreeAwaiter Worker::free(BufferPool& file, ExclusiveGuard&& guard) {
  require_same_pool(file);
  const Extent extent = detail::check_free(detail::store_of(file), guard);
  if (extent.order == 0) {
    file.free(std::move(guard));  // without a page-table call
    return {*this, file, ExclusiveGuard(), extent};
  }
  return {*this, file, std::move(guard), extent};
}

namespace detail {
namespace {

EngineSet& engines_of(BufferPool& pool) {
  PoolAccess::require_usable(pool);
  return core_of(pool).engines;
}

}  // namespace

WorkerCore::WorkerCore(BufferPool& pool)
    : _pool(pool), _engine(std::make_unique<EngineLease>(engines_of(pool), true)) {
  store_of(pool).workers.fetch_add(1, std::memory_order_relaxed);
}

WorkerCore::~WorkerCore() {
  // Without its engine it has been abandoned, and with it what it was made for.
  if (_engine) store_of(_pool).workers.fetch_sub(1, std::memory_order_release);
}

void WorkerCore::require_usable() const {
  PoolAccess::require_usable(_pool);
  if (std::this_thread::get_id() != _thread) [[unlikely]]
    throw Error(Errc::kWrongThread, "a Worker is used by another thread than the one that made it");
}

void WorkerCore::require_own_task() const {
  const Engine* const running = innermost_engine();
  if (running != nullptr && running != &**_engine) [[unlikely]]
    throw Error(Errc::kInvalidOption, "a task awaits a call of a Worker that does not run it");
}

void WorkerCore::begin_slice() noexcept {
  _safepoint.begin_slice();
  if (_safepoint.shared() && !QuantumClock::of_process().tick_on() && !_untimed) {
    _untimed = true;
    core_of(_pool).report(
        "no thread for the quantum: tasks give way only where they wait for something");
  }
}

void WorkerCore::require_same_pool(const BufferPool& pages) const {
  PoolAccess::require_usable(pages);
  if (&core_of(pages) != &core_of(_pool))
    throw Error(Errc::kInvalidOption,
                "a task awaits a page of another pool than its Worker's: " + pages.description());
}

void WorkerCore::start(FaultRequest& request, const BufferPool& pages) {
  require_usable();
  require_own_task();
  if (&pages != &_pool) require_same_pool(pages);
  (*_engine)->start(request);
}

void WorkerCore::start_allocate(FaultRequest& request, unsigned order, BufferPool& pages) {
  // All that start() may throw comes first: else the page ids were lost.
  require_own_task();
  reserve(1);
  if (&pages != &_pool) require_same_pool(pages);
  prepare_new(store_of(pages), request, order);
  start(request);
}

void WorkerCore::reserve(std::size_t requests) {
  require_usable();
  (*_engine)->reserve(requests);
}

void WorkerCore::settle(const FaultRequest& request, BufferPool& pages) {
  if (request.status.ok()) return;
  PagedStore& store = store_of(pages);
  if (request.goal == FaultRequest::Goal::kNew) settle_new(store, request);
  // A page of a file that is not paged says so itself.
  if (request.extent.page_id == kNoPage || store.owns(request.extent.page_id))
    store.storage_flush.refuse_if_failed("fix");
  throw Error(pages.told(request.status));
}

bool FreeAwaiter::await_suspend(std::coroutine_handle<> task) {
  set_task(task, [](FaultRequest& request) noexcept {
    static_cast<FreeAwaiter*>(static_cast<FaultAwaiter*>(request.user_data))->resume();
  });
  try {
    start(_pages, _extent, FaultRequest::Goal::kFree);
  } catch (const std::bad_alloc&) {  // then by itself
    _pages.free(std::move(_guard));
    return false;
  }
  (void)_guard.detach();  // the engine's: it looks at the request in its next turn
  return true;
}

PrefetchAwaiter::PrefetchAwaiter(WorkerCore& worker, BufferPool& pages,
                                 std::span<const Extent> extents)
    : _worker(worker), _pages(pages), _requests(extents.size()) {
  for (std::size_t i = 0; i < extents.size(); ++i) {
    if (extents[i].order > kMaxOrder)
      throw Error(Status{Errc::kInvalidPage, 0, extents[i].page_id});
    _requests[i].extent = pages.pool_extent(extents[i]);
  }
}

void PrefetchAwaiter::await_suspend(std::coroutine_handle<> task) {
  _worker.reserve(_requests.size());
  _task = task;
  _outstanding = _requests.size();
  for (FaultRequest& request : _requests) {
    request.user_data = this;
    request.on_complete = [](FaultRequest& ended) noexcept {
      auto* self = static_cast<PrefetchAwaiter*>(ended.user_data);
      if (--self->_outstanding == 0) self->_worker.make_ready(self->_task);
    };
    _worker.start(request, _pages);
  }
}

void PrefetchAwaiter::await_resume() const {
  for (const FaultRequest& request : _requests) _worker.settle(request, _pages);
}

}  // namespace detail
}  // namespace vmcache
