// SPDX-License-Identifier: MIT
//
// What a seed stands for: how much of what is done by whom, on which devices, and what goes wrong.
#pragma once

#include <array>
#include <cstdint>
#include <random>
#include <string_view>

#include "crash/recording_storage.hpp"
#include "crash/simulation/schedule.hpp"

namespace vmcache::test {

//! Kinds of trouble and of work that a seed may choose from. Which of them are on is said by the
//! command line.
enum class Kind : std::uint8_t {
  kLatency,  //!< transfers take time and end out of order
  kLives,    //!< after a recovery work goes on, and is cut again
  kTiny,     //!< many small commits that wait for nothing
  kDeep,     //!< keys of up to a thousand bytes: trees with many levels
  kLarge,    //!< values in extents of all orders up to 6
  //! Leaves of few entries: in both trees many splits and merges, and hardly a free page.
  kChurn,
  kFreeList,      //!< most pages are free
  kReaders,       //!< threads that read meanwhile, and check what they see
  kVisible,       //!< ... and that a commit's changes are seen together
  kSmallPool,     //!< the next open has a smaller pool
  kIoErrors,      //!< transfers of the page file fail
  kLogErrors,     //!< transfers and flushes of the log fail
  kPageFlush,     //!< flushes of the page file fail
  kFullDevice,    //!< the page file's device is full
  kFullCapacity,  //!< the database has no page ids left
  kFullLog,       //!< a log that is often full, and nobody who makes checkpoints beside the work
  kOldPages,      //!< the page file is of an earlier moment than the log
  kSwappedLog,    //!< the log is another database's
  //! The log's newer master is damaged, which says no other begin than the older one.
  kLostMaster,
  kLog,  //!< a log alone, without a database: many short lives
  kCount,
};
inline constexpr std::array<std::string_view, static_cast<std::size_t>(Kind::kCount)> kKindNames{
    "latency",   "lives",      "tiny",        "deep",        "large",
    "churn",     "free-list",  "readers",     "visible",     "small-pool",
    "io-errors", "log-errors", "page-flush",  "full-device", "full-capacity",
    "full-log",  "old-pages",  "swapped-log", "lost-master", "log"};

class Kinds {
 public:
  constexpr Kinds() = default;
  //! Those that are on unless the command line says otherwise.
  [[nodiscard]] static constexpr Kinds all() noexcept {
    Kinds kinds;
    kinds._bits = (std::uint32_t{1} << static_cast<unsigned>(Kind::kCount)) - 1;
    return kinds;
  }
  [[nodiscard]] constexpr Kinds with(Kinds others) const noexcept {
    others._bits |= _bits;
    return others;
  }
  [[nodiscard]] constexpr bool has(Kind kind) const noexcept {
    return (_bits >> static_cast<unsigned>(kind) & 1) != 0;
  }
  constexpr Kinds& set(Kind kind, bool on = true) noexcept {
    const std::uint32_t bit = std::uint32_t{1} << static_cast<unsigned>(kind);
    _bits = on ? _bits | bit : _bits & ~bit;
    return *this;
  }

 private:
  std::uint32_t _bits = 0;
};

struct Scenario {
  std::uint64_t seed = 1;
  Kinds kinds;  //!< those that this seed has chosen
  SchedulePlan schedule;

  unsigned clients = 1;       //!< threads that call the blocking forms
  unsigned task_threads = 0;  //!< threads with a Worker and six tasks
  unsigned readers = 0;
  unsigned transactions = 240;  //!< of all of them together
  bool counters = false;        //!< each commit counts in both trees
  //! Most of what a client changes is in one tree, the next one's in the other.
  bool own_trees = false;

  enum class Keys : std::uint8_t { kMixed, kDeep, kLarge } keys = Keys::kMixed;
  enum class Values : std::uint8_t {
    kMixed,
    kTiny,
    kQuarterLeaf,
    kLarge,
    kHuge
  } values = Values::kMixed;
  unsigned key_count = 300;
  unsigned changes_per_other_tree = 8;
  unsigned no_wait_percent = 33;
  unsigned transactions_per_checkpoint = 50;

  bool checkpoint_thread = false;
  unsigned checkpoint_percent = 100;
  std::uint64_t frames = 24;
  std::uint64_t frames_next = 64;  //!< at the next open
  std::uint64_t capacity_pages = 4096;
  std::uint64_t log_bytes = std::uint64_t{1} << 20;
  unsigned lives = 1;

  //! While the work is done, and while a database is opened.
  std::array<DeviceBehaviour, Recorder::kDevices> devices;
  std::array<DeviceBehaviour, Recorder::kDevices> devices_at_open;

  //! Whether calls may fail that otherwise do not.
  [[nodiscard]] bool trouble() const noexcept {
    return kinds.has(Kind::kIoErrors) || kinds.has(Kind::kLogErrors) ||
           kinds.has(Kind::kPageFlush) || kinds.has(Kind::kFullDevice) ||
           kinds.has(Kind::kFullCapacity) || kinds.has(Kind::kFullLog);
  }
};

//! A seed's choice from `allowed`, and all of `always`. A kind that is allowed or not changes
//! nothing for seeds that have not chosen it.
[[nodiscard]] Scenario scenario_of(std::uint64_t seed, Kinds allowed, Kinds always);
//! One line.
void print(const Scenario& scenario);

}  // namespace vmcache::test
