// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>

#include "vmcache/btree/bytes.hpp"
#include "vmcache/btree/node_layout.hpp"

namespace vmcache::btree {

//! Reads a node that may be changing, or may not be a node at all: with an optimistic guard every value it
//! returns is a guess until the guard validates. It never reads outside the page, whatever the bytes are, and
//! every loop is bounded. This class is the only place where the tree reads bytes that others may be writing;
//! tests/tsan.supp names it.
class NodeReader {
 public:
  struct Position {
    unsigned index;  //!< of the first slot whose key is not less than the searched one
    bool found;      //!< that slot's key is the searched one
  };
  //! A value in a leaf; empty if the bytes make no sense.
  struct Value {
    const std::byte* data;
    std::size_t size;
    bool large;  //!< the bytes say where the value is
  };

  explicit NodeReader(const std::byte* page) noexcept
      : _page(page), _slot_shift(field(&NodeHeader::level) == 0 ? kLeafSlotShift : kInnerSlotShift) {}

  [[nodiscard]] bool is_node() const noexcept { return field(&NodeHeader::magic) == kNodeMagic; }
  [[nodiscard]] unsigned level() const noexcept { return field(&NodeHeader::level); }
  [[nodiscard]] bool is_leaf() const noexcept { return level() == 0; }
  [[nodiscard]] unsigned count() const noexcept {
    const unsigned count = field(&NodeHeader::count);
    const unsigned most = unsigned(kNodeCapacity) >> _slot_shift;
    return count <= most ? count : most;
  }
  [[nodiscard]] std::size_t prefix_len() const noexcept { return field(&NodeHeader::prefix_len); }
  //! Bytes of one slot.
  [[nodiscard]] std::size_t slot_bytes() const noexcept { return std::size_t{1} << _slot_shift; }
  //! Bytes in use, fences and slots included.
  [[nodiscard]] std::size_t used_bytes() const noexcept {
    return field(&NodeHeader::heap_used) + (std::size_t{count()} << _slot_shift);
  }
  //! The same without the fences: what there is to be read.
  [[nodiscard]] std::size_t payload_bytes() const noexcept {
    const std::size_t fences = lower_fence().size() + upper_fence().size();
    const std::size_t used = used_bytes();
    return used > fences ? used - fences : 0;
  }

  [[nodiscard]] Bytes lower_fence() const noexcept {
    const std::size_t size = field(&NodeHeader::lower_len);
    return size <= kMaxKey ? Bytes{_page + kPageSize - size, size} : Bytes{};
  }
  [[nodiscard]] bool has_upper_fence() const noexcept {
    return field(&NodeHeader::upper_len) != kNoUpperFence;
  }
  //! Empty if there is none.
  [[nodiscard]] Bytes upper_fence() const noexcept {
    const std::size_t size = field(&NodeHeader::upper_len);
    const std::size_t below = field(&NodeHeader::lower_len);
    if (size > kMaxKey || below > kMaxKey) return {};
    return {_page + kPageSize - below - size, size};
  }
  [[nodiscard]] Bytes prefix() const noexcept {
    const Bytes fence = lower_fence();
    const std::size_t size = prefix_len();
    return size <= fence.size() ? Bytes{fence.data(), size} : Bytes{};
  }

  //! The slot for `key`, which must lie within the fences: its first prefix_len() bytes are not looked at.
  [[nodiscard]] Position lower_bound(Bytes key) const noexcept {
    const Bytes suffix = key.after(prefix_len());
    const std::uint32_t head = head_of(suffix);
    const unsigned slots = count();
    unsigned low = 0;
    unsigned high = slots;
    if (slots > kHints) {
      narrow(head, slots, low, high);
      __builtin_prefetch(slot_address(low));
      __builtin_prefetch(slot_address(high));
    }
    low = first_head_not_less(head, low, high);
    if (low >= high || head_at(low) != head) return {low, false};
    prefetch_cell(low);
    return break_tie(suffix, head, low, high);
  }

