// SPDX-License-Identifier: MIT
//
// What a worker's turn brings. The storage is a device without a clock: it completes a transfer for each question, and as
// many as are waited for.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "support/options.hpp"
#include "support/wrapped_storage.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

constexpr unsigned kTasks = 64;
constexpr PageId kPages = 2000;

//! How the queues were used while reads were measured.
struct Uses {
  std::uint64_t waits = 0;  //!< calls that were to wait
};

class SteppingQueue final : public IoQueue {
 public:
  SteppingQueue(Storage& inner, unsigned depth, Uses& uses) : _inner(inner), _depth(depth), _uses(uses) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override { return static_cast<unsigned>(_under_way.size()); }
  void submit(std::span<IoRequest* const> requests) override {
    _under_way.insert(_under_way.end(), requests.begin(), requests.end());
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for, std::uint64_t timeout_ns) override {
    const bool waits = timeout_ns > 0 && wait_for > 0;
    _uses.waits += waits ? 1 : 0;
    const std::size_t most = std::min(completed.size(), _under_way.size());
    const std::size_t n = std::min<std::size_t>(most, waits ? wait_for : 1);
    for (std::size_t i = 0; i < n; ++i) {
      IoRequest& request = *_under_way.front();
      _under_way.pop_front();
      request.error = request.op == IoRequest::Op::kRead ? _inner.read(request.offset, {request.data, request.bytes})
                                                         : _inner.write(request.offset, {request.data, request.bytes});
      completed[i] = &request;
    }
    return n;
  }

 private:
  Storage& _inner;
  const unsigned _depth;
  Uses& _uses;
  std::deque<IoRequest*> _under_way;
};

class SteppingStorage final : public test::WrappedStorage {
 public:
  SteppingStorage(std::unique_ptr<Storage> inner, Uses& uses) : WrappedStorage(std::move(inner)), _uses(uses) {}
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<SteppingQueue>(inner(), depth, _uses);
  }
  [[nodiscard]] std::string description() const override { return "stepping " + inner().description(); }

 private:
  Uses& _uses;
};

PoolOptions stepping_pool(const TempFile& file, Uses& uses) {
  PoolOptions options = small_pool(file, 512);
  options.io_depth = kTasks;
  test::wrap_storage<SteppingStorage>(options, uses);
  return options;
}

Task<> write_numbers(Worker& worker) {
  for (PageId i = 1; i <= kPages; ++i) {
    const ExclusiveGuard guard = co_await worker.allocate();
    *guard.as<std::uint64_t>() = guard.page_id();
  }
}

Task<> read_numbers(Worker& worker, unsigned first) {
  for (PageId id = first; id <= kPages; id += kTasks) {
    const SharedGuard guard = co_await worker.fix_shared(id);
    EXPECT_EQ(*guard.as<std::uint64_t>(), id);
  }
}

TEST(Turn, BringsAQuarterOfWhatIsInFlight) {
  const TempFile file;
  Uses uses;
  BufferPool pool(stepping_pool(file, uses));
  Worker worker(pool);
  worker.spawn(write_numbers(worker));
  worker.run();
  pool.checkpoint();  // so that evictions write nothing, and every submission is of reads
  const PoolStats before = pool.stats();
  const std::uint64_t waits_before = uses.waits;
  for (unsigned first = 1; first <= kTasks; ++first) worker.spawn(read_numbers(worker, first));
  worker.run();
  const PoolStats after = pool.stats();
  const std::uint64_t reads = after.reads - before.reads;
  ASSERT_GT(reads, kPages / 2) << "most pages had left the pool";
  // kTasks / 4 in the middle of the run; at both ends there are fewer tasks.
  constexpr std::uint64_t kReadsATurn = kTasks / 8;
  EXPECT_LT((after.submissions - before.submissions) * kReadsATurn, reads);
  EXPECT_LT((uses.waits - waits_before) * kReadsATurn, reads);
}

}  // namespace
}  // namespace vmcache
