// SPDX-License-Identifier: MIT
#include "storage/made_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "file_descriptor.hpp"

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

int sync_folder_of(const std::filesystem::path& path, int fd) noexcept try {
  // The folder that holds the file, not one that holds a link to it.
  const std::filesystem::path folder = std::filesystem::canonical(path).parent_path();
  const FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Who may write to a folder need not be able to read it. syncfs() does more than is asked for.
  if (!opened) return ::syncfs(fd) == 0 ? 0 : errno;
  return ::fsync(opened.get()) == 0 ? 0 : errno;
} catch (const std::filesystem::filesystem_error& error) {
  return error.code().value();
} catch (const std::bad_alloc&) {
  return ENOMEM;
}

}  // namespace vmcache
