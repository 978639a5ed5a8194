// SPDX-License-Identifier: MIT
//
// Commits a second, each waited for by its thread, by the number of threads. In turns with a loop
// that does nothing but to write as many bytes as the log writes for a group, and to flush: what
// the device allows one writer.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "common/clock.hpp"
#include "common/median.hpp"
#include "common/progress.hpp"
#include "common/random.hpp"
#include "log/bench_database.hpp"
#include "log/parts.hpp"
#include "log/slices.hpp"

namespace vmbench {

namespace {

constexpr std::size_t kBlock = 4096;

//! The device without a log: pwrite + fdatasync, one after the other, around in a file that has its
//! blocks already.
class RawLog {
 public:
  RawLog(const std::string& path, std::uint64_t bytes) : _bytes(bytes / kMax * kMax) {
    _fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_DIRECT, 0600);
    if (_fd < 0 && errno == EINVAL)
      _fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (_fd < 0) fail("opening", path);
    _block.reset(static_cast<std::byte*>(std::aligned_alloc(kBlock, kMax)));
    if (!_block) throw std::bad_alloc();
    std::memset(_block.get(), 'l', kMax);
    // Written, as the log's file is after its first round: what was never written costs the file
    // system more.
    for (std::uint64_t at = 0; at < _bytes; at += kMax)
      if (pwrite(_fd, _block.get(), kMax, static_cast<off_t>(at)) != static_cast<ssize_t>(kMax))
        fail("writing", path);
    if (fdatasync(_fd) != 0) fail("flushing", path);
  }
  ~RawLog() {
    if (_fd >= 0) close(_fd);
  }
  RawLog(const RawLog&) = delete;
  RawLog& operator=(const RawLog&) = delete;

  //! `bytes` is a multiple of 4 KiB up to 1 MiB.
  void write_and_flush(std::size_t bytes) {
    if (_at + bytes > _bytes) _at = 0;
    if (pwrite(_fd, _block.get(), bytes, static_cast<off_t>(_at)) != static_cast<ssize_t>(bytes))
      fail("writing", "raw file");
    if (fdatasync(_fd) != 0) fail("flushing", "raw file");
    _at += bytes;
  }

  static constexpr std::size_t kMax = std::size_t{1} << 20;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  [[noreturn]] static void fail(const char* what, const std::string& path) {
    throw std::runtime_error(fmt::format("{} {}: {}", what, path, std::strerror(errno)));
  }

  const std::uint64_t _bytes;
  int _fd = -1;
  std::uint64_t _at = 0;
  std::unique_ptr<std::byte, Free> _block;
};

//! What the slices of one number of threads add up to.
struct Sums {
  std::vector<double> commits_per_s, flushes_per_s, device_per_s;
  Histogram latency;
  std::uint64_t commits = 0, flushes = 0, log_bytes = 0, device_bytes = 0;
  double seconds = 0;
};

void commit_slice(vmcache::Database& database, const LogBenchOptions& options, unsigned threads,
                  std::uint64_t round, Sums& sums) {
  const KeySpace keys(options.records());
  std::vector<Histogram> latencies(threads);
  const std::uint64_t flushes = database.log().flushes();
  const vmcache::Lsn end = database.log().end();
  const Slice slice =
      run_slice(threads, options.seconds, [&](unsigned thread, const std::atomic<bool>& stop) {
        SplitMix64 random(SplitMix64::mix(options.seed + round * 1024 + thread));
        std::uint64_t done = 0;
        for (; !stop; done++) {
          const std::uint64_t start = now_ns();
          database.log().wait_durable(
              update_no_wait(database, keys.key(random.below(keys.loaded())), random.next()));
          latencies[thread].add(now_ns() - start);
        }
        return done;
      });
  const std::uint64_t flushed = database.log().flushes() - flushes;
  sums.commits_per_s.push_back(slice.ops_per_s());
  sums.flushes_per_s.push_back(static_cast<double>(flushed) / slice.seconds);
  for (const Histogram& latency : latencies) sums.latency += latency;
  sums.commits += slice.ops;
  sums.flushes += flushed;
  sums.log_bytes += database.log().end() - end;
  sums.seconds += slice.seconds;
}

void device_slice(RawLog& raw, const LogBenchOptions& options, Sums& sums) {
  // The log writes whole pages, the one that it has begun again.
  const std::uint64_t group_bytes = sums.flushes == 0 ? 0 : sums.log_bytes / sums.flushes;
  sums.device_bytes =
      std::min<std::uint64_t>((group_bytes + kBlock) / kBlock * kBlock, RawLog::kMax);
  const Slice slice =
      run_slice(1, options.seconds, [&](unsigned /*thread*/, const std::atomic<bool>& stop) {
        std::uint64_t done = 0;
        for (; !stop; done++) raw.write_and_flush(sums.device_bytes);
        return done;
      });
  sums.device_per_s.push_back(slice.ops_per_s());
}

Json row_of(unsigned threads, const Sums& sums) {
  const double flushes = median(sums.flushes_per_s), device = median(sums.device_per_s);
  return Json{
      {"part", "commits"},
      {"threads", threads},
      {"commits", sums.commits},
      {"commits_per_s", median(sums.commits_per_s)},
      {"p50_us", sums.latency.quantile_ns(0.5) / 1000},
      {"p99_us", sums.latency.quantile_ns(0.99) / 1000},
      {"max_us", sums.latency.quantile_ns(1) / 1000},
      {"commits_per_flush", static_cast<double>(sums.commits) /
                                static_cast<double>(std::max<std::uint64_t>(sums.flushes, 1))},
      {"log_bytes_per_commit", static_cast<double>(sums.log_bytes) /
                                   static_cast<double>(std::max<std::uint64_t>(sums.commits, 1))},
      {"log_mib_per_s", static_cast<double>(sums.log_bytes) / sums.seconds / (1 << 20)},
      {"flushes_per_s", flushes},
      {"device_write_bytes", sums.device_bytes},
      {"device_flushes_per_s", device},
      {"of_device", device > 0 ? flushes / device : 0}};
}

}  // namespace

Json measure_commits(const LogBenchOptions& options) {
  vmcache::Database database(database_options(options));
  load(database, options);
  log_images(database, options);
  RawLog raw(options.file + ".raw", std::uint64_t{64} << 20);
  Progress progress;
  std::vector<Sums> sums(options.threads.size());
  for (unsigned round = 0; round < options.rounds; round++) {
    for (std::size_t i = 0; i < sums.size(); i++) {
      progress.show(fmt::format("commits: round {} of {}, {} threads", round + 1, options.rounds,
                                options.threads[i]));
      commit_slice(database, options, options.threads[i], round, sums[i]);
      device_slice(raw, options, sums[i]);
    }
  }
  Json rows = Json::array();
  for (std::size_t i = 0; i < sums.size(); i++) rows.push_back(row_of(options.threads[i], sums[i]));
  database.close();
  return rows;
}

}  // namespace vmbench
