// SPDX-License-Identifier: MIT
#include "check/damage.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "btree/tree_walk.hpp"
#include "pool/free_list.hpp"
#include "pool/header.hpp"
#include "recovery/log_format.hpp"
#include "recovery/master.hpp"
#include "recovery/record.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache::test {
namespace {

PoolOptions pool_on(Recorder& recorder, bool page_headers) {
  PoolOptions options = recorded_database(recorder, 64).pool;
  options.page_header = page_headers;
  return options;
}

//! Finds the pages of a sound tree.
class Finder final : public btree::TreeSource {
 public:
  Finder(const Images& images, Places& places) : _images(images), _places(places) {}
  [[nodiscard]] bool read(PageId page_id, std::byte* to) override {
    _images[Recorder::kPages].read(page_id * kPageSize, to, kPageSize);
    const bool leaf = btree::NodeReader{to}.is_leaf();
    _places[leaf ? check::Region::kLeaf : check::Region::kInner].push_back(
        {Recorder::kPages, page_id * kPageSize, kPageSize});
    return true;
  }
  [[nodiscard]] bool claim(Extent, PageId) override { return true; }
  void visit(const btree::Node&) override {}
  void visit_large(Extent extent) override {
    _places[check::Region::kLargeValue].push_back(
        {Recorder::kPages, extent.page_id * kPageSize, extent.bytes()});
  }
  void fault(PageId page_id, const btree::Node&, const std::string& what) override {
    throw Error(Status{Errc::kCorrupt, 0, page_id}, what);
  }

 private:
  const Images& _images;
  Places& _places;
};

void find_log_places(Recorder& recorder, Places& places) {
  for (std::uint64_t slot = 0; slot < Master::kSlots; ++slot) {
    places[check::Region::kMaster].push_back({Recorder::kLog, slot * kPageSize, sizeof(Master)});
  }
  LogOptions options;
  options.make_storage = [&] { return recorder.open(Recorder::kLog); };
  WriteAheadLog log(options);
  (void)log.scan([&](const WriteAheadLog::Record& record) {
    const bool snapshot = static_cast<RecordType>(record.type) == RecordType::kSnapshot;
    const std::uint64_t at = kRingAt + record.begin % log.capacity_bytes();
    const std::uint64_t bytes = sizeof(RecordHeader) + record.body.size();
    if (record.begin / log.capacity_bytes() != (record.begin + bytes) / log.capacity_bytes())
      return;
    places[snapshot ? check::Region::kSnapshot : check::Region::kRecord].push_back(
        {Recorder::kLog, at, bytes});
  });
}

}  // namespace

Logged closed_database() {
  Recorder recorder;
  Logged database;
  database.history = run_workload({.seed = 7, .transactions = 220}, recorder);
  database.images = recorder.content();
  database.min = database.history.commits();
  return database;
}

Logged cut_database() {
  Recorder recorder;
  Logged database;
  database.history = run_workload({.seed = 3, .transactions = 200}, recorder);
  std::mt19937_64 random(3);
  const std::uint64_t moment = recorder.moment() * 4 / 5;
  database.images = recorder.cut(moment, random);
  database.min = database.history.acknowledged(moment);
  return database;
}

Plain plain_database(bool page_headers) {
  Recorder recorder;
  Plain database;
  database.page_headers = page_headers;
  {
    BufferPool pool(pool_on(recorder, page_headers));
    pool.set_root(0, BTree::create(pool));
    BTree tree(pool, pool.root(0));
    for (unsigned n = 0; n < 1200; ++n) {
      const std::string key = "key" + std::to_string(n * 7919 % 10007);
      const bool large = n % 100 == 0;
      const std::string value(large ? 5000 + n * 10 : 20 + n % 200,
                              static_cast<char>('a' + n % 26));
      tree.upsert(key, value);
      database.entries[key] = value;
    }
    for (auto entry = database.entries.begin(); entry != database.entries.end();) {
      if (entry->first < "key3" || entry->first > "key7") {
        ++entry;
        continue;
      }
      tree.erase(entry->first);
      entry = database.entries.erase(entry);
    }
    pool.close();
  }
  database.images = recorder.content();
  return database;
}

