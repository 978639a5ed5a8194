// SPDX-License-Identifier: MIT
//
// How the C API fails: exceptions become codes, and each thread remembers the last of them. Nothing
// here allocates, so that a lack of memory can be reported, too.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

#include "vmcache.h"
#include "vmcache/error.hpp"

namespace vmcache::capi {

//! Remembers a failure as this thread's last. `format` is printf's. Returns `code`.
[[gnu::format(printf, 2, 3)]] int fail(int code, const char* format, ...) noexcept;
//! The same for an answer (VMCACHE_NOT_FOUND ..): `text` must be a literal.
int answer(int code, const char* text) noexcept;
//! The same for the exception that is being handled.
int fail_with_exception(const char* call) noexcept;

//! The code of an Errc. They have the same values (failure.cpp).
[[nodiscard]] constexpr int code_of(Errc code) noexcept {
  return static_cast<int>(code);
}

//! Runs `body`, which returns a code or nothing, and turns what it throws into a code.
template <typename Body>
int guarded(const char* call, Body&& body) noexcept {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Body&>>) {
      std::forward<Body>(body)();
      return VMCACHE_OK;
    } else {
      return std::forward<Body>(body)();
    }
  } catch (...) {
    return fail_with_exception(call);
  }
}

//! "vmcache_fix: pool is null": for arguments that must not be null.
inline int fail_null(const char* call, const char* argument) noexcept {
  return fail(VMCACHE_INVALID_OPTION, "%s: %s is null", call, argument);
}

//! For a struct whose size the library does not know.
int fail_size(const char* call, const char* argument, std::size_t size,
              std::size_t allowed) noexcept;

}  // namespace vmcache::capi
