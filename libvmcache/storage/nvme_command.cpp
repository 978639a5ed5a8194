// SPDX-License-Identifier: MIT
#include "storage/nvme_command.hpp"

#include <liburing.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace vmcache::nvme {
namespace {

constexpr std::size_t kSqeBytes = 128;
constexpr std::size_t kSqeCommandOffset = 48;  // of sqe.cmd

//! Starting block in dwords 10 and 11, number of blocks less one in dword 12.
template <typename Command>
void fill(Command& command, const Namespace& name_space, Opcode opcode, std::uint64_t offset,
          void* data, std::uint32_t bytes) noexcept {
  const std::uint64_t block = offset >> name_space.block_shift;
  command.opcode = static_cast<std::uint8_t>(opcode);
  command.nsid = name_space.id;
  command.addr = reinterpret_cast<std::uintptr_t>(data);
  command.data_len = bytes;
  command.cdw10 = static_cast<std::uint32_t>(block);
  command.cdw11 = static_cast<std::uint32_t>(block >> 32);
  command.cdw12 = (bytes >> name_space.block_shift) - 1;
}

int issue(int fd, unsigned long request, void* command) noexcept {
  int result = 0;
  do {
    result = ::ioctl(fd, request, command);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : result;
}

}  // namespace

void prepare_transfer(io_uring_sqe& sqe, int fd, const Namespace& name_space, Opcode opcode,
                      std::uint64_t offset, void* data, std::uint32_t bytes) noexcept {
  // In two pieces, which become plain stores; the whole at once became a string instruction.
  sqe = io_uring_sqe{};
  sqe.opcode = IORING_OP_URING_CMD;
  sqe.fd = fd;
  sqe.cmd_op = NVME_URING_CMD_IO;
  struct {
    nvme_uring_cmd command;
    std::uint64_t unused;
  } area{};
  static_assert(kSqeCommandOffset + sizeof area == kSqeBytes);
  fill(area.command, name_space, opcode, offset, data, bytes);
  std::memcpy(reinterpret_cast<std::byte*>(&sqe) + kSqeCommandOffset, &area, sizeof area);
}

int transfer(int fd, const Namespace& name_space, Opcode opcode, std::uint64_t offset, void* data,
             std::uint32_t bytes) noexcept {
  nvme_passthru_cmd64 command{};
  fill(command, name_space, opcode, offset, data, bytes);
  return issue(fd, NVME_IOCTL_IO64_CMD, &command);
}

int flush(int fd, const Namespace& name_space) noexcept {
  nvme_passthru_cmd64 command{};
  command.opcode = static_cast<std::uint8_t>(Opcode::kFlush);
  command.nsid = name_space.id;
  return issue(fd, NVME_IOCTL_IO64_CMD, &command);
}

int deallocate(int fd, const Namespace& name_space, const Range* ranges, unsigned count) noexcept {
  constexpr std::uint32_t kDeallocate = 1u << 2;
  nvme_passthru_cmd64 command{};
  command.opcode = static_cast<std::uint8_t>(Opcode::kDatasetManagement);
  command.nsid = name_space.id;
  command.addr = reinterpret_cast<std::uintptr_t>(ranges);
  command.data_len = static_cast<std::uint32_t>(count * sizeof(Range));
  command.cdw10 = count - 1;
  command.cdw11 = kDeallocate;
  return issue(fd, NVME_IOCTL_IO64_CMD, &command);
}

int identify(int fd, std::uint32_t namespace_id, std::uint32_t cns, void* page) noexcept {
  constexpr std::uint8_t kIdentify = 0x06;
  nvme_passthru_cmd command{};
  command.opcode = kIdentify;
  command.nsid = namespace_id;
  command.addr = reinterpret_cast<std::uintptr_t>(page);
  command.data_len = kIdentifyBytes;
  command.cdw10 = cns;
  return issue(fd, NVME_IOCTL_ADMIN_CMD, &command);
}

}  // namespace vmcache::nvme
