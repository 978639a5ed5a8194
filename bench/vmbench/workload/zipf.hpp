// SPDX-License-Identifier: MIT
#pragma once

#include <cmath>
#include <cstdint>

#include "common/random.hpp"

namespace vmbench {

//! Ranks 0 .. n-1 with probability proportional to 1 / (rank+1)^theta, in constant time and memory:
//! rejection inversion (Hoermann and Derflinger, "Rejection-inversion to generate variates from
//! monotone discrete distributions", ACM TOMACS 6(3), 1996). Immutable, so threads may share one.
class Zipf {
 public:
  //! n >= 1; theta > 0.
  Zipf(std::uint64_t n, double theta)
      : _n(static_cast<double>(n)),
        _theta(theta),
        _low(integral(1.5) - 1.0),
        _high(integral(_n + 0.5)),
        _shortcut(2.0 - inverse(integral(2.5) - density(2.0))) {}

  std::uint64_t next(SplitMix64& random) const {
    for (;;) {
      const double u = _high + random.unit() * (_low - _high);
      const double x = inverse(u);
      double k = std::floor(x + 0.5);
      if (k < 1.0) k = 1.0;
      if (k > _n) k = _n;
      // Near its own point a value is taken at once; else by the exact test under the hat.
      if (k - x <= _shortcut || u >= integral(k + 0.5) - density(k))
        return static_cast<std::uint64_t>(k) - 1;
    }
  }

 private:
  [[nodiscard]] double density(double x) const { return std::exp(-_theta * std::log(x)); }
  //! Antiderivative of the density, zero at 1; well-behaved around theta = 1, where it is the
  //! logarithm.
  [[nodiscard]] double integral(double x) const {
    const double log_x = std::log(x);
    const double t = (1.0 - _theta) * log_x;
    return log_x * (std::fabs(t) > 1e-8 ? std::expm1(t) / t : 1.0 + t / 2.0);
  }
  [[nodiscard]] double inverse(double y) const {
    double t = y * (1.0 - _theta);
    if (t < -1.0) t = -1.0;  // rounding
    return std::exp(y * (std::fabs(t) > 1e-8 ? std::log1p(t) / t : 1.0 - t / 2.0));
  }

  double _n;
  double _theta;
  double _low;
  double _high;
  double _shortcut;
};

}  // namespace vmbench
