// SPDX-License-Identifier: MIT
#include "pool/check_options.hpp"

#include <fmt/format.h>

#include <bit>
#include <string_view>

#include "vmcache/error.hpp"
#include "vmcache/types.hpp"

namespace vmcache {
namespace {

constexpr std::uint64_t kLeastPoolBytes = 16 * kPageSize;
constexpr std::uint64_t kLeastCapacityBytes = 32 * kPageSize;
constexpr std::uint64_t kMostPaths = 64;
constexpr std::uint64_t kMostStripeBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostCapacityBytes = std::uint64_t{64} << 40;  // half of the address space of x86-64

void check(std::string_view name, std::uint64_t value, std::uint64_t least, std::uint64_t most,
           std::string_view unit) {
  if (value >= least && value <= most) return;
  throw Error(Errc::kInvalidOption,
              fmt::format("{} = {}{}: allowed are {} to {}{}", name, value, unit, least, most, unit));
}

void check_paths(const PoolOptions& options) {
  if (options.make_storage) return;
  if (options.paths.empty()) {
    if (options.path.empty())
      throw Error(Errc::kInvalidOption, "path is empty: name a file or a block device");
  } else if (!options.path.empty()) {
    throw Error(Errc::kInvalidOption, "path and paths are both set: one of them, not both");
  }
  check("paths", options.paths.size(), 0, kMostPaths, " of them");
  for (const auto& path : options.paths) {
    if (path.empty()) throw Error(Errc::kInvalidOption, "paths: one of them is empty");
  }
  if (options.stripe_bytes == 0) return;
  check("stripe_bytes", options.stripe_bytes, kPageSize, kMostStripeBytes, " bytes");
  if (!std::has_single_bit(options.stripe_bytes))
    throw Error(Errc::kInvalidOption,
                fmt::format("stripe_bytes = {}: not a power of two", options.stripe_bytes));
  if (options.paths.size() < 2)
    throw Error(Errc::kInvalidOption,
                fmt::format("stripe_bytes = {}: there is one path only", options.stripe_bytes));
}

}  // namespace

void check_pool_bytes(std::uint64_t pool_bytes, std::uint64_t capacity_bytes) {
  check("pool_bytes", pool_bytes, kLeastPoolBytes, capacity_bytes, " bytes");
}

void check_options(const PoolOptions& options) {
  check_paths(options);
  check("capacity_bytes", options.capacity_bytes, kLeastCapacityBytes, kMostCapacityBytes, " bytes");
  check_pool_bytes(options.pool_bytes, options.capacity_bytes);
  check("workers", options.workers, 1, 1024, "");
  check("io_depth", options.io_depth, 1, 4096, "");
  check("evict_batch", options.evict_batch, 1, 4096, "");
  if (options.write_ahead != nullptr && !options.page_header) {
    throw Error(Errc::kInvalidOption,
                "write_ahead is set and page_header is not: a page's LSN is in its header");
  }
  const auto wait_ms = options.frame_wait.count();
  check("frame_wait", wait_ms < 0 ? 0 : static_cast<std::uint64_t>(wait_ms), 1, 3'600'000, " ms");
}

}  // namespace vmcache
