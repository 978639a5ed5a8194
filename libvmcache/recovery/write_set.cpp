// SPDX-License-Identifier: MIT
#include "recovery/write_set.hpp"

#include <algorithm>
#include <cstring>

namespace vmcache {

bool WriteSet::set(std::uint64_t hash, unsigned tree, PageId root, Bytes key,
                   std::optional<Bytes> value) {
  const ChangeHeader header{.tree = root,
                            .erased = value ? 0U : 1U,
                            .key_bytes = static_cast<std::uint32_t>(key.size()),
                            .value_bytes = value ? value->size() : 0};
  _body.reserve_more(size_of(key, value));
  const std::size_t known = index_of(hash, tree, key);
  const bool added = known == _entries.size();
  if (added) {
    _entries.push_back({hash, tree, 0});
    try {
      index(known);
    } catch (...) {
      _entries.shrink_to(known);
      throw;
    }
  } else {
    remove_bytes(known);
  }
  _entries[known].at = static_cast<std::uint32_t>(_body.size());
  const auto add = [&](Bytes part) {
    std::copy_n(part.data(), part.size(), _body.grow(part.size()));
  };
  add(bytes_of(header));
  add(key);
  if (value) add(*value);
  _erases += header.erased;
  return added;
}

void WriteSet::remove_last() noexcept {
  const std::size_t n = _entries.size() - 1;
  if (_by_hash) {
    const auto known = _by_hash->find(_entries[n].hash);
    if (known != _by_hash->end() && known->second == n) _by_hash->erase(known);
  }
  _erases -= change(n).erased ? 1U : 0U;
  _body.shrink_to(_entries[n].at);
  _entries.shrink_to(n);
}

std::optional<WriteSet::Change> WriteSet::find(std::uint64_t hash, unsigned tree, Bytes key) const {
  const std::size_t n = index_of(hash, tree, key);
  if (n == _entries.size()) return std::nullopt;
  return change(n);
}

void WriteSet::clear() noexcept {
  _body.shrink_to(0);
  _entries.shrink_to(0);
  _erases = 0;
  _by_hash.reset();
}

bool WriteSet::is(const Entry& entry, std::uint64_t hash, unsigned tree, Bytes key) const noexcept {
  if (entry.hash != hash || entry.tree != tree) return false;
  ChangeHeader header;
  std::memcpy(&header, _body.begin() + entry.at, sizeof header);
  return Bytes{_body.begin() + entry.at + sizeof header, header.key_bytes}.view() == key.view();
}

//! changes() if it is not there.
std::size_t WriteSet::index_of(std::uint64_t hash, unsigned tree, Bytes key) const {
  if (_entries.size() > kScanned) {
    const auto known = _by_hash->find(hash);
    if (known == _by_hash->end()) return _entries.size();
    if (is(_entries[known->second], hash, tree, key)) return known->second;
    // Two keys of one hash: hardly ever.
  }
  for (std::size_t n = 0; n < _entries.size(); ++n) {
    if (is(_entries[n], hash, tree, key)) return n;
  }
  return _entries.size();
}

//! The entry at n is new, and the last.
void WriteSet::index(std::size_t n) {
  if (n < kScanned) return;
  if (n == kScanned)
    _by_hash = std::make_unique<std::unordered_map<std::uint64_t, std::uint32_t>>();
  for (std::size_t i = n == kScanned ? 0 : n; i <= n; ++i) {
    _by_hash->try_emplace(_entries[i].hash, static_cast<std::uint32_t>(i));
  }
}

void WriteSet::remove_bytes(std::size_t n) noexcept {
  const Change old = change(n);
  const std::size_t size = sizeof(ChangeHeader) + old.key.size() + old.value.size();
  const std::size_t at = _entries[n].at;
  _erases -= old.erased ? 1U : 0U;
  _body.erase(at, size);
  for (Entry& entry : _entries) {
    if (entry.at > at) entry.at -= static_cast<std::uint32_t>(size);
  }
}

}  // namespace vmcache
