// SPDX-License-Identifier: MIT
//
// What a scan of a table reads a second, beside dd, beside a program that does nothing but read the
// file, and beside a loop over fix_shared(). While the pool's rows read, somebody else uses a set
// of pages that fills half of the pool; the last column says how many of these uses were misses.
//
// usage: scan_bench FILE [DATA_MIB [POOL_MIB [ROUNDS]]]       FILE is made, and removed
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "common/median.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/scan.hpp"

namespace {

using vmcache::BufferPool;
using vmcache::File;
using vmcache::kPageSize;
using vmcache::Scan;

constexpr std::uint64_t kMiB = 1 << 20;

struct Sizes {
  std::string file;
  std::uint64_t data_pages = 0;
  std::uint64_t pool_pages = 0;
};

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(errno)));
}

std::int64_t run_dd(const Sizes& sizes) {
  std::string input = "if=" + sizes.file;
  std::vector<std::string> arguments{"dd",    input,          "of=/dev/null",
                                     "bs=1M", "iflag=direct", "status=none"};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  int status = 0;
  if (posix_spawnp(&child, "dd", nullptr, nullptr, argv.data(), environ) != 0 ||
      waitpid(child, &status, 0) != child || status != 0)
    throw std::runtime_error("dd failed");
  return -1;
}

//! With one transfer under way at a time, as dd.
std::int64_t run_read(const Sizes& sizes) {
  const int fd = ::open(sizes.file.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) fail(sizes.file);
  const std::unique_ptr<void, decltype(&std::free)> buffer(std::aligned_alloc(kPageSize, kMiB),
                                                           &std::free);
  ssize_t got = 0;
  do {
    got = ::read(fd, buffer.get(), kMiB);
  } while (got > 0);
  ::close(fd);
  if (got < 0) fail(sizes.file);
  return -1;
}

//! What the pool's rows have in common: a pool, the table, and the pages that others use.
class Pool {
 public:
  explicit Pool(const Sizes& sizes)
      : _pool(options(sizes)),
        _table(_pool.open_file({.path = sizes.file, .capacity_bytes = capacity(sizes)})),
        _used(_pool.open_temporary()),
        _used_pages(sizes.pool_pages / 2) {
    _used.resize(_used_pages * kPageSize);
    use_others();
    use_others();
    misses = 0;
  }

  BufferPool& pool() { return _pool; }
  const File& table() { return _table; }
  //! Uses the other pages once, each.
  void use_others() {
    const std::uint64_t before = _pool.stats().misses;
    for (std::uint64_t page = 0; page < _used_pages; ++page)
      (void)_pool.fix_shared(_used.page_id(page));
    misses += _pool.stats().misses - before;
  }

  std::uint64_t misses = 0;

 private:
  static std::uint64_t capacity(const Sizes& sizes) { return sizes.data_pages * kPageSize; }
  static vmcache::PoolOptions options(const Sizes& sizes) {
    constexpr std::uint64_t kRange = vmcache::PoolOptions::kFileRangeBytes;
    vmcache::PoolOptions options;
    options.pool_bytes = sizes.pool_pages * kPageSize;
    options.files_bytes = (capacity(sizes) + kRange - 1) / kRange * kRange + kRange;
    return options;
  }

  BufferPool _pool;
  File _table;
  File _used;
  std::uint64_t _used_pages;
};

std::uint64_t sum_of(const vmcache::SharedGuard& page) {
  return *page.as<std::uint64_t>();
}

std::uint64_t by_scan(Pool& pool, std::uint64_t first, std::uint64_t pages) {
  std::uint64_t sum = 0;
  for (Scan scan(pool.pool(), pool.table().page_id(first), pages); scan.next();)
    sum += sum_of(scan.page());
  return sum;
}

std::uint64_t by_fixes(Pool& pool, std::uint64_t first, std::uint64_t pages) {
  std::uint64_t sum = 0;
  for (std::uint64_t page = first; page < first + pages; ++page)
    sum += sum_of(pool.pool().fix_shared(pool.table().page_id(page)));
  return sum;
}

struct Row {
  std::string name;
  //! Returns the misses of others, or -1.
  std::function<std::int64_t(const Sizes&)> run;
  std::vector<double> seconds;
  std::vector<double> cpu_seconds;
  std::int64_t misses = -1;
};

