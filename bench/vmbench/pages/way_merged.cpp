// SPDX-License-Identifier: MIT
#include "pages/merged_runs.hpp"
#include "pages/ways.hpp"

namespace vmbench {

namespace {

//! What kernels before 6.13 leave: fewer calls only where the batch happens to hold neighbours.
class MergedWay final : public TwoStepWay {
 public:
  using TwoStepWay::TwoStepWay;

 private:
  void give_back(std::span<const PageIndex> pages) override {
    advise_runs(_area, pages, MADV_DONTNEED);
  }
};

}  // namespace

std::unique_ptr<PageWay> make_merged_way(const WayConfig& config) {
  return std::make_unique<MergedWay>(config);
}

}  // namespace vmbench
