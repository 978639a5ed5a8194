// SPDX-License-Identifier: MIT
#include "log/slices.hpp"

#include <chrono>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "common/clock.hpp"

namespace vmbench {

Slice run_slice(unsigned threads, double seconds, const SliceWork& work,
                const std::function<void()>& meanwhile) {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> ops{0};
  std::mutex error_lock;
  std::exception_ptr error;
  const auto guarded = [&](const std::function<void()>& body) {
    try {
      body();
    } catch (...) {
      stop = true;
      const std::lock_guard lock(error_lock);
      if (!error) error = std::current_exception();
    }
  };
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(seconds * 1e9);
  std::vector<std::thread> crew;
  for (unsigned i = 0; i < threads; i++)
    crew.emplace_back([&, i] { guarded([&] { ops += work(i, stop); }); });
  if (meanwhile) {
    guarded(meanwhile);
  } else {
    while (!stop && now_ns() < end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  stop = true;
  for (std::thread& thread : crew) thread.join();
  if (error) std::rethrow_exception(error);
  return {ops, static_cast<double>(now_ns() - start) * 1e-9};
}

}  // namespace vmbench
