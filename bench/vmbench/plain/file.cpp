// SPDX-License-Identifier: MIT
#include "plain/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "common/progress.hpp"
#include "plain/bulk_build.hpp"
#include "storage/access_times.hpp"

namespace vmbench::plain {

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw std::runtime_error(fmt::format("{}: {}: {}", path, what, std::strerror(errno)));
}

bool read_header(int fd, FileHeader& header) {
  alignas(kPageBytes) std::byte page[kPageBytes];
  if (pread(fd, page, kPageBytes, 0) != static_cast<ssize_t>(kPageBytes)) return false;
  std::memcpy(&header, page, sizeof header);
  return header.magic == FileHeader::kMagic;
}

void write_header(const std::string& path, int fd, const FileHeader& header) {
  alignas(kPageBytes) std::byte page[kPageBytes]{};
  std::memcpy(page, &header, sizeof header);
  if (pwrite(fd, page, kPageBytes, 0) != static_cast<ssize_t>(kPageBytes))
    fail(path, "writing the header");
}

//! Pages in ascending order, written in large pieces.
class FileSink {
 public:
  FileSink(const std::string& path, int fd) : _path(path), _fd(fd) {
    _buffer.reserve(kBufferBytes);
  }

  PageNo allocate() { return _next++; }
  void write(PageNo page, const std::byte* bytes) {
    // The builder allocates a leaf's successor before it writes the leaf, but writes in order.
    if (page != _first + _buffer.size() / kPageBytes) {
      flush();
      _first = page;
    }
    _buffer.insert(_buffer.end(), bytes, bytes + kPageBytes);
    if (_buffer.size() >= kBufferBytes) flush();
  }
  void flush() {
    const auto offset = static_cast<off_t>(_first * kPageBytes);
    for (std::size_t done = 0; done < _buffer.size();) {
      const ssize_t written = pwrite(_fd, _buffer.data() + done, _buffer.size() - done,
                                     offset + static_cast<off_t>(done));
      if (written <= 0) fail(_path, "writing pages");
      done += static_cast<std::size_t>(written);
    }
    _first += _buffer.size() / kPageBytes;
    _buffer.clear();
  }
  [[nodiscard]] PageNo next() const { return _next; }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{4} << 20;
  const std::string& _path;
  int _fd;
  PageNo _next = 1;
  PageNo _first = 1;
  std::vector<std::byte> _buffer;
};

}  // namespace

File::File(const std::string& path, std::uint64_t records, bool direct)
    : _path(path), _fd(open(path.c_str(), O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0))) {
  if (_fd < 0) fail(path, "open");
  vmcache::forgo_access_times(_fd);  // as the library does
  if (!read_header(_fd, _header) || _header.records != records) {
    ::close(_fd);
    throw std::runtime_error(fmt::format("{}: does not hold {} records of vmbench", path, records));
  }
  // Room for as many pages again and for 1 GiB, so that inserts need not grow the file while they
  // are timed (sparse).
  _pages = _header.next_page * 2 + (std::uint64_t{1} << 30) / kPageBytes;
  if (ftruncate(_fd, static_cast<off_t>(_pages * kPageBytes)) != 0) fail(path, "ftruncate");
}

File::~File() {
  ::close(_fd);
}

void File::mark_changed() {
  _header.pristine = 0;
  write_header(_path, _fd, _header);
}

bool is_pristine(const std::string& path, std::uint64_t records) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  FileHeader header{};
  const bool fits = read_header(fd, header) && header.records == records && header.pristine == 1;
  ::close(fd);
  return fits;
}

void build(const std::string& path, std::uint64_t records) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) fail(path, "create");
  const KeySpace keys(records);
  FileSink sink(path, fd);
  Progress progress;
  const PageNo root = BulkBuilder(sink, keys).build([&](std::uint64_t done) {
    progress.show(fmt::format("building {}: {} %", path, done * 100 / records));
  });
  sink.flush();
  // The header makes the file valid, so it comes last.
  if (fdatasync(fd) != 0) fail(path, "fdatasync");
  write_header(path, fd, {FileHeader::kMagic, records, root, sink.next(), 1});
  if (fsync(fd) != 0) fail(path, "fsync");
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  ::close(fd);
}

}  // namespace vmbench::plain
