// SPDX-License-Identifier: MIT
#include "crash/simulation/model.hpp"

#include <algorithm>

namespace vmcache::test {

std::size_t Model::add(Commit commit) {
  _commits.push_back(std::move(commit));
  return _commits.size() - 1;
}

void Model::apply(const State& changes, State& state) {
  for (const auto& [key, hash] : changes) {
    if (hash != 0) {
      state[key] = hash;
    } else {
      state.erase(key);
    }
  }
}

//! By how much the changes change the state's hash, a sum.
StateHash Model::delta(const State& changes, const State& state) {
  StateHash sum = 0;
  for (const auto& [key, hash] : changes) {
    const auto old = state.find(key);
    sum += hash - (old == state.end() ? 0 : old->second);
  }
  return sum;
}

void Model::finish() {
  for (const auto& [stamp, moment] : _seen) {
    const auto commit = std::ranges::find(_commits, stamp, &Commit::stamp);
    if (commit != _commits.end()) commit->durable_at = std::min(commit->durable_at, moment);
  }
  std::ranges::sort(_commits, {}, &Commit::lsn);
  _last = _base;
  StateHash hash = 0;
  for (const auto& [key, entry] : _base) hash += entry;
  _hashes.assign(1, hash);
  for (const Commit& commit : _commits) {
    hash += delta(commit.changes, _last);
    apply(commit.changes, _last);
    _hashes.push_back(hash);
  }
}

std::size_t Model::promised(std::uint64_t moment) const {
  for (std::size_t n = _commits.size(); n > 0; --n) {
    if (_commits[n - 1].durable_at <= moment) return n;
  }
  return 0;
}

std::optional<Model::State> Model::find(StateHash state, std::size_t min) const {
  const std::size_t subsets = std::size_t{1} << std::min<std::size_t>(_unsure.size(), 10);
  for (std::size_t subset = 0; subset < subsets; ++subset) {
    StateHash more = 0;
    for (std::size_t i = 0; i < _unsure.size(); ++i) {
      if ((subset >> i & 1) != 0) more += delta(_unsure[i], _last);
    }
    const auto found =
        std::find(_hashes.begin() + static_cast<std::ptrdiff_t>(min), _hashes.end(), state - more);
    if (found == _hashes.end()) continue;
    State result = _base;
    for (auto n = _hashes.begin(); n != found; ++n)
      apply(_commits[static_cast<std::size_t>(n - _hashes.begin())].changes, result);
    for (std::size_t i = 0; i < _unsure.size(); ++i) {
      if ((subset >> i & 1) != 0) apply(_unsure[i], result);
    }
    return result;
  }
  return std::nullopt;
}

}  // namespace vmcache::test
