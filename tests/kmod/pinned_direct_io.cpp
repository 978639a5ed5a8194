// SPDX-License-Identifier: MIT
// Pages freed while O_DIRECT I/O of theirs is under way: a write brings only the old owner's bytes
// to the device, a read lands in nobody else's page, and every frame comes back.
#include "uring_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kFrames = 32, kDepth = 16;
constexpr std::uint64_t kOldTag = 0x01d0000000000000u, kNextTag = 0x4e87000000000000u,
                        kDiskTag = 0xd15c000000000000u;

void submit(io_uring& ring, const Exmap& map, int device, bool writes) {
  for (unsigned i = 0; i < kDepth; i++) {
    io_uring_sqe* const request = io_uring_get_sqe(&ring);
    if (writes)
      io_uring_prep_write(request, device, map.page(i), kPageSize, i * kPageSize);
    else
      io_uring_prep_read(request, device, map.page(i), kPageSize, i * kPageSize);
  }
  CHECK(io_uring_submit(&ring) == static_cast<int>(kDepth), "io_uring_submit");
}

void reap(io_uring& ring) {
  for (unsigned i = 0; i < kDepth; i++) {
    const int result = reap_one(ring).result;
    CHECK(result == kPageBytes || result == -EFAULT, "I/O gave %d", result);
  }
}

//! The next owner takes what the pool gives while the old owner's I/O may still run.
std::uint64_t next_owner(const Exmap& map) {
  std::uint64_t mapped = 0;
  while (mapped < kFrames && map.alloc(0, 100 + mapped) == 0) {
    fill_page(map.page(100 + mapped), kNextTag + mapped);
    mapped++;
  }
  return mapped;
}

void one_round(const Exmap& map, io_uring& ring, int device, char* block, bool writes) {
  CHECK_RESULT(0, map.alloc(0, 0, kDepth));
  for (std::uint64_t i = 0; i < kDepth; i++) {
    fill_page(map.page(i), kOldTag + i);
    fill_page(block, kDiskTag + i);
    CHECK_RESULT(kPageBytes,
                 result_of(pwrite(device, block, kPageSize, static_cast<off_t>(i * kPageSize))));
  }
  submit(ring, map, device, writes);
  CHECK_RESULT(0, map.free(0, 0, kDepth));
  const std::uint64_t mapped = next_owner(map);
  reap(ring);
  for (std::uint64_t i = 0; i < mapped; i++)
    CHECK(page_holds(map.page(100 + i), kNextTag + i),
          "a direct read landed in the next owner's page (word 0x%llx)", ull(*map.word(100 + i)));
  for (std::uint64_t i = 0; i < kDepth; i++) {
    CHECK_RESULT(kPageBytes,
                 result_of(pread(device, block, kPageSize, static_cast<off_t>(i * kPageSize))));
    CHECK(page_holds(block, kDiskTag + i) || (writes && page_holds(block, kOldTag + i)),
          "the device holds 0x%llx in block %llu", ull(*reinterpret_cast<std::uint64_t*>(block)),
          ull(i));
  }
  CHECK_RESULT(0, map.free(0, 100, kFrames));
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::string path = options.text("device", "");
  if (path.empty()) SKIP("needs --device PATH, a block device or file that may be overwritten");
  const int device = open(path.c_str(), O_RDWR | O_DIRECT);
  CHECK(device >= 0, "open %s: %s", path.c_str(), strerror(errno));
  auto* const block = static_cast<char*>(std::aligned_alloc(kPageSize, kPageSize));
  const Ledger ledger;
  {
    io_uring ring{};
    CHECK(io_uring_queue_init(kDepth, &ring, 0) == 0, "io_uring_queue_init");
    const Exmap map({.frames = kFrames, .area_pages = 256});
    const std::uint64_t rounds =
        options.scaled("rounds of 16 direct requests, writes and reads by turns", 200);
    for (std::uint64_t i = 0; i < rounds; i++) one_round(map, ring, device, block, i % 2 == 0);
    map.check_all_frames(0, kFrames);
    io_uring_queue_exit(&ring);
  }
  std::free(block);
  ledger.check_balanced();
  return 0;
}
