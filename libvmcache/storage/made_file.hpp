// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>

namespace vmcache {

//! A file that an open has created. The destructor removes it again unless keep() was called. It
//! does so only in the process that created the file, and only if the path still leads to it.
class MadeFile {
 public:
  MadeFile() noexcept = default;
  ~MadeFile() { remove(); }
  MadeFile(const MadeFile&) = delete;
  MadeFile& operator=(const MadeFile&) = delete;

  //! Notes that the file was created. `fd` must stay open while this object lives.
  void made(std::filesystem::path path, int fd);
  void keep() noexcept { _fd = -1; }
  //! Removes the file now. Call it while `fd` is still locked, so that nobody else can have opened
  //! the file.
  void remove() noexcept;

 private:
  std::filesystem::path _path;
  int _fd = -1;
  int _process = 0;
};

//! Whether `path` leads to what is open as `fd`.
[[nodiscard]] bool leads_to(const std::filesystem::path& path, int fd) noexcept;

//! Makes the folder entry of a new file durable, by an fsync of the folder. Returns 0 or an errno;
//! EINVAL, ENOSYS or EOPNOTSUPP if the file system cannot do that.
[[nodiscard]] int sync_folder_of(const std::filesystem::path& path, int fd) noexcept;

}  // namespace vmcache
