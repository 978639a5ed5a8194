// SPDX-License-Identifier: MIT
#include "recovery/write_set.hpp"

#include <cstring>

namespace vmcache {

void WriteSet::set(std::uint64_t hash, unsigned tree, PageId root, Bytes key, std::optional<Bytes> value) {
  const ChangeHeader header{.tree = root,
                            .erased = value ? 0U : 1U,
                            .key_bytes = static_cast<std::uint32_t>(key.size()),
                            .value_bytes = value ? value->size() : 0};
  const std::size_t size = size_of(key, value);
  if (_body.capacity() - _body.size() < size) _body.reserve(2 * (_body.size() + size));
  const std::size_t known = index_of(hash, tree, key);
  if (known == _entries.size()) {
    _entries.push_back({hash, tree, 0});
    try {
      index(known);
    } catch (...) {
      _entries.pop_back();
      throw;
    }
  } else {
    remove_bytes(known);
  }
  _entries[known].at = static_cast<std::uint32_t>(_body.size());
  const auto add = [&](Bytes part) { _body.insert(_body.end(), part.begin(), part.end()); };
  add(bytes_of(header));
  add(key);
  if (value) add(*value);
}

std::optional<WriteSet::Change> WriteSet::find(std::uint64_t hash, unsigned tree, Bytes key) const {
  const std::size_t n = index_of(hash, tree, key);
  if (n == _entries.size()) return std::nullopt;
  return change(n);
}

WriteSet::Change WriteSet::change(std::size_t n) const {
  BodyReader reader(body().after(_entries[n].at));
  const auto header = reader.take_as<ChangeHeader>();
  const Bytes key = reader.take(header.key_bytes);
  return {_entries[n].tree, header.erased != 0, key, reader.take(header.value_bytes)};
}

void WriteSet::clear() noexcept {
  _body.clear();
  _entries.clear();
  _by_hash.clear();
}

bool WriteSet::is(const Entry& entry, std::uint64_t hash, unsigned tree, Bytes key) const {
  if (entry.hash != hash || entry.tree != tree) return false;
  ChangeHeader header;
  std::memcpy(&header, _body.data() + entry.at, sizeof header);
  return Bytes{_body.data() + entry.at + sizeof header, header.key_bytes}.view() == key.view();
}

//! changes() if it is not there.
std::size_t WriteSet::index_of(std::uint64_t hash, unsigned tree, Bytes key) const {
  if (_entries.size() > kScanned) {
    const auto known = _by_hash.find(hash);
    if (known == _by_hash.end()) return _entries.size();
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
  if (n == kScanned) _by_hash.clear();  // of an attempt that ran out of memory
  for (std::size_t i = n == kScanned ? 0 : n; i <= n; ++i) {
    _by_hash.try_emplace(_entries[i].hash, static_cast<std::uint32_t>(i));
  }
}

void WriteSet::remove_bytes(std::size_t n) {
  const Change old = change(n);
  const std::size_t size = sizeof(ChangeHeader) + old.key.size() + old.value.size();
  const std::size_t at = _entries[n].at;
  _body.erase(_body.begin() + static_cast<std::ptrdiff_t>(at),
              _body.begin() + static_cast<std::ptrdiff_t>(at + size));
  for (Entry& entry : _entries) {
    if (entry.at > at) entry.at -= static_cast<std::uint32_t>(size);
  }
}

}  // namespace vmcache
