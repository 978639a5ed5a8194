// SPDX-License-Identifier: MIT
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>

#include "vmcache/bytes.hpp"
#include "vmcache/detail/btree/node_layout.hpp"
#include "vmcache/export.hpp"

namespace vmcache {
namespace VMCACHE_EXPORT btree {

//! How a search of a node chooses its way. The results are the same.
enum class Search : std::uint8_t {
  //! With branches, for a search whose cache lines are not there yet. The processor predicts the
  //! branch and so requests the next lines early.
  kAlone,
  //! Without branches, for a search whose lines were prefetched while others ran. Half of the
  //! branches would be mispredicted.
  kInTurns,
};

//! Reads a node that may change meanwhile, or that is no node at all. Under an optimistic guard,
//! every value that it returns is a guess until the guard validates. Whatever the bytes are, it
//! never reads outside the page, and every loop is bounded. This class is the only place where the
//! tree reads bytes that others may be writing; tests/tsan.supp names it.
class NodeReader {
 public:
  struct Position {
    unsigned index;  //!< of the first slot whose key is not less than the searched one
    bool found;      //!< that slot's key is the searched one
  };
  //! A value in a leaf. Empty if the bytes are inconsistent.
  struct Value {
    const std::byte* data;
    std::size_t size;
    bool large;  //!< the bytes are a descriptor (large_value.hpp)
  };

  explicit NodeReader(const std::byte* page) noexcept
      : _page(page),
        _slot_shift(field(&NodeHeader::level) == 0 ? kLeafSlotShift : kInnerSlotShift) {}

  //! The LSN of the page's last change, if the pool has page headers and a log.
  [[nodiscard]] Lsn lsn() const noexcept {
    return __atomic_load_n(reinterpret_cast<const Lsn*>(_page + offsetof(PageHeader, lsn)),
                           __ATOMIC_RELAXED);
  }
  [[nodiscard]] bool is_node() const noexcept { return field(&NodeHeader::magic) == kNodeMagic; }
  [[nodiscard]] unsigned level() const noexcept { return field(&NodeHeader::level); }
  [[nodiscard]] bool is_leaf() const noexcept { return level() == 0; }
  [[nodiscard]] unsigned count() const noexcept {
    const unsigned count = field(&NodeHeader::count);
    const unsigned max = unsigned(kNodeCapacity) >> _slot_shift;
    return count <= max ? count : max;
  }
  [[nodiscard]] std::size_t prefix_len() const noexcept { return field(&NodeHeader::prefix_len); }
  [[nodiscard]] std::size_t shared_len() const noexcept { return field(&NodeHeader::shared_len); }
  //! Bytes of one slot.
  [[nodiscard]] std::size_t slot_bytes() const noexcept { return std::size_t{1} << _slot_shift; }
  //! Bytes in use, fences and slots included.
  [[nodiscard]] std::size_t used_bytes() const noexcept {
    return field(&NodeHeader::heap_used) + (std::size_t{count()} << _slot_shift);
  }
  //! Bytes in use without the fences.
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

  //! The slot for `key`, which must lie within the fences; its first prefix_len() bytes are
  //! ignored.
  template <Search kSearch = Search::kAlone>
  [[nodiscard]] Position lower_bound(Bytes key) const noexcept {
    const unsigned slots = count();
    const auto [suffix, head, side] = searched(key, slots);
    if (side != 0) return {side < 0 ? 0 : slots, false};
    const Range range = range_of(head, slots);
    if (slots > kHints) {
      __builtin_prefetch(slot_address(range.first));
      __builtin_prefetch(slot_address(range.last));
    }
    const unsigned index = first_head_not_less<kSearch>(head, range);
    if (index >= slots || head_at(index) != head) return {index, false};
    prefetch_cell(index);
    return break_tie(suffix, head, index, slots);
  }

  //! For several look-ups in turns: prefetches the slots between which the hints place the key ...
  void prefetch_slots_for(Bytes key) const noexcept {
    const unsigned slots = count();
    const Range range = range_of(searched(key, slots).head, slots);
    constexpr std::ptrdiff_t kLine = 64;
    for (const std::byte* line = slot_address(range.first); line <= slot_address(range.last);
         line += kLine) {
      __builtin_prefetch(line);
    }
  }
  //! ... and, once these have come, the cell that will be compared.
  void prefetch_cell_for(Bytes key) const noexcept {
    const unsigned slots = count();
    const std::uint32_t head = searched(key, slots).head;
    const unsigned index = first_head_not_less<Search::kInTurns>(head, range_of(head, slots));
    if (index < slots) prefetch_cell(index);
  }

