// SPDX-License-Identifier: MIT
// uring_cmd reads, writes, allocates and frees pages as the other calls do: batches of them, from
// io_uring's own worker as well, with every bad field refused in the completion.
#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFilePages = 64, kFrames = 32;

int run(io_uring& ring, int fd, std::uint32_t operation, void* address, std::size_t bytes,
        unsigned flags = 0) {
  io_uring_sqe_set_flags(prepare_command(ring, fd, operation, address, bytes), flags);
  CHECK(io_uring_submit(&ring) == 1, "io_uring_submit");
  return reap_one(ring).result;
}

void read_batch(io_uring& ring, const Exmap& map, unsigned flags) {
  for (std::uint64_t i = 0; i < 16; i++)
    io_uring_sqe_set_flags(prepare_command(ring, map.fd(), EXMAP_OP_OFFSET(i % 2, EXMAP_OP_READ),
                                           map.page(i * 3), kPageSize),
                           flags);
  CHECK(io_uring_submit(&ring) == 16, "io_uring_submit");
  for (int i = 0; i < 16; i++) CHECK_RESULT(kPageBytes, reap_one(ring).result);
  for (std::uint64_t i = 0; i < 16; i++)
    CHECK(page_holds(map.page(i * 3), i * 3 + 1), "page %llu shows 0x%llx", ull(i * 3),
          ull(*map.word(i * 3)));
  for (std::uint64_t i = 0; i < 16; i++) CHECK_RESULT(0, map.free(0, i * 3));
}

void refuse(io_uring& ring, const Exmap& map) {
  alignas(4096) static char heap[kPageSize];
  std::memset(heap, 0x77, sizeof heap);
  const struct {
    std::uint32_t operation;
    void* address;
    std::size_t bytes;
  } wrong[] = {
      {EXMAP_OP_OFFSET(2, EXMAP_OP_READ), map.page(0), kPageSize},
      {EXMAP_OP_OFFSET(65535, EXMAP_OP_READ), map.page(0), kPageSize},
      {EXMAP_OP_OFFSET(0, 4), map.page(0), kPageSize},
      {EXMAP_OP_OFFSET(0, 255), map.page(0), kPageSize},
      {~0u, map.page(0), kPageSize},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(0) + 1, kPageSize},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(0), kPageSize - 1},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(0), kPageSize + 512},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(0), ~std::size_t{0} - 4095},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(map.area_pages()), kPageSize},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(map.area_pages() - 1), kPageSize * 2},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), heap, kPageSize},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), nullptr, kPageSize},
      {EXMAP_OP_OFFSET(0, EXMAP_OP_READ), reinterpret_cast<void*>(0xffff888000000000), kPageSize},
  };
  for (const auto& [operation, address, bytes] : wrong) {
    const int result = run(ring, map.fd(), operation, address, bytes);
    CHECK(result < 0, "cmd_op 0x%x, address %p, %zu bytes gave %d", operation, address, bytes,
          result);
    CHECK(map.allocated() == 0, "a refused uring_cmd (cmd_op 0x%x) mapped pages", operation);
  }
  CHECK(page_holds(heap, 0x7777777777777777), "a read reached memory that is not the area");
}

//! ALLOC at once, and ALLOC that has to wait for a table, a frame or a flush: one result, and all
//! or nothing.
void alloc_and_free(io_uring& ring, const Exmap& map) {
  constexpr std::uint64_t kBorder = 512 * 3;  // between two page tables, if there are any yet
  const auto command = [&](unsigned opcode, std::uint64_t page, std::uint64_t pages) {
    return run(ring, map.fd(), EXMAP_OP_OFFSET(1, opcode), map.page(page), pages * kPageSize);
  };
  const auto bytes = [](std::uint64_t pages) { return static_cast<long long>(pages * kPageSize); };
  CHECK_RESULT(0, command(EXMAP_OP_ALLOC, 0, 0));
  CHECK_RESULT(bytes(8), command(EXMAP_OP_ALLOC, kBorder - 4, 8));
  CHECK_RESULT(bytes(8), command(EXMAP_OP_ALLOC, kBorder - 4, 8));
  CHECK_RESULT(bytes(8), command(EXMAP_OP_ALLOC, kBorder, 8));
  CHECK(map.allocated() == 12, "%llu pages are mapped, not 12", ull(map.allocated()));
  // More than there are frames.
  for (const std::uint64_t first : {std::uint64_t{0}, kBorder, kBorder - 20})
    CHECK_RESULT(-ENOMEM, command(EXMAP_OP_ALLOC, first, kFrames + 1));
  CHECK(map.allocated() == 12, "a failed ALLOC left %llu pages mapped, not 12",
        ull(map.allocated()));
  // Now the frames are in other stocks, or mapped.
  CHECK_RESULT(0, map.alloc(0, 100, kFrames - 12));
  CHECK_RESULT(0, map.free(0, 100, kFrames - 12));
  CHECK_RESULT(bytes(kFrames - 12), command(EXMAP_OP_ALLOC, 0, kFrames - 12));
  CHECK_RESULT(bytes(kFrames), command(EXMAP_OP_FREE, 0, kFrames));
  CHECK_RESULT(bytes(kFrames), command(EXMAP_OP_FREE, kBorder - 8, kFrames));
  CHECK(map.allocated() == 0, "%llu pages are mapped after FREE", ull(map.allocated()));
  if (map.flags() & EXMAP_SETUP_READ_FAULT_ZERO) {
    CHECK(*map.word(3) == 0, "an unmapped page shows 0x%llx", ull(*map.word(3)));
    CHECK_RESULT(bytes(8), command(EXMAP_OP_ALLOC, 0, 8));
    for (std::uint64_t page = 0; page < 8; page++) fill_page(map.page(page), page + 7);
    for (std::uint64_t page = 0; page < 8; page++)
      CHECK(page_holds(map.page(page), page + 7), "page %llu is not its own", ull(page));
    CHECK_RESULT(bytes(8), command(EXMAP_OP_FREE, 0, 8));
  }
}

