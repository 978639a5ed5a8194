// SPDX-License-Identifier: MIT
#include "storage/open.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <filesystem>
#include <string_view>
#include <vector>

#include "storage/device_storage.hpp"
#include "storage/file_queues.hpp"
#include "storage/stripe_label.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

using Paths = std::vector<std::filesystem::path>;

//! Where several make up a database, a missing one is a mistake, unless none of the others has
//! anything in it.
void refuse_missing(const Paths& paths) {
  std::string missing;
  std::string filled;
  for (const auto& path : paths) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
      missing = path.string();
    } else if (!S_ISREG(info.st_mode) || info.st_size > 0) {
      filled = path.string();
    }
  }
  if (!missing.empty() && !filled.empty())
    throw Error(Errc::kInvalidOption,
                fmt::format("{}: is missing, but {} is there", missing, filled));
}

std::string_view kind_of(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || S_ISREG(info.st_mode)) return "a file";
  if (S_ISBLK(info.st_mode)) return "a block device";
  return S_ISCHR(info.st_mode) ? "a character device" : "something else";
}

void refuse_several_kinds(const Paths& paths) {
  for (const auto& path : paths) {
    if (kind_of(path) == kind_of(paths[0])) continue;
    throw Error(Errc::kInvalidOption,
                fmt::format("paths: {} is {}, {} is {}: all must be of one kind", paths[0].string(),
                            kind_of(paths[0]), path.string(), kind_of(path)));
  }
}

//! Before any is opened, because a second lock on the same one would look like another process.
void refuse_twice(const Paths& paths) {
  for (std::size_t i = 0; i < paths.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      std::error_code ignored;
      if (paths[i] == paths[j] || std::filesystem::equivalent(paths[i], paths[j], ignored))
        throw Error(Errc::kInvalidOption, fmt::format("paths: {} and {} are the same",
                                                      paths[j].string(), paths[i].string()));
    }
  }
}

Devices open_devices(const Paths& paths, const PoolOptions& options, Logger& logger,
                     Access access) {
  if (paths[0].empty())
    throw Error(Errc::kInvalidOption, "path is empty: name a file or a block device");
  if (paths.size() > 1) {
    refuse_several_kinds(paths);
    refuse_twice(paths);
    refuse_missing(paths);
  }
  Devices devices;
  for (const auto& path : paths) devices.push_back(open_device(path, options, logger, access));
  return devices;
}

}  // namespace

std::unique_ptr<Storage> open_storage(const PoolOptions& options, Logger& logger) {
  if (options.make_storage) {
    std::unique_ptr<Storage> made = options.make_storage();
    if (!made) throw Error(Errc::kInvalidOption, "make_storage: returned no storage");
    return made;
  }
  if (!options.has_database()) return make_no_database(options, logger);
  const Paths paths = options.paths.empty() ? Paths{options.path} : options.paths;
  const Access access = options.read_only ? Access::kReadOnly : Access::kReadWrite;
  return make_device_storage(open_devices(paths, options, logger, access), options, logger);
}

ReadOnlyStorage open_storage_read_only(std::span<const std::filesystem::path> paths,
                                       Logger& logger) {
  PoolOptions options;
  options.storage = StorageKind::kPread;
  Devices devices = open_devices({paths.begin(), paths.end()}, options, logger, Access::kReadOnly);
  ReadOnlyStorage opened;
  if (devices.size() > 1) opened.layout = StripeSet(devices, 0).layout();
  opened.storage = make_device_storage(std::move(devices), options, logger);
  return opened;
}

}  // namespace vmcache
