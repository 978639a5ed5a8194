// SPDX-License-Identifier: MIT
#pragma once

#include <mutex>
#include <string_view>
#include <utility>

#include "vmcache/options.hpp"

namespace vmcache {

//! The embedder's log callback, called by one thread at a time. Silent if there is none.
class Log {
 public:
  explicit Log(LogCallback callback) : _callback(std::move(callback)) {}
  void operator()(LogLevel level, std::string_view message) {
    if (!_callback) return;
    const std::lock_guard lock(_mutex);
    _callback(level, message);
  }

 private:
  std::mutex _mutex;
  LogCallback _callback;
};

}  // namespace vmcache
