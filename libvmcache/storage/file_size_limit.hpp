// SPDX-License-Identifier: MIT
#pragma once

#include <sys/resource.h>

#include <cstdint>

namespace vmcache {

//! The process's limit on file sizes, in bytes. The library asks before each write that could
//! exceed it, because the kernel would send SIGXFSZ, and the embedder's signals are not the
//! library's business.
[[nodiscard]] inline std::uint64_t file_size_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

}  // namespace vmcache