Places places_of(const Images& images, bool with_log) {
  Recorder recorder(images);
  const std::unique_ptr<Storage> pages = recorder.open(Recorder::kPages);
  const Header header = Header::read(*pages);
  Places places;
  places[check::Region::kHeader].push_back({Recorder::kPages, 0, sizeof(Header)});
  for (PageId page_id = header.free_list; page_id != kNoPage;) {
    places[check::Region::kFreeList].push_back({Recorder::kPages, page_id * kPageSize, kPageSize});
    images[Recorder::kPages].read(page_id * kPageSize, reinterpret_cast<std::byte*>(&page_id),
                                  sizeof page_id);
  }
  Finder finder(images, places);
  for (const PageId root : header.roots) {
    if (root != kNoPage)
      btree::TreeWalk{finder, header.page_headers() ? sizeof(PageHeader) : 0}.run(root);
  }
  if (with_log) find_log_places(recorder, places);
  return places;
}

check::Report check_images(const Images& images, bool with_log) {
  Recorder recorder(images);
  const std::unique_ptr<Storage> pages = recorder.open(Recorder::kPages);
  const std::unique_ptr<Storage> log = recorder.open(Recorder::kLog);
  check::Report report(10);
  check_database({.pages = *pages,
                  .file_of = [](std::uint64_t) { return std::string("pages"); },
                  .log = with_log ? log.get() : nullptr,
                  .log_file = "log"},
                 report);
  if (recorder.moment() != 0) throw Error(Errc::kIo, "the checker has written");
  return report;
}

bool names(const check::Report& report, std::initializer_list<check::Region> regions) {
  return std::ranges::any_of(report.findings(), [&](const check::Finding& finding) {
    return finding.damage && std::ranges::find(regions, finding.region) != regions.end();
  });
}

void flip_bit(Images& images, const Place& place, std::mt19937_64& random) {
  const std::uint64_t at = place.offset + random() % place.bytes;
  std::byte byte{};
  images[place.device].read(at, &byte, 1);
  byte ^= static_cast<std::byte>(1U << random() % 8);
  images[place.device].write(at, &byte, 1);
}

std::vector<std::byte> page_of(const Images& images, PageId page_id) {
  std::vector<std::byte> bytes(kPageSize);
  images[Recorder::kPages].read(page_id * kPageSize, bytes.data(), kPageSize);
  return bytes;
}
void put_page(Images& images, PageId page_id, const std::vector<std::byte>& bytes) {
  images[Recorder::kPages].write(page_id * kPageSize, bytes.data(), kPageSize);
}

Answer ask(const Logged& database, const Images& images, std::size_t min) {
  Recorder recorder(images);
  try {
    Database opened(recorded_database(recorder, 64));
    return database.history.holds(read_state(opened), min) ? Answer::kRight : Answer::kWrong;
  } catch (const Error&) {
    return Answer::kError;
  }
}

Answer ask(const Plain& database, const Images& images) {
  Recorder recorder(images);
  try {
    BufferPool pool(pool_on(recorder, database.page_headers));
    if (pool.root(0) == kNoPage) return Answer::kWrong;
    const BTree tree(pool, pool.root(0));
    Answer answer = Answer::kRight;
    for (const Direction direction : {Direction::kAscending, Direction::kDescending}) {
      std::map<std::string, std::string> found;
      const auto visit = [&](Bytes key, Bytes value) {
        found[std::string(key.view())] = std::string(value.view());
        return true;
      };
      direction == Direction::kAscending ? (void)tree.scan(Bound::all(), visit)
                                         : (void)tree.scan_descending(Bound::all(), visit);
      if (found != database.entries) answer = Answer::kWrong;
    }
    for (const auto& [key, value] : database.entries) {
      if (tree.get(key) != value) answer = Answer::kWrong;
    }
    if (tree.count() != database.entries.size()) answer = Answer::kWrong;
    return answer;
  } catch (const Error&) {
    return Answer::kError;
  }
}

}  // namespace vmcache::test
