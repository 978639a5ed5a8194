// SPDX-License-Identifier: MIT
#include "io/rungs.hpp"

#include <array>

namespace vmbench {

namespace {

using On = Rung::On;
using Via = Rung::Via;

constexpr RingOptions kAll{.files = true, .buffers = true, .deferred = true, .polled = true};
constexpr RingOptions kAllPassthrough{
    .files = true, .buffers = true, .deferred = true, .polled = true, .passthrough = true};
// Deferred task run and a thread that submits exclude each other.
constexpr RingOptions kThreadPassthrough{
    .files = true, .buffers = true, .polled = true, .sqpoll = true, .passthrough = true};

// From the top of the stack down. A rung differs from its family's first in what its name adds.
constexpr std::array kRungs{
    Rung{"pread", "blocking pread through the page cache", On::kTop, Via::kPread},
    Rung{"pread-direct", "blocking pread with O_DIRECT", On::kTop, Via::kPreadDirect},
    Rung{"mmap", "a copy out of the mapped file", On::kTop, Via::kMmap},
    Rung{"uring-fs", "io_uring, O_DIRECT, on a file", On::kFile},
    Rung{"uring-md", "the same without the file system, on an md array", On::kArray},
    Rung{"uring", "the same without md: the bench stripes over the block devices"},
    Rung{"uring-files",
         "uring with registered files and ring",
         On::kDisks,
         Via::kRing,
         {.files = true}},
    Rung{"uring-buffers",
         "uring with registered buffers",
         On::kDisks,
         Via::kRing,
         {.buffers = true}},
    Rung{"uring-deferred",
         "uring with a single issuer and deferred task run",
         On::kDisks,
         Via::kRing,
         {.deferred = true}},
    Rung{"uring-polled", "uring with polled completions", On::kDisks, Via::kRing, {.polled = true}},
    Rung{"uring-sqpoll",
         "uring with a kernel thread that polls for submissions",
         On::kDisks,
         Via::kRing,
         {.sqpoll = true}},
    Rung{"uring-all", "uring with files, ring and buffers registered, deferred, polled", On::kDisks,
         Via::kRing, kAll},
    Rung{"passthrough",
         "NVMe commands through io_uring, on the character devices",
         On::kDisks,
         Via::kRing,
         {.passthrough = true}},
    Rung{"passthrough-buffers",
         "passthrough with registered buffers",
         On::kDisks,
         Via::kRing,
         {.buffers = true, .passthrough = true}},
    Rung{"passthrough-polled",
         "passthrough with polled completions",
         On::kDisks,
         Via::kRing,
         {.polled = true, .passthrough = true}},
    Rung{"passthrough-all", "passthrough with files, ring and buffers registered, deferred, polled",
         On::kDisks, Via::kRing, kAllPassthrough},
    Rung{"passthrough-sqpoll", "passthrough-all, submitted and polled by a kernel thread",
         On::kDisks, Via::kRing, kThreadPassthrough},
    Rung{"vmcache-uring",
         "the library's own storage: files and ring registered, deferred",
         On::kDisks,
         Via::kLibrary,
         {.files = true, .deferred = true}},
    Rung{"vmcache-passthrough",
         "the library's own storage: files and ring registered, deferred, polled",
         On::kDisks,
         Via::kLibrary,
         {.files = true, .deferred = true, .polled = true, .passthrough = true}},
    Rung{"vmcache-passthrough-registered",
         "the same into registered memory, as exmap's frames are",
         On::kDisks,
         Via::kLibrary,
         {.files = true, .buffers = true, .deferred = true, .polled = true, .passthrough = true}},
    Rung{"vmcache-pool",
         "misses of a pool on exmap: a task, an eviction, page-table calls, over "
         "vmcache-passthrough",
         On::kDisks,
         Via::kPool,
         {.files = true, .deferred = true, .polled = true, .passthrough = true}},
    Rung{"vmcache-pool-registered",
         "the same with the frames registered",
         On::kDisks,
         Via::kPool,
         {.files = true, .buffers = true, .deferred = true, .polled = true, .passthrough = true}},
};

}  // namespace

std::span<const Rung> all_rungs() {
  return kRungs;
}

std::unique_ptr<IoWay> make_way(const Rung& rung, IoLane& lane) {
  switch (rung.via) {
    case Via::kPread:
      return make_pread_way(lane, false);
    case Via::kPreadDirect:
      return make_pread_way(lane, true);
    case Via::kMmap:
      return make_mmap_way(lane);
    case Via::kRing:
      return make_ring_way(lane, rung.ring);
    case Via::kLibrary:
      return make_library_way(lane, rung.ring);
    case Via::kPool:
      return make_pool_way(lane, rung.ring);
    case Via::kNull:
      return make_null_way(lane);
  }
  __builtin_unreachable();
}

}  // namespace vmbench
