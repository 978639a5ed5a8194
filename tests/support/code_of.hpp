// SPDX-License-Identifier: MIT
#pragma once

#include "vmcache/error.hpp"

namespace vmcache::test {

//! How `call` ends.
inline Errc code_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return Errc::kOk;
}

}  // namespace vmcache::test
