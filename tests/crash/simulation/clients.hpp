// SPDX-License-Identifier: MIT
//
// Who works on a database in the simulation: threads and tasks that commit, threads that read and
// check.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "crash/recording_storage.hpp"
#include "crash/simulation/model.hpp"
#include "crash/simulation/scenario.hpp"
#include "vmcache/database.hpp"

namespace vmcache::test {

//! What was seen that must not be. Thread-safe.
class Findings {
 public:
  void add(std::string what) {
    const std::lock_guard lock(_mutex);
    _found.push_back(std::move(what));
  }
  [[nodiscard]] bool empty() const noexcept { return _found.empty(); }
  [[nodiscard]] const std::vector<std::string>& all() const noexcept { return _found; }

 private:
  std::mutex _mutex;
  std::vector<std::string> _found;
};

//! A database during a life, and all that is known of it.
struct Life {
  const Scenario& scenario;
  Database& database;
  Recorder& recorder;
  Model& model;
  Findings& findings;
  unsigned number = 0;  //!< 0: the first one
  std::mutex mutex{};   //!< for the model
};

//! Lets the scenario's threads work until each has done its share, or the log has failed.
void work(Life& life);

}  // namespace vmcache::test
