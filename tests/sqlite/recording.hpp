// SPDX-License-Identifier: MIT
//
// Records what reaches the kernel for the files of a folder, in order: of databases in the pool,
// through the library's own system calls (--wrap, so a pool with pool_storage=pread), of journals
// and WALs through a VFS below ours.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace vmcache::test {

struct Event {
  enum class Kind : std::uint8_t { kWrite, kResize, kSync, kDelete, kAcknowledged };
  Kind kind;
  std::string file;          //!< its name in the folder
  std::uint64_t offset = 0;  //!< of a write; the new size; or the number that was acknowledged
  std::string bytes;
};

//! Begins with what the folder has. One at a time; calls of other threads must not come meanwhile.
void start_recording(const std::string& folder);
void record_acknowledged(std::uint64_t number);
[[nodiscard]] std::vector<Event> stop_recording();

//! Adds an event of the file at `path`, if it is in the folder that is recorded.
void record(Event::Kind kind, const std::string& path, std::uint64_t offset = 0,
            std::string bytes = {});

//! The files of a folder as a power cut can leave them. A write or a change of size that was not
//! followed by a sync of its file is there, is not there, or is there in some of its sectors.
class Storage {
 public:
  using Files = std::map<std::string, std::string>;

  explicit Storage(const Files& files);
  void apply(const Event& event);
  [[nodiscard]] Files cut(std::mt19937& random) const;

 private:
  struct File {
    std::string durable;
    std::vector<Event> pending;
    bool named = false;  // it has been synced: its name is there
  };
  std::map<std::string, File> _files;
};

[[nodiscard]] Storage::Files read_folder(const std::string& folder);

}  // namespace vmcache::test
