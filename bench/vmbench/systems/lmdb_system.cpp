// SPDX-License-Identifier: MIT
//
// LMDB as its makers would run it here: integer keys, no read-ahead, one read transaction a thread
// that is renewed for each operation, one write transaction an update, and no sync, because no
// other system here syncs either.
#include <fcntl.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <unistd.h>

#include <cstring>
#include <stdexcept>

#include "common/progress.hpp"
#include "systems/system.hpp"

namespace vmbench {

namespace {

constexpr unsigned kEnvFlags =
    MDB_NOSUBDIR | MDB_NORDAHEAD | MDB_NOSYNC | MDB_NOMETASYNC | MDB_NOTLS;
//! Above every record: says what the file holds and whether it is as it was loaded.
constexpr Key kMarkerKey = ~Key{0};
struct Marker {
  std::uint64_t records;
  std::uint64_t pristine;
};

void check(int result, const char* call) {
  if (result != MDB_SUCCESS)
    throw std::runtime_error(fmt::format("{}: {}", call, mdb_strerror(result)));
}

class Environment {
 public:
  explicit Environment(const WorkloadOptions& options) {
    check(mdb_env_create(&_env), "mdb_env_create");
    // Full pages after loading, half-full ones after splits, and LMDB copies pages it changes.
    check(mdb_env_set_mapsize(_env, options.data_bytes * 4 + (std::size_t{1} << 30)),
          "mdb_env_set_mapsize");
    check(mdb_env_set_maxreaders(_env, 2048), "mdb_env_set_maxreaders");
    const int opened = mdb_env_open(_env, lmdb_file(options).c_str(), kEnvFlags, 0644);
    if (opened != MDB_SUCCESS) {
      mdb_env_close(_env);
      check(opened, "mdb_env_open");
    }
  }
  ~Environment() { mdb_env_close(_env); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  [[nodiscard]] MDB_env* get() const { return _env; }

 private:
  MDB_env* _env = nullptr;
};

class Transaction {
 public:
  Transaction(const Environment& env, unsigned flags) {
    check(mdb_txn_begin(env.get(), nullptr, flags, &_txn), "mdb_txn_begin");
  }
  ~Transaction() {
    if (_txn) mdb_txn_abort(_txn);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit() {
    MDB_txn* txn = _txn;
    _txn = nullptr;
    check(mdb_txn_commit(txn), "mdb_txn_commit");
  }
  [[nodiscard]] MDB_txn* get() const { return _txn; }

 private:
  MDB_txn* _txn = nullptr;
};

MDB_dbi open_table(const Transaction& txn) {
  MDB_dbi table = 0;
  check(mdb_dbi_open(txn.get(), nullptr, MDB_INTEGERKEY, &table), "mdb_dbi_open");
  return table;
}

void put(const Transaction& txn, MDB_dbi table, Key key, const void* data, std::size_t bytes,
         unsigned flags) {
  MDB_val name{sizeof key, &key};
  MDB_val value{bytes, const_cast<void*>(data)};
  check(mdb_put(txn.get(), table, &name, &value, flags), "mdb_put");
}

class LmdbSession final : public Session {
 public:
  LmdbSession(const Environment& env, MDB_dbi table)
      : _env(env), _table(table), _reader(env, MDB_RDONLY) {
    mdb_txn_reset(_reader.get());
  }

  bool read(Key key, Value& value) override {
    const Renewed renewed(_reader);
    MDB_val name{sizeof key, &key};
    MDB_val found{};
    const int result = mdb_get(_reader.get(), _table, &name, &found);
    if (result == MDB_NOTFOUND) return false;
    check(result, "mdb_get");
    if (found.mv_size != kValueSize)
      throw std::runtime_error(fmt::format("key {} has {} bytes", key, found.mv_size));
    std::memcpy(value.data(), found.mv_data, kValueSize);
    return true;
  }
  bool update(Key key, const Value& value) override {
    Transaction writer(_env, 0);
    MDB_val name{sizeof key, &key};
    MDB_val found{};
    const int result = mdb_get(writer.get(), _table, &name, &found);
    if (result == MDB_NOTFOUND) return false;
    check(result, "mdb_get");
    put(writer, _table, key, value.data(), kValueSize, 0);
    writer.commit();
    return true;
  }
  void insert(Key key, const Value& value) override {
    Transaction writer(_env, 0);
    put(writer, _table, key, value.data(), kValueSize, 0);
    writer.commit();
  }
  unsigned scan(Key key, unsigned length) override {
    const Renewed renewed(_reader);
    MDB_cursor* cursor = nullptr;
    check(mdb_cursor_open(_reader.get(), _table, &cursor), "mdb_cursor_open");
    MDB_val name{sizeof key, &key};
    MDB_val found{};
    Value value;
    unsigned seen = 0;
    for (int result = mdb_cursor_get(cursor, &name, &found, MDB_SET_RANGE);
         result == MDB_SUCCESS && seen < length && found.mv_size == kValueSize;
         result = mdb_cursor_get(cursor, &name, &found, MDB_NEXT)) {
      std::memcpy(value.data(), found.mv_data, kValueSize);
      asm volatile("" : : "r"(value.data()) : "memory");
      seen++;
    }
    mdb_cursor_close(cursor);
    return seen;
  }

