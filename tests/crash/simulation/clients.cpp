// SPDX-License-Identifier: MIT
#include "crash/simulation/clients.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "vmcache/error.hpp"
#include "vmcache/worker.hpp"

namespace vmcache::test {
namespace {

constexpr unsigned kTasks = 6;

std::uint64_t mix(std::uint64_t x) noexcept {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccd;
  x ^= x >> 33;
  return x * 0xc4ceb9fe1a85ec53;
}

//! A value says who has written it, and its bytes follow from that: so whoever reads it knows
//! whether it is whole.
std::string value_of(std::uint64_t stamp, std::size_t bytes) {
  std::string value((bytes + 7) / 8 * 8, '\0');
  for (std::size_t i = 0; i * 8 < value.size(); ++i) {
    const std::uint64_t word = i == 0 ? stamp : mix(stamp + i);
    std::memcpy(value.data() + i * 8, &word, sizeof word);
  }
  value.resize(bytes);
  return value;
}

std::uint64_t stamp_of(Bytes value) {
  std::uint64_t stamp = 0;
  std::memcpy(&stamp, value.data(), std::min(sizeof stamp, value.size()));
  return stamp;
}

bool whole(Bytes value) {
  return value.size() < sizeof(std::uint64_t) ||
         value_of(stamp_of(value), value.size()) == value.view();
}

std::string counter_of(unsigned client) {
  std::string key("~");
  return key += std::to_string(client);
}

//! Neighbours share all but the end of long keys, others nearly nothing: so the keys that inner
//! nodes need are long.
std::string deep_key(std::uint64_t number) {
  constexpr std::size_t kBytesPerDigit = 150;
  std::string key;
  for (unsigned digit = 6; digit-- > 0;) {
    key.append(kBytesPerDigit, 'a');
    key.push_back(static_cast<char>('0' + (number >> (2 * digit) & 3)));
  }
  return key;
}

std::string key_of(const Scenario& scenario, std::mt19937_64& random) {
  const std::uint64_t number = mix(random() % scenario.key_count) % (3 * scenario.key_count);
  if (scenario.keys == Scenario::Keys::kDeep) return deep_key(number);
  if (scenario.keys == Scenario::Keys::kLarge) return std::to_string(number % 60);
  std::string key = random() % 4 == 0 ? std::string(120, 'p') : std::string();
  return key + std::to_string(number);
}

std::size_t value_bytes(const Scenario& scenario, std::mt19937_64& random) {
  constexpr std::size_t kMaxLarge = 200'000;
  switch (scenario.values) {
    case Scenario::Values::kTiny:
      return 8 + random() % 16;
    case Scenario::Values::kQuarterLeaf:
      return 500 + random() % 500;
    case Scenario::Values::kHuge:
      return 60'000 + random() % 140'000;
    case Scenario::Values::kLarge:
      if (random() % 2 == 0)
        return std::min(kMaxLarge, (kPageSize / 2 << random() % 7) + random() % kPageSize);
      break;
    case Scenario::Values::kMixed:
      break;
  }
  if (random() % 16 == 0)
    return 1000 + random() % 11000;  // around the limit of a leaf's, and in extents of 1 to 4 pages
  return random() % 4 == 0 ? random() % 900 : random() % 60;
}

//! Whether work cannot go on.
bool over(Life& life) {
  return life.database.log().log_error() != 0 || !life.findings.empty();
}

class Client {
 public:
  Client(Life& life, unsigned number)
      : _life(life),
        _number(number),
        _random(mix(life.scenario.seed * 64 + life.number) + number) {}

  void run(unsigned transactions) {
    for (_done = 0; _done < transactions && !over(_life); ++_done) {
      guarded([&] { transact(); });
      if (_random() % _life.scenario.transactions_per_checkpoint == 0)
        guarded([&] { _life.database.checkpoint(); });
    }
  }

  //! In a worker's task. Makes no checkpoints: they are the others' to make.
  Task<> run(Worker& worker, unsigned transactions) {
    for (_done = 0; _done < transactions && !over(_life); ++_done) {
      try {
        co_await transact(worker);
      } catch (const Error& error) {
        judge(error);
      }
      if (_random() % 4 == 0) co_await worker.yield();
    }
  }

 private:
  struct Change {
    Model::Commit commit;
    bool waits = false;
  };

  void guarded(auto call) {
    try {
      call();
    } catch (const Error& error) {
      judge(error);
    }
  }
  //! Whether a call may fail like that.
  void judge(const Error& error) {
    if (error.code() == Errc::kConflict) return;
    const bool expected = error.code() == Errc::kIo || error.code() == Errc::kDatabaseFull ||
                          error.code() == Errc::kPoolExhausted || error.code() == Errc::kTooLarge;
    if (!_life.scenario.trouble() || !expected)
      _life.findings.add(std::string("a call fails: ") + error.what());
  }

  //! Growing and shrinking by turns, not all at once: splits beside merges.
  [[nodiscard]] unsigned erase_percent() const { return (_done / 30 + _number) % 2 == 0 ? 15 : 70; }

