// SPDX-License-Identifier: MIT
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "pool/counters.hpp"
#include "vmcache/stats.hpp"

namespace vmcache::detail {

class Engine;
class PoolCore;

//! The pool's engines: made when first needed, lent to one thread at a time, kept until the pool goes.
//! One more than `workers`, the service engine, does what must not wait for a place: resizing, freeing,
//! checkpoints.
class EngineSet {
 public:
  EngineSet(PoolCore& core, unsigned workers);
  ~EngineSet();

  //! Waits for a free one. `one_thread`: for a Worker, whose thread alone will use it.
  [[nodiscard]] Engine& lease(bool one_thread);
  void give_back(Engine& engine);
  //! Engines lent out now.
  [[nodiscard]] unsigned leased() const;

  //! Calls use(Engine&) with the service engine, one caller at a time.
  template <typename Use>
  void with_service(Use use) {
    const std::lock_guard lock(_service_mutex);
    use(service());
  }

  void add_to(PoolStats& stats) const;

 private:
  Engine& service();

  PoolCore& _core;
  const unsigned _workers;
  mutable std::mutex _mutex;
  std::condition_variable _returned;
  std::vector<std::unique_ptr<Engine>> _engines;
  std::vector<Engine*> _idle;
  std::mutex _service_mutex;
  std::unique_ptr<Engine> _service;
};

//! An engine for the length of a scope.
class EngineLease {
 public:
  EngineLease(EngineSet& set, bool one_thread) : _set(set), _engine(set.lease(one_thread)) {}
  ~EngineLease() { _set.give_back(_engine); }
  EngineLease(const EngineLease&) = delete;
  EngineLease& operator=(const EngineLease&) = delete;
  [[nodiscard]] Engine& operator*() const noexcept { return _engine; }
  [[nodiscard]] Engine* operator->() const noexcept { return &_engine; }

 private:
  EngineSet& _set;
  Engine& _engine;
};

}  // namespace vmcache::detail
