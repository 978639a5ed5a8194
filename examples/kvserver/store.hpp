// SPDX-License-Identifier: MIT
//
// What the connections of a server share: the database, the number of its keys, and the cursors of
// SCAN.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <vmcache/database.hpp>

namespace kvserver {

enum class Durability : std::uint8_t {
  kNone,   //!< a reply says that the change is visible
  kGroup,  //!< ... that it is durable: one flush serves all connections, and all of a pipeline
  kEach,   //!< ... the same, and each request waits for its own before the next one begins
};

struct Settings {
  Durability durability = Durability::kGroup;
  std::size_t max_connections = 10'000;
  std::size_t max_request_bytes = 1 << 20;
  unsigned idle_seconds = 0;  //!< a connection that says nothing for so long is closed; 0: never
};

//! Trees of the database.
inline constexpr unsigned kKeys = 0;
inline constexpr unsigned kNotes = 1;  // the number of keys, while no server runs

inline constexpr std::size_t kMaxKey = vmcache::BTree::kMaxKey;
inline constexpr std::size_t kMaxValue = 256 << 10;

//! Where scans are. A cursor is a number for one key: that up to which the scan has come. The
//! server remembers the last kMax of them.
class Cursors {
 public:
  static constexpr std::size_t kMax = 10'000;

  [[nodiscard]] std::uint64_t remember(std::string key);
  //! nullopt: there never was such a cursor, or it is forgotten.
  [[nodiscard]] std::optional<std::string> find(std::uint64_t cursor);

 private:
  std::mutex _mutex;
  std::uint64_t _next = 1;
  std::list<std::pair<std::uint64_t, std::string>> _cursors;
};

//! Thread-safe.
class Store {
 public:
  //! Counts the keys if the last server that had the database did not end as it should.
  Store(vmcache::Database& database, const Settings& settings);
  //! Writes the number of keys down. No connection may be left.
  void close();

  [[nodiscard]] vmcache::Database& database() noexcept { return _database; }
  [[nodiscard]] const vmcache::BTree& keys() const noexcept { return _keys; }
  [[nodiscard]] const Settings& settings() const noexcept { return _settings; }
  [[nodiscard]] Cursors& cursors() noexcept { return _cursors; }

  void count(std::int64_t added) noexcept {
    if (added != 0) _size.fetch_add(added, std::memory_order_relaxed);
  }
  [[nodiscard]] std::int64_t size() const noexcept { return _size.load(std::memory_order_relaxed); }

  //! False if there are as many connections as there may be.
  [[nodiscard]] bool connect() noexcept {
    if (_connections.fetch_add(1, std::memory_order_relaxed) < _settings.max_connections)
      return true;
    disconnect();
    return false;
  }
  void disconnect() noexcept { _connections.fetch_sub(1, std::memory_order_relaxed); }
  [[nodiscard]] std::size_t connections() const noexcept {
    return _connections.load(std::memory_order_relaxed);
  }

  std::atomic<std::uint64_t> requests{0};
  std::atomic<bool> stopping{false};

 private:
  vmcache::Database& _database;
  const Settings _settings;
  const vmcache::BTree& _keys;
  std::atomic<std::int64_t> _size{0};
  std::atomic<std::size_t> _connections{0};
  Cursors _cursors;
};

}  // namespace kvserver
