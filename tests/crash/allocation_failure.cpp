// SPDX-License-Identifier: MIT
//
// The n-th allocation fails, for n = 1, 2, 3 ... until everything succeeds (as SQLite is tested):
// once, or from then on. Always an error reaches the caller or the call succeeds; nothing crashes,
// hangs or leaks; and whatever was acknowledged is there at the next open.
// usage: allocation_failure [STEP]    every STEP-th n (default 1)
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <new>
#include <optional>
#include <string>

#include "crash/memory_storage.hpp"
#include "crash/workload.hpp"
#include "vmcache/database.hpp"

namespace {

//! What operator new and aligned_alloc ask before they give anything.
struct Faults {
  std::atomic<bool> armed{false};
  std::atomic<bool> for_ever{false};
  std::atomic<std::uint64_t> fail_at{0};
  std::atomic<std::uint64_t> seen{0};
  std::atomic<std::int64_t> living{0};

  void arm(std::uint64_t nth, bool forever) {
    seen = 0;
    fail_at = nth;
    for_ever = forever;
    armed = true;
  }
  //! Whether the n-th allocation was reached.
  bool disarm() {
    armed = false;
    return seen >= fail_at;
  }
  bool fails() noexcept {
    if (!armed) return false;
    const std::uint64_t number = seen.fetch_add(1) + 1;
    return for_ever ? number >= fail_at : number == fail_at;
  }
};
Faults faults;

void* take(std::size_t bytes, std::size_t alignment) {
  if (faults.fails()) throw std::bad_alloc();
  void* memory = nullptr;
  if (::posix_memalign(&memory, std::max(alignment, sizeof(void*)), bytes == 0 ? 1 : bytes) != 0)
    throw std::bad_alloc();
  faults.living.fetch_add(1);
  return memory;
}
void give(void* memory) noexcept {
  if (memory == nullptr) return;
  faults.living.fetch_sub(1);
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t bytes) {
  return take(bytes, alignof(std::max_align_t));
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return take(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept {
  give(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  give(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  give(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  give(memory);
}

//! The linker puts it in the place of the library's calls (--wrap).
extern "C" void* __real_aligned_alloc(std::size_t alignment, std::size_t bytes);
extern "C" void* __wrap_aligned_alloc(std::size_t alignment, std::size_t bytes) {
  return faults.fails() ? nullptr : __real_aligned_alloc(alignment, bytes);
}

namespace {

using namespace vmcache;
using test::MemoryDevice;

constexpr std::size_t kDeviceBytes = std::size_t{3} << 20;
constexpr int kTransactions = 60;

std::uint64_t current_n = 0;
const char* current_part = "";
bool current_forever = false;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "%s, allocation %lu failed%s: %s\n", current_part,
               static_cast<unsigned long>(current_n), current_forever ? " and all after it" : "",
               what.c_str());
  std::_Exit(1);
}
[[noreturn]] void terminated() {
  faults.armed = false;
  fail("std::terminate was called");
}

struct Devices {
  MemoryDevice pages{kDeviceBytes};
  MemoryDevice log{kDeviceBytes};
  void clear() {
    pages.clear();
    log.clear();
  }
  void copy(const Devices& other) {
    pages.copy(other.pages);
    log.copy(other.log);
  }
};

DatabaseOptions options_on(Devices& devices) {
  DatabaseOptions options;
  options.pool.make_storage = [&] { return std::make_unique<test::MemoryStorage>(devices.pages); };
  options.pool.pool_bytes = 16 * kPageSize;  // less than there is: evictions
  options.pool.capacity_bytes = 512 * kPageSize;
  options.pool.frame_wait = std::chrono::milliseconds(2);
  options.pool.memory = MemoryKind::kAnonymous;
  options.pool.workers = 2;
  options.pool.io_depth = 16;
  options.pool.evict_batch = 4;
  options.log.make_storage = [&] { return std::make_unique<test::MemoryStorage>(devices.log); };
  options.log.capacity_bytes = std::uint64_t{1} << 20;
  return options;
}

//! What the database must hold; nullopt: an unacknowledged change leaves it open.
using Model = std::map<std::string, std::optional<std::string>>;

//! True if the call succeeded; false if it failed as it may. (Not a std::function: that asks for
//! memory itself.)
template <typename Call>
bool tried(Call call) {
  try {
    call();
    return true;
  } catch (const std::bad_alloc&) {
  } catch (const Error&) {
  }
  return false;
}

std::string key_of(int i) {
  return "key" + std::to_string(i * 37 % 100) +
         std::string(static_cast<std::size_t>(i % 3) * 60, 'k');
}
std::string value_of(int i) {
  return std::string(900 + static_cast<std::size_t>(i) * 2, static_cast<char>('a' + i % 26));
}

//! The test's own memory does not run out.
class Spared {
 public:
  Spared() : _armed(faults.armed.exchange(false)) {}
  ~Spared() { faults.armed = _armed; }
  Spared(const Spared&) = delete;
  Spared& operator=(const Spared&) = delete;

 private:
  const bool _armed;
};

enum class Outcome : std::uint8_t { kNothing, kMaybe, kDone };

Outcome transact(Database& database, int i, const std::string& key, const std::string& value,
                 const std::string& old) {
  Outcome outcome = Outcome::kNothing;
  (void)tried([&] {
    Transaction transaction(database);
    transaction.put(0, key, value);
    if (i % 5 == 4) transaction.erase(0, old);
    if (i % 7 == 6) return transaction.rollback();
    outcome = Outcome::kMaybe;
    transaction.commit();
    outcome = Outcome::kDone;
  });
  return outcome;
}

//! Loads, changes, checkpoints. What was acknowledged, or might have happened, is in the model.
void work(Database& database, Model& model) {
  for (int i = 0; i < kTransactions; ++i) {
    std::optional<Spared> spared(std::in_place);
    const std::string key = key_of(i);
    const std::string old = key_of(i < 4 ? i : i - 4);
    const std::string value = value_of(i);
    spared.reset();
    const Outcome outcome = transact(database, i, key, value, old);
    {
      const Spared model_is;
      if (outcome != Outcome::kNothing) {
        model[key] = outcome == Outcome::kDone ? std::optional{value} : std::nullopt;
        if (i % 5 == 4)
          model[old] = outcome == Outcome::kDone ? std::optional{std::string()} : std::nullopt;
      }
    }
    if (i == kTransactions / 2) (void)tried([&] { database.checkpoint(); });
    (void)tried([&] { (void)database.tree(0).get(key); });
  }
}

//! Everything the model says is there, nothing else leaks, and the database works.
void expect(Devices& devices, const Model& model) {
  try {
    Database database(options_on(devices));
    for (const auto& [key, value] : model) {
      if (!value) continue;
      const auto found = database.tree(0).get(key);
      if (value->empty() ? found.has_value() : found != *value)
        fail("what was acknowledged of '" + key + "' is not there");
    }
    (void)test::read_state(database);
    Transaction transaction(database);
    transaction.put(0, "after", "all");
    transaction.commit();
    database.close();
  } catch (const std::exception& error) {
    fail(std::string("the next open, with memory, says: ") + error.what());
  }
}

//! Runs `part` for every n in both ways; `part` says whether the n-th allocation was reached.
void for_every_n(const char* name, std::uint64_t step, const std::function<bool()>& part) {
  for (const bool forever : {false, true}) {
    std::uint64_t n = 1;
    for (;; n += step) {
      current_part = name;
      current_n = n;
      current_forever = forever;
      const std::int64_t living = faults.living;
      const bool reached = part();
      if (faults.living != living)
        fail(std::to_string(faults.living - living) + " allocations have leaked");
      if (!reached) break;
    }
    std::printf("%s: %s, %lu allocations\n", name, forever ? "from the n-th on" : "the n-th",
                static_cast<unsigned long>(n - 1));
    if (n < 50) fail("a part that allocates nothing shows nothing");
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::set_terminate(terminated);
  const std::uint64_t step = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  if (step == 0) {
    std::fputs("usage: allocation_failure [STEP]   (STEP: a number from 1)\n", stderr);
    return 2;
  }
  Devices devices;
  std::uint64_t evictions = 0;  // of the run in which everything succeeded

  for_every_n("open, run, checkpoint, close", step, [&] {
    devices.clear();
    Model model;
    const DatabaseOptions options = options_on(devices);
    faults.arm(current_n, current_forever);
    (void)tried([&] {
      Database database(options);
      work(database, model);
      database.close();
      evictions = database.pool().stats().evictions;
    });
    const bool reached = faults.disarm();
    expect(devices, model);
    return reached;
  });
  if (evictions == 0) fail("nothing was evicted, so that was not tested");

  // A database that ended without a close: its log is to be applied again.
  Devices crashed;
  Model model;
  {
    Devices running;
    Database database(options_on(running));
    work(database, model);
    crashed.copy(running);
  }
  for_every_n("recover, close", step, [&] {
    devices.copy(crashed);
    const DatabaseOptions options = options_on(devices);
    faults.arm(current_n, current_forever);
    (void)tried([&] {
      Database database(options);
      (void)database.tree(0).count();
      database.close();
    });
    const bool reached = faults.disarm();
    expect(devices, model);
    return reached;
  });
  return 0;
}
