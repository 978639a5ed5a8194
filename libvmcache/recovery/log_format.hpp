// SPDX-License-Identifier: MIT
//
// The contents of a Database's log records.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "vmcache/bytes.hpp"
#include "vmcache/error.hpp"
#include "vmcache/types.hpp"
#include "vmcache/write_ahead.hpp"

namespace vmcache {

enum class RecordType : std::uint32_t {
  kSnapshot = 1,  //!< SnapshotHeader, roots
  kPages = 3,     //!< PagesHeader, PageEntry ..., the images of those that have one
  kCommit = 4,    //!< ChangeHeader, key and value of each change
};

[[nodiscard]] constexpr std::uint32_t number_of(RecordType type) noexcept {
  return static_cast<std::uint32_t>(type);
}

//! Its size is bounded, so that the log always has space for one (R19).
struct SnapshotHeader {
  //! So a database with hardly a free page left needs no page for the list.
  static constexpr std::size_t kExtents = 4;

  std::uint64_t generation = 0;  //!< Identity's, of the checkpoint that it was taken for
  std::uint64_t nonce = 0;
  std::uint64_t next_page = 0;
  std::uint64_t roots = 0;  //!< how many page ids follow
  //! The first free extents as of this record, each as page_id << 4 | order, or 0. The others are
  //! in a list in the page file.
  std::array<std::uint64_t, kExtents> extents{};
  std::uint64_t listed = 0;     //!< how many extents the list has
  PageId list_begin = kNoPage;  //!< its first page; its FreeListId is that of this checkpoint
};

struct PagesHeader {
  std::uint32_t pages = 0;
  std::uint32_t root = 0;  //!< 1 + the index under which the first page is a root from now on, or 0
};
struct PageEntry {
  PageId page_id = kNoPage;
  std::uint32_t kind = 0;   //!< PageChange::Kind
  std::uint32_t order = 0;  //!< of the extent

  [[nodiscard]] PageChange change() const noexcept {
    return {page_id, static_cast<PageChange::Kind>(kind), order};
  }
};

struct ChangeHeader {
  PageId tree = kNoPage;  //!< its root
  std::uint32_t erased = 0;
  std::uint32_t key_bytes = 0;
  std::uint64_t value_bytes = 0;
};

//! Reads a record's body from front to back. Throws Error kCorrupt when it asks for more bytes than
//! there are.
class BodyReader {
 public:
  explicit BodyReader(Bytes body) noexcept : _rest(body) {}
  [[nodiscard]] bool at_end() const noexcept { return _rest.empty(); }
  [[nodiscard]] Bytes take(std::uint64_t bytes) {
    if (bytes > _rest.size())
      throw Error(Errc::kCorrupt, "log: a record is shorter than what it says it holds");
    const Bytes taken{_rest.data(), static_cast<std::size_t>(bytes)};
    _rest = _rest.after(taken.size());
    return taken;
  }
  template <typename T>
  [[nodiscard]] T take_as() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

 private:
  Bytes _rest;
};

//! The bytes of a trivially copyable object.
template <typename T>
[[nodiscard]] Bytes bytes_of(const T& object) noexcept {
  return {reinterpret_cast<const std::byte*>(&object), sizeof object};
}
template <typename T>
[[nodiscard]] Bytes bytes_of_all(std::span<const T> objects) noexcept {
  return {reinterpret_cast<const std::byte*>(objects.data()), objects.size_bytes()};
}

}  // namespace vmcache
