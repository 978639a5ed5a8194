// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstring>
#include <utility>

#include "plain/page_format.hpp"

namespace vmbench::plain {

//! A latched B+tree over a page cache, with latch coupling from the root down and to the right, so
//! that latches have one order. Cache has: Shared, Exclusive (guards with data(), release());
//! shared(PageNo), exclusive(PageNo), allocate() -> std::pair<PageNo, Exclusive>.
template <typename Cache>
class Tree {
 public:
  //! The root keeps its page for ever: a split of the root moves its content down.
  Tree(Cache& cache, PageNo root) : _cache(cache), _root(root) {}

  bool read(Key key, Value& value) {
    const typename Cache::Shared page = find_leaf(key);
    const Leaf& found = leaf(page.data());
    const unsigned position = lower_bound(found.keys, found.header.count, key);
    if (position == found.header.count || found.keys[position] != key) return false;
    value = found.values[position];
    return true;
  }

  bool update(Key key, const Value& value) {
    typename Cache::Exclusive page = find_leaf_exclusive(key);
    Leaf& found = leaf(page.data());
    const unsigned position = lower_bound(found.keys, found.header.count, key);
    if (position == found.header.count || found.keys[position] != key) return false;
    found.values[position] = value;
    return true;
  }

  void insert(Key key, const Value& value) {
    {
      typename Cache::Exclusive page = find_leaf_exclusive(key);
      if (put(leaf(page.data()), key, value)) return;
    }
    insert_splitting(key, value);
  }

  unsigned scan(Key key, unsigned length) {
    typename Cache::Shared page = find_leaf(key);
    unsigned position = lower_bound(leaf(page.data()).keys, leaf(page.data()).header.count, key);
    Value value;
    for (unsigned seen = 0;;) {
      const Leaf& found = leaf(page.data());
      for (; position < found.header.count && seen < length; position++, seen++)
        value = found.values[position];
      // Keeps the copy, which is what a caller of a scan gets.
      asm volatile("" : : "r"(value.data()) : "memory");
      if (seen == length || found.header.next == 0) return seen;
      page = _cache.shared(found.header.next);
      position = 0;
    }
  }

 private:
  typename Cache::Shared find_leaf(Key key) {
    typename Cache::Shared page = _cache.shared(_root);
    while (header(page.data()).level != 0) page = _cache.shared(child_of(page.data(), key));
    return page;
  }

  typename Cache::Exclusive find_leaf_exclusive(Key key) {
    for (;;) {
      typename Cache::Shared page = _cache.shared(_root);
      if (header(page.data()).level == 0) {
        page.release();
        typename Cache::Exclusive root = _cache.exclusive(_root);
        if (header(root.data()).level == 0) return root;
        continue;  // it has grown while nobody held it
      }
      while (header(page.data()).level > 1) page = _cache.shared(child_of(page.data(), key));
      return _cache.exclusive(child_of(page.data(), key));
    }
  }

  static PageNo child_of(const std::byte* page, Key key) {
    const Inner& node = inner(page);
    return node.children[child_index(node, node.header.count, key)];
  }

  //! False if the leaf is full.
  static bool put(Leaf& page, Key key, const Value& value) {
    const unsigned position = lower_bound(page.keys, page.header.count, key);
    if (position < page.header.count && page.keys[position] == key) {
      page.values[position] = value;
      return true;
    }
    if (page.header.count == Leaf::kCapacity) return false;
    std::copy_backward(page.keys + position, page.keys + page.header.count,
                       page.keys + page.header.count + 1);
    std::copy_backward(page.values + position, page.values + page.header.count,
                       page.values + page.header.count + 1);
    page.keys[position] = key;
    page.values[position] = value;
    page.header.count++;
    return true;
  }

  static bool full(const std::byte* page) {
    const Header& head = header(page);
    return head.count == (head.level == 0 ? Leaf::kCapacity : Inner::kCapacity);
  }

  //! Splits every full page on the way down, so that a parent always has room for a separator.
  void insert_splitting(Key key, const Value& value) {
    typename Cache::Exclusive page = _cache.exclusive(_root);
    if (full(page.data())) grow(page.data());
    while (header(page.data()).level != 0) {
      typename Cache::Exclusive child = _cache.exclusive(child_of(page.data(), key));
      if (full(child.data())) {
        split_child(inner(page.data()),
                    child_index(inner(page.data()), header(page.data()).count, key), child);
        child.release();
        child = _cache.exclusive(child_of(page.data(), key));
      }
      page = std::move(child);
    }
    put(leaf(page.data()), key, value);
  }

  void grow(std::byte* root) {
    auto [below, page] = _cache.allocate();
    std::memcpy(page.data(), root, kPageBytes);
    const std::uint16_t level = header(root).level;
    std::memset(root, 0, kPageBytes);
    inner(root).header.level = static_cast<std::uint16_t>(level + 1);
    inner(root).children[0] = below;
    split_child(inner(root), 0, page);
  }

  void split_child(Inner& parent, unsigned index, typename Cache::Exclusive& child) {
    auto [right_no, right] = _cache.allocate();
    std::memset(right.data(), 0, kPageBytes);
    const Key separator = header(child.data()).level == 0
                              ? split_leaf(leaf(child.data()), leaf(right.data()), right_no)
                              : split_inner(inner(child.data()), inner(right.data()));
    const unsigned count = parent.header.count;
    std::copy_backward(parent.keys + index, parent.keys + count, parent.keys + count + 1);
    std::copy_backward(parent.children + index + 1, parent.children + count + 1,
                       parent.children + count + 2);
    parent.keys[index] = separator;
    parent.children[index + 1] = right_no;
    parent.header.count++;
  }

  static Key split_leaf(Leaf& left, Leaf& right, PageNo right_no) {
    const unsigned half = left.header.count / 2u;
    std::copy(left.keys + half, left.keys + left.header.count, right.keys);
    std::copy(left.values + half, left.values + left.header.count, right.values);
    right.header.count = static_cast<std::uint16_t>(left.header.count - half);
    right.header.next = left.header.next;
    left.header.count = static_cast<std::uint16_t>(half);
    left.header.next = right_no;
    return right.keys[0];
  }

  static Key split_inner(Inner& left, Inner& right) {
    const unsigned half = left.header.count / 2u;
    const Key separator = left.keys[half];
    std::copy(left.keys + half + 1, left.keys + left.header.count, right.keys);
    std::copy(left.children + half + 1, left.children + left.header.count + 1, right.children);
    right.header.level = left.header.level;
    right.header.count = static_cast<std::uint16_t>(left.header.count - half - 1);
    left.header.count = static_cast<std::uint16_t>(half);
    return separator;
  }

  Cache& _cache;
  PageNo _root;
};

}  // namespace vmbench::plain
