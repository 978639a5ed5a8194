// SPDX-License-Identifier: MIT
//
// A striped database is one database: whole, in its order, or not opened and not touched.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "support/faulty_storage.hpp"
#include "support/options.hpp"
#include "vmcache/buffer_pool.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using test::small_pool;
using test::TempFile;

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Stripe : public testing::Test {
 protected:
  explicit Stripe(unsigned devices = 3) {
    for (unsigned i = 0; i < devices; ++i) files.push_back(std::make_unique<TempFile>());
  }

  [[nodiscard]] PoolOptions options(std::uint64_t stripe_bytes = 0) const {
    PoolOptions made = small_pool(*files[0], 64);
    made.path.clear();
    made.paths.clear();
    for (const auto& file : files) made.paths.push_back(file->path());
    made.stripe_bytes = stripe_bytes;
    return made;
  }

  //! Makes pages and extents with contents that expect_filled() knows.
  static void fill(BufferPool& pool) {
    for (unsigned i = 0; i < 300; ++i) *pool.allocate().as<std::uint64_t>() = i;
    for (unsigned i = 0; i < 8; ++i) {
      const ExclusiveGuard guard = pool.allocate(5);
      for (std::size_t page = 0; page < 32; ++page)
        guard.as<std::uint64_t>()[page * kPageSize / 8] = guard.page_id() + page;
      pool.set_root(i, guard.page_id());
    }
    pool.close();
  }
  static void expect_filled(BufferPool& pool) {
    for (PageId id = 1; id <= 300; ++id)
      EXPECT_EQ(*pool.fix_shared(id).as<std::uint64_t>(), id - 1);
    for (unsigned i = 0; i < 8; ++i) {
      const SharedGuard guard = pool.fix_shared(pool.root(i), 5);
      for (std::size_t page = 0; page < 32; ++page)
        EXPECT_EQ(guard.as<std::uint64_t>()[page * kPageSize / 8], guard.page_id() + page);
    }
  }

  //! Opening fails with `code` and a text that has `says` in it, and changes no byte of any file.
  void expect_refused(const PoolOptions& wrong, Errc code, const std::string& says) {
    std::vector<std::string> before;
    for (const auto& file : files) before.push_back(contents(file->path()));
    try {
      const BufferPool pool(wrong);
      ADD_FAILURE() << "opened, instead of: " << says;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      EXPECT_NE(std::string(error.what()).find(says), std::string::npos) << error.what();
    }
    for (std::size_t i = 0; i < files.size(); ++i)
      EXPECT_EQ(contents(files[i]->path()) == before[i], true) << says;
  }

  std::vector<std::unique_ptr<TempFile>> files;
};

TEST_F(Stripe, IsReadAsItWasWrittenAndLiesOnAllDevices) {
  for (const std::uint64_t stripe :
       {std::uint64_t{4} << 10, std::uint64_t{64} << 10, std::uint64_t{0}}) {
    for (const auto& file : files) std::filesystem::resize_file(file->path(), 0);
    {
      BufferPool pool(options(stripe));
      fill(pool);
    }
    for (const auto& file : files)
      EXPECT_GT(std::filesystem::file_size(file->path()), stripe) << stripe;
    for (const StorageKind kind : {StorageKind::kAuto, StorageKind::kPread}) {
      PoolOptions again = options();  // the stripe size is known by now
      again.storage = kind;
      BufferPool pool(again);
      expect_filled(pool);
    }
    PoolOptions named = options(stripe);
    BufferPool pool(named);
    expect_filled(pool);
  }
}

TEST_F(Stripe, AnyOtherSetOfDevicesIsRefusedAndNotTouched) {
  {
    BufferPool pool(options(16 << 10));
    fill(pool);
  }
  PoolOptions wrong = options();
  std::swap(wrong.paths[1], wrong.paths[2]);
  expect_refused(wrong, Errc::kInvalidOption, "the order counts");
  wrong = options();
  wrong.paths.pop_back();
  expect_refused(wrong, Errc::kInvalidOption, "is one of 3 devices, but `paths` names 2");
  wrong = options(32 << 10);
  expect_refused(wrong, Errc::kInvalidOption,
                 "stripe_bytes = 32768: the database was made with 16384");
  wrong = options();
  wrong.paths[2] = "no-such-file";
  expect_refused(wrong, Errc::kInvalidOption, "is missing");
  EXPECT_FALSE(std::filesystem::exists("no-such-file"));
  wrong = options();
  wrong.paths[2] = wrong.paths[1];
  expect_refused(wrong, Errc::kInvalidOption, "are the same");
  const TempFile empty;
  wrong = options();
  wrong.paths[1] = empty.path();
  expect_refused(wrong, Errc::kInvalidOption, "is empty, but others");
  EXPECT_EQ(std::filesystem::file_size(empty.path()), 0u);
  wrong = options();
  wrong.paths.push_back(empty.path());
  expect_refused(wrong, Errc::kInvalidOption, "is empty, but others");
  wrong = options();
  wrong.paths.clear();
  wrong.path = files[0]->path();
  expect_refused(wrong, Errc::kInvalidOption, "is device 0 of the 3 of a striped database");
  wrong.path = files[2]->path();
  expect_refused(wrong, Errc::kInvalidOption, "is device 2 of the 3 of a striped database");
  BufferPool pool(options());
  expect_filled(pool);
}

