// SPDX-License-Identifier: MIT
#pragma once

#include <span>

#include "pages/area.hpp"

namespace vmbench {

//! process_madvise on the calling process itself, which Linux allows from 6.13.
class SelfMadvise {
 public:
  //! Tries `advice` on one page of `area`, which must be evictable. Throws Refused with the errno's
  //! text.
  SelfMadvise(const AnonymousArea& area, int advice);
  ~SelfMadvise();
  SelfMadvise(const SelfMadvise&) = delete;
  SelfMadvise& operator=(const SelfMadvise&) = delete;

  //! Applies `advice` to the pages, neighbours as they come, in as few calls as the kernel's
  //! IOV_MAX allows. Throws std::system_error.
  void advise(const AnonymousArea& area, std::span<const PageIndex> pages, int advice) const;

 private:
  int _pidfd;
};

}  // namespace vmbench
