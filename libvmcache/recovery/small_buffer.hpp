// SPDX-License-Identifier: MIT
#pragma once

#include <cassert>
#include <cstddef>
#include <cstring>
#include <memory>
#include <type_traits>

namespace vmcache {

//! A vector of trivially copyable objects. The first kFront lie inside it, so a small transaction
//! allocates nothing. Its constructor leaves them uninitialised. It belongs to one thread, and
//! cannot be copied or moved.
template <typename T, std::size_t kFront>
class SmallBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  SmallBuffer() noexcept {}  // leaves _front alone
  SmallBuffer(const SmallBuffer&) = delete;
  SmallBuffer& operator=(const SmallBuffer&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return _size; }
  [[nodiscard]] bool empty() const noexcept { return _size == 0; }
  [[nodiscard]] T* begin() noexcept { return _data; }
  [[nodiscard]] T* end() noexcept { return _data + _size; }
  [[nodiscard]] const T* begin() const noexcept { return _data; }
  [[nodiscard]] const T* end() const noexcept { return _data + _size; }
  [[nodiscard]] T& operator[](std::size_t n) noexcept {
    assert(n < _size);
    return _data[n];
  }
  [[nodiscard]] const T& operator[](std::size_t n) const noexcept {
    assert(n < _size);
    return _data[n];
  }

  //! Makes room for `more` objects, which grow() and push_back() can then add without failing.
  //! Throws std::bad_alloc, and is then as before.
  void reserve_more(std::size_t more) {
    if (_capacity - _size < more) move_to(2 * (_size + more));
  }
  //! Adds `count` objects, for which there must be room, and returns the first. The caller fills
  //! them.
  [[nodiscard]] T* grow(std::size_t count) noexcept {
    assert(_capacity - _size >= count);
    T* const begin = end();
    _size += count;
    return begin;
  }
  //! Throws std::bad_alloc, and is then as before.
  void push_back(const T& value) {
    reserve_more(1);
    _data[_size++] = value;
  }
  void shrink_to(std::size_t size) noexcept {
    assert(size <= _size);
    _size = size;
  }
  void erase(std::size_t first, std::size_t count) noexcept {
    assert(first + count <= _size);
    std::memmove(_data + first, _data + first + count, (_size - first - count) * sizeof(T));
    _size -= count;
  }

 private:
  void move_to(std::size_t capacity) {
    auto more = std::make_unique_for_overwrite<T[]>(capacity);
    if (_size > 0) std::memcpy(more.get(), _data, _size * sizeof(T));
    _more = std::move(more);
    _data = _more.get();
    _capacity = capacity;
  }

  T* _data = _front;
  std::size_t _size = 0;
  std::size_t _capacity = kFront;
  std::unique_ptr<T[]> _more;
  T _front[kFront];
};

}  // namespace vmcache
