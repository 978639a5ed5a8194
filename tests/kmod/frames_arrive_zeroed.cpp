// SPDX-License-Identifier: MIT
// A frame is zero in all 4096 bytes when a process first sees it, whoever had the memory before:
// this process's heap, another process's exmap, or a grown pool. What is recycled stays within its
// process.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kSecret = 0x5ec7e75ec7e75ec7u;

void dirty_free_memory(std::size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(memory != MAP_FAILED, "mmap: %s", strerror(errno));
  auto* words = static_cast<std::uint64_t*>(memory);
  for (std::size_t i = 0; i < bytes / 8; i++) words[i] = kSecret;
  munmap(memory, bytes);
}

void take_all(const Exmap& map, std::uint64_t frames, bool leave_secrets) {
  for (std::uint64_t page = 0; page < frames; page++) {
    CHECK_RESULT(0, map.alloc(0, page));
    CHECK(page_holds(map.page(page), 0), "a new frame shows 0x%llx", ull(*map.word(page)));
  }
  for (std::uint64_t page = 0; leave_secrets && page < frames; page++)
    fill_page(map.page(page), kSecret);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const Ledger ledger;
  const std::uint64_t frames = options.scaled("frames a pool", 8192);
  dirty_free_memory(frames * kPageSize * 2);
  for (int i = 0; i < 3; i++)
    in_child("a process of its own", [&] {
      const Exmap map({.frames = frames});
      take_all(map, frames, true);
    });
  {  // within one process: two exmaps are two pools
    const Exmap one({.frames = 512});
    take_all(one, 512, true);
    CHECK_RESULT(0, one.free(0, 0, 512));
    const Exmap two({.frames = 512});
    take_all(two, 512, true);
  }
  const Exmap again({.frames = frames});
  take_all(again, frames, false);
  return 0;
}