  //! The changes of a transaction. False: it is to be rolled back.
  bool fill(Transaction& transaction, Change& change) {
    const auto change_one = [&](unsigned tree, const std::string& key, const std::string* value) {
      if (value != nullptr) {
        transaction.put(tree, key, *value);
      } else {
        transaction.erase(tree, key);
      }
      change.commit.changes[{tree, key}] = value == nullptr ? 0 : hash_of_entry(tree, key, *value);
    };
    const std::uint64_t stamp = (mix(_life.scenario.seed) >> 8) +
                                (std::uint64_t{_life.number} << 40) +
                                (std::uint64_t{_number} << 24) + _done;
    change.commit.stamp = stamp;
    if (_life.scenario.counters) {
      const std::string count = value_of(stamp, 8);
      change_one(0, counter_of(_number), &count);
    }
    const bool few = _life.scenario.values == Scenario::Values::kTiny ||
                     _life.scenario.keys == Scenario::Keys::kLarge;
    const auto changes = 1 + _random() % (few ? 2 : 5);
    for (unsigned i = 0; i < changes; ++i) {
      const bool other = _random() % _life.scenario.changes_per_other_tree == 0;
      const unsigned tree =
          (_life.scenario.own_trees ? _number % kWorkloadTrees : 0) ^ unsigned { other };
      const std::string key = key_of(_life.scenario, _random);
      if (_random() % 100 < erase_percent()) {
        change_one(tree, key, nullptr);
      } else {
        const std::string value = value_of(mix(stamp) + i, value_bytes(_life.scenario, _random));
        change_one(tree, key, &value);
      }
    }
    if (_life.scenario.counters) {
      const std::string count = value_of(stamp, 8);
      change_one(1, counter_of(_number), &count);
    }
    change.waits = _random() % 100 >= _life.scenario.no_wait_percent;
    return _random() % 8 != 0;
  }

  std::size_t note(Change& change, Lsn lsn) {
    const std::lock_guard lock(_life.mutex);
    change.commit.lsn = lsn;
    return _life.model.add(std::move(change.commit));
  }
  void note_durable(std::size_t commit) {
    const std::uint64_t moment = _life.recorder.moment();
    const std::lock_guard lock(_life.mutex);
    _life.model.promise_durable(commit, moment);
  }
  //! A commit that has failed may be in the log only if that has failed as well.
  void note_failed(Change& change) {
    if (_life.database.log().log_error() == 0) return;
    const std::lock_guard lock(_life.mutex);
    _life.model.add_unsure(std::move(change.commit.changes));
  }

  void transact() {
    Transaction transaction(_life.database);
    Change change;
    if (!fill(transaction, change)) return transaction.rollback();
    std::size_t commit = 0;
    if (change.waits && !_life.scenario.trouble()) {
      commit = note(change, transaction.commit());
    } else {
      // In two steps: where waiting fails, the place in the log is known.
      try {
        commit = note(change, transaction.commit_no_wait());
      } catch (const Error&) {
        note_failed(change);
        throw;
      }
      if (change.waits) _life.database.log().wait_durable(lsn_of(commit));
    }
    if (change.waits) note_durable(commit);
    look_at_random();
  }

  Task<> transact(Worker& worker) {
    Transaction transaction(_life.database);
    Change change;
    if (!fill(transaction, change)) co_return;
    std::size_t commit = 0;
    if (change.waits && !_life.scenario.trouble()) {
      commit = note(change, co_await transaction.commit(worker));
    } else {
      Lsn lsn = 0;
      try {
        lsn = co_await transaction.commit_no_wait(worker);
      } catch (const Error&) {
        note_failed(change);
        throw;
      }
      commit = note(change, lsn);
      if (change.waits) co_await _life.database.wait_durable(worker, lsn);
    }
    if (change.waits) note_durable(commit);
  }

  [[nodiscard]] Lsn lsn_of(std::size_t commit) {
    const std::lock_guard lock(_life.mutex);
    return _life.model.lsn_of(commit);
  }

  void look_at_random() {
    if (_random() % 4 != 0) return;
    const std::string key = key_of(_life.scenario, _random);
    const std::optional<std::string> value = _life.database.tree(0).get(key);
    if (value && !whole(Bytes(*value)))
      _life.findings.add("a value that nobody has written, under " + key.substr(0, 20));
  }

  Life& _life;
  const unsigned _number;
  std::mt19937_64 _random;
  unsigned _done = 0;
};

//! Reads, and checks what it sees.
class Reader {
 public:
  Reader(Life& life, unsigned number, const std::atomic<bool>& stop)
      : _life(life),
        _stop(stop),
        _random(mix(life.scenario.seed * 64 + life.number) + 1000 + number) {}

