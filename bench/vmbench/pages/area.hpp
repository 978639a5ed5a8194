// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vmbench {

inline constexpr std::size_t kPage = 4096;

//! Number of a page in an area.
using PageIndex = std::uint32_t;

//! An anonymous private area without huge pages: what Linux offers a pool without exmap.
class AnonymousArea {
 public:
  //! Throws std::system_error.
  explicit AnonymousArea(std::size_t pages);
  ~AnonymousArea();
  AnonymousArea(const AnonymousArea&) = delete;
  AnonymousArea& operator=(const AnonymousArea&) = delete;

  [[nodiscard]] std::byte* base() const { return _base; }
  [[nodiscard]] std::byte* page(PageIndex index) const {
    return _base + std::size_t{index} * kPage;
  }
  [[nodiscard]] std::size_t bytes() const { return _bytes; }

 private:
  std::byte* _base;
  std::size_t _bytes;
};

//! Neighbouring pages as one range.
struct Run {
  PageIndex first;
  std::uint32_t pages;
};

}  // namespace vmbench
