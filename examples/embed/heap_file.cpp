// SPDX-License-Identifier: MIT
//
// A heap file with a page format and a write-ahead log of its own, on the pages of a raw file in a
// pool. What is reported as committed survives a crash.
//
// usage: heap_file fill FOLDER [RECORDS]
//          recovers FOLDER, or makes it, and appends until there are RECORDS; 0: until killed.
//          Prints how many there are after each commit.
//        heap_file check FOLDER
//          recovers, and checks that record n says n
//
// The log holds, for each page that changes first after a checkpoint, an image of it, and otherwise
// the record. So a page that a crash has torn is made anew from its image. Log before page: the
// pool asks Log before it writes a page. A checkpoint makes the file durable; what the log had
// before is then not needed any more.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include <vmcache/buffer_pool.hpp>

#include "log.hpp"

namespace {

using namespace vmcache;
using embed::fail;
using embed::Log;
using embed::sum_of;

//! The front of a page. Records follow one another behind it, each after its length (2 bytes).
struct Front {
  Lsn lsn = 0;
  std::uint64_t sum = 0;
  std::uint32_t records = 0;
  std::uint32_t used = 24;  // with this front
};

class Format final : public PageFormat {
 public:
  void before_write(std::uint64_t offset, std::span<std::byte> bytes) const noexcept override {
    reinterpret_cast<Front*>(bytes.data())->sum = sum(offset, bytes);
  }
  //! A recovery begins with a page of zeros where it finds a torn one, and remembers it: its image
  //! must follow in the log.
  [[nodiscard]] Status after_read(std::uint64_t offset,
                                  std::span<std::byte> bytes) const noexcept override {
    const std::uint64_t found = reinterpret_cast<const Front*>(bytes.data())->sum;
    const std::uint64_t expected = sum(offset, bytes);
    const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
    if (found == expected || std::ranges::all_of(bytes, is_zero)) return {};
    if (!recovering) return {.code = Errc::kChecksum, .expected = expected, .found = found};
    std::ranges::fill(bytes, std::byte{0});
    torn.insert(offset / kPageSize);
    return {};
  }
  [[nodiscard]] Lsn lsn_of(std::span<const std::byte> bytes) const noexcept override {
    return reinterpret_cast<const Front*>(bytes.data())->lsn;
  }

  bool recovering = false;
  mutable std::set<std::uint64_t> torn;  // one thread recovers

 private:
  std::uint64_t sum(std::uint64_t offset, std::span<const std::byte> bytes) const noexcept {
    return sum_of(offset + 31 * lsn_of(bytes), bytes.subspan(offsetof(Front, records)));
  }
};

class Heap {
 public:
  explicit Heap(const std::string& folder)
      : _folder(folder), _log(folder + "/log"), _pool(pool_options()) {
    _file = _pool.open_file({.path = folder + "/pages", .format = &_format, .write_ahead = &_log});
    recover();
  }

  static constexpr std::size_t kMaxRecord = kPageSize - sizeof(Front) - sizeof(std::uint16_t);

  [[nodiscard]] std::uint64_t records() const { return _records; }

  void append(const std::string& text) {
    if (text.size() > kMaxRecord) throw std::invalid_argument("a record that is too long");
    const std::uint16_t length = static_cast<std::uint16_t>(text.size());
    std::vector<std::byte> record(sizeof length + text.size());
    std::memcpy(record.data(), &length, sizeof length);
    std::memcpy(record.data() + sizeof length, text.data(), text.size());
    ExclusiveGuard guard = _pool.fix_exclusive(page_with_room(record.size()));
    put(guard, record);
    Front& front = *guard.as<Front>();
    // An image where the page changes first after the checkpoint: a crash may tear its next write.
    const bool image = front.lsn <= _checkpoint;
    front.lsn = _log.append(_last, image,
                            image ? std::span<const std::byte>(guard.data(), kPageSize) : record);
    ++_records;
  }
  void commit() { _log.flush(); }

  //! Everything before it is in the file, so that a recovery begins here.
  void checkpoint() {
    commit();
    const Lsn begin = _log.end();
    _file.sync();
    // One sector, so it is written as a whole.
    const int fd = ::open((_folder + "/checkpoint").c_str(), O_WRONLY | O_CREAT, 0640);
    if (fd < 0 || ::pwrite(fd, &begin, sizeof begin, 0) != sizeof begin || ::fsync(fd) != 0)
      fail("writing the checkpoint");
    ::close(fd);
    const int folder = ::open(_folder.c_str(), O_RDONLY | O_DIRECTORY);  // for its name
    if (folder < 0 || ::fsync(folder) != 0) fail("syncing " + _folder);
    ::close(folder);
    _log.forget_before(_checkpoint = begin);
  }

