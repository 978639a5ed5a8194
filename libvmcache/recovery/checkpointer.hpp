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
  //! `checkpoint` returns whether it went well; if not, the next one is not begun at once.
  explicit Checkpointer(std::function<bool()> checkpoint);
  //! Waits for the checkpoint that is being made.
  ~Checkpointer();
  Checkpointer(const Checkpointer&) = delete;
  Checkpointer& operator=(const Checkpointer&) = delete;

  //! Costs a load while one is asked for already. For any thread.
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

//! Slows a checkpoint down to a share of the time, until somebody is in a hurry.
class Pace {
 public:
  //! 1 .. 100
  explicit Pace(unsigned percent) noexcept : _percent(percent) {}

  //! Sleeps for as long as `worked_ns` of work calls for. Returns false if somebody is in a hurry.
  bool pause(std::uint64_t worked_ns);

  //! While one lives, nobody sleeps.
  class Hurry {
   public:
    explicit Hurry(Pace& pace);
    ~Hurry();
    Hurry(const Hurry&) = delete;
    Hurry& operator=(const Hurry&) = delete;

   private:
    Pace& _pace;
  };

 private:
  const unsigned _percent;
  std::uint64_t _owed_ns = 0;  // of sleep; the checkpoint's thread alone
  std::mutex _mutex;
  std::condition_variable _hurried;
  unsigned _hurries = 0;
};

}  // namespace vmcache
