// SPDX-License-Identifier: MIT
//
// Storage in memory that remembers every write, flush and change of size, and can say what a power
// cut at any moment might leave of it. Transfers may take time, end out of order and fail.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "vmcache/storage.hpp"
#include "vmcache/types.hpp"

namespace vmcache::test {

//! A device's content; copies share pages.
class DiskImage {
 public:
  using Page = std::array<std::byte, kPageSize>;
  static constexpr std::size_t kSector = 512;

  void read(std::uint64_t offset, std::byte* to, std::size_t bytes) const;
  //! Grows it as needed.
  void write(std::uint64_t offset, const std::byte* from, std::size_t bytes);
  void resize(std::uint64_t bytes);
  [[nodiscard]] std::uint64_t size() const noexcept { return _size; }
  void save(const std::string& path) const;

 private:
  std::uint64_t _size = 0;
  std::vector<std::shared_ptr<const Page>> _pages;  // null: zeros
};

//! How a device behaves. As it is made, every transfer ends at once, and well.
struct DeviceBehaviour {
  //! A transfer or flush takes up to so long, each its own time: needs somebody who sleeps, so a
  //! Schedule.
  std::uint64_t max_latency_ns = 0;
  std::uint64_t max_bytes = ~std::uint64_t{0};  //!< beyond is ENOSPC
  //! One in so many fails with EIO; 0: none. A write that fails may have been made in part. A flush
  //! that fails loses some of what was written since the last one, for good.
  unsigned reads_per_failure = 0;
  unsigned writes_per_failure = 0;
  unsigned flushes_per_failure = 0;
};

//! The devices of one database: what happened to them, in order. Thread-safe but for cut().
class Recorder {
 public:
  static constexpr unsigned kDevices = 2;
  enum Device : unsigned { kPages = 0, kLog = 1 };

  //! Begins with these contents, all of them durable.
  explicit Recorder(std::array<DiskImage, kDevices> base, std::uint64_t seed = 1)
      : _base(base), _durable(base), _now(std::move(base)), _random(seed) {}
  Recorder() : Recorder(std::array<DiskImage, kDevices>{}) {}

  [[nodiscard]] std::unique_ptr<Storage> open(Device device);
  void behave(Device device, const DeviceBehaviour& behaviour);
  //! What is there now, flushed or not.
  [[nodiscard]] std::array<DiskImage, kDevices> content() const {
    const std::lock_guard lock(_mutex);
    return _now;
  }
  //! Events so far. A commit that has returned at moment m must be found after a cut at any moment
  //! >= m.
  [[nodiscard]] std::uint64_t moment() const;
  //! From now on this device's flushes do nothing, though they say they do: a bug to be found.
  void ignore_flushes(Device device) { _ignore_flush[device] = true; }
  [[nodiscard]] std::uint64_t failures() const;
  //! What a user of the devices has done that none may; empty: nothing.
  [[nodiscard]] std::string misuse() const;

  //! What a power cut after the first `moment` events leaves: all that was flushed, and of the rest
  //! what `random` chooses: nothing, everything, some writes, in any order, some of them torn at
  //! sectors. Moments must not decrease from call to call.
  [[nodiscard]] std::array<DiskImage, kDevices> cut(std::uint64_t moment, std::mt19937_64& random);

 private:
  friend class RecordingStorage;
  friend class RecordingQueue;
  struct Event {
    enum class Kind : std::uint8_t {
      kWrite,        // submitted
      kWritten,      // `of` has completed
      kFlush,        // has begun
      kFlushed,      // `of` has completed: what was written when it began is durable
      kFlushFailed,  // `of` has failed, and `lost` are gone
      kResize,
    };
    Kind kind;
    unsigned device;
    std::uint64_t offset = 0;  // or the new size
    std::vector<std::byte> bytes{};
    std::uint64_t of = 0;
    std::vector<std::uint64_t> lost{};
  };
  //! Of one device: what was written and not flushed, as far as events were looked at.
  struct Cache {
    std::vector<std::uint64_t> written;  // in the order of completion
    std::vector<std::uint64_t> under_way;
    //! Flushes that have begun, and what was written then.
    std::vector<std::pair<std::uint64_t, std::vector<std::uint64_t>>> flushes;
  };

  [[nodiscard]] int read(unsigned device, std::uint64_t offset, std::byte* to, std::size_t bytes);
  //! Returns the event's number.
  [[nodiscard]] std::uint64_t begin_write(unsigned device, std::uint64_t offset,
                                          const std::byte* from, std::size_t bytes);
  [[nodiscard]] int end_write(std::uint64_t number, const std::byte* from);
  [[nodiscard]] std::uint64_t begin_flush(unsigned device);
  [[nodiscard]] int end_flush(std::uint64_t number);
  [[nodiscard]] int resize(unsigned device, std::uint64_t bytes);
  [[nodiscard]] std::uint64_t size(unsigned device) const;
  //! How long the next transfer takes.
  [[nodiscard]] std::uint64_t draw_latency(unsigned device);
  [[nodiscard]] bool draw_failure(unsigned per_failure);
  void record(Event event);
  void advance(const Event& event, std::uint64_t number, Cache& cache, DiskImage& durable) const;
  static void play(const Event& event, DiskImage& image);
  static void play_torn(const Event& event, DiskImage& image, std::mt19937_64& random);

  mutable std::mutex _mutex;
  std::array<DiskImage, kDevices> _base;     // durable as of _played
  std::array<DiskImage, kDevices> _durable;  // ... and now
  std::array<DiskImage, kDevices> _now;
  std::array<DeviceBehaviour, kDevices> _behaviour{};
  std::mt19937_64 _random;
  std::vector<Event> _events;
  std::uint64_t _bytes = 0;  // of _events
  std::array<Cache, kDevices> _cache_played;
  std::array<Cache, kDevices> _cache;
  std::uint64_t _played = 0;
  std::uint64_t _failures = 0;
  std::string _misuse;
  std::array<bool, kDevices> _ignore_flush{};
};

}  // namespace vmcache::test
