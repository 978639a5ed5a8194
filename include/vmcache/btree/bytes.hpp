// SPDX-License-Identifier: MIT
#pragma once

#include <compare>
#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace vmcache {

//! Bytes somebody else owns: a key or a value. Made from spans, string views, strings and literals (without
//! their terminating zero), so that callers write what they have.
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
  //! What is left after the first `count` bytes; nothing if there are fewer.
  [[nodiscard]] Bytes after(std::size_t count) const noexcept {
    return count < size() ? Bytes{data() + count, size() - count} : Bytes{};
  }
};

//! Order of keys: byte by byte, unsigned, a prefix before what continues it.
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

//! A callable that somebody else owns, for the time of a call. (std::function would copy it and allocate.)
template <typename Signature>
class FunctionRef;

template <typename Result, typename... Args>
class FunctionRef<Result(Args...)> {
 public:
  // It does not know `requires`.
  // clang-format off
  template <typename F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<Result, F&, Args...>)
  FunctionRef(F&& function) noexcept  // NOLINT: meant to convert
      : _object(const_cast<void*>(static_cast<const void*>(std::addressof(function)))),
        _call([](void* object, Args... args) -> Result {
          return (*static_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  // clang-format on

  Result operator()(Args... args) const { return _call(_object, std::forward<Args>(args)...); }

 private:
  void* _object;
  Result (*_call)(void*, Args...);
};

}  // namespace vmcache