TEST_F(Stripe, ADeviceOfAnotherDatabaseIsRefused) {
  const auto make = [&] {
    for (const auto& file : files) std::filesystem::resize_file(file->path(), 0);
    BufferPool pool(options(16 << 10));
    fill(pool);
  };
  make();
  const std::string stranger = contents(files[1]->path());
  make();
  const std::string own = contents(files[1]->path());
  std::ofstream(files[1]->path(), std::ios::binary | std::ios::trunc) << stranger;
  expect_refused(options(), Errc::kInvalidOption, "belongs to another database");
  std::ofstream(files[1]->path(), std::ios::binary | std::ios::trunc) << std::string(1 << 20, 'x');
  expect_refused(options(), Errc::kNotADatabase, "neither empty nor a device");
  std::string damaged = own;
  damaged[100] = static_cast<char>(damaged[100] ^ 1);
  std::ofstream(files[1]->path(), std::ios::binary | std::ios::trunc) << damaged;
  expect_refused(options(), Errc::kCorrupt, "label is damaged");
  {
    PoolOptions single = options();
    single.paths.clear();
    const TempFile alone;
    single.path = alone.path();
    { BufferPool pool(single); }
    PoolOptions wrong = options();
    wrong.paths[1] = alone.path();
    expect_refused(wrong, Errc::kNotADatabase, "neither empty nor a device");
  }
  std::ofstream(files[1]->path(), std::ios::binary | std::ios::trunc) << own;
  BufferPool pool(options());
  expect_filled(pool);
}

TEST_F(Stripe, ADeviceThatWasCutOffIsRefused) {
  {
    BufferPool pool(options(16 << 10));
    fill(pool);
  }
  const std::string whole = contents(files[2]->path());
  std::filesystem::resize_file(files[2]->path(), whole.size() - kPageSize);
  expect_refused(options(), Errc::kCorrupt, "cut off");
  std::ofstream(files[2]->path(), std::ios::binary | std::ios::trunc) << whole;
  BufferPool pool(options());
  expect_filled(pool);
}

TEST_F(Stripe, OptionsOutOfRangeAreRefused) {
  const auto refused = [&](const char* name, auto change) {
    PoolOptions wrong = options();
    change(wrong);
    expect_refused(wrong, Errc::kInvalidOption, name);
  };
  refused("stripe_bytes", [](PoolOptions& o) { o.stripe_bytes = 2048; });
  refused("stripe_bytes", [](PoolOptions& o) { o.stripe_bytes = 12 << 10; });
  refused("stripe_bytes", [](PoolOptions& o) { o.stripe_bytes = std::uint64_t{2} << 30; });
  refused("stripe_bytes", [](PoolOptions& o) {
    o.paths.resize(1);
    o.stripe_bytes = 4096;
  });
  refused("path and paths", [](PoolOptions& o) { o.path = o.paths[0]; });
  refused("one of them is empty", [](PoolOptions& o) { o.paths[1].clear(); });
  refused("paths = 65", [](PoolOptions& o) { o.paths.resize(65, o.paths[0]); });
  refused("all must be of one kind", [](PoolOptions& o) { o.paths[1] = "/dev/zero"; });
}

TEST(StripeOfOne, IsAnOrdinaryDatabase) {
  const TempFile file;
  PoolOptions options = small_pool(file, 16);
  options.path.clear();
  options.paths = {file.path()};
  {
    BufferPool pool(options);
    *pool.allocate().as<std::uint64_t>() = 42;
  }
  options.paths.clear();
  options.path = file.path();
  BufferPool pool(options);
  EXPECT_EQ(*pool.fix_shared(1).as<std::uint64_t>(), 42u);
}

TEST_F(Stripe, MakingItMayFailAnywhereAndBeBegunAgain) {
  // Labels without a header: what a crash between the two leaves.
  {
    test::FaultPlan plan;
    PoolOptions failing = options(4 << 10);
    test::inject_faults(failing, plan);
    plan.flushes = true;
    plan.fail_at = 0;
    EXPECT_THROW(BufferPool pool(failing), Error);
    EXPECT_EQ(plan.failed, 1u);
  }
  PoolOptions again = options();
  again.allow_unclean = true;
  BufferPool pool(again);
  fill(pool);
}

TEST_F(Stripe, AWorkerReadsFromAllDevicesWithOneRing) {
  {
    BufferPool pool(options(4 << 10));
    fill(pool);
  }
  BufferPool pool(options());
  Worker worker(pool);
  unsigned right = 0;
  const auto reader = [&](PageId id) -> Task<> {
    const SharedGuard guard = co_await worker.fix_shared(id);
    right += *guard.as<std::uint64_t>() == id - 1;
  };
  for (PageId id = 1; id <= 48; ++id) worker.spawn(reader(id));
  worker.run();
  EXPECT_EQ(right, 48u);
  EXPECT_LT(pool.stats().submissions, 10u) << "neighbouring pages on three devices go out together";
}

TEST(OpenSmaller, AFileShorterThanItsDatabaseIsRefusedAndNotTouched) {
  const TempFile file;
  if (file.on_devices()) GTEST_SKIP() << "a device does not shrink";
  {
    BufferPool pool(small_pool(file, 16));
    for (int i = 0; i < 100; ++i) (void)pool.allocate();
    pool.close();
  }
  std::filesystem::resize_file(file.path(), 50 * kPageSize);
  const std::string before = contents(file.path());
  try {
    const BufferPool pool(small_pool(file, 16));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kCorrupt) << error.what();
  }
  EXPECT_EQ(contents(file.path()) == before, true);
}

}  // namespace
}  // namespace vmcache