//! Of this process and of those that it has waited for.
double cpu_seconds() {
  double seconds = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage used{};
    if (::getrusage(who, &used) != 0) continue;
    for (const timeval& part : {used.ru_utime, used.ru_stime})
      seconds += static_cast<double>(part.tv_sec) + static_cast<double>(part.tv_usec) * 1e-6;
  }
  return seconds;
}

std::int64_t in_parts(const Sizes& sizes,
                      std::uint64_t (*part)(Pool&, std::uint64_t, std::uint64_t)) {
  constexpr std::uint64_t kParts = 16;
  Pool pool(sizes);
  std::uint64_t sum = 0;
  for (std::uint64_t n = 0; n < kParts; ++n) {
    const std::uint64_t first = sizes.data_pages * n / kParts;
    sum += part(pool, first, sizes.data_pages * (n + 1) / kParts - first);
    pool.use_others();
  }
  if (sum != sizes.data_pages * (sizes.data_pages - 1) / 2)
    throw std::runtime_error("the pages are not those of the file");
  return static_cast<std::int64_t>(pool.misses);
}

//! Removes the file that it has made.
struct Removed {
  const std::string& file;
  ~Removed() { (void)::unlink(file.c_str()); }
};

//! Each page begins with its number. The file must not be there.
void make_file(const Sizes& sizes) {
  const int fd = ::open(sizes.file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) fail(sizes.file);
  std::vector<std::uint64_t> block(kMiB / sizeof(std::uint64_t));
  for (std::uint64_t page = 0; page < sizes.data_pages;) {
    for (std::size_t at = 0; at < block.size(); at += kPageSize / sizeof(std::uint64_t))
      block[at] = page++;
    if (::write(fd, block.data(), kMiB) != static_cast<ssize_t>(kMiB)) fail(sizes.file);
  }
  if (::fdatasync(fd) != 0) fail(sizes.file);
  (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

void run(const Sizes& sizes, unsigned rounds) {
  std::vector<Row> rows{
      {"dd bs=1M iflag=direct", run_dd, {}, {}, -1},
      {"read, 1 MiB, O_DIRECT", run_read, {}, {}, -1},
      {"Scan", [](const Sizes& s) { return in_parts(s, by_scan); }, {}, {}, -1},
      {"fix_shared in a loop", [](const Sizes& s) { return in_parts(s, by_fixes); }, {}, {}, -1}};
  make_file(sizes);
  const Removed removed{sizes.file};
  for (unsigned round = 0; round < rounds; ++round) {  // by turns: machines change their speed
    for (Row& row : rows) {
      const auto start = std::chrono::steady_clock::now();
      const double cpu_start = cpu_seconds();
      row.misses = row.run(sizes);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      row.seconds.push_back(took.count());
      row.cpu_seconds.push_back(cpu_seconds() - cpu_start);
    }
  }
  const double mib = static_cast<double>(sizes.data_pages * kPageSize) / kMiB;
  const auto speed = [&](const Row& row) { return mib / vmbench::median(row.seconds); };
  fmt::print("{:<24}{:>10}{:>12}{:>14}{:>20}\n", "", "MiB/s", "of dd", "CPU ms/MiB",
             "misses of others");
  for (const Row& row : rows) {
    fmt::print("{:<24}{:>10.0f}{:>11.0f}%{:>14.2f}{:>20}\n", row.name, speed(row),
               100 * speed(row) / speed(rows[0]), 1000 * vmbench::median(row.cpu_seconds) / mib,
               row.misses < 0 ? std::string("-") : fmt::format("{}", row.misses));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 5) {
    fmt::print(stderr, "usage: scan_bench FILE [DATA_MIB [POOL_MIB [ROUNDS]]]\n");
    return 2;
  }
  const auto number = [&](int n, std::uint64_t otherwise) {
    return argc > n ? std::strtoull(argv[n], nullptr, 10) : otherwise;
  };
  const Sizes sizes{argv[1], number(2, 1024) * kMiB / kPageSize, number(3, 64) * kMiB / kPageSize};
  try {
    run(sizes, static_cast<unsigned>(number(4, 5)));
  } catch (const std::exception& error) {
    fmt::print(stderr, "scan_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
