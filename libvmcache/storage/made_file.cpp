// SPDX-License-Identifier: MIT
#include "storage/made_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace vmcache {

void MadeFile::made(std::filesystem::path path, int fd) {
  _path = std::move(path);
  _fd = fd;
  _process = ::getpid();
}

void MadeFile::remove() noexcept {
  if (_fd >= 0 && _process == ::getpid() && leads_to(_path, _fd)) ::unlink(_path.c_str());
  _fd = -1;
}

bool leads_to(const std::filesystem::path& path, int fd) noexcept {
  struct stat by_path {};
  struct stat by_fd {};
  return ::stat(path.c_str(), &by_path) == 0 && ::fstat(fd, &by_fd) == 0 &&
         by_path.st_dev == by_fd.st_dev && by_path.st_ino == by_fd.st_ino;
}

FileDescriptor open_folder_of(const std::filesystem::path& path) {
  std::error_code error;
  const std::filesystem::path file = std::filesystem::canonical(path, error);
  if (error) return {};
  return FileDescriptor(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

int sync_folder(const FileDescriptor& folder, int fd) noexcept {
  const int result = folder ? ::fsync(folder.get()) : ::syncfs(fd);
  return result == 0 ? 0 : errno;
}

}  // namespace vmcache
