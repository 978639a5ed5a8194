// SPDX-License-Identifier: MIT
#include "pool/engine_set.hpp"

#include <cassert>

#include "pool/engine.hpp"
#include "pool/pool_core.hpp"

namespace vmcache::detail {

EngineSet::EngineSet(PoolCore& core, unsigned workers) : _core(core), _workers(workers) {}
EngineSet::~EngineSet() = default;

Engine& EngineSet::lease(bool one_thread) {
  Engine* engine = nullptr;
  {
    std::unique_lock lock(_mutex);
    _returned.wait(lock, [&] { return !_idle.empty() || _engines.size() < _workers; });
    if (_idle.empty()) {
      _idle.reserve(_engines.size() + 1);  // giving back cannot fail
      _engines.push_back(std::make_unique<Engine>(_core, static_cast<unsigned>(_engines.size())));
      engine = _engines.back().get();
    } else {
      engine = _idle.back();
      _idle.pop_back();
    }
  }
  try {
    engine->bind(one_thread);
  } catch (...) {
    give_back(*engine);
    throw;
  }
  return *engine;
}

void EngineSet::give_back(Engine& engine) {
  assert(engine.idle() && "an engine is given back with work in it");
  engine.unbind();
  {
    const std::lock_guard lock(_mutex);
    _idle.push_back(&engine);
  }
  _returned.notify_one();
}

unsigned EngineSet::leased() const {
  const std::lock_guard lock(_mutex);
  return static_cast<unsigned>(_engines.size() - _idle.size());
}

Engine& EngineSet::service() {
  if (!_service) {
    const std::lock_guard lock(_mutex);  // add_to() looks at it
    _service = std::make_unique<Engine>(_core, _workers);
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
  for (const auto& engine : _engines) add(*engine);
  if (_service) add(*_service);
}

}  // namespace vmcache::detail
