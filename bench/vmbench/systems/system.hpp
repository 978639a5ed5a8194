// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "common/clock.hpp"
#include "common/histogram.hpp"
#include "common/report.hpp"
#include "workload/op_source.hpp"
#include "workload/options.hpp"

namespace vmbench {

//! What a thread of a run keeps for the driver, which reads it while the thread goes on.
struct alignas(64) ThreadCounters {
  std::atomic<std::uint64_t> ops{0};
  std::atomic<std::uint64_t> not_found{
      0};  //!< of records inserted during the run; of loaded ones it is an error
  Histogram op_ns;
  Histogram read_ns;  //!< sampled page reads, where the system itself does not count them

  void finished(std::uint64_t ns) {
    ops.store(ops.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    op_ns.add(ns);
  }
};

//! Page transfers since the system was opened.
struct IoCounters {
  std::uint64_t page_reads = 0;
  std::uint64_t page_writes = 0;
};

//! Everything one thread of a run needs.
struct ThreadContext {
  unsigned index;
  OpSource source;
  ThreadCounters& counters;
  const std::atomic<bool>& stop;
};

//! A store under test, opened on its data file.
class System {
 public:
  System() = default;
  virtual ~System() = default;
  System(const System&) = delete;
  System& operator=(const System&) = delete;

  //! Runs operations until context.stop. Called by each thread of the run. Throws on a failed or
  //! wrong operation.
  virtual void run_thread(ThreadContext& context) = 0;
  [[nodiscard]] virtual IoCounters io() const = 0;
  //! Time its threads have spent polling for nothing.
  [[nodiscard]] virtual std::uint64_t empty_poll_ns() const { return 0; }
  //! Latencies of page reads since it was opened; nothing where they are only sampled
  //! (ThreadCounters::read_ns).
  [[nodiscard]] virtual std::optional<Histogram> read_ns() const { return std::nullopt; }
  //! Further facts for the row.
  virtual void describe(Json& /*row*/) const {}
  //! Closes cleanly; not part of the measurement.
  virtual void close() {}
};

//! Blocking operations of one thread.
class Session {
 public:
  Session() = default;
  virtual ~Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  [[nodiscard]] virtual bool read(Key key, Value& value) = 0;
  [[nodiscard]] virtual bool update(Key key, const Value& value) = 0;
  //! Inserts, or replaces.
  virtual void insert(Key key, const Value& value) = 0;
  //! Reads up to `length` records from `key` upwards and returns how many.
  [[nodiscard]] virtual unsigned scan(Key key, unsigned length) = 0;
};

//! The loop of a thread that does one operation at a time. `sample_reads`: time every 64th
//! operation against the thread's major faults, for systems whose reads happen in page faults.
void run_session(Session& session, ThreadContext& context, bool sample_reads);

//! Throws std::runtime_error naming the key.
void check_found(const Op& op, bool found, ThreadCounters& counters);
void check_value(Key key, const Value& value);

//! Bytes that the kernel read from and wrote to storage for this process (/proc/self/io), in pages:
//! what mmap and LMDB cause in faults. Writes are counted when a page of the page cache becomes
//! dirty.
[[nodiscard]] IoCounters kernel_io();

struct SystemEntry {
  std::string_view name;
  std::string_view description;
  bool asynchronous;  //!< uses --tasks
  bool page_cache;    //!< lives in the kernel's page cache, so that only a control group limits it
  //! File the system keeps its data in.
  std::string (*data_file)(const WorkloadOptions&);
  //! Makes the data file if there is none that fits.
  void (*prepare)(const WorkloadOptions&);
  std::unique_ptr<System> (*open)(const WorkloadOptions&);
  //! For what is no store but a reference: measures by itself and returns the row; lookups only.
  Json (*run)(const WorkloadOptions&) = nullptr;
};
[[nodiscard]] std::span<const SystemEntry> all_systems();
//! The entry named `name`, which must exist.
[[nodiscard]] const SystemEntry& find_system(std::string_view name);

std::string plain_file(const WorkloadOptions& options);
void prepare_plain(const WorkloadOptions& options);
std::unique_ptr<System> open_mmap(const WorkloadOptions& options);
std::unique_ptr<System> open_pread(const WorkloadOptions& options);
std::string lmdb_file(const WorkloadOptions& options);
void prepare_lmdb(const WorkloadOptions& options);
std::unique_ptr<System> open_lmdb(const WorkloadOptions& options);
std::string vmcache_file(const WorkloadOptions& options);
void prepare_vmcache(const WorkloadOptions& options);
std::unique_ptr<System> open_vmcache(const WorkloadOptions& options);
Json run_fio(const WorkloadOptions& options);

}  // namespace vmbench
