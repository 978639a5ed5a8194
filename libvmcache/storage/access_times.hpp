// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>

namespace vmcache {

//! Stops reads through `fd` from setting the file's access time. Setting it costs some 200
//! instructions a read, and now and then a write of the inode. Only the file's owner may ask for
//! that (open(2), O_NOATIME). For others nothing changes.
inline void forgo_access_times(int fd) noexcept {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0) (void)::fcntl(fd, F_SETFL, flags | O_NOATIME);
}

}  // namespace vmcache
