// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "common/clock.hpp"
#include "pages/area.hpp"

namespace vmbench {

//! The kernel (or this machine) does not offer a way; what() says which call said so and how.
class Refused : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

//! Where the time of an exchange went, where a way can tell the halves apart.
struct ExchangeTimes {
  std::uint64_t give_back_ns = 0;
  std::uint64_t get_ns = 0;
  //! Pages for which the way's own call failed for a passing reason and a plainer one was used.
  std::uint64_t fallbacks = 0;
};

struct WayConfig {
  std::size_t pages = 0;     //!< of the virtual area
  std::size_t resident = 0;  //!< that hold a frame at any time
  unsigned threads = 1;
};

//! One way to take frames from some pages of an area and give frames to others.
//! Built and destroyed on one thread; exchange() is called by many threads, on disjoint pages.
class PageWay {
 public:
  PageWay() = default;
  virtual ~PageWay() = default;
  PageWay(const PageWay&) = delete;
  PageWay& operator=(const PageWay&) = delete;

  //! Makes `get` resident and written; for the start.
  virtual void fill(unsigned thread, std::span<const PageIndex> get) = 0;
  //! Gives back the resident pages `give` and makes the others, `get`, resident and written.
  //! Both have the same length, at most a batch. Throws std::system_error.
  virtual void exchange(unsigned thread, std::span<const PageIndex> give,
                        std::span<const PageIndex> get, ExchangeTimes& times) = 0;
  //! The area, for the check that a run left as many pages resident as it began with.
  [[nodiscard]] virtual std::span<std::byte> area() const = 0;
};

//! A way with two separate halves on an anonymous area.
class TwoStepWay : public PageWay {
 public:
  explicit TwoStepWay(const WayConfig& config) : _area(config.pages) {}

  void fill(unsigned /*thread*/, std::span<const PageIndex> pages) override { get(pages); }
  void exchange(unsigned /*thread*/, std::span<const PageIndex> give_pages,
                std::span<const PageIndex> get_pages, ExchangeTimes& times) override {
    const std::uint64_t start = now_ns();
    give_back(give_pages);
    const std::uint64_t between = now_ns();
    get(get_pages);
    times.give_back_ns += between - start;
    times.get_ns += now_ns() - between;
  }
  [[nodiscard]] std::span<std::byte> area() const override { return {_area.base(), _area.bytes()}; }

 protected:
  virtual void give_back(std::span<const PageIndex> pages) = 0;
  //! The plain way to get pages: the first touch.
  virtual void get(std::span<const PageIndex> pages) {
    for (const PageIndex page : pages) touch(page);
  }
  void touch(PageIndex page) const {
    *reinterpret_cast<volatile std::uint8_t*>(_area.page(page)) = 1;
  }

  AnonymousArea _area;
};

//! An entry of the table of ways; to add a way, add its file and its line in ways.cpp.
struct WayEntry {
  std::string_view name;
  std::string_view description;
  bool batched;  //!< takes any batch size; otherwise only a batch of 1 makes sense
  //! Throws Refused where the way is not to be had.
  std::unique_ptr<PageWay> (*make)(const WayConfig& config);
};
[[nodiscard]] std::span<const WayEntry> all_ways();

std::unique_ptr<PageWay> make_madvise_way(const WayConfig& config);
std::unique_ptr<PageWay> make_process_madvise_way(const WayConfig& config);
std::unique_ptr<PageWay> make_merged_way(const WayConfig& config);
std::unique_ptr<PageWay> make_populate_way(const WayConfig& config);
std::unique_ptr<PageWay> make_populate_vector_way(const WayConfig& config);
std::unique_ptr<PageWay> make_uffd_move_way(const WayConfig& config);
std::unique_ptr<PageWay> make_exmap_way(const WayConfig& config);

}  // namespace vmbench
