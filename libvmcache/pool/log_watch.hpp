// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include "clock.hpp"
#include "pool/pool_core.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache::detail {

//! Whether a log that does not flush itself has stood still for frame_wait, from now on: it may be
//! this thread's to flush.
class LogWatch {
 public:
  LogWatch(const PoolCore& core, const WriteAhead* log)
      : _core(core), _log(log), _durable(durable()), _moved_ns(now_ns()) {}

  [[nodiscard]] bool stands_still() noexcept {
    if (_log == nullptr || _log->flushes_itself()) return false;
    const std::uint64_t now = now_ns();
    if (const Lsn durable_now = durable(); durable_now != _durable) {
      _durable = durable_now;
      _moved_ns = now;
    }
    return now - _moved_ns > _core.patience_ns();
  }

 private:
  [[nodiscard]] Lsn durable() const noexcept { return _log != nullptr ? _log->durable_lsn() : 0; }

  const PoolCore& _core;
  const WriteAhead* const _log;
  Lsn _durable;
  std::uint64_t _moved_ns;
};

}  // namespace vmcache::detail