  //! For one who looks up several keys in turns: asks for the slots among which the hints place the key ...
  void prefetch_slots_for(Bytes key) const noexcept {
    const unsigned slots = count();
    unsigned low = 0;
    unsigned high = slots;
    if (slots > kHints) narrow(head_of(key.after(prefix_len())), slots, low, high);
    constexpr std::ptrdiff_t kLine = 64;
    for (const std::byte* line = slot_address(low); line <= slot_address(high); line += kLine) {
      __builtin_prefetch(line);
    }
  }
  //! ... and, when they have come, for the cell that will be compared.
  void prefetch_cell_for(Bytes key) const noexcept {
    const unsigned slots = count();
    const std::uint32_t head = head_of(key.after(prefix_len()));
    unsigned low = 0;
    unsigned high = slots;
    if (slots > kHints) narrow(head, slots, low, high);
    low = first_head_not_less(head, low, high);
    if (low < slots) prefetch_cell(low);
  }

  //! The child to follow for `key`. kNoPage if the bytes make no sense.
  [[nodiscard]] PageId child_for(Bytes key) const noexcept {
    const Position position = lower_bound(key);
    return child(position.index + unsigned(position.found));
  }
  //! The child to follow for the greatest key less than `key`.
  [[nodiscard]] PageId child_before(Bytes key) const noexcept { return child(lower_bound(key).index); }
  //! Child 0 .. count().
  [[nodiscard]] PageId child(unsigned index) const noexcept {
    if (index == 0) return field(&NodeHeader::first_child);
    if (index > unsigned(kNodeCapacity) >> kInnerSlotShift) return kNoPage;
    const auto* slot = reinterpret_cast<const InnerSlot*>(_page + kSlotsAt) + (index - 1);
    return __atomic_load_n(&slot->child, __ATOMIC_RELAXED);
  }

  //! The key at `index` without the prefix.
  [[nodiscard]] Bytes suffix(unsigned index) const noexcept {
    const Slot slot = slot_at(index);
    return bounded(slot.offset + cell_overhead(), slot.suffix_len);
  }
  //! The value at `index` < count() of a leaf.
  [[nodiscard]] Value value(unsigned index) const noexcept {
    const Slot slot = slot_at(index);
    if (slot.offset > kPageSize - kLeafCellOverhead) return {nullptr, 0, false};
    const std::uint16_t length = load_u16(slot.offset);
    const std::size_t size = length & ~kLargeFlag & 0xffff;
    const Bytes bytes = bounded(slot.offset + kLeafCellOverhead + slot.suffix_len, size);
    return {bytes.data(), bytes.size(), (length & kLargeFlag) != 0};
  }
  [[nodiscard]] Slot slot_at(unsigned index) const noexcept {
    Slot slot;
    // One 8-byte load that the compiler may not repeat: what is checked is what is used.
    using AnyBytes [[gnu::may_alias]] = std::uint64_t;
    const auto* from = reinterpret_cast<const AnyBytes*>(slot_address(index));
    const std::uint64_t raw = __atomic_load_n(from, __ATOMIC_RELAXED);
    std::memcpy(&slot, &raw, sizeof slot);
    return slot;
  }

  //! Copies bytes of this page that value() or a fence has named.
  static void copy(std::byte* to, const std::byte* from, std::size_t size) noexcept {
    // For a few lines, loads and stores of 16 bytes beat a call (and what the compiler would make of it, a
    // string instruction).
    constexpr std::size_t kChunk = 16;
    if (size < kChunk || size > 16 * kChunk) {
      if (size != 0) std::memcpy(to, from, size);
      return;
    }
    for (std::size_t i = 0; i + kChunk <= size; i += kChunk) std::memcpy(to + i, from + i, kChunk);
    std::memcpy(to + size - kChunk, from + size - kChunk, kChunk);
  }
  void copy_page(std::byte* to) const noexcept { std::memcpy(to, _page, kPageSize); }

  [[nodiscard]] static std::uint32_t head_of(Bytes suffix) noexcept {
    if (suffix.size() >= sizeof(std::uint32_t)) [[likely]] {
      std::uint32_t raw;
      std::memcpy(&raw, suffix.data(), sizeof raw);
      return to_big_endian(raw);
    }
    std::uint32_t head = 0;
    for (std::size_t i = 0; i < suffix.size(); ++i) {
      head |= std::to_integer<std::uint32_t>(suffix[i]) << (24 - 8 * i);
    }
    return head;
  }

