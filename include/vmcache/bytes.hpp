// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "vmcache/export.hpp"

namespace VMCACHE_EXPORT vmcache {

//! A key or a value: bytes that another object owns. Converts from spans, string views, strings and
//! literals (without their terminating zero).
class Bytes : public std::span<const std::byte> {
 public:
  using Base = std::span<const std::byte>;

  constexpr Bytes() noexcept = default;
  constexpr Bytes(const std::byte* data, std::size_t size) noexcept : Base(data, size) {}
  constexpr Bytes(Base bytes) noexcept : Base(bytes) {}
  constexpr Bytes(std::span<std::byte> bytes) noexcept : Base(bytes) {}
  Bytes(std::string_view text) noexcept
      : Base(reinterpret_cast<const std::byte*>(text.data()), text.size()) {}
  Bytes(const std::string& text) noexcept : Bytes(std::string_view{text}) {}
  Bytes(const char* text) noexcept : Bytes(std::string_view{text}) {}

  [[nodiscard]] std::string_view view() const noexcept {
    return {reinterpret_cast<const char*>(data()), size()};
  }
  //! The bytes after the first `count`; none if there are fewer.
  [[nodiscard]] Bytes after(std::size_t count) const noexcept {
    return count < size() ? Bytes{data() + count, size() - count} : Bytes{};
  }
};

//! Orders keys byte by byte, as unsigned numbers. A key comes before all longer keys that begin
//! with it. Returns less than, equal to or greater than 0, as memcmp() does.
[[nodiscard]] inline int compare_bytes(const std::byte* a, std::size_t a_size, const std::byte* b,
                                       std::size_t b_size) noexcept {
  const std::size_t common = a_size < b_size ? a_size : b_size;
  if (common != 0) {
    if (const int order = std::memcmp(a, b, common); order != 0) return order;
  }
  return a_size < b_size ? -1 : int(a_size > b_size);
}
[[nodiscard]] inline int compare_bytes(Bytes a, Bytes b) noexcept {
  return compare_bytes(a.data(), a.size(), b.data(), b.size());
}

}  // namespace vmcache
