// SPDX-License-Identifier: MIT
//
// A small bank: accounts in a B+tree, transfers by several threads, some of them called off.
// Whatever happens to the process, the sum of all accounts stays what it was, and a transfer that
// was reported as done is done.
//
// usage: ledger run FILE [THREADS] [SECONDS]
//          makes or recovers FILE (its log is FILE.log) and transfers; SECONDS 0: until killed
//        ledger check FILE
//          recovers, checks the sum, prints what each thread has done
// `run` prints "THREAD COUNT" after every 64th transfer of a thread that is durable.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <vmcache/database.hpp>

namespace {

using vmcache::Database;
using vmcache::Transaction;

constexpr unsigned kAccountsTree = 0;
constexpr unsigned kDoneTree = 1;  // how many transfers each thread has done
constexpr unsigned kAccounts = 20'000;
constexpr std::int64_t kOpening = 1000;

std::string key_of(unsigned number) {
  char text[16];
  std::snprintf(text, sizeof text, "%08u", number);
  return text;
}

std::int64_t number_of(const std::optional<std::string>& value) {
  std::int64_t number = 0;
  if (value && value->size() == sizeof number) std::memcpy(&number, value->data(), sizeof number);
  return number;
}

std::string value_of(std::int64_t number) {
  return {reinterpret_cast<const char*>(&number), sizeof number};
}

vmcache::DatabaseOptions options_for(const char* file) {
  vmcache::DatabaseOptions options;
  options.pool.path = file;
  // Less than the accounts take: pages come and go.
  options.pool.pool_bytes = std::uint64_t{1} << 18;
  options.pool.capacity_bytes = std::uint64_t{1} << 30;
  options.log.path = std::string(file) + ".log";
  options.log.capacity_bytes = std::uint64_t{8} << 20;
  return options;
}

//! Accounts in batches; a crash in the middle is gone on with.
void open_accounts(Database& database) {
  constexpr unsigned kBatch = 50;
  for (unsigned first = 0; first < kAccounts; first += kBatch) {
    if (database.tree(kAccountsTree).get(key_of(first))) continue;
    Transaction transaction(database);
    for (unsigned i = first; i < first + kBatch; ++i)
      transaction.put(kAccountsTree, key_of(i), value_of(kOpening));
    transaction.commit_no_wait();
  }
  database.log().flush();
}

//! One transfer. False if another thread had one of the accounts, or there was not enough money.
bool transfer(Database& database, unsigned thread, std::int64_t done, std::mt19937_64& random) {
  const auto from = static_cast<unsigned>(random() % kAccounts);
  const auto to = static_cast<unsigned>(random() % kAccounts);
  const auto amount = static_cast<std::int64_t>(random() % 100);
  if (from == to) return false;
  try {
    Transaction transaction(database);
    const std::int64_t balance = number_of(transaction.get_for_update(kAccountsTree, key_of(from)));
    transaction.put(kAccountsTree, key_of(from), value_of(balance - amount));
    if (balance < amount) return false;  // rolled back
    const std::int64_t other = number_of(transaction.get_for_update(kAccountsTree, key_of(to)));
    transaction.put(kAccountsTree, key_of(to), value_of(other + amount));
    transaction.put(kDoneTree, key_of(thread), value_of(done + 1));
    transaction.commit();
    return true;
  } catch (const vmcache::Error& error) {
    if (error.code() != vmcache::Errc::kConflict) throw;
    return false;
  }
}

int run(const char* file, unsigned threads, unsigned seconds) {
  Database database(options_for(file));
  open_accounts(database);
  std::atomic<bool> stop{false};
  std::vector<std::thread> clients;
  for (unsigned thread = 0; thread < threads; ++thread) {
    clients.emplace_back([&, thread] {
      std::mt19937_64 random(std::random_device{}());
      std::int64_t done = number_of(database.tree(kDoneTree).get(key_of(thread)));
      while (!stop) {
        if (!transfer(database, thread, done, random)) continue;
        if (++done % 64 != 0) continue;
        std::printf("%u %ld\n", thread, static_cast<long>(done));
        std::fflush(stdout);
      }
    });
  }
  while (seconds == 0) std::this_thread::sleep_for(std::chrono::hours(1));
  std::this_thread::sleep_for(std::chrono::seconds(seconds));
  stop = true;
  for (std::thread& client : clients) client.join();
  database.close();
  return 0;
}

int check(const char* file) {
  Database database(options_for(file));
  std::uint64_t accounts = 0;
  std::int64_t sum = 0;
  database.tree(kAccountsTree)
      .scan(vmcache::Bound::all(), [&](vmcache::Bytes, vmcache::Bytes value) {
        sum += number_of(std::string(value.view()));
        ++accounts;
        return true;
      });
  (void)database.tree(kAccountsTree).verify();
  database.tree(kDoneTree).scan(
      vmcache::Bound::all(), [&](vmcache::Bytes key, vmcache::Bytes value) {
        std::printf("%lu %ld\n", std::strtoul(std::string(key.view()).c_str(), nullptr, 10),
                    static_cast<long>(number_of(std::string(value.view()))));
        return true;
      });
  const bool right = sum == static_cast<std::int64_t>(accounts) * kOpening;
  std::printf("%lu accounts, sum %ld: %s; recovery: %lu transactions, %lu pages, %.1f ms\n",
              static_cast<unsigned long>(accounts), static_cast<long>(sum),
              right ? "right" : "WRONG",
              static_cast<unsigned long>(database.recovery().transactions),
              static_cast<unsigned long>(database.recovery().pages),
              static_cast<double>(database.recovery().duration_ns) / 1e6);
  return right ? 0 : 1;
}

unsigned argument(int argc, char** argv, int at, unsigned otherwise) {
  return argc > at ? static_cast<unsigned>(std::strtoul(argv[at], nullptr, 10)) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 2 ? argv[1] : "";
  try {
    if (command == "run")
      return run(argv[2], argument(argc, argv, 3, 4), argument(argc, argv, 4, 10));
    if (command == "check") return check(argv[2]);
  } catch (const vmcache::Error& error) {
    std::fprintf(stderr, "ledger: %s\n", error.what());
    return 1;
  }
  std::fprintf(stderr, "usage: ledger run FILE [THREADS] [SECONDS] | ledger check FILE\n");
  return 2;
}
