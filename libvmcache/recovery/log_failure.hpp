// SPDX-License-Identifier: MIT
#pragma once

#include <cerrno>
#include <exception>
#include <new>

#include "vmcache/error.hpp"

namespace vmcache {

//! The errno with which the log fails after `error`.
[[nodiscard]] inline int errno_of(const std::exception& error) noexcept {
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return ENOMEM;
  const auto* own = dynamic_cast<const Error*>(&error);
  return own != nullptr && own->os_error() != 0 ? own->os_error() : EIO;
}

}  // namespace vmcache
