// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

namespace vmcache {

//! A thread that makes checkpoints when it is asked to, one at a time.
class Checkpointer {
 public:
  //! `checkpoint` makes one and returns whether it succeeded. After a failure the thread pauses.
  explicit Checkpointer(std::function<bool()> checkpoint);
  //! Waits for the checkpoint that is being made.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  //! Asks for a checkpoint. Costs one load if one was asked for already. Thread-safe.
  void request() noexcept;

 private:
  void run();

  const std::function<bool()> _checkpoint;
  std::atomic<bool> _requested{false};
  std::mutex _mutex;
  std::condition_variable _wake;
  bool _stop = false;
  std::thread _thread;
};

//! Makes a checkpoint sleep, so that it works for a given share of the time only. Thread-safe, but
//! only the thread that makes the checkpoint calls pause().
class Throttle {
 public:
  //! `percent` is the share of the time in which the checkpoint works: 1 .. 100.
  explicit Throttle(unsigned percent) noexcept : _percent(percent) {}

  //! Sleeps as long as the share demands after `worked_ns` of work. Short sleeps are saved up.
  //! Returns false if the throttle is lifted.
  bool pause(std::uint64_t worked_ns);

  //! Lifts the throttle: while one exists, pause() does not sleep, and whoever sleeps wakes up.
  class Lifted {
   public:
    explicit Lifted(Throttle& throttle);
    ~Lifted();
    Lifted(const Lifted&) = delete;
    Lifted& operator=(const Lifted&) = delete;

   private:
    Throttle& _throttle;
  };

 private:
  const unsigned _percent;
  std::uint64_t _owed_ns = 0;  // sleep that is saved up
  std::mutex _mutex;
  std::condition_variable _wake;
  unsigned _lifted = 0;
};

}  // namespace vmcache
