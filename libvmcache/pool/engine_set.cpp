// SPDX-License-Identifier: MIT
#include "pool/engine_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "pool/engine.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/error.hpp"

namespace vmcache::detail {

EngineSet::EngineSet(PoolCore& core, unsigned workers) : _core(core), _workers(workers) {}
EngineSet::~EngineSet() = default;

void EngineSet::open() {
  with_service([](Engine&) {});
}

bool EngineSet::has_place(bool single_issuer) const {
  if (single_issuer && _worker_leases == _workers) return false;
  return !_idle.empty() || !_writing.empty() || _places.size() < _workers + 1;
}

//! A thread that has a Worker would wait for itself to destroy it.
void EngineSet::refuse_to_wait_for_itself() const {
  const std::thread::id self = std::this_thread::get_id();
  for (const Place& place : _places) {
    if (place.worker && place.of_thread == self) {
      throw Error(
          Errc::kBusy,
          fmt::format(
              "a Worker: all of the {} places (PoolOptions::workers) are taken, and this thread "
              "has one of them",
              _workers));
    }
  }
}

//! Under _mutex, where there is a place.
Engine& EngineSet::take(bool single_issuer) {
  // A blocking call goes on with the writes that the last one has left. A Worker wants a queue of
  // its own, so it would have to wait for them.
  Engine* taken = single_issuer ? nullptr : take_writing();
  if (taken == nullptr && !_idle.empty()) {
    taken = _idle.back();
    _idle.pop_back();
  }
  if (taken == nullptr && _places.size() < _workers + 1) {
    // Giving back cannot fail.
    for (auto* list : {&_idle, &_writing}) list->reserve(_places.size() + 1);
    _places.push_back(
        {std::make_unique<Engine>(_core, static_cast<unsigned>(_places.size())), false, {}});
    taken = _places.back().engine.get();
  }
  if (taken == nullptr) taken = take_writing();
  Engine& engine = *taken;
  Place& place = _places[engine.context()];
  place.worker = single_issuer;
  place.of_thread = std::this_thread::get_id();
  if (single_issuer) ++_worker_leases;
  return engine;
}

Engine& EngineSet::lease(bool single_issuer) {
  Engine* engine = nullptr;
  {
    std::unique_lock lock(_mutex);
    if (!has_place(single_issuer)) {
      if (single_issuer) refuse_to_wait_for_itself();
      if (single_issuer) ++_workers_waiting;
      _returned.wait(lock, [&] { return has_place(single_issuer); });
      if (single_issuer) --_workers_waiting;
    }
    engine = &take(single_issuer);
  }
  try {
    engine->bind(single_issuer);
  } catch (...) {
    give_back(*engine);
    throw;
  }
  return *engine;
}

void EngineSet::give_back(Engine& engine) noexcept {
  assert(engine.may_be_given_back() && "an engine is given back with work in it");
  engine.unbind();
  {
    const std::lock_guard lock(_mutex);
    Place& place = _places[engine.context()];
    if (place.worker) --_worker_leases;
    place.worker = false;
  }
  put_back(engine);
}

void EngineSet::put_back(Engine& engine) {
  bool all = false;
  {
    const std::lock_guard lock(_mutex);
    if (engine.in_flight() > 0) {
      _writing.push_back(&engine);
      _writing_count.store(static_cast<unsigned>(_writing.size()), std::memory_order_relaxed);
    } else {
      _idle.push_back(&engine);
    }
    // What one who waits for a Worker cannot take, one who waits for a blocking call can.
    all = _workers_waiting > 0;
  }
  all ? _returned.notify_all() : _returned.notify_one();
}

//! Under _mutex. Null if there is none.
Engine* EngineSet::take_writing() {
  if (_writing.empty()) return nullptr;
  Engine* const engine = _writing.front();
  _writing.erase(_writing.begin());
  _writing_count.store(static_cast<unsigned>(_writing.size()), std::memory_order_relaxed);
  return engine;
}

//! Each engine once: it is taken from the front of the list, and put back at the end.
void EngineSet::reap_writing() noexcept {
  for (unsigned left = _writing_count.load(std::memory_order_relaxed); left > 0; --left) {
    Engine* engine = nullptr;
    {
      const std::lock_guard lock(_mutex);
      engine = take_writing();
    }
    if (engine == nullptr) return;
    engine->reap_writes();
    put_back(*engine);
  }
}

void EngineSet::drain_idle() noexcept {
  for (;;) {
    Engine* engine = nullptr;
    {
      const std::lock_guard lock(_mutex);
      engine = take_writing();
    }
    if (engine == nullptr) return;  // each turn leaves one fewer
    engine->drain_writes();
    put_back(*engine);
  }
}

unsigned EngineSet::leased() const {
  const std::lock_guard lock(_mutex);
  return static_cast<unsigned>(_places.size() - _idle.size() - _writing.size());
}

bool EngineSet::worker_stands_still(std::uint64_t now_ns, std::uint64_t patience_ns) const {
  const std::lock_guard lock(_mutex);
  return std::ranges::any_of(_places, [&](const Place& place) {
    return place.worker && place.engine->stands_still(now_ns, patience_ns);
  });
}

Engine& EngineSet::service() {
  if (!_service) {
    const std::lock_guard lock(_mutex);  // add_to() looks at it
    _service = std::make_unique<Engine>(_core, _workers + 1);
  }
  _service->bind(false);
  return *_service;
}

void EngineSet::add_to(PoolStats& stats) const {
  const auto add = [&](const Engine& engine) {
    const EngineCounters& from = engine.counters();
    stats.misses += from.misses.value();
    stats.reads += from.reads.value();
    stats.read_pages += from.read_pages.value();
    stats.writes += from.writes.value();
    stats.written_pages += from.written_pages.value();
    stats.read_errors += from.read_errors.value();
    stats.write_errors += from.write_errors.value();
    stats.retries += from.retries.value();
    stats.submissions += from.submissions.value();
    stats.evictions += from.evictions.value();
    stats.evicted_pages += from.evicted_pages.value();
    stats.frame_waits += from.frame_waits.value();
    stats.latch_waits += from.latch_waits.value();
    stats.empty_poll_ns += from.empty_poll_ns.value();
    from.read_latency.add_to(stats.read_latency);
    from.write_latency.add_to(stats.write_latency);
  };
  const std::lock_guard lock(_mutex);
  for (const Place& place : _places) add(*place.engine);
  if (_service) add(*_service);
}

}  // namespace vmcache::detail
