// SPDX-License-Identifier: MIT
//
// kvtest's queries by several threads, each with a connection of its own, on one of SQLite's VFSes.
//
// Makes the table if it is not there. Then each thread reads random rows, all of a row's bytes, for
// so many seconds. Prints one line: queries a second of all threads, and the process's resident
// bytes. Run it in a cgroup to give it a memory limit.
#include <sqlite3.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "vmcache_sqlite.h"

namespace {

const char* const kUsage =
    "usage: sqlite_reads PATH [--vfs NAME] [--threads N] [--seconds N] [--rows N] [--bytes N]\n"
    "                         [--mmap BYTES] [--cache-kib N] [--parameters URI]\n"
    "  --bytes N         of a row's value; --rows and --bytes count when the table is made\n"
    "  --mmap BYTES      PRAGMA mmap_size: 0 copies pages, 2147418112 reads all without a copy\n"
    "  --cache-kib N     PRAGMA cache_size of each connection\n"
    "  --parameters URI  of the database's URI, for example pool_mib=64&file_direct_io=0\n";

struct Settings {
  std::string path;
  std::string vfs = "vmcache";
  std::string parameters;  // of the URI
  std::uint64_t threads = 1, seconds = 5, rows = 100'000, bytes = 1000;
  std::uint64_t mmap_bytes = 0, cache_kib = 2000;
};

[[noreturn]] void stop(const std::string& why) {
  std::fprintf(stderr, "sqlite_reads: %s\n", why.c_str());
  std::exit(2);
}

std::uint64_t number(const std::string& name, const std::string& text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || end != text.data() + text.size())
    stop(name + " " + text + ": a number is allowed");
  return n;
}

Settings settings_of(int argc, char** argv) {
  Settings settings;
  const std::map<std::string, std::uint64_t*> numbers = {
      {"--threads", &settings.threads}, {"--seconds", &settings.seconds},
      {"--rows", &settings.rows},       {"--bytes", &settings.bytes},
      {"--mmap", &settings.mmap_bytes}, {"--cache-kib", &settings.cache_kib},
  };
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--help") {
      std::fputs(kUsage, stdout);
      std::exit(0);
    }
    if (!name.starts_with("--")) {
      settings.path = name;
      continue;
    }
    if (i + 1 == argc) stop(name + ": a value is missing");
    const std::string value = argv[++i];
    if (name == "--vfs") {
      settings.vfs = value;
    } else if (name == "--parameters") {
      settings.parameters = value;
    } else if (numbers.contains(name)) {
      *numbers.at(name) = number(name, value);
    } else {
      stop(name + ": unknown option");
    }
  }
  if (settings.path.empty()) stop("PATH is missing");
  if (settings.threads == 0 || settings.rows == 0) stop("--threads and --rows: at least 1");
  return settings;
}

class Connection {
 public:
  explicit Connection(const Settings& settings) {
    const std::string uri = "file:" + settings.path + "?" + settings.parameters;
    const int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(uri.c_str(), &_db, flags, settings.vfs.c_str()) != SQLITE_OK) fail();
    run("pragma cache_size=-" + std::to_string(settings.cache_kib));
    run("pragma mmap_size=" + std::to_string(settings.mmap_bytes));
  }
  ~Connection() { sqlite3_close(_db); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void run(const std::string& sql) {
    if (sqlite3_exec(_db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) fail();
  }
  [[nodiscard]] sqlite3_stmt* prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(_db, sql, -1, &statement, nullptr) != SQLITE_OK) fail();
    return statement;
  }
  [[noreturn]] void fail() { stop(sqlite3_errmsg(_db)); }

 private:
  sqlite3* _db = nullptr;
};

void make_table(const Settings& settings) {
  Connection db(settings);
  db.run("create table if not exists kv(k integer primary key, v blob)");
  const std::string rows = std::to_string(settings.rows);
  db.run("begin; with recursive c(i) as (select 1 union all select i+1 from c where i<" + rows +
         ") insert or ignore into kv select i, randomblob(" + std::to_string(settings.bytes) +
         ") from c where " + rows + ">(select count(*) from kv); commit");
}

//! Returns how many queries.
std::uint64_t read_rows(const Settings& settings, unsigned seed, const std::atomic<bool>& stopped) {
  Connection db(settings);
  sqlite3_stmt* const query = db.prepare("select v from kv where k=?");
  std::mt19937_64 random(seed);
  std::uint64_t queries = 0;
  std::uint64_t sum = 0;
  while (!stopped.load(std::memory_order_relaxed)) {
    sqlite3_bind_int64(query, 1, static_cast<sqlite3_int64>(1 + random() % settings.rows));
    if (sqlite3_step(query) != SQLITE_ROW) db.fail();
    const auto* const bytes = static_cast<const unsigned char*>(sqlite3_column_blob(query, 0));
    const int n = sqlite3_column_bytes(query, 0);
    for (int i = 0; i < n; ++i) sum += bytes[i];
    sqlite3_reset(query);
    ++queries;
  }
  if (sum == 0 && queries > 0) stop("all rows are zeros");
  sqlite3_finalize(query);
  return queries;
}

std::uint64_t resident_bytes() {
  constexpr std::uint64_t kPage = 4096;
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * kPage;
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = settings_of(argc, argv);
  if (vmcache_sqlite_register(0) != SQLITE_OK) stop("the VFS cannot be registered");
  make_table(settings);
  Connection first(settings);                  // so that the file stays open between the threads'
  first.run("select sum(length(v)) from kv");  // what fits is in memory
  std::atomic<bool> stopped{false};
  std::atomic<std::uint64_t> queries{0};
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < settings.threads; ++i) {
    threads.emplace_back(
        [&, i] { queries += read_rows(settings, static_cast<unsigned>(i + 1), stopped); });
  }
  std::this_thread::sleep_for(std::chrono::seconds(settings.seconds));
  const std::uint64_t resident = resident_bytes();
  stopped = true;
  for (std::thread& thread : threads) thread.join();
  std::printf("%s mmap %llu threads %llu: %.0f queries/s, %.1f MiB resident\n",
              settings.vfs.c_str(), static_cast<unsigned long long>(settings.mmap_bytes),
              static_cast<unsigned long long>(settings.threads),
              static_cast<double>(queries.load()) / static_cast<double>(settings.seconds),
              static_cast<double>(resident) / (1 << 20));
}
