// SPDX-License-Identifier: MIT
#include <stdexcept>

#include "systems/system.hpp"

namespace vmbench {

namespace {

constexpr SystemEntry kSystems[] = {
    {"mmap", "the file mapped shared with MADV_RANDOM, a plain B+tree on it", false, true,
     plain_file, prepare_plain, open_mmap},
    {"pread", "hash-table pool, clock, blocking O_DIRECT pread; the same B+tree and file", false,
     false, plain_file, prepare_plain, open_pread},
    {"lmdb", "LMDB, integer keys, no read-ahead, no sync", false, true, lmdb_file, prepare_lmdb,
     open_lmdb},
    {"vmcache-sync", "vmcache as published: blocking pread, one madvise a page", false, false,
     vmcache_file, prepare_vmcache, open_vmcache},
    {"vmcache", "this library: faults awaited by many tasks a thread", true, false, vmcache_file,
     prepare_vmcache, open_vmcache},
    {"fio", "lookup only: fio reading random pages of vmcache's file at depth 128, for the ratio",
     false, false, vmcache_file, prepare_vmcache, nullptr, run_fio},
};

}  // namespace

std::span<const SystemEntry> all_systems() {
  return kSystems;
}

const SystemEntry& find_system(std::string_view name) {
  for (const SystemEntry& entry : all_systems())
    if (entry.name == name) return entry;
  throw std::logic_error("unknown system");
}

}  // namespace vmbench
