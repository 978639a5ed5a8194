// SPDX-License-Identifier: MIT
//
// Storage in memory that remembers every write, flush and change of size, and can say what a power cut at any moment
// might leave of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <random>
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

//! The devices of one database: what happened to them, in order.
class Recorder {
 public:
  static constexpr unsigned kDevices = 2;
  enum Device : unsigned { kPages = 0, kLog = 1 };

  //! Begins with these contents, all of them durable.
  explicit Recorder(std::array<DiskImage, kDevices> base) : _base(base), _now(std::move(base)) {}
  Recorder() : Recorder(std::array<DiskImage, kDevices>{}) {}

  [[nodiscard]] std::unique_ptr<Storage> open(Device device);
  //! What is there now, flushed or not.
  [[nodiscard]] std::array<DiskImage, kDevices> content() const {
    const std::lock_guard lock(_mutex);
    return _now;
  }
  //! Events so far. A commit that has returned at moment m must be found after a cut at any moment >= m.
  [[nodiscard]] std::uint64_t moment() const;
  //! From now on this device's flushes do nothing, though they say they do: a bug to be found.
  void ignore_flushes(Device device) { _ignore_flush[device] = true; }

  //! What a power cut after the first `moment` events leaves: all that was flushed, and of the rest what `random`
  //! chooses: nothing, everything, some writes, in any order, some of them torn at sectors. Moments must not decrease from
  //! call to call.
  [[nodiscard]] std::array<DiskImage, kDevices> cut(std::uint64_t moment, std::mt19937_64& random);

 private:
  friend class RecordingStorage;
  friend class RecordingQueue;
  struct Event {
    enum class Kind : std::uint8_t { kWrite, kFlush, kResize } kind;
    unsigned device;
    std::uint64_t offset;  // or the new size
    std::vector<std::byte> bytes;
  };
  void read(unsigned device, std::uint64_t offset, std::byte* to, std::size_t bytes);
  void write(unsigned device, std::uint64_t offset, const std::byte* from, std::size_t bytes);
  void flush(unsigned device);
  void resize(unsigned device, std::uint64_t bytes);
  [[nodiscard]] std::uint64_t size(unsigned device) const;
  static void play(const Event& event, DiskImage& image);
  static void play_torn(const Event& event, DiskImage& image, std::mt19937_64& random);

  mutable std::mutex _mutex;
  std::array<DiskImage, kDevices> _base;  // durable as of _played
  std::array<DiskImage, kDevices> _now;
  std::vector<Event> _events;
  std::array<std::vector<std::uint64_t>, kDevices> _unflushed;  // before _played
  std::uint64_t _played = 0;
  std::array<bool, kDevices> _ignore_flush{};
};

}  // namespace vmcache::test
