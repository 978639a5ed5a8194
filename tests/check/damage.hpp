// SPDX-License-Identifier: MIT
//
// Databases in memory, where their parts lie, and what library and checker say of them after
// something was changed.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "crash/recording_storage.hpp"
#include "crash/workload.hpp"
#include "vmcache/error.hpp"

namespace vmcache::test {

using Images = std::array<DiskImage, Recorder::kDevices>;

//! Bytes [offset, offset + bytes) of a device.
struct Place {
  Recorder::Device device = Recorder::kPages;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};
using Places = std::map<check::Region, std::vector<Place>>;

//! A database of a Database: closed cleanly, or as a power cut has left it.
struct Logged {
  Images images;
  History history;
  std::size_t min = 0;  //!< commits that must be found
};
[[nodiscard]] Logged closed_database();
[[nodiscard]] Logged cut_database();

//! A pool with one tree, with or without page headers and without a log; closed.
struct Plain {
  Images images;
  std::map<std::string, std::string> entries;
  bool page_headers = false;
};
[[nodiscard]] Plain plain_database(bool page_headers);

//! Where the parts of a closed database lie; those in `log` only if there is one.
[[nodiscard]] Places places_of(const Images& images, bool with_log);

[[nodiscard]] check::Report check_images(const Images& images, bool with_log);
[[nodiscard]] bool names(const check::Report& report, std::initializer_list<check::Region> regions);

void flip_bit(Images& images, const Place& place, std::mt19937_64& random);
[[nodiscard]] std::vector<std::byte> page_of(const Images& images, PageId page_id);
void put_page(Images& images, PageId page_id, const std::vector<std::byte>& bytes);

enum class Answer : std::uint8_t { kRight, kError, kWrong };
//! Opens and reads everything.
[[nodiscard]] Answer ask(const Logged& database, const Images& images, std::size_t min);
[[nodiscard]] Answer ask(const Plain& database, const Images& images);

}  // namespace vmcache::test
