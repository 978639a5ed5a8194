// SPDX-License-Identifier: MIT
#include "sqlite/recording.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <utility>

namespace vmcache::test {
namespace {

std::mutex mutex;
std::string recorded_folder;  // empty: nothing is recorded
std::vector<Event> events;

void write_to(std::string& file, std::uint64_t offset, const char* bytes, std::size_t n) {
  if (file.size() < offset + n) file.resize(offset + n);
  std::copy_n(bytes, n, file.begin() + static_cast<std::ptrdiff_t>(offset));
}

void apply_whole(std::string& file, const Event& event) {
  if (event.kind == Event::Kind::kWrite) {
    write_to(file, event.offset, event.bytes.data(), event.bytes.size());
  } else {
    file.resize(event.offset);
  }
}

void record_fd(Event::Kind kind, int fd, std::uint64_t offset, const void* bytes, std::size_t n) {
  if (recorded_folder.empty()) return;
  std::array<char, PATH_MAX> path{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = ::readlink(link.c_str(), path.data(), path.size());
  if (length <= 0) return;
  std::string copy;
  if (n > 0) copy.assign(static_cast<const char*>(bytes), n);
  record(kind, std::string(path.data(), static_cast<std::size_t>(length)), offset, std::move(copy));
}

}  // namespace

void start_recording(const std::string& folder) {
  const std::lock_guard lock(mutex);
  events.clear();
  recorded_folder = std::filesystem::canonical(folder);
}

std::vector<Event> stop_recording() {
  const std::lock_guard lock(mutex);
  recorded_folder.clear();
  return std::exchange(events, {});
}

void record(Event::Kind kind, const std::string& path, std::uint64_t offset, std::string bytes) {
  const std::lock_guard lock(mutex);
  const std::filesystem::path whole = path;
  if (recorded_folder.empty() || whole.parent_path() != recorded_folder) return;
  events.push_back({kind, whole.filename(), offset, std::move(bytes)});
}

void record_acknowledged(std::uint64_t number) {
  const std::lock_guard lock(mutex);
  events.push_back({Event::Kind::kAcknowledged, "", number, ""});
}

Storage::Storage(const Files& files) {
  for (const auto& [name, bytes] : files) _files[name] = {bytes, {}, true};
}

void Storage::apply(const Event& event) {
  switch (event.kind) {
    case Event::Kind::kAcknowledged:
      return;
    case Event::Kind::kDelete:
      _files.erase(event.file);
      return;
    case Event::Kind::kSync: {
      File& file = _files[event.file];
      for (const Event& earlier : file.pending) apply_whole(file.durable, earlier);
      file.pending.clear();
      file.named = true;
      return;
    }
    default:
      _files[event.file].pending.push_back(event);
  }
}

Storage::Files Storage::cut(std::mt19937& random) const {
  constexpr std::size_t kSector = 512;
  Files files;
  for (const auto& [name, file] : _files) {
    std::string bytes = file.durable;
    for (const Event& event : file.pending) {
      switch (random() % 3) {
        case 0:
          break;
        case 1:
          apply_whole(bytes, event);
          break;
        default:
          for (std::size_t at = 0; at < event.bytes.size(); at += kSector) {
            if (random() % 2 == 0) continue;
            write_to(bytes, event.offset + at, event.bytes.data() + at,
                     std::min(kSector, event.bytes.size() - at));
          }
      }
    }
    if (file.named || random() % 2 == 0) files[name] = bytes;
  }
  return files;
}

Storage::Files read_folder(const std::string& folder) {
  Storage::Files files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    files[entry.path().filename()] = {std::istreambuf_iterator<char>(file), {}};
  }
  return files;
}

}  // namespace vmcache::test

using vmcache::test::Event;

// The linker puts these in the library's way (--wrap).
// NOLINTBEGIN: the linker's names
extern "C" ssize_t __real_pwrite(int fd, const void* bytes, size_t count, off_t at);
extern "C" int __real_ftruncate(int fd, off_t bytes);
extern "C" int __real_fallocate(int fd, int mode, off_t at, off_t bytes);
extern "C" ssize_t __wrap_pwrite(int fd, const void* bytes, size_t count, off_t at) {
  const ssize_t n = __real_pwrite(fd, bytes, count, at);
  if (n > 0)
    vmcache::test::record_fd(Event::Kind::kWrite, fd, static_cast<std::uint64_t>(at), bytes,
                             static_cast<std::size_t>(n));
  return n;
}
extern "C" int __wrap_ftruncate(int fd, off_t bytes) {
  const int result = __real_ftruncate(fd, bytes);
  if (result == 0)
    vmcache::test::record_fd(Event::Kind::kResize, fd, static_cast<std::uint64_t>(bytes), nullptr,
                             0);
  return result;
}
extern "C" int __wrap_fallocate(int fd, int mode, off_t at, off_t bytes) {
  const int result = __real_fallocate(fd, mode, at, bytes);
  if (result == 0)
    vmcache::test::record_fd(Event::Kind::kResize, fd, static_cast<std::uint64_t>(at + bytes),
                             nullptr, 0);
  return result;
}
namespace vmcache::test {
//! For the wrapper of fdatasync(), which can also fail.
void record_sync(int fd) {
  record_fd(Event::Kind::kSync, fd, 0, nullptr, 0);
}
}  // namespace vmcache::test
// NOLINTEND
