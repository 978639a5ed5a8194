// SPDX-License-Identifier: MIT
#include "vmcache/worker.hpp"

#include <cstddef>
#include <utility>

#include "pool/engine.hpp"
#include "pool/engine_set.hpp"
#include "pool/freeing.hpp"
#include "pool/helper_threads.hpp"
#include "pool/pool_access.hpp"
#include "pool/pool_core.hpp"
#include "pool/worker_signal.hpp"
#include "pool/write_back.hpp"
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

Worker::Worker(BufferPool& pool) : WorkerCore(pool) {}

Worker::~Worker() {
  const bool here = detail::core_of(_pool).process.here();
  if (here && !_has_run) {
    for (const std::coroutine_handle<> task : _ready) task.destroy();
    _alive = 0;
  }
  if (here && _alive == 0) {
    // After poll(), writes of victims may be in flight. They end by themselves.
    if (std::this_thread::get_id() == _thread) (*_engine)->drain();
    if ((*_engine)->idle()) return;
  }
  // Requests in the frames of suspended tasks may be under way.
  detail::abandon(_engine);
  if (!here) detail::abandon(_helpers);  // its threads are the parent's
  if (here)
    detail::core_of(_pool).report(
        "a Worker was destroyed before its tasks had ended; its place in the pool is lost");
}

void Worker::spawn(Task<void> task) {
  require_usable();
  if (!task) throw Error(Errc::kInvalidOption, "spawn: the Task has no coroutine");
  // A task is in one of the lists once at most: so whoever makes it ready later, in a completion
  // say, needs no memory.
  for (auto* list : {&_ready, &_running}) {
    if (list->capacity() <= _alive) list->reserve(2 * _alive + 1);
  }
  const std::coroutine_handle<> handle = drive(*this, std::move(task)).handle;
  ++_alive;
  make_ready(handle);
  if (_signal) _signal->set(0);
}

void Worker::run() {
  require_usable();
  if (detail::runs_on_thread(**_engine))
    throw Error(Errc::kInvalidOption, "run: called in a task of the same Worker");
  _has_run = true;
  detail::Engine& engine = **_engine;
  {
    const detail::EngineOfThread own(detail::core_of(_pool), engine);
    while (_alive > 0) round(true);
    engine.drain();
  }
  if (_signal) {
    _signal->clear();
    _signal->set(detail::Engine::kNoTurn);
  }
  throw_first_error();
}

std::size_t Worker::poll() {
  require_usable();
  if (detail::runs_on_thread(**_engine))
    throw Error(Errc::kInvalidOption, "poll: called in a task of the same Worker");
  _has_run = true;
  detail::Engine& engine = **_engine;
  if (_signal) _signal->clear();  // before the round looks for what it announces
  {
    const detail::EngineOfThread own(detail::core_of(_pool), engine);
    round(false);
  }
  // Whoever waits for a page that is being loaded here may wait in vain: the next call may be far.
  engine.leave();
  set_signal();
  throw_first_error();
  return _alive;
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
  if (!_signal) return;
  _signal->set(_ready.empty() ? (*_engine)->wants_turn_in_ns(_signal->announced) : 0);
}

void Worker::round(bool may_wait) {
  detail::Engine& engine = **_engine;
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
  for (std::size_t n = 0; n < _running.size() && process.here(); ++n) _running[n].resume();
  _running.clear();
}

//! Three tasks that each hold a lock, find the next one taken, give up and try again can do so for
//! ever if they always come in the same order. One exchange with the first place a round leads to
//! every order sooner or later.
void Worker::change_order() noexcept {
  if (_running.size() > 1) std::swap(_running.front(), _running[_random() % _running.size()]);
}

detail::FreeAwaiter Worker::free(ExclusiveGuard&& guard) {
  const Extent extent = detail::check_free(detail::core_of(_pool), guard);
  if (extent.order == 0) {
    _pool.free(std::move(guard));  // without a page-table call
    return {*this, ExclusiveGuard(), extent};
  }
  return {*this, std::move(guard), extent};
}

namespace detail {
namespace {

EngineSet& engines_of(BufferPool& pool) {
  core_of(pool).require_usable();
  return core_of(pool).engines;
}

}  // namespace

WorkerCore::WorkerCore(BufferPool& pool)
    : _pool(pool), _engine(std::make_unique<EngineLease>(engines_of(pool), true)) {}

WorkerCore::~WorkerCore() = default;

void WorkerCore::require_usable() const {
  core_of(_pool).require_usable();
  if (std::this_thread::get_id() != _thread) [[unlikely]]
    throw Error(Errc::kWrongThread, "a Worker is used by another thread than the one that made it");
}

void WorkerCore::require_own_task() const {
  const Engine* const running = innermost_engine();
  if (running != nullptr && running != &**_engine) [[unlikely]]
    throw Error(Errc::kInvalidOption, "a task awaits a call of a Worker that does not run it");
}

void WorkerCore::start(FaultRequest& request) {
  require_usable();
  require_own_task();
  (*_engine)->start(request);
}

void WorkerCore::start_allocate(FaultRequest& request, unsigned order) {
  // All that start() may throw comes first: else the page ids were lost.
  require_own_task();
  reserve(1);
  prepare_new(core_of(_pool), request, order);
  start(request);
}

void WorkerCore::reserve(std::size_t requests) {
  require_usable();
  (*_engine)->reserve(requests);
}

void WorkerCore::settle(const FaultRequest& request) {
  if (request.status.ok()) return;
  if (request.goal == FaultRequest::Goal::kNew) settle_new(core_of(_pool), request);
  core_of(_pool).refuse_if_failed(request.extent.page_id, "fix");
  throw Error(request.status);
}

bool FreeAwaiter::await_suspend(std::coroutine_handle<> task) {
  set_task(task, [](FaultRequest& request) noexcept {
    static_cast<FreeAwaiter*>(static_cast<FaultAwaiter*>(request.user_data))->resume();
  });
  try {
    start(_extent, FaultRequest::Goal::kFree);
  } catch (const std::bad_alloc&) {  // then by itself
    _worker.pool().free(std::move(_guard));
    return false;
  }
  (void)_guard.detach();  // the engine's: it looks at the request in its next turn
  return true;
}

PrefetchAwaiter::PrefetchAwaiter(WorkerCore& worker, std::span<const Extent> extents)
    : _worker(worker), _requests(extents.size()) {
  for (std::size_t i = 0; i < extents.size(); ++i) _requests[i].extent = extents[i];
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
    _worker.start(request);
  }
}

void PrefetchAwaiter::await_resume() const {
  for (const FaultRequest& request : _requests) _worker.settle(request);
}

}  // namespace detail
}  // namespace vmcache
