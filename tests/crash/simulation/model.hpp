// SPDX-License-Identifier: MIT
//
// What a database must hold: the state with which a life began, and the commits since, in the order
// of the log.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "crash/workload.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache::test {

//! One life of a database: from an open to a crash. Not thread-safe.
class Model {
 public:
  using Key = std::pair<unsigned, std::string>;
  //! Values are known by their hashes (hash_of_entry()); 0: the key is not there.
  using State = std::map<Key, StateHash>;
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  struct Commit {
    Lsn lsn = 0;
    std::uint64_t stamp = 0;  //!< no two commits have the same
    //! The recorder's moment at which its durability was promised.
    std::uint64_t durable_at = kNever;
    State changes;
  };

  explicit Model(State base = {}) : _base(std::move(base)) {}

  //! Returns a handle for promise_durable().
  std::size_t add(Commit commit);
  void promise_durable(std::size_t commit, std::uint64_t moment) {
    _commits[commit].durable_at = moment;
  }
  [[nodiscard]] Lsn lsn_of(std::size_t commit) const { return _commits[commit].lsn; }
  //! Somebody has acted on what the commit with that stamp has written.
  void promise_seen(std::uint64_t stamp, std::uint64_t moment) {
    _seen.emplace_back(stamp, moment);
  }
  //! Of a commit that has failed together with the log, while it held its locks: it may be found or
  //! not, after all others.
  void add_unsure(State changes) { _unsure.push_back(std::move(changes)); }

  //! When all are there; then handles are of no use any more.
  void finish();
  //! After finish(): of every commit.
  void promise_all(std::uint64_t moment) {
    if (!_commits.empty())
      _commits.back().durable_at = std::min(_commits.back().durable_at, moment);
  }
  [[nodiscard]] std::size_t commits() const noexcept { return _commits.size(); }
  [[nodiscard]] StateHash last() const noexcept { return _hashes.back(); }
  //! How many commits must be found after a cut at `moment`.
  [[nodiscard]] std::size_t promised(std::uint64_t moment) const;
  //! What was found, if it is the state after n commits for some n >= least.
  [[nodiscard]] std::optional<State> find(StateHash state, std::size_t min) const;

 private:
  static void apply(const State& changes, State& state);
  [[nodiscard]] static StateHash delta(const State& changes, const State& state);

  State _base;
  std::vector<Commit> _commits;
  std::vector<State> _unsure;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> _seen;  // stamp, moment
  std::vector<StateHash> _hashes;                              // after 0, 1, ... commits
  State _last;
};

}  // namespace vmcache::test
