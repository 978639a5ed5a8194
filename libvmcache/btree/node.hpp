// SPDX-License-Identifier: MIT
#pragma once

#include <optional>

#include "vmcache/detail/btree/key_buffer.hpp"
#include "vmcache/detail/btree/node_layout.hpp"
#include "vmcache/detail/btree/node_reader.hpp"

namespace vmcache::btree {

//! Bounds of the keys in a node: [lower, upper).
struct Fences {
  Bytes lower;
  std::optional<Bytes> upper;  //!< none: no upper bound
};

//! Changes a node that nobody else can access: it is under an exclusive latch or in a private
//! buffer. Nothing here waits, throws or allocates.
class Node {
 public:
  explicit Node(std::byte* page) noexcept : _page(page) {}

  //! Makes an empty node. `fences` must not point into this page.
  void init(unsigned level, const Fences& fences) noexcept;

  [[nodiscard]] NodeReader read() const noexcept { return NodeReader{_page}; }
  [[nodiscard]] const std::byte* page() const noexcept { return _page; }
  [[nodiscard]] unsigned level() const noexcept { return header().level; }
  [[nodiscard]] unsigned count() const noexcept { return header().count; }
  [[nodiscard]] Fences fences() const noexcept;
  void key_at(unsigned index, KeyBuffer& key) const noexcept {
    key.assign(read().prefix(), read().suffix(index));
  }

  //! True if a key of `key_len` bytes (with its prefix) and `value_len` bytes of value fit into the
  //! leaf.
  [[nodiscard]] bool leaf_has_room(std::size_t key_len, std::size_t value_len) const noexcept;
  [[nodiscard]] bool inner_has_room(std::size_t key_len) const noexcept;

  //! \name Changes. The caller has checked that there is room, and gets `index` from lower_bound().
  //! Bytes passed in must not lie in this page. @{
  void insert_leaf(unsigned index, Bytes key, Bytes value, bool large) noexcept;
  void insert_separator(unsigned index, Bytes key, PageId right_child) noexcept;
  //! True if the new value fits in place of the old one.
  [[nodiscard]] bool can_replace(unsigned index, std::size_t value_len) const noexcept;
  void replace_value(unsigned index, Bytes key, Bytes value, bool large) noexcept;
  //! Removes the slot. In an inner node, this removes a separator and the child to its right.
  void erase(unsigned index) noexcept;
  void set_first_child(PageId child) noexcept { header().first_child = child; }
  //! @}

  [[nodiscard]] std::byte* value_bytes(unsigned index) const noexcept {
    return const_cast<std::byte*>(read().value(index).data);
  }

  //! Appends slots [from, to) of `source`, a node of the same level. Their keys must lie within
  //! this node's fences. False if they do not fit; this node's content is then undefined.
  [[nodiscard]] bool append_from(const Node& source, unsigned from, unsigned to) noexcept;

  //! Moves the cells together, so that all free bytes are in one piece.
  void compact() noexcept;

 private:
  [[nodiscard]] NodeHeader& header() const noexcept {
    return *reinterpret_cast<NodeHeader*>(_page + kHeaderAt);
  }
  [[nodiscard]] std::size_t slot_bytes() const noexcept {
    return level() == 0 ? sizeof(Slot) : sizeof(InnerSlot);
  }
  [[nodiscard]] std::byte* slot_address(unsigned index) const noexcept {
    return _page + kSlotsAt + index * slot_bytes();
  }
  [[nodiscard]] Slot& slot(unsigned index) const noexcept {
    return *reinterpret_cast<Slot*>(slot_address(index));
  }
  [[nodiscard]] std::size_t cell_size(unsigned index) const noexcept;
  [[nodiscard]] bool has_room(std::size_t cell_bytes, std::size_t slots) const noexcept {
    return read().used_bytes() + cell_bytes + slots * slot_bytes() <= kNodeCapacity;
  }
  //! Allocates `bytes` of the heap and returns their offset. Leaves room for `slots` more slots.
  //! Compacts the node if it must.
  [[nodiscard]] std::uint16_t take(std::size_t bytes, std::size_t slots) noexcept;
  void put_leaf_cell(std::uint16_t offset, Bytes suffix, Bytes value, bool large) noexcept;
  void open_slot(unsigned index, std::uint16_t offset, Bytes suffix) noexcept;
  void update_shared() noexcept;
  void update_hints() noexcept;

  std::byte* _page;
};

}  // namespace vmcache::btree
