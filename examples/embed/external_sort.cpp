// SPDX-License-Identifier: MIT
//
// Sorts the lines of a file that is larger than memory: an external merge sort over temporary
// pages of a pool.
//
// usage: external_sort INPUT OUTPUT [POOL_MIB]
//          writes the lines of INPUT to OUTPUT, in the order of their bytes; POOL_MIB: memory for
//          pages, 4 to 1048576 (16)
//
// It reads as many lines as half of the pool has room for, sorts them, and appends them to a
// temporary file: a run. Then it merges all runs, and reads each page of a run once. Until memory
// is short no page of a run is written at all: the pool decides, not the sort. When the process
// ends, however it does, the temporary file is gone.
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <queue>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <vmcache/buffer_pool.hpp>

namespace {

using vmcache::BufferPool;
using vmcache::ExclusiveGuard;
using vmcache::File;
using vmcache::kPageSize;
using vmcache::PageId;
using vmcache::PoolOptions;
using vmcache::SharedGuard;

//! Bytes that are written to a file one after the other, across its pages.
class Writer {
 public:
  Writer(BufferPool& pool, File& file) : _pool(pool), _file(file) {}

  [[nodiscard]] std::uint64_t end() const { return _end; }

  void write(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::uint64_t in_page = _end % kPageSize;
      if (in_page == 0) next_page();
      const std::size_t n = std::min<std::size_t>(bytes.size(), kPageSize - in_page);
      std::memcpy(_page.data() + in_page, bytes.data(), n);
      bytes.remove_prefix(n);
      _end += n;
    }
  }
  //! Lets go of the page that is written now. The next byte begins a page.
  void finish() {
    _page = ExclusiveGuard();
    _end = (_end + kPageSize - 1) / kPageSize * kPageSize;
  }

 private:
  void next_page() {
    constexpr std::uint64_t kMore = 256;  // pages, so that not each one makes the file longer
    _page = ExclusiveGuard();
    const std::uint64_t n = _end / kPageSize;
    if (n == _file.pages()) _file.resize((n + kMore) * kPageSize);
    _page = _pool.fix_exclusive(_file.page_id(n));
  }

  BufferPool& _pool;
  File& _file;
  ExclusiveGuard _page;
  std::uint64_t _end = 0;
};

//! The lines of a run, one after the other. Each has its length before it (4 bytes).
class Reader {
 public:
  Reader(BufferPool& pool, const File& file, std::uint64_t begin, std::uint64_t end)
      : _pool(&pool), _file(&file), _at(begin), _end(end) {}

  //! False: there are no more.
  bool next(std::string& line) {
    if (_at == _end) return false;
    std::uint32_t length = 0;
    read(reinterpret_cast<char*>(&length), sizeof length);
    line.resize(length);
    read(line.data(), length);
    return true;
  }

 private:
  //! A page is fixed for as long as the copy takes: there may be more runs than pages in memory.
  void read(char* to, std::size_t bytes) {
    while (bytes > 0) {
      const std::uint64_t in_page = _at % kPageSize;
      const std::size_t n = std::min<std::size_t>(bytes, kPageSize - in_page);
      const SharedGuard page = _pool->fix_shared(_file->page_id(_at / kPageSize));
      std::memcpy(to, page.data() + in_page, n);
      to += n;
      bytes -= n;
      _at += n;
    }
  }

  BufferPool* _pool;
  const File* _file;
  std::uint64_t _at;
  std::uint64_t _end;
};

struct Run {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

class Sorter {
 public:
  Sorter(std::uint64_t pool_bytes, std::uint64_t input_bytes)
      : _run_bytes(pool_bytes / 2), _pool(options(pool_bytes, input_bytes)) {
    vmcache::TemporaryOptions temporary;
    temporary.capacity_bytes = room_for(input_bytes);
    _file = _pool.open_temporary(temporary);
  }

