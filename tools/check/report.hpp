// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vmcache::check {

//! The parts of a database in which something can be wrong.
enum class Region : std::uint8_t {
  kStripeLabel,
  kHeader,
  kFreeList,
  kPageIds,  //!< what free list, log and trees say together: pages twice in use, or free and in use
  kInner,
  kLeaf,
  kLargeValue,
  kNode,  //!< a page of a tree of which not even the level can be told
  kMaster,
  kSnapshot,
  kRecord,
  kRecovery,  //!< what recovery would make of it
};
inline constexpr unsigned kRegions = 12;
[[nodiscard]] std::string_view to_string(Region region) noexcept;

struct Finding {
  bool damage = true;  //!< false: a remark
  Region region{};
  std::string file;
  std::string place;  //!< "page 17", "slot 1", "LSN 4096"; may be empty
  std::string what;
};

//! What was found. Of each region the first `most` findings are kept, the others counted.
class Report {
 public:
  explicit Report(std::uint64_t max) noexcept : _max(max) {}

  void add(Finding finding);
  [[nodiscard]] const std::vector<Finding>& findings() const noexcept { return _findings; }
  //! Damage, whether kept or counted.
  [[nodiscard]] std::uint64_t damage() const noexcept { return _damage; }
  [[nodiscard]] bool sound() const noexcept { return _damage == 0; }

  //! Counts for the summary.
  struct Counts {
    std::uint64_t pages = 0;  //!< below the highest id ever handed out, the header among them
    std::uint64_t inner = 0;
    std::uint64_t leaves = 0;
    std::uint64_t large = 0;  //!< pages of large values
    std::uint64_t entries = 0;
    std::uint64_t free = 0;
    std::uint64_t unreached = 0;  //!< neither free nor reached
    std::uint64_t records = 0;
    std::uint64_t transactions = 0;  //!< to be applied again
    bool complete = false;           //!< everything could be looked at
    bool pending = false;            //!< recovery is pending
    bool checksums = false;          //!< pages have checksums
  };
  Counts counts;

  //! One line a finding, a line for those left out, and a summary.
  [[nodiscard]] std::string text() const;
  [[nodiscard]] std::string json() const;

 private:
  [[nodiscard]] std::string summary() const;

  const std::uint64_t _max;
  std::vector<Finding> _findings;
  std::array<std::uint64_t, kRegions> _kept{};
  std::array<std::uint64_t, kRegions> _left_out{};
  std::uint64_t _damage = 0;
};

}  // namespace vmcache::check
