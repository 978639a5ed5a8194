// SPDX-License-Identifier: MIT
#include "crash/recording_storage.hpp"

#include <time.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <utility>

#include "clock.hpp"

namespace vmcache::test {

using detail::now_ns;

void DiskImage::read(std::uint64_t offset, std::byte* to, std::size_t bytes) const {
  while (bytes > 0) {
    const std::size_t at = offset % kPageSize;
    const std::size_t now = std::min(bytes, kPageSize - at);
    const std::uint64_t page = offset / kPageSize;
    if (page < _pages.size() && _pages[page]) {
      std::memcpy(to, _pages[page]->data() + at, now);
    } else {
      std::memset(to, 0, now);
    }
    offset += now;
    to += now;
    bytes -= now;
  }
}

void DiskImage::write(std::uint64_t offset, const std::byte* from, std::size_t bytes) {
  if (offset + bytes > _size) resize(offset + bytes);
  while (bytes > 0) {
    const std::size_t at = offset % kPageSize;
    const std::size_t now = std::min(bytes, kPageSize - at);
    std::shared_ptr<const Page>& page = _pages[offset / kPageSize];
    auto changed =
        page && now < kPageSize ? std::make_shared<Page>(*page) : std::make_shared<Page>();
    std::memcpy(changed->data() + at, from, now);
    page = std::move(changed);
    offset += now;
    from += now;
    bytes -= now;
  }
}

void DiskImage::resize(std::uint64_t bytes) {
  _size = bytes;
  _pages.resize((bytes + kPageSize - 1) / kPageSize);
}

void DiskImage::save(const std::string& path) const {
  std::ofstream file(path, std::ios::binary);
  std::vector<std::byte> bytes(_size);
  read(0, bytes.data(), bytes.size());
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

void sleep_for(std::uint64_t ns) {
  if (ns == 0) return;
  const timespec duration{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  (void)::nanosleep(&duration, nullptr);
}

}  // namespace

class RecordingQueue final : public IoQueue {
 public:
  RecordingQueue(Recorder& recorder, unsigned device, unsigned depth)
      : _recorder(recorder), _device(device), _depth(depth) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_under_way.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      const std::uint64_t latency = _recorder.draw_latency(_device);
      Transfer transfer{request, latency == 0 ? 0 : now_ns() + latency, 0};
      if (request->op == IoRequest::Op::kWrite)
        transfer.event =
            _recorder.begin_write(_device, request->offset, request->data, request->bytes);
      // By the time at which they end; those without one in the order in which they came.
      const auto place =
          std::ranges::upper_bound(_under_way, transfer.ends_ns, {}, &Transfer::ends_ns);
      _under_way.insert(place, transfer);
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    std::size_t n = take_ended(completed);
    if (timeout_ns == 0 || n >= wait_for || _under_way.empty()) return n;
    const std::uint64_t deadline = now_ns() + timeout_ns;
    while (n < wait_for && n < completed.size() && !_under_way.empty()) {
      const std::uint64_t now = now_ns();
      if (now >= deadline) break;
      sleep_for(std::min(deadline, std::max(now, _under_way.front().ends_ns)) - now);
      n += take_ended(completed.subspan(n));
    }
    return n;
  }

 private:
  struct Transfer {
    IoRequest* request;
    std::uint64_t ends_ns;
    std::uint64_t event;
  };

  std::size_t take_ended(std::span<IoRequest*> completed) {
    std::size_t n = 0;
    while (n < completed.size() && n < _under_way.size() &&
           (_under_way[n].ends_ns == 0 || _under_way[n].ends_ns <= now_ns())) {
      IoRequest& request = *_under_way[n].request;
      request.error = request.op == IoRequest::Op::kWrite
                          ? _recorder.end_write(_under_way[n].event, request.data)
                          : _recorder.read(_device, request.offset, request.data, request.bytes);
      completed[n++] = &request;
    }
    _under_way.erase(_under_way.begin(), _under_way.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

  Recorder& _recorder;
  const unsigned _device;
  const unsigned _depth;
  std::vector<Transfer> _under_way;
};

class RecordingStorage final : public Storage {
 public:
  RecordingStorage(Recorder& recorder, unsigned device) : _recorder(recorder), _device(device) {}
  [[nodiscard]] std::uint64_t size_bytes() const override { return _recorder.size(_device); }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override {
    if (size_bytes() == 0) return true;
    DiskImage::Page page{};
    (void)read(0, page);
    return std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; });
  }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool) override {
    return std::make_unique<RecordingQueue>(_recorder, _device, depth);
  }
  [[nodiscard]] int read(std::uint64_t offset, std::span<std::byte> bytes) override {
    sleep_for(_recorder.draw_latency(_device));
    return _recorder.read(_device, offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    const std::uint64_t number = _recorder.begin_write(_device, offset, bytes.data(), bytes.size());
    sleep_for(_recorder.draw_latency(_device));
    return _recorder.end_write(number, bytes.data());
  }
  [[nodiscard]] int flush() override {
    const std::uint64_t number = _recorder.begin_flush(_device);
    sleep_for(_recorder.draw_latency(_device));
    return _recorder.end_flush(number);
  }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    return _recorder.resize(_device, bytes);
  }
  [[nodiscard]] std::string description() const override {
    return _device == Recorder::kLog ? "recorded log" : "recorded pages";
  }

