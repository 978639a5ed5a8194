// SPDX-License-Identifier: MIT
// The sized calls (query, stats2, resize): any size, known and unknown bytes, flags, bad pointers;
// and the unknown calls.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

struct Call {
  const char* name;
  unsigned long request;
  std::uint32_t size;
  std::uint32_t first_size;  //!< of the structure's first version
};

void sizes_and_tails(int fd, const Call& call) {
  alignas(8) unsigned char bytes[kPageSize];
  const auto attempt = [&](std::uint32_t size, std::uint32_t flags, std::size_t dirty_byte) {
    std::memset(bytes, 0, sizeof bytes);
    std::memcpy(bytes, &size, sizeof size);
    std::memcpy(bytes + 4, &flags, sizeof flags);
    const std::uint64_t frames = 16;
    if (call.request == EXMAP_IOCTL_RESIZE) std::memcpy(bytes + 8, &frames, sizeof frames);
    if (dirty_byte) bytes[dirty_byte] = 1;
    return result_of(ioctl(fd, call.request, bytes));
  };
  CHECK_RESULT(0, attempt(call.size, 0, 0));
  for (std::uint32_t size : {0u, 1u, 4u, 7u, 8u, call.first_size - 1})
    CHECK_RESULT(-EINVAL, attempt(size, 0, 0));
  CHECK_RESULT(0, attempt(call.first_size, 0, 0));
  CHECK_RESULT(0, attempt(call.size + 64, 0, 0));
  CHECK_RESULT(-E2BIG, attempt(call.size + 64, 0, call.size));
  CHECK_RESULT(-E2BIG, attempt(call.size + 64, 0, call.size + 63));
  for (std::uint32_t size : {4097u, 65536u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
    CHECK_REFUSED(attempt(size, 0, 0));
  for (unsigned bit = 0; bit < 32; bit++) CHECK_RESULT(-EINVAL, attempt(call.size, 1u << bit, 0));
  for (const std::uintptr_t wrong : {std::uintptr_t{0}, std::uintptr_t{8}, ~std::uintptr_t{0} - 3,
                                     std::uintptr_t{0xffff888000000000}})
    CHECK_RESULT(-EFAULT, result_of(ioctl(fd, call.request, wrong)));
  CHECK_RESULT(0, attempt(call.size, 0, 0));
  std::uint32_t filled = 0;
  std::memcpy(&filled, bytes, sizeof filled);
  CHECK(filled == call.size, "%s: size comes back as %u, not %u", call.name, filled, call.size);
}

void unknown_calls(int fd) {
  std::uint64_t bytes[64] = {};
  for (unsigned number = 0; number < 256; number++) {
    const bool published = number >= 1 && number <= 4, ours = number >= 0x10 && number <= 0x12;
    if (!ours) CHECK_RESULT(-ENOTTY, result_of(ioctl(fd, _IO('k', number), bytes)));
    if (!published)
      CHECK_RESULT(-ENOTTY, result_of(ioctl(fd, _IOC(_IOC_WRITE, 'k', number, 24), bytes)));
    CHECK_RESULT(-ENOTTY, result_of(ioctl(fd, _IOC(_IOC_WRITE, 'K', number, 24), bytes)));
  }
  CHECK_RESULT(-ENOTTY, result_of(ioctl(fd, _IOC(_IOC_WRITE, 'k', 1, 32), bytes)));
  CHECK_RESULT(-ENOTTY,
               result_of(ioctl(fd, _IOC(_IOC_READ, 'k', 1, sizeof(exmap_ioctl_setup)), bytes)));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const Exmap map({.frames = 16, .area_pages = 64});
    sizes_and_tails(map.fd(),
                    {"query", EXMAP_IOCTL_QUERY, sizeof(exmap_query), sizeof(exmap_query)});
    sizes_and_tails(map.fd(), {"stats2", EXMAP_IOCTL_STATS2, sizeof(exmap_stats2),
                               offsetof(exmap_stats2, frames_in_view)});
    sizes_and_tails(map.fd(),
                    {"resize", EXMAP_IOCTL_RESIZE, sizeof(exmap_resize), sizeof(exmap_resize)});
    unknown_calls(map.fd());
    map.check_all_frames(0, 16);
    exmap_query query{};
    query.size = sizeof query;
    CHECK_RESULT(0, result_of(ioctl(map.fd(), EXMAP_IOCTL_QUERY, &query)));
    CHECK(query.abi_version == EXMAP_ABI_VERSION && query.page_size == kPageSize &&
              query.iov_max == 512 && query.entry_pages_max == 4095 &&
              query.opcodes_ioctl == (1u << EXMAP_OP_ALLOC | 1u << EXMAP_OP_FREE) &&
              query.interfaces_max >= 128 && query.frames_max > 0 && query.area_bytes_max > 0,
          "query tells odd limits");
    CHECK((query.setup_flags & 3) == 0, "the flags that were never implemented are offered");
  }
  ledger.check_balanced();
  return 0;
}
