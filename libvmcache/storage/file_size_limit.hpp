// SPDX-License-Identifier: MIT
#pragma once

#include <sys/resource.h>

#include <cstdint>

namespace vmcache {

//! What a file-size limit allows. Asked before each write that could run into it, because the kernel would
//! answer with SIGXFSZ, and a library has no business with its embedder's signals.
[[nodiscard]] inline std::uint64_t file_size_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

}  // namespace vmcache
