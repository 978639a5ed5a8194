// SPDX-License-Identifier: MIT
//
// Structs that begin with their size. A program that was built with an older header has a smaller
// one: it lacks the members at the end, which then have their default, zero.
//
// When a struct grows, its size so far becomes a further entry of known_size() for that struct.
#pragma once

#include <cstddef>
#include <cstring>

#include "capi/failure.hpp"

namespace vmcache::capi {

//! Whether some version of the library has, or had, a struct T of that size.
template <typename T>
[[nodiscard]] constexpr bool known_size(std::size_t size) noexcept {
  return size == sizeof(T);
}

template <typename T>
[[nodiscard]] int check_size(const char* call, const char* argument, const T* given) noexcept {
  if (given == nullptr) return fail_null(call, argument);
  if (known_size<T>(given->size)) return VMCACHE_OK;
  return fail_size(call, argument, given->size, sizeof(T));
}

//! Copies what the caller has of its options.
template <typename T>
[[nodiscard]] int take_struct(const char* call, const char* argument, const T* given,
                              T& options) noexcept {
  if (const int code = check_size(call, argument, given)) return code;
  options = T{};
  std::memcpy(&options, given, given->size);
  return VMCACHE_OK;
}

//! Gives the caller as much of `all` as it knows.
template <typename T>
[[nodiscard]] int give_struct(const char* call, const char* argument, const T& all,
                              T* given) noexcept {
  if (const int code = check_size(call, argument, given)) return code;
  const std::size_t size = given->size;
  std::memcpy(given, &all, size);
  given->size = size;
  return VMCACHE_OK;
}

}  // namespace vmcache::capi
