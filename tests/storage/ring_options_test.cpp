// SPDX-License-Identifier: MIT
//
// Each io_uring option is on where it can be, said where it cannot, and refused where it was asked
// for by name.
#include <gtest/gtest.h>

#include <string>

#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

struct Option {
  const char* name;
  Switch IoUringOptions::*option;
  const char* said;
};

constexpr Option kOptions[] = {
    {"registered_files", &IoUringOptions::registered_files, "registered files"},
    {"registered_ring", &IoUringOptions::registered_ring, "registered ring"},
    {"deferred", &IoUringOptions::deferred, "deferred task run"},
    {"polled", &IoUringOptions::polled, "polled completions"},
    {"sq_polling", &IoUringOptions::sq_polling, "SQ polling"},
    {"registered_frames", &IoUringOptions::registered_frames, "registered frames"},
};

//! Opens a pool, and works with it through a Worker and through blocking calls. What the pool says
//! of itself.
std::string use(const PoolOptions& options) {
  BufferPool pool(options);
  {
    Worker worker(pool);
    const auto fill = [](Worker& w) -> Task<> {
      for (std::uint64_t i = 0; i < 100; ++i) *(co_await w.allocate()).as<std::uint64_t>() = i;
    };
    worker.spawn(fill(worker));
    worker.run();
  }
  for (PageId id = 1; id <= 100; ++id) EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), id - 1);
  pool.close();
  return pool.description();
}

TEST(RingOptions, EachWorksAloneOrIsRefusedByName) {
  for (const Option& option : kOptions) {
    SCOPED_TRACE(option.name);
    const TempFile file;
    PoolOptions options = small_pool(file, 16);
    for (const Option& each : kOptions) options.io_uring.*each.option = Switch::kOff;
    EXPECT_EQ(use(options).find(option.said), std::string::npos);
    options.io_uring.*option.option = Switch::kOn;
    try {
      EXPECT_NE(use(options).find(option.said), std::string::npos);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kUnsupported);
      EXPECT_NE(std::string(error.what()).find(option.said), std::string::npos) << error.what();
      const std::string name = option.name;
      EXPECT_TRUE(name == "polled" || name == "registered_frames")
          << name << ": needs no device and no module";
    }
  }
}

TEST(RingOptions, WhatAutoDoesNotGetIsSaid) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.io_uring.sq_polling = Switch::kAuto;
  std::string log;
  options.logger = [&](LogLevel, std::string_view line) { log += std::string(line) + "\n"; };
  const std::string description = use(options);
  for (const Option& option : kOptions) {
    const bool on = description.find(option.said) != std::string::npos;
    EXPECT_NE(on, log.find(std::string(option.said) + ":") != std::string::npos)
        << option.name << "\n"
        << description << "\n"
        << log;
  }
}

TEST(RingOptions, TwoThatExcludeEachOtherAreRefused) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.io_uring.sq_polling = Switch::kOn;
  options.io_uring.deferred = Switch::kOn;
  try {
    const BufferPool pool(options);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kInvalidOption);
  }
}

}  // namespace
}  // namespace vmcache