 private:
  static constexpr std::uint32_t to_big_endian(std::uint32_t raw) noexcept {
    if constexpr (std::endian::native == std::endian::little) return __builtin_bswap32(raw);
    return raw;
  }

  template <typename Field>
  [[nodiscard]] Field field(Field NodeHeader::* member) const noexcept {
    const auto* header = reinterpret_cast<const NodeHeader*>(_page + kHeaderAt);
    return __atomic_load_n(&(header->*member), __ATOMIC_RELAXED);
  }
  [[nodiscard]] std::uint16_t load_u16(std::size_t offset) const noexcept {
    std::uint16_t raw;
    std::memcpy(&raw, _page + offset, sizeof raw);
    return raw;
  }
  [[nodiscard]] std::uint32_t head_at(unsigned index) const noexcept {
    const auto* from = reinterpret_cast<const std::uint32_t*>(slot_address(index));
    return __atomic_load_n(from, __ATOMIC_RELAXED);
  }
  [[nodiscard]] const std::byte* slot_address(unsigned index) const noexcept {
    return _page + kSlotsAt + (std::size_t{index} << _slot_shift);
  }
  [[nodiscard]] std::size_t cell_overhead() const noexcept {
    return _slot_shift == kLeafSlotShift ? kLeafCellOverhead : kInnerCellOverhead;
  }
  [[nodiscard]] Bytes bounded(std::size_t offset, std::size_t size) const noexcept {
    if (offset > kPageSize || size > kPageSize - offset) return {};
    return {_page + offset, size};
  }

  //! The lines of a cell that will be read: mostly two or three.
  void prefetch_cell(unsigned index) const noexcept {
    const std::byte* cell = _page + slot_at(index).offset;
    for (std::size_t i = 0; i < 3; ++i) __builtin_prefetch(cell + i * 64);
  }
  //! hints[i] is the head of slot (i + 1) * distance.
  void narrow(std::uint32_t head, unsigned slots, unsigned& low, unsigned& high) const noexcept {
    const auto* hints = reinterpret_cast<const NodeHeader*>(_page + kHeaderAt)->hints.data();
    unsigned less = 0;
    unsigned not_greater = 0;
    for (std::size_t i = 0; i < kHints; ++i) {
      const std::uint32_t hint = hints[i];
      less += unsigned(hint < head);
      not_greater += unsigned(hint <= head);
    }
    const unsigned distance = slots / unsigned(kHints + 1);
    if (less != 0) low = distance * less + 1;
    if (not_greater < kHints) high = distance * (not_greater + 1);
    if (low > high) low = high;  // only in a node that is changing
  }
  [[nodiscard]] unsigned first_head_not_less(std::uint32_t head, unsigned low, unsigned high) const noexcept {
    unsigned size = high - low;
    while (size > 0) {
      const unsigned half = size / 2;
      const bool less = head_at(low + half) < head;
      low = less ? low + half + 1 : low;
      size = less ? size - half - 1 : half;
    }
    return low;
  }
  //! Of two suffixes with the same head: where none is longer than it, their lengths say all.
  [[nodiscard]] int compare_with_suffix(unsigned index, Bytes searched) const noexcept {
    const std::size_t size = slot_at(index).suffix_len;
    if (size <= sizeof(std::uint32_t) && searched.size() <= sizeof(std::uint32_t)) {
      return int(size) - int(searched.size());
    }
    const Bytes found = suffix(index);
    return compare_bytes(found, searched);
  }
  //! Slots from `low` on share the head: the suffixes decide.
  [[nodiscard]] Position break_tie(Bytes searched, std::uint32_t head, unsigned low,
                                   unsigned high) const noexcept {
    while (low < high) {
      // Ties are mostly one slot long, so look at the next one before halving.
      const unsigned middle = low + (low + 1 < high && head_at(low + 1) == head ? (high - low) / 2 : 0);
      const std::uint32_t middle_head = head_at(middle);
      int order = middle_head > head ? 1 : -int(middle_head < head);
      if (order == 0) order = compare_with_suffix(middle, searched);
      if (order == 0) return {middle, true};
      if (order < 0) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return {low, false};
  }

  const std::byte* _page;
  unsigned _slot_shift;
};

}  // namespace vmcache::btree
