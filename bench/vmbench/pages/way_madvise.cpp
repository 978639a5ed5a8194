// SPDX-License-Identifier: MIT
#include <sys/mman.h>

#include <cerrno>
#include <system_error>

#include "pages/ways.hpp"

namespace vmbench {

namespace {

//! What the published vmcache does: one call and, with a second running thread, one shootdown a
//! page.
class MadviseWay final : public TwoStepWay {
 public:
  using TwoStepWay::TwoStepWay;

 private:
  void give_back(std::span<const PageIndex> pages) override {
    for (const PageIndex page : pages) {
      if (madvise(_area.page(page), kPage, MADV_DONTNEED) != 0)
        throw std::system_error(errno, std::generic_category(), "madvise(MADV_DONTNEED)");
    }
  }
};

}  // namespace

std::unique_ptr<PageWay> make_madvise_way(const WayConfig& config) {
  return std::make_unique<MadviseWay>(config);
}

}  // namespace vmbench
