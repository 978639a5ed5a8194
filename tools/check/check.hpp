// SPDX-License-Identifier: MIT
//
// Reads a database, and says what is wrong with it.
#pragma once

#include <functional>
#include <string>

#include "report.hpp"
#include "vmcache/storage.hpp"

namespace vmcache::check {

struct Sources {
  Storage& pages;
  //! Which file an offset of the page file is in.
  std::function<std::string(std::uint64_t)> file_of;
  Storage* log = nullptr;
  std::string log_file;
  //! Called for each page that was read.
  std::function<void()> tick = [] {};
};

//! Writes to neither. Throws Error where nothing can be said: kNotADatabase, kIo.
void check_database(const Sources& sources, Report& report);

}  // namespace vmcache::check
