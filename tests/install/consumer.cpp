// SPDX-License-Identifier: MIT
//
// An embedder's program: built outside the tree, against the installed copy only.
#include <linux/exmap.h>
#include <vmcache/btree.hpp>
#include <vmcache/buffer_pool.hpp>
#include <vmcache/worker.hpp>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  vmcache::PoolOptions options;
  options.path = argv[1];
  options.pool_bytes = 16 << 20;
  options.capacity_bytes = 1 << 30;
  vmcache::PageId id = vmcache::kNoPage;
  try {  // the type must be one and the same in library and program
    vmcache::PoolOptions wrong = options;
    wrong.pool_bytes = 1;
    const vmcache::BufferPool pool(wrong);
    return 3;
  } catch (const vmcache::Error& error) {
    if (error.code() != vmcache::Errc::kInvalidOption) return 4;
  }
  {
    vmcache::BufferPool pool(options);
    vmcache::ExclusiveGuard page = pool.allocate();
    *page.as<int>() = 42;
    id = page.page_id();
    page.release();
    pool.close();
  }
  vmcache::BufferPool pool(options);
  int value = 0;
  vmcache::Worker worker(pool);
  const auto read = [&]() -> vmcache::Task<> {
    value = *(co_await worker.fix_shared(id)).as<int>();
  };
  worker.spawn(read());
  worker.run();
  std::printf("%d, exmap ABI %d\n", value, EXMAP_ABI_VERSION);
  return value == 42 ? 0 : 1;
}