  void read(std::istream& input) {
    Writer writer(_pool, _file);
    std::vector<std::string> lines;
    std::uint64_t bytes = 0;
    const auto write_run = [&] {
      std::ranges::sort(lines);
      Run run{.begin = writer.end()};
      for (const std::string& line : lines) {
        const auto length = static_cast<std::uint32_t>(line.size());
        writer.write({reinterpret_cast<const char*>(&length), sizeof length});
        writer.write(line);
      }
      run.end = writer.end();
      writer.finish();
      _runs.push_back(run);
      lines.clear();
      bytes = 0;
    };
    for (std::string line; std::getline(input, line); lines.push_back(std::move(line))) {
      if (line.size() > UINT32_MAX) throw std::runtime_error("a line of more than 4 GiB");
      bytes += line.size() + sizeof line;
      if (bytes > _run_bytes && !lines.empty()) write_run();
    }
    if (!lines.empty()) write_run();
  }

  void merge(std::ostream& output) {
    struct Next {
      std::string line;
      std::size_t run;
    };
    const auto is_later = [](const Next& one, const Next& other) { return one.line > other.line; };
    std::priority_queue<Next, std::vector<Next>, decltype(is_later)> queue(is_later);
    std::vector<Reader> readers;
    for (const Run& run : _runs) {
      readers.emplace_back(_pool, _file, run.begin, run.end);
      Next next{.line = {}, .run = readers.size() - 1};
      if (readers.back().next(next.line)) queue.push(std::move(next));
    }
    while (!queue.empty()) {
      Next next = queue.top();
      queue.pop();
      output << next.line << '\n';
      if (readers[next.run].next(next.line)) queue.push(std::move(next));
    }
  }

  void report() const {
    const vmcache::PoolStats stats = _pool.stats();
    std::fprintf(stderr, "%zu runs, %llu pages, %llu written, %llu read\n", _runs.size(),
                 static_cast<unsigned long long>(_file.pages()),
                 static_cast<unsigned long long>(stats.written_pages),
                 static_cast<unsigned long long>(stats.read_pages));
  }

 private:
  //! For the lines with their lengths: an empty line is one byte in the input, and four in a run.
  static std::uint64_t room_for(std::uint64_t input_bytes) {
    constexpr std::uint64_t kUnit = PoolOptions::kFileRangeBytes;
    return (input_bytes * 5 + kUnit) / kUnit * kUnit;
  }
  static PoolOptions options(std::uint64_t pool_bytes, std::uint64_t input_bytes) {
    PoolOptions options;
    options.pool_bytes = pool_bytes;
    options.files_bytes = room_for(input_bytes);
    return options;
  }

  const std::uint64_t _run_bytes;
  BufferPool _pool;
  File _file;
  std::vector<Run> _runs;
};

std::uint64_t mib_of(const char* text) {
  constexpr std::uint64_t kLeast = 4;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 20;
  std::uint64_t mib = 0;
  const char* const end = text + std::strlen(text);
  const auto [last, error] = std::from_chars(text, end, mib);
  if (error != std::errc() || last != end || mib < kLeast || mib > kMost)
    throw std::invalid_argument("POOL_MIB = '" + std::string(text) + "': allowed are 4 to 1048576");
  return mib;
}

void sort_file(const std::string& from, const std::string& to, std::uint64_t pool_mib) {
  std::ifstream input(from, std::ios::binary);
  if (!input) throw std::runtime_error("cannot read " + from);
  if (std::filesystem::exists(to)) throw std::runtime_error(to + " exists already");
  Sorter sorter(pool_mib << 20, std::filesystem::file_size(from));
  sorter.read(input);
  std::ofstream output(to, std::ios::binary);
  sorter.merge(output);
  output.close();
  if (!output) throw std::runtime_error("cannot write " + to);
  sorter.report();
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3 && argc != 4) {
    std::fprintf(stderr, "usage: external_sort INPUT OUTPUT [POOL_MIB]\n");
    return 2;
  }
  sort_file(argv[1], argv[2], argc == 4 ? mib_of(argv[3]) : 16);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "external_sort: %s\n", error.what());
  return 1;
}
