// SPDX-License-Identifier: MIT
//
// The textbook's replacement policies, simulated: what the pool's own is measured against.
#pragma once

#include <cstdint>
#include <list>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace vmbench {

class CachePolicy {
 public:
  CachePolicy() = default;
  virtual ~CachePolicy() = default;
  CachePolicy(const CachePolicy&) = delete;
  CachePolicy& operator=(const CachePolicy&) = delete;

  //! Uses a page, loads it if it is not there; true if it was.
  virtual bool access(std::uint64_t page) = 0;
};

//! Second chance: one reference bit a frame, a hand that goes round.
class ClockPolicy final : public CachePolicy {
 public:
  explicit ClockPolicy(std::size_t frames) : _frames(frames) { _slots.reserve(frames); }

  bool access(std::uint64_t page) override {
    if (const auto found = _where.find(page); found != _where.end()) {
      _slots[found->second].referenced = true;
      return true;
    }
    _where[page] = take_slot(page);
    return false;
  }

 private:
  struct Slot {
    std::uint64_t page;
    bool referenced;
  };

  std::size_t take_slot(std::uint64_t page) {
    if (_slots.size() < _frames) {
      _slots.push_back({page, true});
      return _slots.size() - 1;
    }
    while (_slots[_hand].referenced) {
      _slots[_hand].referenced = false;
      _hand = (_hand + 1) % _frames;
    }
    const std::size_t slot = _hand;
    _where.erase(_slots[slot].page);
    _slots[slot] = {page, true};
    _hand = (_hand + 1) % _frames;
    return slot;
  }

  std::size_t _frames;
  std::vector<Slot> _slots;
  std::unordered_map<std::uint64_t, std::size_t> _where;
  std::size_t _hand = 0;
};

//! Least recently used.
class LruPolicy final : public CachePolicy {
 public:
  explicit LruPolicy(std::size_t frames) : _frames(frames) {}

  bool access(std::uint64_t page) override {
    if (const auto found = _where.find(page); found != _where.end()) {
      _order.splice(_order.begin(), _order, found->second);
      return true;
    }
    if (_where.size() == _frames) {
      _where.erase(_order.back());
      _order.pop_back();
    }
    _order.push_front(page);
    _where[page] = _order.begin();
    return false;
  }

 private:
  std::size_t _frames;
  std::list<std::uint64_t> _order;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> _where;
};

}  // namespace vmbench
