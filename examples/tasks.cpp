// SPDX-License-Identifier: MIT
//
// One thread, many tasks: a task that misses is suspended while the others run, so hundreds of
// reads are in flight at once. usage: tasks [FILE]
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>

#include <vmcache/btree.hpp>
#include <vmcache/worker.hpp>

namespace {

constexpr std::uint64_t kEntries = 200'000;
constexpr unsigned kTasks = 200;
constexpr unsigned kLookups = 200;

std::string key_of(std::uint64_t number) {
  char text[16];
  std::snprintf(text, sizeof text, "%010lu", static_cast<unsigned long>(number));
  return text;
}

vmcache::Task<> look_up(vmcache::Worker& worker, const vmcache::BTree& tree, unsigned seed,
                        std::uint64_t& found) {
  std::minstd_rand random{seed + 1};
  for (unsigned i = 0; i < kLookups; ++i) {
    const std::string key = key_of(random() % kEntries);
    if (co_await tree.get(worker, key) == key + key) ++found;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  vmcache::PoolOptions options;
  options.path = argc > 1 ? argv[1] : "tasks.db";
  options.pool_bytes = 4 << 20;  // the data takes about twice as much
  vmcache::BufferPool pool{options};
  if (pool.root(0) == vmcache::kNoPage) pool.set_root(0, vmcache::BTree::create(pool));
  vmcache::BTree tree{pool, pool.root(0)};
  for (std::uint64_t number = 0; number < kEntries; ++number) {
    tree.upsert(key_of(number), key_of(number) + key_of(number));
  }

  std::uint64_t found = 0;
  {
    vmcache::Worker worker{pool};
    for (unsigned task = 0; task < kTasks; ++task) worker.spawn(look_up(worker, tree, task, found));
    worker.run();
  }
  const vmcache::PoolStats stats = pool.stats();
  std::printf("%lu of %u lookups found their value; %lu page reads in %lu submissions\n",
              static_cast<unsigned long>(found), kTasks * kLookups,
              static_cast<unsigned long>(stats.reads),
              static_cast<unsigned long>(stats.submissions));
  pool.close();
  return found == std::uint64_t{kTasks} * kLookups ? 0 : 1;
} catch (const vmcache::Error& error) {
  std::fprintf(stderr, "tasks: %s\n", error.what());
  return 1;
}
