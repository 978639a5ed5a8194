// SPDX-License-Identifier: MIT
#pragma once

#include <filesystem>

#include "file_descriptor.hpp"

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

//! The folder that holds the file, not one that holds a link to it. Empty if it cannot be opened:
//! who may write to a folder need not be able to read it. Throws std::bad_alloc.
[[nodiscard]] FileDescriptor open_folder_of(const std::filesystem::path& path);
//! Makes a new file's entry in its folder durable. Without a folder it does more than is asked for
//! (syncfs of `fd`). Returns 0 or an errno; EINVAL, ENOSYS or EOPNOTSUPP if the file system cannot
//! do that.
[[nodiscard]] int sync_folder(const FileDescriptor& folder, int fd) noexcept;

}  // namespace vmcache
