// SPDX-License-Identifier: MIT
#include "check/fixture.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

namespace vmcache::test {
namespace {

constexpr unsigned kEntries = 60;
constexpr unsigned kOtherTree = 3;
//! Values of a page each. Every other one is erased, so that the free list has more extents than a
//! snapshot record holds.
constexpr unsigned kPages = 16;
constexpr std::size_t kPageValue = 1500;
//! A run ends where so many zeros follow.
constexpr std::size_t kRunBytes = 32;

std::string key_of(unsigned n) {
  return "key " + std::to_string(n);
}
std::string value_of(unsigned n) {
  // The last one lies in an extent of its own.
  return std::string(n + 1 == kEntries ? 9000 : 20 + n * 3,
                     static_cast<char>('a' + static_cast<char>(n % 26)));
}

void put(Database& database, unsigned tree, const std::string& key, const std::string& value) {
  Transaction transaction(database);
  transaction.put(tree, key, value);
  transaction.commit();
}

std::string page_key(unsigned n) {
  return "page " + std::to_string(n);
}

void leave_free_pages(Database& database) {
  for (unsigned n = 0; n < kPages; ++n)
    put(database, kOtherTree, page_key(n), std::string(kPageValue, 'p'));
  for (unsigned n = 0; n < kPages; n += 2) {
    Transaction erases(database);
    erases.erase(kOtherTree, page_key(n));
    erases.commit();
  }
}

struct Run {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

}  // namespace

std::string name_of(FixtureKind kind) {
  switch (kind) {
    case FixtureKind::kClean:
      return "clean";
    case FixtureKind::kCrashed:
      return "crashed";
    case FixtureKind::kPool:
      return "pool";
  }
  return "unknown";
}

Images make_fixture(FixtureKind kind) {
  Recorder recorder;
  DatabaseOptions options = recorded_database(recorder, 16);
  if (kind == FixtureKind::kPool) {
    options.pool.page_header = true;
    BufferPool pool(options.pool);
    pool.set_root(0, BTree::create(pool));
    BTree tree(pool, pool.root(0));
    for (unsigned n = 0; n < kEntries; ++n) tree.upsert(key_of(n), value_of(n));
    pool.close();
    return recorder.content();
  }
  Database database(options);
  for (unsigned n = 0; n < kEntries; ++n) put(database, 0, key_of(n), value_of(n));
  leave_free_pages(database);
  if (kind == FixtureKind::kCrashed) database.checkpoint();
  put(database, kOtherTree, "other", "tree");
  Transaction erases(database);
  erases.erase(0, key_of(0));
  erases.commit();
  if (kind == FixtureKind::kCrashed) return recorder.content();
  database.close();
  return recorder.content();
}

FixtureEntries entries_of(FixtureKind kind) {
  FixtureEntries entries;
  for (unsigned n = 0; n < kEntries; ++n) entries[{0, key_of(n)}] = value_of(n);
  if (kind == FixtureKind::kPool) return entries;
  entries[{kOtherTree, "other"}] = "tree";
  for (unsigned n = 1; n < kPages; n += 2)
    entries[{kOtherTree, page_key(n)}] = std::string(kPageValue, 'p');
  entries.erase({0, key_of(0)});
  return entries;
}

void save_fixture(const DiskImage& image, const std::filesystem::path& path) {
  std::vector<std::byte> bytes(image.size());
  image.read(0, bytes.data(), bytes.size());
  std::ofstream file(path, std::ios::binary);
  const auto write = [&](const void* data, std::size_t size) {
    file.write(static_cast<const char*>(data), static_cast<std::streamsize>(size));
  };
  const std::uint64_t size = image.size();
  write(&size, sizeof size);
  for (auto at = bytes.begin(); at != bytes.end();) {
    at = std::find_if(at, bytes.end(), [](std::byte byte) { return byte != std::byte{0}; });
    if (at == bytes.end()) break;
    const auto end = std::search_n(at, bytes.end(), kRunBytes, std::byte{0});
    const Run run{static_cast<std::uint64_t>(at - bytes.begin()),
                  static_cast<std::uint64_t>(end - at)};
    write(&run, sizeof run);
    write(&*at, run.bytes);
    at = end;
  }
}

DiskImage load_fixture(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::uint64_t size = 0;
  DiskImage image;
  if (!file.read(reinterpret_cast<char*>(&size), sizeof size))
    throw std::runtime_error("cannot read " + path.string());
  image.resize(size);
  for (Run run; file.read(reinterpret_cast<char*>(&run), sizeof run);) {
    std::vector<std::byte> bytes(run.bytes);
    file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    image.write(run.offset, bytes.data(), bytes.size());
  }
  return image;
}

std::array<std::string, Recorder::kDevices> names_of(unsigned version, FixtureKind kind) {
  std::string stem = "v";
  stem += std::to_string(version) + "-" + name_of(kind);
  return {stem + ".pages", stem + ".log"};
}

Images load_fixture(const std::filesystem::path& folder, unsigned version, FixtureKind kind) {
  const auto names = names_of(version, kind);
  Images images;
  images[Recorder::kPages] = load_fixture(folder / names[Recorder::kPages]);
  if (kind != FixtureKind::kPool)
    images[Recorder::kLog] = load_fixture(folder / names[Recorder::kLog]);
  return images;
}

}  // namespace vmcache::test
