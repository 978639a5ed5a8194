// SPDX-License-Identifier: MIT
#include "nvme_status.hpp"

#include <algorithm>
#include <array>
#include <cerrno>

namespace vmcache::nvme {
namespace {

struct Known {
  std::uint16_t status;
  int error;
  std::string_view meaning;
};

// In the order of their numbers.
constexpr std::array kKnown{
    Known{0x001, EOPNOTSUPP, "invalid command opcode"},
    Known{0x002, EINVAL, "invalid field in command"},
    Known{0x004, EIO, "data transfer error"},
    Known{0x005, EIO, "command aborted because of a power loss"},
    Known{0x006, EIO, "internal error of the device"},
    Known{0x007, EIO, "command aborted by request"},
    Known{0x008, EIO, "command aborted because its queue was deleted"},
    Known{0x00b, ENODEV, "invalid namespace or format"},
    Known{0x013, EINVAL, "invalid data pointer"},
    Known{0x01c, EBUSY, "sanitize operation failed"},
    Known{0x01d, EBUSY, "sanitize operation in progress"},
    Known{0x020, EROFS, "namespace is write protected"},
    Known{0x080, ERANGE, "LBA out of range"},
    Known{0x081, ENOSPC, "capacity exceeded"},
    Known{0x082, EBUSY, "namespace not ready"},
    Known{0x083, EBADE, "reservation conflict"},
    Known{0x084, EBUSY, "format in progress"},
    Known{0x180, EINVAL, "conflicting attributes"},
    Known{0x181, EILSEQ, "invalid protection information"},
    Known{0x182, EROFS, "attempted write to a read-only range"},
    Known{0x280, EIO, "media error: write fault"},
    Known{0x281, EIO, "media error: unrecovered read error"},
    Known{0x282, EILSEQ, "media error: end-to-end guard check"},
    Known{0x283, EILSEQ, "media error: end-to-end application tag check"},
    Known{0x284, EILSEQ, "media error: end-to-end reference tag check"},
    Known{0x285, EIO, "media error: compare failure"},
    Known{0x286, EACCES, "access denied"},
    Known{0x287, EIO, "media error: deallocated or unwritten logical block"},
    Known{0x300, EIO, "internal path error"},
    Known{0x360, ENODEV, "controller pathing error"},
    Known{0x370, ENODEV, "host pathing error: the device cannot be reached"},
    Known{0x371, ENODEV, "command aborted by the host: the device is being reset or was removed"},
};
static_assert(std::ranges::is_sorted(kKnown, {}, &Known::status));

const Known* find(std::uint16_t status) noexcept {
  const auto* found = std::ranges::lower_bound(kKnown, status & kStatusMask, {}, &Known::status);
  return found != kKnown.end() && found->status == (status & kStatusMask) ? found : nullptr;
}

}  // namespace

std::string_view meaning_of(std::uint16_t status) noexcept {
  if (const Known* known = find(status)) return known->meaning;
  switch ((status & kStatusMask) >> 8) {
    case 0:
      return "generic command error";
    case 1:
      return "command-specific error";
    case 2:
      return "media or data integrity error";
    case 3:
      return "path error";
    case 7:
      return "vendor-specific error";
    default:
      return "unknown error";
  }
}

int errno_of(std::uint16_t status) noexcept {
  const Known* known = find(status);
  return known != nullptr ? known->error : EIO;
}

}  // namespace vmcache::nvme
