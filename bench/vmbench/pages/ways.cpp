// SPDX-License-Identifier: MIT
#include "pages/ways.hpp"

namespace vmbench {

namespace {

constexpr WayEntry kWays[] = {
    {"madvise", "one MADV_DONTNEED a page, first touch", false, make_madvise_way},
    {"process_madvise", "one MADV_DONTNEED vector a batch on the process itself, first touch", true,
     make_process_madvise_way},
    {"merged", "batch sorted, one MADV_DONTNEED a run of neighbours, first touch", true,
     make_merged_way},
    {"populate", "as process_madvise (or merged), then one MADV_POPULATE_WRITE a run of neighbours",
     true, make_populate_way},
    {"populate_vector", "as process_madvise, then MADV_POPULATE_WRITE as one vector", true,
     make_populate_vector_way},
    {"uffd_move", "UFFDIO_MOVE of the frame from the evicted page to the loaded one", true,
     make_uffd_move_way},
    {"exmap", "the exmap module: one FREE and one ALLOC a batch", true, make_exmap_way},
};

}  // namespace

std::span<const WayEntry> all_ways() {
  return kWays;
}

}  // namespace vmbench
