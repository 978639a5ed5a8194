// SPDX-License-Identifier: MIT
#include "store.hpp"

#include <charconv>

namespace kvserver {
namespace {

constexpr const char* kSizeNote = "size";

}  // namespace

std::uint64_t Cursors::remember(std::string key) {
  const std::lock_guard lock(_mutex);
  if (_cursors.size() == kMax) _cursors.pop_front();
  _cursors.emplace_back(_next, std::move(key));
  return _next++;
}

std::optional<std::string> Cursors::find(std::uint64_t cursor) {
  const std::lock_guard lock(_mutex);
  for (auto entry = _cursors.rbegin(); entry != _cursors.rend(); ++entry) {
    if (entry->first == cursor) return entry->second;
  }
  return std::nullopt;
}

// While the server runs there is no note, so that one that is killed leaves none that is wrong.
Store::Store(vmcache::Database& database, const Settings& settings)
    : _database(database), _settings(settings), _keys(database.tree(kKeys)) {
  std::int64_t size = 0;
  if (const std::optional<std::string> note = database.tree(kNotes).get(kSizeNote)) {
    (void)std::from_chars(note->data(), note->data() + note->size(), size);
    vmcache::Transaction transaction(database);
    transaction.erase(kNotes, kSizeNote);
    transaction.commit();
  } else {
    size = static_cast<std::int64_t>(_keys.count());
  }
  _size.store(size, std::memory_order_relaxed);
}

void Store::close() {
  vmcache::Transaction transaction(_database);
  transaction.put(kNotes, kSizeNote, std::to_string(size()));
  transaction.commit();
}

}  // namespace kvserver
