// SPDX-License-Identifier: MIT
//
// Lookups in 5 M cached entries of 8 + 120 bytes: the library's B+tree and LMDB, random keys, each
// lookup copies its value. LMDB runs with one read transaction for all lookups of a thread, its
// fastest form, and with one renewed for each lookup, which sees what others have committed
// meanwhile, as the B+tree's lookups do.
#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <vector>

#include "common/null_storage.hpp"
#include "systems/vmcache_btree.hpp"
#include "vmcache/btree.hpp"
#include "workload/records.hpp"

namespace {

using vmbench::Key;
using vmbench::Value;

constexpr std::uint64_t kEntries = 5'000'000;

class CachedTree {
 public:
  CachedTree() : _pool(options()), _tree(_pool, build()) {}
  [[nodiscard]] vmcache::BTree& tree() { return _tree; }
  [[nodiscard]] vmcache::BufferPool& pool() { return _pool; }

 private:
  static vmcache::PoolOptions options() {
    vmcache::PoolOptions options;
    options.make_storage = [] { return std::make_unique<vmbench::NullStorage>(); };
    options.pool_bytes = kEntries * vmbench::kRecordSize * 5 / 2;
    options.capacity_bytes = options.pool_bytes * 2;
    options.memory = vmcache::MemoryKind::kAnonymous;
    return options;
  }
  vmcache::PageId build() {
    return vmbench::BTreeIndex::build(_pool, vmbench::KeySpace(kEntries), [](std::uint64_t) {});
  }

  vmcache::BufferPool _pool;
  vmcache::BTree _tree;
};

CachedTree& cached_tree() {
  static CachedTree tree;
  return tree;
}

void check(int result, const char* call) {
  if (result != MDB_SUCCESS)
    throw std::runtime_error(fmt::format("{}: {}", call, mdb_strerror(result)));
}

class CachedLmdb {
 public:
  CachedLmdb()
      : _path(std::filesystem::temp_directory_path() /
              fmt::format("btree_bench-{}.lmdb", getpid())) {
    check(mdb_env_create(&_env), "mdb_env_create");
    check(mdb_env_set_mapsize(_env, kEntries * vmbench::kRecordSize * 3), "mdb_env_set_mapsize");
    check(
        mdb_env_open(_env, _path.c_str(), MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOTLS | MDB_NOLOCK, 0600),
        "mdb_env_open");
    load();
  }
  ~CachedLmdb() {
    mdb_env_close(_env);
    std::filesystem::remove(_path);
  }
  CachedLmdb(const CachedLmdb&) = delete;
  CachedLmdb& operator=(const CachedLmdb&) = delete;
  [[nodiscard]] MDB_env* env() const { return _env; }
  [[nodiscard]] MDB_dbi table() const { return _table; }

 private:
  void load() {
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(_env, nullptr, 0, &txn), "mdb_txn_begin");
    check(mdb_dbi_open(txn, nullptr, MDB_INTEGERKEY, &_table), "mdb_dbi_open");
    const vmbench::KeySpace keys(kEntries);
    for (std::uint64_t record = 0; record < kEntries; record++) {
      Key key = keys.key(record);
      Value value = vmbench::make_value(key, 0);
      MDB_val name{sizeof key, &key};
      MDB_val data{value.size(), value.data()};
      check(mdb_put(txn, _table, &name, &data, MDB_APPEND), "mdb_put");
    }
    check(mdb_txn_commit(txn), "mdb_txn_commit");
  }

  std::filesystem::path _path;
  MDB_env* _env = nullptr;
  MDB_dbi _table = 0;
};

CachedLmdb& cached_lmdb() {
  static CachedLmdb lmdb;
  return lmdb;
}

//! Random keys that are there, the same sequence for every competitor.
class Keys {
 public:
  explicit Keys(const benchmark::State& state)
      : _random(static_cast<std::uint64_t>(state.thread_index()) + 1) {}
  Key next() { return _space.key(_random.below(kEntries)); }

 private:
  vmbench::KeySpace _space{kEntries};
  vmbench::SplitMix64 _random;
};

void btree_lookup(benchmark::State& state) {
  const vmcache::BTree& tree = cached_tree().tree();
  Keys keys(state);
  Value value;
  for (auto _ : state) {
    const Key key = keys.next();
    if (!tree.lookup(vmbench::KeyBytes(key), value) || !vmbench::value_belongs_to(value, key))
      return state.SkipWithError("a wrong answer");
  }
  state.SetItemsProcessed(state.iterations());
}

//! The same keys, handed over many at a time.
void btree_lookup_each(benchmark::State& state) {
  constexpr std::size_t kBatch = 256;
  const vmcache::BTree& tree = cached_tree().tree();
  Keys keys(state);
  std::vector<Key> wanted(kBatch);
  std::vector<vmbench::KeyBytes> bytes;
  bytes.reserve(kBatch);
  std::vector<vmcache::Bytes> views(kBatch);
  Value value;
  for (auto _ : state) {
    bytes.clear();
    for (std::size_t i = 0; i < kBatch; i++) {
      wanted[i] = keys.next();
      bytes.emplace_back(wanted[i]);
      views[i] = bytes[i];
    }
    std::size_t right = 0;
    tree.lookup_each(views, [&](std::size_t i, std::optional<vmcache::Bytes> found) {
      if (!found || found->size() != value.size()) return;
      std::memcpy(value.data(), found->data(), value.size());
      right += vmbench::value_belongs_to(value, wanted[i]) ? 1 : 0;
    });
    if (right != kBatch) return state.SkipWithError("a wrong answer");
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kBatch));
}

void lmdb_lookup(benchmark::State& state) {
  const bool renew = state.range(0) != 0;
  CachedLmdb& lmdb = cached_lmdb();
  MDB_txn* txn = nullptr;
  check(mdb_txn_begin(lmdb.env(), nullptr, MDB_RDONLY, &txn), "mdb_txn_begin");
  Keys keys(state);
  Value value;
  for (auto _ : state) {
    if (renew) {
      mdb_txn_reset(txn);
      check(mdb_txn_renew(txn), "mdb_txn_renew");
    }
    Key key = keys.next();
    MDB_val name{sizeof key, &key};
    MDB_val found{};
    if (mdb_get(txn, lmdb.table(), &name, &found) != MDB_SUCCESS || found.mv_size != value.size()) {
      state.SkipWithError("a wrong answer");
      break;
    }
    std::memcpy(value.data(), found.mv_data, value.size());
    if (!vmbench::value_belongs_to(value, key)) {
      state.SkipWithError("a wrong answer");
      break;
    }
  }
  mdb_txn_abort(txn);
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(btree_lookup)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(btree_lookup_each)->Threads(1)->Threads(2)->UseRealTime();
BENCHMARK(lmdb_lookup)->ArgName("renew")->Arg(0)->Arg(1)->Threads(1)->Threads(2)->UseRealTime();

//! The same through a worker, all in one task: what the awaitable form adds where nothing has to be
//! awaited.
vmcache::Task<void> look_up_all(vmcache::Worker& worker, benchmark::State& state) {
  const vmcache::BTree& tree = cached_tree().tree();
  Keys keys(state);
  Value value;
  for (auto _ : state) {
    const vmbench::KeyBytes key(keys.next());
    if (!(co_await tree.lookup(worker, key, value))) {
      state.SkipWithError("a wrong answer");
      break;
    }
  }
}
void btree_lookup_awaited(benchmark::State& state) {
  vmcache::Worker worker(cached_tree().pool());
  worker.spawn(look_up_all(worker, state));
  worker.run();
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(btree_lookup_awaited)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
