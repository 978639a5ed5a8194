// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>

namespace vmcache {

//! Reads through `fd` shall not set the file's access time, which costs each of them some 200 instructions and now and then
//! a write of the inode. Only the owner may ask for that (open(2), O_NOATIME); for others everything stays as it was.
inline void forgo_access_times(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NOATIME);
}

}  // namespace vmcache
