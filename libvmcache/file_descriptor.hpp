// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <utility>

namespace vmcache {

//! Owns a descriptor, or nothing (-1).
class FileDescriptor {
 public:
  FileDescriptor() noexcept = default;
  explicit FileDescriptor(int fd) noexcept : _fd(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : _fd(std::exchange(other._fd, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(_fd, other._fd);
    return *this;
  }
  ~FileDescriptor() {
    if (_fd >= 0) ::close(_fd);
  }
  [[nodiscard]] int get() const noexcept { return _fd; }
  [[nodiscard]] explicit operator bool() const noexcept { return _fd >= 0; }

 private:
  int _fd = -1;
};

}  // namespace vmcache
