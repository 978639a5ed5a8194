// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "pool/counters.hpp"
#include "vmcache/stats.hpp"

namespace vmcache::detail {

class Engine;
class PoolCore;

//! The pool's engines. They are made when first needed, lent to one thread at a time, and kept
//! until the pool goes. An engine may be given back with writes in flight (E3 in engine.hpp). The
//! next thread that borrows it, whoever waits for one of the pages, or a close processes their
//! completions.
//!
//! There are two more engines than `workers`. One is never lent to a Worker: a blocking call ends
//! by itself and a Worker need not, so blocking calls find an engine however many Workers are idle.
//! The other is the service engine. It does what must not wait for a place: resizing, freeing,
//! checkpoints, closing. It gets its queue when the pool is opened, so it never lacks the
//! descriptors for one.
class EngineSet {
 public:
  //! Engines beside those of `workers`. Contexts of the memory, and shares of what engines need,
  //! are counted with them.
  static constexpr unsigned kMore = 2;
  //! Contexts of the memory: one for each engine, and one for free().
  [[nodiscard]] static constexpr unsigned contexts(unsigned workers) noexcept {
    return workers + kMore + 1;
  }

  EngineSet(PoolCore& core, unsigned workers);
  ~EngineSet();

  //! Gives the service engine its queue. Call it at open, once the storage can make queues.
  void open();

  //! Lends a free engine; waits until there is one. `single_issuer`: it is for a Worker, and only
  //! that Worker's thread will use it. Throws Error kBusy if the wait would be for a Worker of the
  //! calling thread, and what making a queue throws.
  [[nodiscard]] Engine& lease(bool single_issuer);
  void give_back(Engine& engine) noexcept;
  //! Processes writes that have ended in engines that no thread has. Never waits for a write. For
  //! threads that wait for a latch, a write claim or a frame.
  void reap_idle() noexcept {
    // Relaxed: a thread that waits asks again, so a count that comes late does no harm.
    if (_writing_count.load(std::memory_order_relaxed) > 0) reap_writing();
  }
  //! Waits for all writes of engines that no thread has.
  void drain_idle() noexcept;
  //! Engines lent out now.
  [[nodiscard]] unsigned leased() const;

  //! True if a Worker has work under way and its thread has done something else for more than
  //! `patience_ns`. What that Worker loads will not be there before the thread comes back, which
  //! may be never.
  [[nodiscard]] bool worker_stands_still(std::uint64_t now_ns, std::uint64_t patience_ns) const;

  //! Calls use(Engine&) with the service engine, one caller at a time.
  template <typename Use>
  void with_service(Use use) {
    const std::lock_guard lock(_service_mutex);
    use(service());
  }

  void add_to(PoolStats& stats) const;

 private:
  struct Place {
    std::unique_ptr<Engine> engine;
    bool worker = false;        // it is lent to a Worker
    std::thread::id of_thread;  // which thread's Worker that is
  };

  Engine& service();
  [[nodiscard]] bool has_place(bool single_issuer) const;
  void refuse_to_wait_for_itself() const;
  Engine& take(bool single_issuer);
  void reap_writing() noexcept;
  void put_back(Engine& engine);
  [[nodiscard]] Engine* take_writing();

  PoolCore& _core;
  const unsigned _workers;
  mutable std::mutex _mutex;
  std::condition_variable _returned;
  std::vector<Place> _places;  // by context
  unsigned _worker_leases = 0;
  unsigned _workers_waiting = 0;
  std::vector<Engine*> _idle;     // lent to nobody, with nothing in flight
  std::vector<Engine*> _writing;  // lent to nobody, with writes in flight
  std::atomic<unsigned> _writing_count{0};
  std::mutex _service_mutex;
  std::unique_ptr<Engine> _service;
};

//! An engine for the length of a scope.
class EngineLease {
 public:
  EngineLease(EngineSet& set, bool single_issuer) : _set(set), _engine(set.lease(single_issuer)) {}
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
