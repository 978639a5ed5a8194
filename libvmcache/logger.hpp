// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "vmcache/options.hpp"

namespace vmcache {

//! The embedder's log callback, called by one thread at a time: copies share the turn. Silent if
//! there is none. What the callback throws is dropped: what is logged has happened, and its caller
//! has more to do than to say so.
class Logger {
 public:
  explicit Logger(LogCallback callback)
      : _shared(callback ? std::make_shared<Shared>(std::move(callback)) : nullptr) {}
  void operator()(LogLevel level, std::string_view message) const noexcept {
    if (!_shared) return;
    const std::lock_guard lock(_shared->mutex);
    try {
      _shared->callback(level, message);
    } catch (...) {  // NOLINT: there is nobody to tell
    }
  }

 private:
  struct Shared {
    explicit Shared(LogCallback called) : callback(std::move(called)) {}
    std::mutex mutex;
    const LogCallback callback;
  };

  std::shared_ptr<Shared> _shared;
};

//! The callback of PoolOptions or LogOptions, under its name of today or its deprecated one.
template <typename Options>
[[nodiscard]] const LogCallback& logger_of(const Options& options) noexcept {
  return options.logger ? options.logger : options.log;
}

}  // namespace vmcache
