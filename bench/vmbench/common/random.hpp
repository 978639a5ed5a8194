// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

namespace vmbench {

//! Steele, Lea, Flood 2014: a counter run through a mixer; one word of state, every seed is good.
class SplitMix64 {
 public:
  explicit SplitMix64(std::uint64_t seed) : _state(seed) {}

  std::uint64_t next() {
    _state += 0x9e3779b97f4a7c15u;
    return mix(_state);
  }
  //! Uniform in [0, bound). The multiply-shift has a bias of bound / 2^64, which no benchmark can
  //! see.
  std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
  }
  //! Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

  static std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t _state;
};

}  // namespace vmbench
