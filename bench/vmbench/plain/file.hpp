// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <string>

#include "plain/page_format.hpp"

namespace vmbench::plain {

//! A plain file, open for direct or buffered access, with room for inserts behind what was loaded
//! (sparse).
class File {
 public:
  //! Throws std::runtime_error; also if the file does not hold `records` records.
  File(const std::string& path, std::uint64_t records, bool direct);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] int fd() const { return _fd; }
  [[nodiscard]] PageNo root() const { return _header.root; }
  [[nodiscard]] PageNo first_unused() const { return _header.next_page; }
  //! Pages the file has room for.
  [[nodiscard]] std::uint64_t pages() const { return _pages; }
  //! The content will differ from what was loaded; the next run that needs it fresh builds it anew.
  void mark_changed();

 private:
  std::string _path;
  int _fd;
  FileHeader _header{};
  std::uint64_t _pages = 0;
};

//! True if `path` holds `records` records as they were loaded.
[[nodiscard]] bool is_pristine(const std::string& path, std::uint64_t records);
//! Builds it, with progress shown, and leaves none of it in the page cache. Throws
//! std::runtime_error.
void build(const std::string& path, std::uint64_t records);

}  // namespace vmbench::plain
