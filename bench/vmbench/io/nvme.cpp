// SPDX-License-Identifier: MIT
#include "io/nvme.hpp"

#include <fmt/format.h>
#include <linux/nvme_ioctl.h>
#include <sys/ioctl.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "io/errors.hpp"

namespace vmbench {

namespace {

constexpr std::uint8_t kAdminIdentify = 0x06;
// Offsets in the Identify Namespace data: FLBAS, and the table of LBA formats (LBADS in bits 23:16,
// MS in 15:0).
constexpr std::size_t kFlbas = 26;
constexpr std::size_t kLbaFormats = 128;

}  // namespace

std::string nvme_result_text(int result) {
  if (result < 0) return std::strerror(-result);
  return fmt::format("NVMe status type {}, code {:#04x}", (result >> 8) & 7, result & 0xff);
}

NvmeNamespace identify_namespace(int fd, const std::string& path) {
  const int nsid = ioctl(fd, NVME_IOCTL_ID);
  if (nsid <= 0)
    throw RungMissing(fmt::format("{}: NVME_IOCTL_ID: {}", path, std::strerror(errno)));
  alignas(4096) std::array<std::uint8_t, 4096> data{};
  nvme_admin_cmd command{};
  command.opcode = kAdminIdentify;
  command.nsid = static_cast<std::uint32_t>(nsid);
  command.addr = reinterpret_cast<std::uint64_t>(data.data());
  command.data_len = data.size();
  const int result = ioctl(fd, NVME_IOCTL_ADMIN_CMD, &command);
  if (result != 0)
    throw RungMissing(fmt::format("{}: Identify Namespace: {}", path,
                                  nvme_result_text(result < 0 ? -errno : result)));
  const std::uint8_t* format = &data[kLbaFormats + 4u * (data[kFlbas] & 0xf)];
  NvmeNamespace found{static_cast<std::uint32_t>(nsid), format[2]};
  if (found.lba_shift < 9 || found.lba_shift > 12 || format[0] != 0 || format[1] != 0)
    throw RungMissing(fmt::format(
        "{}: blocks of 2^{} bytes with {} of metadata: only 512 to 4096 without metadata", path,
        found.lba_shift, format[0] | format[1] << 8));
  return found;
}

}  // namespace vmbench
