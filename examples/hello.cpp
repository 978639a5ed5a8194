// SPDX-License-Identifier: MIT
//
// Opens a database, puts an entry and gets it back. usage: hello [FILE]
#include <cstdio>

#include <vmcache/btree.hpp>

int main(int argc, char** argv) try {
  vmcache::PoolOptions options;
  options.path = argc > 1 ? argv[1] : "hello.db";
  options.pool_bytes = 64 << 20;
  vmcache::BufferPool pool{options};

  // The tree's root page is kept in the database's header, under index 0.
  if (pool.root(0) == vmcache::kNoPage) pool.set_root(0, vmcache::BTree::create(pool));
  vmcache::BTree tree{pool, pool.root(0)};

  tree.upsert("hello", "world");
  if (const auto value = tree.get("hello")) std::printf("hello -> %s\n", value->c_str());
  std::printf("%lu entries\n", static_cast<unsigned long>(tree.count()));

  pool.close();
  return 0;
} catch (const vmcache::Error& error) {
  std::fprintf(stderr, "hello: %s\n", error.what());
  return 1;
}