  //! Calls use(number, text) for each record, in the order of their appends.
  template <typename Use>
  void scan(Use use) {
    std::uint64_t number = 0;
    for (std::uint64_t page = 0; page < _file.pages(); ++page) {
      const SharedGuard guard = _pool.fix_shared(_file.page_id(page));
      const std::byte* at = guard.data() + sizeof(Front);
      for (std::uint32_t n = 0; n < guard.as<Front>()->records; ++n) {
        std::uint16_t length = 0;
        std::memcpy(&length, at, sizeof length);
        use(number++, std::string(reinterpret_cast<const char*>(at) + sizeof length, length));
        at += sizeof length + length;
      }
    }
  }

 private:
  static PoolOptions pool_options() {
    PoolOptions options;
    options.pool_bytes = std::uint64_t{1} << 20;
    options.files_bytes = PoolOptions::kFileRangeBytes;
    return options;
  }
  static void put(ExclusiveGuard& guard, std::span<const std::byte> record) {
    Front& front = *guard.as<Front>();
    if (front.used == 0) front = Front{};  // a page of zeros
    std::memcpy(guard.data() + front.used, record.data(), record.size());
    front.used += static_cast<std::uint32_t>(record.size());
    ++front.records;
  }
  PageId page_with_room(std::size_t bytes) {
    constexpr std::uint64_t kMore = 64;  // pages, so that not each append makes the file longer
    if (_file.pages() == 0) _file.resize(kMore * kPageSize);
    {
      const SharedGuard guard = _pool.fix_shared(_file.page_id(_last));
      if (guard.as<Front>()->used + bytes <= kPageSize) return guard.page_id();
    }
    if (++_last == _file.pages()) _file.resize((_last + kMore) * kPageSize);
    return _file.page_id(_last);
  }

  void recover() {
    Lsn begin = 0;
    if (const int fd = ::open((_folder + "/checkpoint").c_str(), O_RDONLY); fd >= 0) {
      if (::read(fd, &begin, sizeof begin) < 0) fail("reading the checkpoint");
      ::close(fd);
    }
    // The end first: the pool takes no page that is ahead of its log.
    _log.begin_at(_log.read_from(begin, [](const auto&, const auto&) {}));
    _format.recovering = true;
    _log.read_from(begin, [&](const Log::Entry& entry, std::span<const std::byte> bytes) {
      if (entry.page >= _file.pages()) _file.resize((entry.page + 1) * kPageSize);
      ExclusiveGuard guard = _pool.fix_exclusive(_file.page_id(entry.page));
      if (entry.image != 0) _format.torn.erase(entry.page);
      if (guard.as<Front>()->lsn >= entry.lsn) return guard.release_unmodified();
      if (entry.image != 0) {
        std::memcpy(guard.data(), bytes.data(), bytes.size());
      } else {
        put(guard, bytes);
      }
      guard.as<Front>()->lsn = entry.lsn;
    });
    _format.recovering = false;
    if (!_format.torn.empty())
      throw std::runtime_error("page " + std::to_string(*_format.torn.begin()) + " is damaged");
    for (std::uint64_t page = 0; page < _file.pages(); ++page) {
      const SharedGuard guard = _pool.fix_shared(_file.page_id(page));
      if (guard.as<Front>()->records == 0) break;
      _records += guard.as<Front>()->records;
      _last = page;
    }
    checkpoint();
  }

  std::string _folder;
  Format _format;
  Log _log;
  BufferPool _pool;
  File _file;
  Lsn _checkpoint = 0;
  std::uint64_t _last = 0;  // the page that records go to
  std::uint64_t _records = 0;
};

std::string text_of(std::uint64_t number) {
  return "record " + std::to_string(number) + std::string(number % 100, '.');
}

void fill(const std::string& folder, std::uint64_t records) {
  std::filesystem::create_directories(folder);
  Heap heap(folder);
  while (records == 0 || heap.records() < records) {
    heap.append(text_of(heap.records()));
    if (heap.records() % 10 != 0 && heap.records() != records) continue;
    heap.commit();
    std::printf("%llu\n", static_cast<unsigned long long>(heap.records()));
    std::fflush(stdout);
    if (heap.records() % 2000 == 0) heap.checkpoint();
  }
}

void check(const std::string& folder) {
  Heap heap(folder);
  heap.scan([](std::uint64_t number, const std::string& text) {
    if (text != text_of(number))
      throw std::runtime_error("record " + std::to_string(number) + " says '" + text + "'");
  });
  std::printf("%llu records\n", static_cast<unsigned long long>(heap.records()));
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 2 && arguments[0] == "check") {
    check(arguments[1]);
  } else if ((arguments.size() == 2 || arguments.size() == 3) && arguments[0] == "fill") {
    fill(arguments[1], arguments.size() == 3 ? std::stoull(arguments[2]) : 100'000);
  } else {
    std::fprintf(stderr, "usage: heap_file fill FOLDER [RECORDS] | heap_file check FOLDER\n");
    return 2;
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "heap_file: %s\n", error.what());
  return 1;
}