  //! The child to follow for `key`. May be kNoPage if the bytes are inconsistent.
  template <Search kSearch = Search::kAlone>
  [[nodiscard]] PageId child_for(Bytes key) const noexcept {
    const Position position = lower_bound<kSearch>(key);
    return child(position.index + unsigned(position.found));
  }
  //! The child to follow for the greatest key less than `key`.
  [[nodiscard]] PageId child_before(Bytes key) const noexcept {
    return child(lower_bound(key).index);
  }
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
    // One 8-byte load that the compiler may not repeat, so that the value that is used is the one
    // that was checked.
    using AnyBytes [[gnu::may_alias]] = std::uint64_t;
    const auto* from = reinterpret_cast<const AnyBytes*>(slot_address(index));
    const std::uint64_t raw = __atomic_load_n(from, __ATOMIC_RELAXED);
    std::memcpy(&slot, &raw, sizeof slot);
    return slot;
  }

  //! Copies bytes that value() or a fence function of this class has returned.
  static void copy(std::byte* to, const std::byte* from, std::size_t size) noexcept {
    // For a few lines, loads and stores of 16 bytes beat a call (and what the compiler would make
    // of it, a string instruction).
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

  static std::uint64_t load_big_endian(const std::byte* from) noexcept {
    std::uint64_t raw;
    std::memcpy(&raw, from, sizeof raw);
    if constexpr (std::endian::native == std::endian::little) return __builtin_bswap64(raw);
    return raw;
  }

  template <typename Field>
  [[nodiscard]] Field field(Field NodeHeader::*member) const noexcept {
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

  struct Searched {
    Bytes suffix;  //!< of the key, behind what all suffixes share
    std::uint32_t head;
    int side;  //!< -1 or 1: less or greater than all keys by their shared bytes; 0: not known
  };
  [[nodiscard]] Searched searched(Bytes key, unsigned slots) const noexcept {
    const std::size_t prefix = prefix_len();
    const std::size_t shared = slots != 0 ? shared_len() : 0;
    if (shared == 0) [[likely]]
      return {key.after(prefix), head_after(key, prefix), 0};
    return {key.after(prefix + shared), head_after(key, prefix + shared),
            compare_with_shared(key.after(prefix), shared)};
  }
  //! Compares `suffix` with the shared bytes, which the first slot's cell begins with.
  [[nodiscard]] int compare_with_shared(Bytes suffix, std::size_t shared) const noexcept {
    const std::size_t offset = slot_at(0).offset + cell_overhead();
    constexpr std::size_t kWord = sizeof(std::uint64_t);
    constexpr std::size_t kLastWord = kPageSize - kWord;
    if (shared <= kWord && suffix.size() >= kWord && offset < kPageSize) [[likely]] {
      // A root's first cell may end where the page ends. Then load the page's last word and shift
      // it.
      const std::size_t beyond = offset > kLastWord ? offset - kLastWord : 0;
      const std::uint64_t a = load_big_endian(suffix.data());
      const std::uint64_t b = load_big_endian(_page + offset - beyond) << 8 * beyond;
      if ((a ^ b) >> 8 * (kWord - shared) == 0) return 0;
      return a < b ? -1 : 1;
    }
    const std::size_t size = suffix.size() < shared ? suffix.size() : shared;
    return compare_bytes(suffix.first(size), bounded(offset, shared));
  }
  //! head_of(key.after(skip)), by one load. If fewer than four bytes follow, it loads bytes before
  //! them too and shifts these out.
  [[nodiscard]] static std::uint32_t head_after(Bytes key, std::size_t skip) noexcept {
    if (key.size() < kHead || skip > key.size()) [[unlikely]]
      return head_of(key.after(skip));
    const std::size_t max = key.size() - kHead;
    const std::size_t beyond = skip > max ? skip - max : 0;
    std::uint32_t raw;
    std::memcpy(&raw, key.data() + skip - beyond, sizeof raw);
    return static_cast<std::uint32_t>(std::uint64_t{to_big_endian(raw)} << 8 * beyond);
  }

  //! Prefetches the cache lines of a cell that will be read: mostly two or three.
  void prefetch_cell(unsigned index) const noexcept {
    const std::byte* cell = _page + slot_at(index).offset;
    for (std::size_t i = 0; i < 3; ++i) __builtin_prefetch(cell + i * 64);
  }
  //! Number of hints that are less than `head`. If the hints are not in order: some number up to
  //! kHints.
  [[nodiscard]] unsigned hints_less_than(std::uint32_t head) const noexcept {
    const auto* hints = reinterpret_cast<const NodeHeader*>(_page + kHeaderAt)->hints.data();
#if defined(__SSE2__)
    // The hints are in order, so the position of the first that is not less is their number. A sum
    // would take twice the instructions. SSE2 compares signed numbers only, hence the bias.
    static_assert(kHints == 16);
    const __m128i bias = _mm_set1_epi32(std::numeric_limits<int>::min());
    const __m128i wanted = _mm_xor_si128(_mm_set1_epi32(static_cast<int>(head)), bias);
    const auto less = [&](std::size_t four) {
      const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(hints + 4 * four));
      return _mm_cmpgt_epi32(wanted, _mm_xor_si128(some, bias));
    };
    const __m128i all =
        _mm_packs_epi16(_mm_packs_epi32(less(0), less(1)), _mm_packs_epi32(less(2), less(3)));
    return static_cast<unsigned>(std::countr_one(static_cast<unsigned>(_mm_movemask_epi8(all))));
#else
    unsigned less = 0;
    for (std::size_t i = 0; i < kHints; ++i) less += unsigned(hints[i] < head);
    return less;
#endif
  }
  //! A range of slots.
  struct Range {
    unsigned first;
    unsigned last;  //!< the result if all heads in the range are less
  };
  //! The range that holds the first head that is not less. hints[i] is the head of slot (i + 1) *
  //! distance.
  [[nodiscard]] Range narrow(std::uint32_t head, unsigned slots) const noexcept {
    const unsigned less = hints_less_than(head);
    const unsigned distance = slots / unsigned(kHints + 1);
    const unsigned hint_before = less * distance;
    return {hint_before + unsigned(less != 0), less < kHints ? hint_before + distance : slots};
  }
  [[nodiscard]] Range range_of(std::uint32_t head, unsigned slots) const noexcept {
    return slots > kHints ? narrow(head, slots) : Range{0, slots};
  }
  template <Search kSearch>
  [[nodiscard]] unsigned first_head_not_less(std::uint32_t head, Range range) const noexcept {
    unsigned low = range.first;
    unsigned size = range.last - range.first;
    if constexpr (kSearch == Search::kInTurns) {
      while (size > 1) {
        const unsigned half = size / 2;
        low += half & (0 - unsigned(head_at(low + half - 1) < head));
        size -= half;
      }
      return size == 0 ? low : low + unsigned(head_at(low) < head);
    }
    while (size > 0) {
      const unsigned half = size / 2;
      const bool less = head_at(low + half) < head;
      low = less ? low + half + 1 : low;
      size = less ? size - half - 1 : half;
    }
    return low;
  }
  static constexpr std::size_t kHead = sizeof(std::uint32_t);
  static constexpr std::size_t kHeadAndRest = kHead + sizeof(std::uint64_t);

  //! The eight bytes after the head as a big-endian number, padded with zeros.
  [[nodiscard]] static std::uint64_t rest_of(Bytes suffix) noexcept {
    constexpr std::size_t kRest = sizeof(std::uint64_t);
    const std::size_t size = suffix.size();
    if (size >= kRest) [[likely]] {
      // Load the last eight of them, not beyond the end, and shift out bytes of the head.
      const std::size_t end = size < kHeadAndRest ? size : kHeadAndRest;
      return load_big_endian(suffix.data() + end - kRest) << 8 * (kHeadAndRest - end);
    }
    std::uint64_t rest = 0;
    for (std::size_t i = kHead; i < size; ++i)
      rest |= std::to_integer<std::uint64_t>(suffix[i]) << (56 - 8 * (i - kHead));
    return rest;
  }
  //! The same for a cell's suffix. Separators are short, so it also loads bytes behind the suffix,
  //! and masks them.
  [[nodiscard]] std::uint64_t rest_of_cell(std::size_t offset, std::size_t size) const noexcept {
    if (size <= kHead) return 0;
    if (offset > kPageSize - kHeadAndRest) [[unlikely]]
      return rest_of(bounded(offset, size));
    const std::uint64_t rest = load_big_endian(_page + offset + kHead);
    return size >= kHeadAndRest ? rest : rest & ~(~std::uint64_t{0} >> 8 * (size - kHead));
  }
  //! Compares two suffixes with the same head: first their next eight bytes as a number, then their
  //! lengths, and only then the rest. `searched` is the key behind the shared bytes; `rest` is
  //! rest_of(searched).
  [[nodiscard]] int compare_with_suffix(Slot slot, Bytes searched,
                                        std::uint64_t rest) const noexcept {
    const std::size_t shared = shared_len();
    const std::size_t offset = slot.offset + cell_overhead() + shared;
    const std::size_t size = slot.suffix_len > shared ? slot.suffix_len - shared : 0;
    const std::uint64_t found_rest = rest_of_cell(offset, size);
    if (found_rest != rest) return found_rest < rest ? -1 : 1;
    if (size <= kHeadAndRest && searched.size() <= kHeadAndRest)
      return int(size) - int(searched.size());
    return compare_bytes(bounded(offset, size), searched);
  }
  //! Slot `low` < high has the same head as the key, so the suffixes decide.
  [[nodiscard]] Position break_tie(Bytes searched, std::uint32_t head, unsigned low,
                                   unsigned high) const noexcept {
    const std::uint64_t rest = rest_of(searched);
    // Mostly only one slot has this head.
    const int first = compare_with_suffix(slot_at(low), searched, rest);
    if (first >= 0) return {low, first == 0};
    ++low;
    if (low >= high || head_at(low) != head) return {low, false};
    while (low < high) {
      const unsigned middle = low + (high - low) / 2;
      const Slot slot = slot_at(middle);
      int order = slot.head > head ? 1 : -int(slot.head < head);
      if (order == 0) order = compare_with_suffix(slot, searched, rest);
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

}  // namespace btree
}  // namespace vmcache