 private:
  Recorder& _recorder;
  const unsigned _device;
};

std::unique_ptr<Storage> Recorder::open(Device device) {
  return std::make_unique<RecordingStorage>(*this, device);
}

void Recorder::behave(Device device, const DeviceBehaviour& behaviour) {
  const std::lock_guard lock(_mutex);
  _behaviour[device] = behaviour;
}

std::uint64_t Recorder::moment() const {
  const std::lock_guard lock(_mutex);
  return _events.size();
}

std::uint64_t Recorder::failures() const {
  const std::lock_guard lock(_mutex);
  return _failures;
}

std::string Recorder::misuse() const {
  const std::lock_guard lock(_mutex);
  return _misuse;
}

std::uint64_t Recorder::size(unsigned device) const {
  const std::lock_guard lock(_mutex);
  return _now[device].size();
}

std::uint64_t Recorder::draw_latency(unsigned device) {
  const std::lock_guard lock(_mutex);
  const std::uint64_t max = _behaviour[device].max_latency_ns;
  if (max == 0) return 0;
  // Most are quick.
  return 1 + _random() % (_random() % 4 == 0 ? max : std::max<std::uint64_t>(max / 16, 1));
}

bool Recorder::draw_failure(unsigned per_failure) {
  if (per_failure == 0 || _random() % per_failure != 0) return false;
  ++_failures;
  return true;
}

int Recorder::read(unsigned device, std::uint64_t offset, std::byte* to, std::size_t bytes) {
  const std::lock_guard lock(_mutex);
  if (offset + bytes > _now[device].size()) return ENODATA;
  if (draw_failure(_behaviour[device].reads_per_failure)) return EIO;
  _now[device].read(offset, to, bytes);
  return 0;
}

void Recorder::record(Event event) {
  // Far more than any work writes: it does not end.
  constexpr std::uint64_t kMaxBytes = std::uint64_t{1} << 30;
  _bytes += sizeof event + event.bytes.size() + event.lost.size() * sizeof event.lost[0];
  if (_bytes > kMaxBytes) {
    std::fprintf(stderr, "recorder: more than %llu bytes were written in one life\n",
                 static_cast<unsigned long long>(kMaxBytes));
    std::abort();
  }
  const unsigned device = event.device;
  _events.push_back(std::move(event));
  advance(_events.back(), _events.size() - 1, _cache[device], _durable[device]);
}

std::uint64_t Recorder::begin_write(unsigned device, std::uint64_t offset, const std::byte* from,
                                    std::size_t bytes) {
  const std::lock_guard lock(_mutex);
  record({Event::Kind::kWrite, device, offset, {from, from + bytes}});
  return _events.size() - 1;
}

int Recorder::end_write(std::uint64_t number, const std::byte* from) {
  const std::lock_guard lock(_mutex);
  Event& event = _events[number];
  const unsigned device = event.device;
  if (std::memcmp(from, event.bytes.data(), event.bytes.size()) != 0)
    _misuse = "bytes were changed while they were written, at " + std::to_string(event.offset);
  int error = event.offset + event.bytes.size() > _behaviour[device].max_bytes ? ENOSPC : 0;
  if (error == 0 && draw_failure(_behaviour[device].writes_per_failure)) error = EIO;
  if (error != 0) {
    // The first sectors, all or none of them are there.
    event.bytes.resize(error == ENOSPC ? 0
                                       : _random() % (event.bytes.size() / DiskImage::kSector + 1) *
                                             DiskImage::kSector);
  }
  play(event, _now[device]);
  record({Event::Kind::kWritten, device, 0, {}, number});
  return error;
}

std::uint64_t Recorder::begin_flush(unsigned device) {
  const std::lock_guard lock(_mutex);
  if (!_ignore_flush[device]) record({Event::Kind::kFlush, device});
  return _events.empty() ? 0 : _events.size() - 1;
}

