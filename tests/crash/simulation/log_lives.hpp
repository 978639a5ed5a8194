// SPDX-License-Identifier: MIT
//
// A write-ahead log alone, as an embedder has it: many short lives, one after the other, each cut
// somewhere. Records of the same size, so that what is left of an earlier life often begins where a
// later one ends.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "crash/recording_storage.hpp"
#include "crash/simulation/scenario.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache::test {

enum class LostMaster : std::uint8_t {
  kNone,      //!< nothing was done
  kNoLoss,    //!< the older one says the same begin: the log must open, with all that was promised
  kToRefuse,  //!< the older one says that nothing was ever promised: the log must not open
};
//! Damages the newer of the two masters if the older one says the same begin.
LostMaster lose_newer_master(DiskImage& log, std::mt19937_64& random);

class LogLives {
 public:
  LogLives(const Scenario& scenario, std::uint64_t seed) : _scenario(scenario), _random(seed) {}

  //! Ends early with a finding.
  void run(std::uint64_t lives);
  //! What must not be; empty: nothing.
  [[nodiscard]] const std::string& finding() const noexcept { return _finding; }

 private:
  struct Record {
    std::uint64_t number = 0;  //!< no two have the same
    Lsn begin = 0;
    Lsn end = 0;
    std::uint64_t durable_at = ~std::uint64_t{0};
  };

  void begin_anew();
  void live_or_fail(Recorder& recorder);
  void live(Recorder& recorder);
  void check(const std::vector<Record>& found);
  void append(WriteAheadLog& log, Recorder& recorder, bool may_wait);
  void cut(Recorder& recorder);

  const Scenario& _scenario;
  std::mt19937_64 _random;
  std::array<DiskImage, Recorder::kDevices> _images;
  std::vector<Record> _records;  // what was there when this life began, and what it has appended
  std::size_t _promised = 0;     // so many of them must be found
  bool _to_refuse = false;       // the next open
  std::uint64_t _next_number = 1;
  std::string _finding;
};

}  // namespace vmcache::test
