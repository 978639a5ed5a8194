// SPDX-License-Identifier: MIT
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace vmcache {

//! Many may be inside; one may close it, and then waits until nobody is. Who closes has precedence: those that come
//! later wait, or a busy gate would never be empty (std::shared_mutex makes no such promise).
class Gate {
 public:
  class Inside {
   public:
    explicit Inside(Gate& gate) : _gate(gate) {
      std::unique_lock lock(_gate._mutex);
      _gate._changed.wait(lock, [&] { return !_gate._closed; });
      ++_gate._inside;
    }
    ~Inside() {
      const std::lock_guard lock(_gate._mutex);
      if (--_gate._inside == 0 && _gate._closed) _gate._changed.notify_all();
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;

   private:
    Gate& _gate;
  };

  class Closed {
   public:
    explicit Closed(Gate& gate) : _gate(gate) {
      std::unique_lock lock(_gate._mutex);
      _gate._changed.wait(lock, [&] { return !_gate._closed; });
      _gate._closed = true;
      _gate._changed.wait(lock, [&] { return _gate._inside == 0; });
    }
    ~Closed() {
      {
        const std::lock_guard lock(_gate._mutex);
        _gate._closed = false;
      }
      _gate._changed.notify_all();
    }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    Gate& _gate;
  };

 private:
  std::mutex _mutex;
  std::condition_variable _changed;
  std::uint64_t _inside = 0;
  bool _closed = false;
};

}  // namespace vmcache
