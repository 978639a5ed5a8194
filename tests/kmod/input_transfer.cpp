// SPDX-License-Identifier: MIT
// pread, preadv, pwrite and pwritev on the fd with every bad interface, opcode, address, length and
// vector: an errno, nothing mapped, and no byte written to memory that is not the area's.
#include "exmap_test.h"

#include <sys/syscall.h>
#include <sys/uio.h>

using namespace exmap_test;

namespace {

constexpr std::uint64_t kAreaPages = 256, kFilePages = 64, kFrames = 32;
alignas(4096) char heap[kPageSize * 2];

void refuse(const Exmap& map, void* address, std::size_t bytes, off_t offset) {
  const long long read = result_of(pread(map.fd(), address, bytes, offset));
  CHECK(read < 0, "pread(%p, %zu, 0x%llx) gave %lld", address, bytes, ull(offset), read);
  const long long written =
      result_of(pwrite(map.fd(), address, bytes, offset | EXMAP_OP_WRITE << 8));
  CHECK(written < 0, "pwrite(%p, %zu, 0x%llx) gave %lld", address, bytes, ull(offset), written);
  CHECK(map.allocated() == 0, "a refused transfer (%p, %zu, 0x%llx) mapped pages", address, bytes,
        ull(offset));
}

void addresses_and_lengths(const Exmap& map) {
  char* const end = map.page(kAreaPages);
  for (const std::size_t bytes :
       {std::size_t{1}, std::size_t{512}, kPageSize - 1, kPageSize + 1, kPageSize * 2 - 8})
    refuse(map, map.page(0), bytes, 0);
  for (const std::ptrdiff_t shift : {1, 8, 512, 2048, 4095})
    refuse(map, map.page(0) + shift, kPageSize, 0);
  refuse(map, end, kPageSize, 0);
  refuse(map, end - kPageSize, kPageSize * 2, 0);
  refuse(map, map.area() - kPageSize, kPageSize, 0);
  refuse(map, map.area() - kPageSize, kPageSize * 2, 0);
  refuse(map, heap, kPageSize, 0);
  refuse(map, nullptr, kPageSize, 0);
  refuse(map, reinterpret_cast<void*>(0xffff888000000000), kPageSize, 0);
  refuse(map, reinterpret_cast<void*>(0x7ffffffff000), kPageSize, 0);
  for (const std::size_t byte : {std::size_t{0}, kPageSize, sizeof heap - 1})
    CHECK(heap[byte] == 0x77, "a read reached memory that is not the area");
}

void interfaces_and_opcodes(const Exmap& map) {
  for (const unsigned interface : {2u, 3u, 255u})
    refuse(map, map.page(0), kPageSize, static_cast<off_t>(interface));
  for (const unsigned interface : {256u, 1024u, 65535u})
    refuse(map, map.page(0), kPageSize, EXMAP_OP_OFFSET(interface, EXMAP_OP_READ));
  for (const unsigned opcode : {4u, 5u, 100u, 255u})
    CHECK_REFUSED(result_of(pread(map.fd(), map.page(0), kPageSize, EXMAP_OP_OFFSET(0, opcode))));
  CHECK_REFUSED(
      result_of(pread(map.fd(), map.page(0), kPageSize, EXMAP_OP_OFFSET(0, EXMAP_OP_WRITE))));
  for (const off_t offset : {off_t{-1}, off_t{1} << 32, off_t{1} << 40, INT64_MAX, INT64_MIN})
    refuse(map, map.page(0), kPageSize, offset);
  CHECK(map.allocated() == 0, "a refused transfer mapped pages");
}

void vectors(const Exmap& map) {
  iovec parts[UIO_MAXIOV + 1];
  for (auto& part : parts) part = {map.page(0), kPageSize};
  const auto raw_preadv = [&](const void* vector, long count) {
    return result_of(syscall(SYS_preadv, map.fd(), vector, count, 0, 0));
  };
  CHECK_RESULT(-EINVAL, raw_preadv(parts, UIO_MAXIOV + 1));
  CHECK_RESULT(-EINVAL, raw_preadv(parts, -1));
  CHECK_RESULT(-EFAULT, raw_preadv(reinterpret_cast<void*>(8), 1));
  CHECK(map.allocated() == 0, "a refused vector mapped pages");
  for (std::uint64_t i = 0; i < 8; i++) parts[i] = {map.page(i * 2), kPageSize * (1 + i % 2)};
  CHECK_RESULT(12 * kPageBytes,
               result_of(preadv(map.fd(), parts, 8, EXMAP_OP_OFFSET(1, EXMAP_OP_READ))));
  for (std::uint64_t i = 0; i < 8; i++)
    for (std::uint64_t k = 0; k < 1 + i % 2; k++)
      CHECK(page_holds(map.page(i * 2 + k), i * 2 + k + 1), "page %llu shows 0x%llx",
            ull(i * 2 + k), ull(*map.word(i * 2 + k)));
  CHECK_RESULT(0, map.free(0, 0, 20));
}

//! What a write sends is what the page held; pages that are not mapped are not written and not
//! mapped by it.
void writes(const Exmap& map, int file) {
  CHECK_RESULT(0, map.alloc(0, 10, 2));
  fill_page(map.page(10), 1010);
  fill_page(map.page(11), 1111);
  CHECK_RESULT(2 * kPageBytes, result_of(pwrite(map.fd(), map.page(10), 2 * kPageSize,
                                                EXMAP_OP_OFFSET(0, EXMAP_OP_WRITE))));
  alignas(8) char seen[kPageSize];
  for (const std::uint64_t page : {10, 11}) {
    CHECK_RESULT(kPageBytes,
                 result_of(pread(file, seen, kPageSize, static_cast<off_t>(page * kPageSize))));
    CHECK(page_holds(seen, page * 101), "page %llu did not reach the file", ull(page));
  }
  CHECK_REFUSED(
      result_of(pwrite(map.fd(), map.page(20), kPageSize, EXMAP_OP_OFFSET(0, EXMAP_OP_WRITE))));
  CHECK(map.allocated() == 2, "a write of an unmapped page mapped it");
  CHECK_RESULT(kPageBytes, result_of(pread(file, seen, kPageSize, 20 * kPageSize)));
  CHECK(page_holds(seen, 21), "a write of an unmapped page changed the file");
  CHECK_RESULT(0, map.free(0, 10, 2));
}

//! A file to whose end every write goes has no place for a page.
void appending(int file) {
  const Exmap map({.frames = 8, .area_pages = kAreaPages, .backing_fd = file});
  CHECK_RESULT(0, map.alloc(0, 3));
  fill_page(map.page(3), 0x333);
  const auto write_it = [&] {
    return result_of(pwrite(map.fd(), map.page(3), kPageSize, EXMAP_OP_OFFSET(0, EXMAP_OP_WRITE)));
  };
  const int before = fcntl(file, F_GETFL);
  CHECK_RESULT(0, result_of(fcntl(file, F_SETFL, before | O_APPEND)));
  CHECK_RESULT(-EINVAL, write_it());
  CHECK_RESULT(static_cast<long long>(kFilePages * kPageSize), result_of(lseek(file, 0, SEEK_END)));
  CHECK_RESULT(kPageBytes, result_of(pread(map.fd(), map.page(4), kPageSize, 0)));
  CHECK_RESULT(0, result_of(fcntl(file, F_SETFL, before)));
  CHECK_RESULT(kPageBytes, write_it());
  alignas(8) char seen[kPageSize];
  CHECK_RESULT(kPageBytes, result_of(pread(file, seen, kPageSize, 3 * kPageSize)));
  CHECK(page_holds(seen, 0x333), "page 3 did not reach the file");
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  std::memset(heap, 0x77, sizeof heap);
  const Ledger ledger;
  {
    const int file = memory_file(kFilePages);
    const Exmap map(
        {.frames = kFrames, .interfaces = 2, .area_pages = kAreaPages, .backing_fd = file});
    addresses_and_lengths(map);
    interfaces_and_opcodes(map);
    vectors(map);
    writes(map, file);
    map.check_all_frames(0, kFrames);
    appending(file);
    close(file);
  }
  ledger.check_balanced();
  return 0;
}