 private:
  //! A read transaction is a snapshot; one that is kept open would stop the reuse of pages.
  struct Renewed {
    explicit Renewed(const Transaction& transaction) : reader(transaction) {
      check(mdb_txn_renew(reader.get()), "mdb_txn_renew");
    }
    ~Renewed() { mdb_txn_reset(reader.get()); }
    Renewed(const Renewed&) = delete;
    Renewed& operator=(const Renewed&) = delete;
    const Transaction& reader;
  };

  const Environment& _env;
  MDB_dbi _table;
  Transaction _reader;
};

class LmdbSystem final : public System {
 public:
  explicit LmdbSystem(const WorkloadOptions& options) : _env(options) {
    Transaction writer(_env, 0);
    _table = open_table(writer);
    if (options.mix.changes_data()) {
      const Marker marker{options.records(), 0};
      put(writer, _table, kMarkerKey, &marker, sizeof marker, 0);
    }
    writer.commit();
  }
  void run_thread(ThreadContext& context) override {
    LmdbSession session(_env, _table);
    run_session(session, context, true);
  }
  [[nodiscard]] IoCounters io() const override { return kernel_io(); }

 private:
  Environment _env;
  MDB_dbi _table = 0;
};

bool is_pristine(const WorkloadOptions& options) {
  if (access(lmdb_file(options).c_str(), F_OK) != 0) return false;
  const Environment env(options);
  const Transaction reader(env, MDB_RDONLY);
  MDB_dbi table = 0;
  if (mdb_dbi_open(reader.get(), nullptr, MDB_INTEGERKEY, &table) != MDB_SUCCESS) return false;
  Key key = kMarkerKey;
  MDB_val name{sizeof key, &key};
  MDB_val found{};
  if (mdb_get(reader.get(), table, &name, &found) != MDB_SUCCESS || found.mv_size != sizeof(Marker))
    return false;
  Marker marker{};
  std::memcpy(&marker, found.mv_data, sizeof marker);
  return marker.records == options.records() && marker.pristine == 1;
}

void load(const WorkloadOptions& options) {
  constexpr std::uint64_t kBatch = 200'000;
  const Environment env(options);
  const KeySpace keys(options.records());
  Progress progress;
  for (std::uint64_t record = 0; record < keys.loaded();) {
    Transaction writer(env, 0);
    const MDB_dbi table = open_table(writer);
    for (std::uint64_t end = std::min(keys.loaded(), record + kBatch); record < end; record++) {
      const Value value = make_value(keys.key(record), 0);
      put(writer, table, keys.key(record), value.data(), kValueSize, MDB_APPEND);
    }
    writer.commit();
    progress.show(
        fmt::format("building {}: {} %", lmdb_file(options), record * 100 / keys.loaded()));
  }
  Transaction writer(env, 0);
  const Marker marker{options.records(), 1};
  put(writer, open_table(writer), kMarkerKey, &marker, sizeof marker, MDB_APPEND);
  writer.commit();
  check(mdb_env_sync(env.get(), 1), "mdb_env_sync");
}

}  // namespace

std::string lmdb_file(const WorkloadOptions& options) {
  return options.file + ".lmdb";
}

void prepare_lmdb(const WorkloadOptions& options) {
  if (is_pristine(options)) return;
  unlink(lmdb_file(options).c_str());
  unlink((lmdb_file(options) + "-lock").c_str());
  load(options);
}

std::unique_ptr<System> open_lmdb(const WorkloadOptions& options) {
  return std::make_unique<LmdbSystem>(options);
}

}  // namespace vmbench
