// SPDX-License-Identifier: MIT
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "plain/page_format.hpp"

namespace vmbench::plain {

//! Builds a tree of the records 0 .. keys.loaded()-1 bottom-up, every page full.
//! Sink has: PageNo allocate(), void write(PageNo, const std::byte* page).
template <typename Sink>
class BulkBuilder {
 public:
  BulkBuilder(Sink& sink, const KeySpace& keys) : _sink(sink), _keys(keys) {}

  //! Returns the root. `progress(records)` is called now and then.
  template <typename Progress>
  PageNo build(Progress&& progress) {
    std::vector<Entry> level = build_leaves(progress);
    for (std::uint16_t height = 1; level.size() > 1; height++) level = build_inner(level, height);
    return level.front().page;
  }

 private:
  struct Entry {
    Key first;
    PageNo page;
  };
  struct alignas(kPageBytes) Page {
    std::byte bytes[kPageBytes];
  };

  template <typename Progress>
  std::vector<Entry> build_leaves(Progress&& progress) {
    std::vector<Entry> made;
    PageNo page = _sink.allocate();
    for (std::uint64_t record = 0; record < _keys.loaded();) {
      std::memset(_page->bytes, 0, kPageBytes);
      Leaf& filled = leaf(_page->bytes);
      for (; filled.header.count < Leaf::kCapacity && record < _keys.loaded(); record++) {
        const Key key = _keys.key(record);
        filled.keys[filled.header.count] = key;
        filled.values[filled.header.count++] = make_value(key, 0);
      }
      made.push_back({filled.keys[0], page});
      const PageNo next = record < _keys.loaded() ? _sink.allocate() : 0;
      filled.header.next = next;
      _sink.write(page, _page->bytes);
      page = next;
      if (made.size() % 4096 == 0) progress(record);
    }
    return made;
  }

  std::vector<Entry> build_inner(const std::vector<Entry>& children, std::uint16_t height) {
    std::vector<Entry> made;
    for (std::size_t i = 0; i < children.size();) {
      std::memset(_page->bytes, 0, kPageBytes);
      Inner& filled = inner(_page->bytes);
      filled.header.level = height;
      made.push_back({children[i].first, _sink.allocate()});
      filled.children[0] = children[i++].page;
      for (; filled.header.count < Inner::kCapacity && i < children.size(); i++) {
        filled.keys[filled.header.count++] = children[i].first;
        filled.children[filled.header.count] = children[i].page;
      }
      _sink.write(made.back().page, _page->bytes);
    }
    return made;
  }

  Sink& _sink;
  const KeySpace& _keys;
  std::unique_ptr<Page> _page = std::make_unique<Page>();
};

}  // namespace vmbench::plain
