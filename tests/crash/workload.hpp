// SPDX-License-Identifier: MIT
//
// Random transactions on a database over recorded storage, and what a recovery from a cut of it
// must give.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "crash/recording_storage.hpp"
#include "vmcache/database.hpp"

namespace vmcache::test {

inline constexpr unsigned kWorkloadTrees = 2;

//! Sum of the hashes of all entries: changes with one entry at a time.
using StateHash = std::uint64_t;
[[nodiscard]] StateHash hash_of_entry(unsigned tree, Bytes key, Bytes value);

struct Workload {
  std::uint64_t seed = 1;
  unsigned transactions = 300;
};

//! What was committed, in the order of the log.
class History {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  struct Commit {
    Lsn lsn = 0;
    std::uint64_t returned_at = kNever;  //!< the moment at which commit() had returned
    //! To (there, value)
    std::map<std::pair<unsigned, std::string>, std::pair<bool, std::string>> changes;
  };

  void add(Commit commit) { _commits.push_back(std::move(commit)); }
  //! When all are there.
  void finish();
  //! How many commits must be found after a cut at `moment`.
  [[nodiscard]] std::size_t acknowledged(std::uint64_t moment) const;
  //! True if `state` is that after n commits for some n >= least.
  [[nodiscard]] bool holds(StateHash state, std::size_t min) const;
  [[nodiscard]] std::size_t commits() const noexcept { return _commits.size(); }

 private:
  std::vector<Commit> _commits;
  std::vector<StateHash> _states;  // after 0, 1, ... commits
};

[[nodiscard]] DatabaseOptions recorded_database(Recorder& recorder, std::uint64_t frames);
//! Runs it on new devices.
[[nodiscard]] History run_workload(const Workload& workload, Recorder& recorder);

//! Reads everything. Throws Error if a tree is damaged.
[[nodiscard]] StateHash read_entries(Database& database);
//! The same. Throws Error also if a page is in use twice or by nobody.
[[nodiscard]] StateHash read_state(Database& database);

}  // namespace vmcache::test
