// SPDX-License-Identifier: MIT
#include <fmt/format.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <optional>

#include "pages/merged_runs.hpp"
#include "pages/self_madvise.hpp"
#include "pages/ways.hpp"

namespace vmbench {

namespace {

//! Gets pages by MADV_POPULATE_WRITE instead of by faults; gives back as the kernel allows.
class PopulateWay final : public TwoStepWay {
 public:
  explicit PopulateWay(const WayConfig& config) : TwoStepWay(config) {
    if (madvise(_area.base(), kPage, MADV_POPULATE_WRITE) != 0)
      throw Refused(fmt::format("madvise(MADV_POPULATE_WRITE): {}", std::strerror(errno)));
    try {
      _self.emplace(_area, MADV_DONTNEED);
    } catch (const Refused&) {
      _self.reset();
    }
  }

 private:
  void give_back(std::span<const PageIndex> pages) override {
    if (_self)
      _self->advise(_area, pages, MADV_DONTNEED);
    else
      advise_runs(_area, pages, MADV_DONTNEED);
  }
  void get(std::span<const PageIndex> pages) override {
    advise_runs(_area, pages, MADV_POPULATE_WRITE);
    TwoStepWay::get(pages);
  }

  std::optional<SelfMadvise> _self;
};

//! Both halves as vectors.
class PopulateVectorWay final : public TwoStepWay {
 public:
  explicit PopulateVectorWay(const WayConfig& config)
      : TwoStepWay(config), _self(_area, MADV_POPULATE_WRITE) {
    _self.advise(_area, std::array<PageIndex, 1>{0}, MADV_DONTNEED);
  }

 private:
  void give_back(std::span<const PageIndex> pages) override {
    _self.advise(_area, pages, MADV_DONTNEED);
  }
  void get(std::span<const PageIndex> pages) override {
    _self.advise(_area, pages, MADV_POPULATE_WRITE);
    TwoStepWay::get(pages);
  }

  SelfMadvise _self;
};

}  // namespace

std::unique_ptr<PageWay> make_populate_way(const WayConfig& config) {
  return std::make_unique<PopulateWay>(config);
}
std::unique_ptr<PageWay> make_populate_vector_way(const WayConfig& config) {
  return std::make_unique<PopulateVectorWay>(config);
}

}  // namespace vmbench
