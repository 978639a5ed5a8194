// SPDX-License-Identifier: MIT
#pragma once

namespace vmcache::test {

//! Random tries of a test in one thread: `all`, or a fifth with ThreadSanitizer, which is many
//! times slower and looks for races.
constexpr int tries(int all) noexcept {
#ifdef __SANITIZE_THREAD__
  return all / 5;
#else
  return all;
#endif
}

}  // namespace vmcache::test
