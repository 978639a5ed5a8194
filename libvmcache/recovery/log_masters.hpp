// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <mutex>

#include "recovery/master.hpp"
#include "vmcache/identity.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

//! The two masters of a log, of which the newer one counts. Opening and creating belong to one
//! thread. identity(), next_identity() and advance() are thread-safe.
class LogMasters {
 public:
  explicit LogMasters(Storage& storage);

  //! \name Opening
  //! @{

  //! Reads the newer master. Returns whether the log is fresh: nothing was ever written, or its
  //! creation was cut. Throws Error: kIo; kNotADatabase; kCorrupt.
  [[nodiscard]] bool read();
  //! For a fresh log. One whose creation was cut keeps its name, which its page file may know.
  void begin_new(std::uint64_t capacity);
  //! The master as it is written next.
  [[nodiscard]] const Master& current() const noexcept { return _current; }
  //! Records of this open have another epoch than those of all opens before.
  void begin_epoch() noexcept { ++_current.epoch; }
  //! Writes the master and flushes. Returns 0 or an errno.
  [[nodiscard]] int write() { return write(_current.begin, _current.identity); }
  //! @}

  //! Moves the log's begin: writes the next master and flushes. Returns 0, or an errno; the masters
  //! are then what they were, as far as this object knows.
  [[nodiscard]] int advance(Lsn begin);
  [[nodiscard]] Identity identity() const;
  //! The identity after the next advance().
  [[nodiscard]] Identity next_identity() const;

 private:
  [[nodiscard]] int write(Lsn begin, const Identity& identity);
  [[nodiscard]] Identity next() const noexcept {
    return {_current.identity.database, _current.identity.generation + 1, _nonce};
  }

  Storage& _storage;
  const std::uint64_t _nonce;  // of this open
  mutable std::mutex _mutex;
  Master _current;  // its number is that of the master written last
};

}  // namespace vmcache
