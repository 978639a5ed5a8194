// SPDX-License-Identifier: MIT
//
// Databases of a format as it once was, kept as files, so that what later versions say of them is
// tested.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "check/damage.hpp"

namespace vmcache::test {

//! What a fixture holds: (tree, key) -> value.
using FixtureEntries = std::map<std::pair<unsigned, std::string>, std::string>;

//! A database that was closed; one that a kill has left, with commits to be recovered; a pool
//! without a log, closed.
enum class FixtureKind : std::uint8_t { kClean, kCrashed, kPool };
[[nodiscard]] std::string name_of(FixtureKind kind);

//! Makes one of today's format.
[[nodiscard]] Images make_fixture(FixtureKind kind);
//! What every one of that kind holds, whatever its format.
[[nodiscard]] FixtureEntries entries_of(FixtureKind kind);

//! A device's content as a list of those runs of bytes that are not zeros.
void save_fixture(const DiskImage& image, const std::filesystem::path& path);
//! Throws std::runtime_error if there is none.
[[nodiscard]] DiskImage load_fixture(const std::filesystem::path& path);
//! Page file and log of format `version`; of a pool the log is empty.
[[nodiscard]] Images load_fixture(const std::filesystem::path& folder, unsigned version,
                                  FixtureKind kind);
//! The files' names: pages and log.
[[nodiscard]] std::array<std::string, Recorder::kDevices> names_of(unsigned version,
                                                                   FixtureKind kind);

}  // namespace vmcache::test
