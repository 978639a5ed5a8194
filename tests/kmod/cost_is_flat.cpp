// SPDX-License-Identifier: MIT
// The cost of a page does not grow with the number of resident pages: the same batches, beside few
// and beside many.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

constexpr std::uint64_t kBatchPages = 64;

//! The fastest of many batches: what else runs on the machine only ever adds.
double batch_ns_min(const Exmap& map, std::uint64_t first_page, std::uint64_t batches,
                    Random& random) {
  Run runs[kBatchPages];
  double best_ns = 1e18;
  for (std::uint64_t i = 0; i < batches; i++) {
    for (std::uint64_t k = 0; k < kBatchPages; k++)
      runs[k] = {first_page + k * 512 + random.below(512), 1};
    const double start = seconds_now();
    CHECK_RESULT(0, map.batch(0, EXMAP_OP_ALLOC, runs, kBatchPages));
    for (std::uint64_t k = 0; k < kBatchPages; k++) *map.word(runs[k].page) = k;
    for (std::uint64_t k = 0; k < kBatchPages; k++) {
      exmap_iov iov{};
      iov.page = runs[k].page;
      iov.len = 1;
      map.entry(0, static_cast<int>(k)).value = iov.value;
    }
    CHECK_RESULT(0, map.action(0, EXMAP_OP_FREE, kBatchPages));
    best_ns = std::min(best_ns, (seconds_now() - start) * 1e9);
  }
  return best_ns;
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  const std::uint64_t resident = options.scaled("resident pages at most", 100000);
  const std::uint64_t batches = 300;
  const std::uint64_t churn_pages = kBatchPages * 512;
  Random random(options.number("seed", 1));
  const Exmap map({.frames = resident + 256, .area_pages = resident + churn_pages});
  batch_ns_min(map, resident, batches, random);  // page tables come into being
  const double beside_few_ns = batch_ns_min(map, resident, batches, random);
  for (std::uint64_t page = 0; page < resident; page += 1000)
    CHECK_RESULT(0, map.alloc(0, page, std::min<std::uint64_t>(1000, resident - page)));
  const double beside_many_ns = batch_ns_min(map, resident, batches, random);
  const double ratio = beside_many_ns / beside_few_ns;
  std::printf("# a page: %.0f ns beside none, %.0f ns beside %llu resident, ratio %.2f\n",
              beside_few_ns / kBatchPages, beside_many_ns / kBatchPages, ull(resident), ratio);
  CHECK(ratio < 2.0, "a page costs %.2f times as much beside %llu resident pages", ratio,
        ull(resident));
  return 0;
}