  void run() {
    while (!_stop.load(std::memory_order_acquire) && !over(_life)) {
      try {
        look();
      } catch (const Error& error) {
        const bool expected = error.code() == Errc::kIo || error.code() == Errc::kPoolExhausted;
        if (!_life.scenario.trouble() || !expected)
          _life.findings.add(std::string("a read fails: ") + error.what());
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
  }

 private:
  void look() {
    switch (_random() % 8) {
      case 0:
        return scan(static_cast<unsigned>(_random() % kWorkloadTrees));
      case 1:
      case 2:
        return _life.scenario.counters ? look_at_counters() : get();
      default:
        return get();
    }
  }
  void get() {
    const auto tree = static_cast<unsigned>(_random() % 8 == 0);
    const std::string key = key_of(_life.scenario, _random);
    const std::optional<std::string> value = _life.database.tree(tree).get(key);
    if (value && !whole(Bytes(*value)))
      _life.findings.add("a reader sees a value that nobody has written");
  }
  void scan(unsigned tree) {
    std::string last;
    unsigned left = 40;
    const std::string from = key_of(_life.scenario, _random);
    _life.database.tree(tree).scan(Bound::at(from), [&](Bytes key, Bytes value) {
      if (!last.empty() && key.view() <= last) _life.findings.add("a scan sees keys out of order");
      if (!whole(value)) _life.findings.add("a scan sees a value that nobody has written");
      last = key.view();
      return --left > 0;
    });
  }
  //! R16: when the transaction has committed, what it has read is durable.
  void act_on_counter(unsigned client) {
    Transaction transaction(_life.database);
    const std::optional<std::string> value = transaction.get(0, counter_of(client));
    transaction.commit();
    const std::uint64_t moment = _life.recorder.moment();
    const std::lock_guard lock(_life.mutex);
    if (value) _life.model.promise_seen(stamp_of(Bytes(*value)), moment);
  }
  //! Each commit counts in tree 0 and in tree 1.
  void look_at_counters() {
    const unsigned clients = _life.scenario.clients + kTasks * _life.scenario.task_threads;
    const auto client = static_cast<unsigned>(_random() % clients);
    if (_random() % 2 == 0) return act_on_counter(client);
    const auto first = static_cast<unsigned>(_random() % 2);
    const std::uint64_t one = count(first, client);
    const std::uint64_t other = count(1 - first, client);
    for (const auto& [tree, seen] : {std::pair{first, one}, std::pair{1 - first, other}}) {
      if (seen < _seen[tree][client % kMaxClients])
        _life.findings.add("a reader sees an earlier commit after a later one");
      _seen[tree][client % kMaxClients] = seen;
    }
    if (_life.scenario.kinds.has(Kind::kVisible) && other < one)
      _life.findings.add("a reader sees a commit, and then not all of it");
  }
  std::uint64_t count(unsigned tree, unsigned client) {
    const std::optional<std::string> value = _life.database.tree(tree).get(counter_of(client));
    return value ? stamp_of(Bytes(*value)) : 0;
  }

  static constexpr std::size_t kMaxClients = 32;

  Life& _life;
  const std::atomic<bool>& _stop;
  std::mt19937_64 _random;
  std::array<std::array<std::uint64_t, kMaxClients>, kWorkloadTrees> _seen{};
};

//! A thread whose clients are tasks.
void run_tasks(Life& life, unsigned first, unsigned transactions) {
  std::vector<std::unique_ptr<Client>> clients;
  Worker worker(life.database.pool());
  for (unsigned n = 0; n < kTasks; ++n) {
    clients.push_back(std::make_unique<Client>(life, first + n));
    worker.spawn(clients.back()->run(worker, transactions / kTasks + 1));
  }
  worker.run();
}

//! A thread's work; what leaves it is a finding.
void guarded(Life& life, auto call) {
  try {
    call();
  } catch (const std::exception& error) {
    life.findings.add(std::string("a thread ends: ") + error.what());
  }
}

}  // namespace

void work(Life& life) {
  const Scenario& scenario = life.scenario;
  const unsigned transactions =
      life.number == 0 ? scenario.transactions : scenario.transactions / 4;
  const unsigned share = transactions / (scenario.clients + scenario.task_threads) + 1;
  // Tasks find their trees there.
  for (unsigned tree = 0; tree < kWorkloadTrees; ++tree) {
    try {
      (void)life.database.tree(tree);
    } catch (const Error& error) {
      if (!scenario.trouble()) throw;
      return;
    }
  }
  std::atomic<bool> stop{false};
  std::vector<std::thread> readers;
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < scenario.readers; ++n)
    readers.emplace_back([&, n] { guarded(life, [&] { Reader(life, n, stop).run(); }); });
  for (unsigned n = 1; n < scenario.clients; ++n)
    threads.emplace_back([&, n] { guarded(life, [&] { Client(life, n).run(share); }); });
  for (unsigned n = 0; n < scenario.task_threads; ++n)
    threads.emplace_back(
        [&, n] { guarded(life, [&] { run_tasks(life, scenario.clients + n * kTasks, share); }); });
  guarded(life, [&] { Client(life, 0).run(share); });
  for (std::thread& thread : threads) thread.join();
  stop.store(true, std::memory_order_release);
  for (std::thread& thread : readers) thread.join();
}

}  // namespace vmcache::test
