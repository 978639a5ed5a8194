// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

namespace vmcache::test {

//! Where databases of tests lie that do not care: --device=PATH, as often as there are
//! (support/main.cpp). Empty: in a file each.
inline std::vector<std::filesystem::path> default_devices;

//! Makes them look as if nothing had ever been written to them.
void wipe_devices();

//! A path for a database that is gone with the object. In the working directory rather than in
//! /tmp, which may be a tmpfs; but in /tmp where the working directory cannot be written to, as in
//! the tree that a guest of tools/vm sees. Where there are default devices, the only one that is
//! alive, or the first, is on them.
class TempFile {
 public:
  TempFile() : _on_devices(!default_devices.empty() && !devices_in_use) {
    if (!make_in(std::filesystem::current_path()) &&
        !make_in(std::filesystem::temp_directory_path()))
      throw std::runtime_error("no file can be made in the working or the temporary directory");
    if (!_on_devices) return;
    devices_in_use = true;
    wipe_devices();
  }
  ~TempFile() {
    if (_on_devices) devices_in_use = false;
    std::error_code ignored;
    std::filesystem::remove(_path, ignored);
  }
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return _path; }
  [[nodiscard]] bool on_devices() const noexcept { return _on_devices; }

 private:
  //! Returns false if no file can be made there.
  bool make_in(const std::filesystem::path& folder) {
    std::string name = folder / "vmcache-test-XXXXXX";
    const int fd = ::mkstemp(name.data());
    if (fd < 0) return false;
    ::close(fd);
    _path = name;
    return true;
  }

  inline static bool devices_in_use = false;

  std::filesystem::path _path;
  bool _on_devices;
};

}  // namespace vmcache::test
