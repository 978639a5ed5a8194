// SPDX-License-Identifier: MIT
#include "crash/workload.hpp"

#include <algorithm>
#include <functional>
#include <random>
#include <string_view>

namespace vmcache::test {
namespace {

std::uint64_t mix(std::uint64_t x) noexcept {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccd;
  x ^= x >> 33;
  return x * 0xc4ceb9fe1a85ec53;
}

class Client {
 public:
  Client(Database& database, Recorder& recorder, const Workload& workload)
      : _database(database),
        _recorder(recorder),
        _workload(workload),
        _random(mix(workload.seed)) {}

  void run(History& history) {
    for (unsigned i = 0; i < _workload.transactions; ++i) {
      set_mix(i);
      transact(history);
      if (_random() % 50 == 0) _database.checkpoint();
    }
  }

 private:
  //! Growing and shrinking by turns: splits and merges.
  void set_mix(unsigned transaction) { _erase_percent = (transaction / 60) % 2 == 0 ? 15 : 70; }

  std::string random_key() {
    std::string key = std::to_string(mix(_random() % 300) % 1000);
    if (_random() % 4 == 0) key.insert(0, 120, 'p');
    return key;
  }

  std::size_t value_bytes() {
    if (_random() % 16 == 0)
      // Around the limit of a leaf's, and in extents of 1 to 4 pages.
      return 1000 + _random() % 11000;
    return _random() % 4 == 0 ? _random() % 900 : _random() % 60;
  }

  //! The changes of a transaction. False: it is to be rolled back.
  bool fill(Transaction& transaction, History::Commit& commit) {
    const auto changes = 1 + _random() % 5;
    for (unsigned i = 0; i < changes; ++i) {
      const auto tree = static_cast<unsigned>(_random() % 8 == 0);
      const std::string key = random_key();
      if (_random() % 100 < _erase_percent) {
        transaction.erase(tree, key);
        commit.changes[{tree, key}] = {false, {}};
      } else {
        std::string value(value_bytes(), static_cast<char>('a' + _random() % 26));
        transaction.put(tree, key, value);
        commit.changes[{tree, key}] = {true, std::move(value)};
      }
    }
    return _random() % 8 != 0;
  }

  void transact(History& history) {
    Transaction transaction(_database);
    History::Commit commit;
    if (!fill(transaction, commit)) return transaction.rollback();
    if (_random() % 3 == 0) {
      commit.lsn = transaction.commit_no_wait();
    } else {
      commit.lsn = transaction.commit();
      commit.returned_at = _recorder.moment();
    }
    history.add(std::move(commit));
  }

  Database& _database;
  Recorder& _recorder;
  const Workload& _workload;
  std::mt19937_64 _random;
  unsigned _erase_percent = 0;
};

}  // namespace

StateHash hash_of_entry(unsigned tree, Bytes key, Bytes value) {
  const std::hash<std::string_view> hash;
  return mix(mix(mix(hash(key.view())) + hash(value.view())) + tree);
}

void History::finish() {
  std::ranges::sort(_commits, {}, &Commit::lsn);
  std::map<std::pair<unsigned, std::string>, std::string> state;
  StateHash hash = 0;
  _states.assign(1, hash);
  for (const Commit& commit : _commits) {
    for (const auto& [key, change] : commit.changes) {
      if (const auto old = state.find(key); old != state.end()) {
        hash -= hash_of_entry(key.first, key.second, old->second);
        state.erase(old);
      }
      if (!change.first) continue;
      hash += hash_of_entry(key.first, key.second, change.second);
      state[key] = change.second;
    }
    _states.push_back(hash);
  }
}

std::size_t History::acknowledged(std::uint64_t moment) const {
  for (std::size_t n = _commits.size(); n > 0; --n) {
    if (_commits[n - 1].returned_at <= moment) return n;
  }
  return 0;
}

bool History::holds(StateHash state, std::size_t min) const {
  return std::find(_states.begin() + static_cast<std::ptrdiff_t>(min), _states.end(), state) !=
         _states.end();
}

DatabaseOptions recorded_database(Recorder& recorder, std::uint64_t frames) {
  DatabaseOptions options;
  options.pool.make_storage = [&recorder] { return recorder.open(Recorder::kPages); };
  options.pool.pool_bytes = frames * kPageSize;
  options.pool.capacity_bytes = std::uint64_t{4096} * kPageSize;
  options.pool.frame_wait = std::chrono::seconds(20);
  options.pool.memory = MemoryKind::kAnonymous;
  options.pool.workers = 8;
  options.pool.io_depth = 16;
  options.pool.evict_batch = 8;
  options.log.make_storage = [&recorder] { return recorder.open(Recorder::kLog); };
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

History run_workload(const Workload& workload, Recorder& recorder) {
  History history;
  DatabaseOptions options = recorded_database(recorder, 24);
  options.checkpoint_thread = false;  // so that the seed says all
  Database database(options);
  Client(database, recorder, workload).run(history);
  database.close();
  history.finish();
  return history;
}

namespace {

StateHash read_trees(Database& database, std::uint64_t& pages) {
  StateHash hash = 0;
  for (unsigned tree = 0; tree < kWorkloadTrees; ++tree) {
    if (database.pool().root(tree) == kNoPage) continue;
    pages += database.tree(tree).verify().pages();
    database.tree(tree).scan(Bound::all(), [&](Bytes key, Bytes value) {
      hash += hash_of_entry(tree, key, value);
      return true;
    });
  }
  return hash;
}

}  // namespace

StateHash read_entries(Database& database) {
  std::uint64_t pages = 0;
  return read_trees(database, pages);
}

StateHash read_state(Database& database) {
  std::uint64_t pages = 0;
  const StateHash hash = read_trees(database, pages);
  std::uint64_t owned = 0;
  database.pool().free_extents([&](std::uint64_t next_page, std::span<const Extent> free) {
    owned = next_page - 1;
    for (const Extent& extent : free) owned -= extent.pages();
  });
  if (owned != pages) {
    throw Error(Errc::kCorrupt, "the trees have " + std::to_string(pages) + " pages, and " +
                                    std::to_string(owned) + " are not free");
  }
  return hash;
}

}  // namespace vmcache::test
