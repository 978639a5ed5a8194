// SPDX-License-Identifier: MIT
//
// kvtest's queries by several threads, each with a connection of its own, on one of SQLite's VFSes.
//
// Makes the table if it is not there. Then each thread reads random rows, all of a row's bytes, for
// so many seconds. Prints one line: queries a second of all threads, processor time of a query, the
// process's resident bytes, and the bytes in SQLite's page caches. scripts/sqlite_bench.py runs it
// with a memory limit.
#include <sqlite3.h>
#include <sys/resource.h>

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
  //! In SQLite's page cache of this connection.
  [[nodiscard]] std::uint64_t cache_bytes() {
    int now = 0;
    int highest = 0;
    if (sqlite3_db_status(_db, SQLITE_DBSTATUS_CACHE_USED, &now, &highest, 0) != SQLITE_OK) fail();
    return static_cast<std::uint64_t>(now);
  }
  [[noreturn]] void fail() { stop(sqlite3_errmsg(_db)); }

 private:
  sqlite3* _db = nullptr;
};

void make_table(const Settings& settings) {
  Connection db(settings);
  db.run("create table if not exists kv(k integer primary key, v blob)");
  db.run("begin; with recursive c(i) as (select 1 union all select i+1 from c where i<" +
         std::to_string(settings.rows) + ") insert into kv select i, randomblob(" +
         std::to_string(settings.bytes) + ") from c where not exists(select 1 from kv); commit");
}

struct Result {
  std::uint64_t queries = 0;
  std::uint64_t cache_bytes = 0;
};

std::uint64_t rows_of(Connection& db) {
  sqlite3_stmt* const query = db.prepare("select max(k) from kv");
  if (sqlite3_step(query) != SQLITE_ROW) db.fail();
  const auto rows = static_cast<std::uint64_t>(sqlite3_column_int64(query, 0));
  sqlite3_finalize(query);
  return rows;
}

Result read_rows(const Settings& settings, std::uint64_t rows, unsigned seed,
                 const std::atomic<bool>& stopped) {
  Connection db(settings);
  sqlite3_stmt* const query = db.prepare("select v from kv where k=?");
  std::mt19937_64 random(seed);
  std::uint64_t queries = 0;
  std::uint64_t sum = 0;
  while (!stopped.load(std::memory_order_relaxed)) {
    sqlite3_bind_int64(query, 1, static_cast<sqlite3_int64>(1 + random() % rows));
    if (sqlite3_step(query) != SQLITE_ROW) db.fail();
    const auto* const bytes = static_cast<const unsigned char*>(sqlite3_column_blob(query, 0));
    const int n = sqlite3_column_bytes(query, 0);
    for (int i = 0; i < n; ++i) sum += bytes[i];
    sqlite3_reset(query);
    ++queries;
  }
  if (sum == 0 && queries > 0) stop("all rows are zeros");
  sqlite3_finalize(query);
  return {queries, db.cache_bytes()};
}

std::uint64_t resident_bytes() {
  constexpr std::uint64_t kPage = 4096;
  std::uint64_t all = 0;
  std::uint64_t resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * kPage;
}

//! That this process has had read from storage so far, the page cache's too.
std::uint64_t read_bytes() {
  std::ifstream io("/proc/self/io");
  std::uint64_t bytes = 0;
  for (std::string name; io >> name >> bytes;)
    if (name == "read_bytes:") return bytes;
  return 0;
}

//! Of this process so far, user and system time.
double processor_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  constexpr double kMicro = 1e-6;
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         kMicro * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

}  // namespace

int main(int argc, char** argv) {
  const Settings settings = settings_of(argc, argv);
  if (vmcache_sqlite_register(0) != SQLITE_OK) stop("the VFS cannot be registered");
  make_table(settings);
  Connection first(settings);                  // so that the file stays open between the threads'
  first.run("select sum(length(v)) from kv");  // what fits is in memory
  const std::uint64_t rows = rows_of(first);
  if (rows == 0) stop("the table is empty");
  std::atomic<bool> stopped{false};
  std::atomic<std::uint64_t> queries{0};
  std::atomic<std::uint64_t> cache_bytes{first.cache_bytes()};
  std::vector<std::thread> threads;
  const double before = processor_seconds();
  const std::uint64_t bytes_before = read_bytes();
  for (std::uint64_t i = 0; i < settings.threads; ++i) {
    threads.emplace_back([&, i] {
      const Result result = read_rows(settings, rows, static_cast<unsigned>(i + 1), stopped);
      queries += result.queries;
      cache_bytes += result.cache_bytes;
    });
  }
  std::this_thread::sleep_for(std::chrono::seconds(settings.seconds));
  const std::uint64_t resident = resident_bytes();
  stopped = true;
  for (std::thread& thread : threads) thread.join();
  const double used = processor_seconds() - before;
  const auto number = static_cast<double>(queries.load());
  constexpr double kMib = 1 << 20;
  constexpr double kMicro = 1e6;
  constexpr double kPage = 4096;
  std::printf(
      "%s mmap %llu threads %llu: %.0f queries/s, %.1f us of processor and %.2f pages read each, "
      "%.1f MiB resident, %.1f MiB in caches\n",
      settings.vfs.c_str(), static_cast<unsigned long long>(settings.mmap_bytes),
      static_cast<unsigned long long>(settings.threads),
      number / static_cast<double>(settings.seconds), kMicro * used / number,
      static_cast<double>(read_bytes() - bytes_before) / kPage / number,
      static_cast<double>(resident) / kMib, static_cast<double>(cache_bytes) / kMib);
}
