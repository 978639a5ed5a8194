// SPDX-License-Identifier: MIT
#include "storage/nvme_identify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>
#include <cstring>

#include "vmcache/types.hpp"

namespace vmcache::nvme {
namespace {

//! A little-endian field, which is the machine's own order.
template <typename T>
T field(std::span<const std::byte> page, std::size_t offset) {
  T value;
  std::memcpy(&value, &page[offset], sizeof value);
  return value;
}

// Offsets in Identify Namespace.
constexpr std::size_t kSize = 0, kFormatted = 26, kProtection = 29, kAttributes = 99,
                      kFormats = 128;
// Offsets in Identify Controller.
constexpr std::size_t kTransferLimit = 77, kOptionalCommands = 520, kWriteCache = 525;

constexpr std::uint32_t kMaxTransferBytes = 1 << 20;  // of a request: the largest extent

}  // namespace

std::string parse_identify(std::span<const std::byte> of_namespace,
                           std::span<const std::byte> of_controller, Namespace& name_space) {
  assert(of_namespace.size() == kIdentifyBytes && of_controller.size() == kIdentifyBytes);
  name_space.blocks = field<std::uint64_t>(of_namespace, kSize);
  if (name_space.blocks == 0) return "the namespace is not active";
  // Bits 3:0 and 6:5 number the format in use.
  const auto formatted = field<std::uint8_t>(of_namespace, kFormatted);
  const unsigned number = (formatted & 0xfu) | ((formatted >> 5 & 3u) << 4);
  const auto format = field<std::uint32_t>(of_namespace, kFormats + std::size_t{4} * number);
  const unsigned metadata_bytes = format & 0xffffu;
  const unsigned shift = format >> 16 & 0xffu;
  if (metadata_bytes != 0) {
    return fmt::format("formatted with {} bytes of metadata a block; formats without are supported",
                       metadata_bytes);
  }
  if (shift < 9 || (std::size_t{1} << std::min(shift, 31u)) > kPageSize) {
    return fmt::format("formatted with blocks of 2^{} bytes; 2^9 to 2^12 are supported", shift);
  }
  if ((field<std::uint8_t>(of_namespace, kProtection) & 7u) != 0)
    return "formatted with protection information";
  if ((field<std::uint8_t>(of_namespace, kAttributes) & 1u) != 0)
    return "the namespace is write protected";
  name_space.block_shift = shift;
  // In units of the controller's smallest page, which is 4 KiB or more: 4 KiB is on the safe side.
  // 0: no limit.
  const auto limit = field<std::uint8_t>(of_controller, kTransferLimit);
  name_space.max_transfer_bytes =
      limit == 0 || limit > 8 ? kMaxTransferBytes : std::uint32_t{kPageSize} << limit;
  name_space.write_cache = (field<std::uint8_t>(of_controller, kWriteCache) & 1u) != 0;
  name_space.deallocates = (field<std::uint16_t>(of_controller, kOptionalCommands) & 4u) != 0;
  return {};
}

}  // namespace vmcache::nvme