//! A ring that polls for completions: works where the module says so, and is refused, not stuck,
//! where not.
void polled(const Exmap& map, bool offered) {
  io_uring ring{};
  CHECK(io_uring_queue_init(4, &ring, IORING_SETUP_IOPOLL) == 0, "io_uring_queue_init");
  const int result = run(ring, map.fd(), EXMAP_OP_OFFSET(0, EXMAP_OP_READ), map.page(5), kPageSize);
  if (offered) {
    CHECK_RESULT(kPageBytes, result);
    CHECK(page_holds(map.page(5), 6), "a polled read brought 0x%llx", ull(*map.word(5)));
    CHECK_RESULT(0, map.free(0, 5));
  } else {
    CHECK(result < 0, "a polled read gave %d though it is not offered", result);
  }
  io_uring_queue_exit(&ring);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  {
    const int file = memory_file(kFilePages);
    const Exmap map({.frames = kFrames, .interfaces = 2, .area_pages = 256, .backing_fd = file});
    exmap_query query{};
    query.size = sizeof query;
    CHECK_RESULT(0, result_of(ioctl(map.fd(), EXMAP_IOCTL_QUERY, &query)));
    CHECK(query.features & EXMAP_FEATURE_URING_CMD, "the module does not offer uring_cmd");
    io_uring ring{};
    CHECK(io_uring_queue_init(32, &ring, 0) == 0, "io_uring_queue_init");
    const std::uint64_t rounds = options.scaled("rounds of 16 reads", 50);
    for (std::uint64_t i = 0; i < rounds; i++) read_batch(ring, map, i % 2 ? IOSQE_ASYNC : 0);
    refuse(ring, map);
    polled(map, query.features & EXMAP_FEATURE_URING_IOPOLL);
    if (query.opcodes_uring & 1u << EXMAP_OP_ALLOC) {
      CHECK_RESULT(2 * kPageBytes, run(ring, map.fd(), EXMAP_OP_OFFSET(1, EXMAP_OP_ALLOC),
                                       map.page(8), 2 * kPageSize));
      CHECK(map.allocated() == 2, "ALLOC by uring_cmd mapped %llu of 2 pages",
            ull(map.allocated()));
      fill_page(map.page(8), 88);
      fill_page(map.page(9), 99);
    } else {
      CHECK_RESULT(0, map.alloc(0, 8, 2));
    }
    if (query.opcodes_uring & 1u << EXMAP_OP_WRITE) {
      fill_page(map.page(8), 88);
      CHECK_RESULT(kPageBytes,
                   run(ring, map.fd(), EXMAP_OP_OFFSET(1, EXMAP_OP_WRITE), map.page(8), kPageSize));
      alignas(8) char seen[kPageSize];
      CHECK_RESULT(kPageBytes, result_of(pread(file, seen, kPageSize, 8 * kPageSize)));
      CHECK(page_holds(seen, 88), "WRITE by uring_cmd did not reach the file");
    }
    CHECK_RESULT(0, map.free(0, 8, 2));
    map.check_all_frames(0, kFrames);
    for (const std::uint64_t flags :
         {std::uint64_t{0}, std::uint64_t{EXMAP_SETUP_READ_FAULT_ZERO}}) {
      const Exmap other({.frames = kFrames, .interfaces = 2, .area_pages = 4096, .flags = flags});
      alloc_and_free(ring, other);
      other.check_all_frames(0, kFrames);
    }
    io_uring_queue_exit(&ring);
    close(file);
  }
  ledger.check_balanced();
  return 0;
}
