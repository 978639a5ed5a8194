// SPDX-License-Identifier: MIT
#include "vmcache/worker.hpp"

#include <cassert>
#include <cstddef>
#include <utility>

#include "pool/engine.hpp"
#include "pool/engine_set.hpp"
#include "pool/pool_core.hpp"
#include "pool/write_back.hpp"

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

Worker::Worker(BufferPool& pool)
    : _pool(pool), _engine(std::make_unique<detail::EngineLease>(pool.core().engines, true)) {}

Worker::~Worker() {
  assert(_alive == 0 && "a Worker is destroyed before its tasks have ended");
}

void Worker::spawn(Task<void> task) {
  // A task is in one of the lists once at most: so whoever makes it ready later, in a completion say, needs no memory.
  for (auto* list : {&_ready, &_running}) {
    if (list->capacity() <= _alive) list->reserve(2 * _alive + 1);
  }
  const std::coroutine_handle<> handle = drive(*this, std::move(task)).handle;
  ++_alive;
  make_ready(handle);
}

void Worker::run() {
  detail::Engine& engine = **_engine;
  const detail::EngineOfThread own(_pool.core(), engine);
  while (_alive > 0) {
    resume_ready();
    engine.turn(_ready.empty() && _alive > 0);
  }
  engine.drain();
  if (_first_error) std::rethrow_exception(std::exchange(_first_error, nullptr));
}

void Worker::resume_ready() {
  // One round: what becomes ready meanwhile (yields) comes after the turn.
  _running.swap(_ready);
  change_order();
  // By number: a task that spawns another may move them.
  for (std::size_t n = 0; n < _running.size(); ++n) _running[n].resume();
  _running.clear();
}

//! Three tasks that each hold a lock, find the next one taken, give up and try again can do so for ever if they always come
//! in the same order. One exchange with the first place a round leads to every order sooner or later.
void Worker::change_order() noexcept {
  if (_running.size() > 1) std::swap(_running.front(), _running[_random() % _running.size()]);
}

void Worker::start(FaultRequest& request) {
  (*_engine)->start(request);
}

void Worker::start_allocate(FaultRequest& request, unsigned order) {
  (*_engine)->expect(1);  // else the page ids were lost
  detail::prepare_new(_pool.core(), request, order);
  start(request);
}

void Worker::settle(const FaultRequest& request) {
  if (request.status.ok()) return;
  if (request.goal == FaultRequest::Goal::kNew) detail::settle_new(_pool.core(), request);
  throw Error(request.status);
}

Worker::PrefetchAwaiter::PrefetchAwaiter(Worker& worker, std::span<const Extent> extents)
    : _worker(worker), _requests(extents.size()) {
  for (std::size_t i = 0; i < extents.size(); ++i) _requests[i].extent = extents[i];
}

void Worker::PrefetchAwaiter::await_suspend(std::coroutine_handle<> task) {
  (*_worker._engine)->expect(_requests.size());
  _task = task;
  _outstanding = _requests.size();
  for (FaultRequest& request : _requests) {
    request.asker = this;
    request.done = [](FaultRequest& ended) noexcept {
      auto* self = static_cast<PrefetchAwaiter*>(ended.asker);
      if (--self->_outstanding == 0) self->_worker.make_ready(self->_task);
    };
    _worker.start(request);
  }
}

void Worker::PrefetchAwaiter::await_resume() const {
  for (const FaultRequest& request : _requests) _worker.settle(request);
}

}  // namespace vmcache