int Recorder::end_flush(std::uint64_t number) {
  const std::lock_guard lock(_mutex);
  if (number >= _events.size() || _events[number].kind != Event::Kind::kFlush) return 0;  // ignored
  const unsigned device = _events[number].device;
  if (!draw_failure(_behaviour[device].flushes_per_failure)) {
    record({Event::Kind::kFlushed, device, 0, {}, number});
    return 0;
  }
  Event failed{Event::Kind::kFlushFailed, device, 0, {}, number};
  for (const std::uint64_t written : _cache[device].written) {
    if (_events[written].kind == Event::Kind::kWrite && _random() % 2 == 0)
      failed.lost.push_back(written);
  }
  record(std::move(failed));
  // What was lost reads as it was before.
  _now[device] = _durable[device];
  for (const std::uint64_t kept : _cache[device].written) play(_events[kept], _now[device]);
  return EIO;
}

int Recorder::resize(unsigned device, std::uint64_t bytes) {
  const std::lock_guard lock(_mutex);
  if (bytes > _behaviour[device].max_bytes) return ENOSPC;
  record({Event::Kind::kResize, device, bytes});
  _now[device].resize(bytes);
  return 0;
}

//! What the event, which is of the cache's device, makes of what is cached and of what is durable.
void Recorder::advance(const Event& event, std::uint64_t number, Cache& cache,
                       DiskImage& durable) const {
  switch (event.kind) {
    case Event::Kind::kWrite:
      cache.under_way.push_back(number);
      break;
    case Event::Kind::kWritten:
      std::erase(cache.under_way, event.of);
      cache.written.push_back(event.of);
      break;
    case Event::Kind::kResize:
      cache.written.push_back(number);
      break;
    case Event::Kind::kFlush:
      cache.flushes.emplace_back(number, cache.written);
      break;
    case Event::Kind::kFlushed:
    case Event::Kind::kFlushFailed: {
      const auto flush =
          std::ranges::find(cache.flushes, event.of, [](const auto& entry) { return entry.first; });
      if (event.kind == Event::Kind::kFlushFailed) {
        std::erase_if(cache.written, [&](std::uint64_t w) {
          return std::ranges::find(event.lost, w) != event.lost.end();
        });
      } else {
        // Another flush may have made some of them durable already.
        std::erase_if(cache.written, [&](std::uint64_t w) {
          const bool durable_now = std::ranges::find(flush->second, w) != flush->second.end();
          if (durable_now) play(_events[w], durable);
          return durable_now;
        });
      }
      cache.flushes.erase(flush);
      break;
    }
  }
}

void Recorder::play(const Event& event, DiskImage& image) {
  if (event.kind == Event::Kind::kResize) {
    image.resize(event.offset);
  } else if (!event.bytes.empty()) {
    image.write(event.offset, event.bytes.data(), event.bytes.size());
  }
}

void Recorder::play_torn(const Event& event, DiskImage& image, std::mt19937_64& random) {
  if (event.kind == Event::Kind::kResize) return play(event, image);
  for (std::size_t at = 0; at < event.bytes.size(); at += DiskImage::kSector) {
    if (random() % 2 == 0)
      image.write(event.offset + at, event.bytes.data() + at, DiskImage::kSector);
  }
}

std::array<DiskImage, Recorder::kDevices> Recorder::cut(std::uint64_t moment,
                                                        std::mt19937_64& random) {
  const std::lock_guard lock(_mutex);
  assert(moment >= _played && moment <= _events.size());
  for (; _played < moment; ++_played) {
    const Event& event = _events[_played];
    advance(event, _played, _cache_played[event.device], _base[event.device]);
  }
  std::array<DiskImage, kDevices> images = _base;
  // Nothing, everything, some, some of it torn.
  const unsigned mode = static_cast<unsigned>(random() % 4);
  const bool reorder = random() % 2 == 0;
  for (unsigned device = 0; device < kDevices && mode > 0; ++device) {
    std::vector<std::uint64_t> order = _cache_played[device].written;
    order.insert(order.end(), _cache_played[device].under_way.begin(),
                 _cache_played[device].under_way.end());
    if (reorder && mode > 1) std::ranges::shuffle(order, random);
    for (const std::uint64_t number : order) {
      if (mode > 1 && random() % 2 == 0) continue;
      if (mode == 3 && random() % 2 == 0) {
        play_torn(_events[number], images[device], random);
      } else {
        play(_events[number], images[device]);
      }
    }
  }
  return images;
}

}  // namespace vmcache::test
