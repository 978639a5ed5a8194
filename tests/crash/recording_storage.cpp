// SPDX-License-Identifier: MIT
#include "crash/recording_storage.hpp"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

namespace vmcache::test {

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
    auto changed = page ? std::make_shared<Page>(*page) : std::make_shared<Page>();
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
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

class RecordingQueue final : public IoQueue {
 public:
  RecordingQueue(Recorder& recorder, unsigned device, unsigned depth)
      : _recorder(recorder), _device(device), _depth(depth) {}
  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return static_cast<unsigned>(_finished.size());
  }
  void submit(std::span<IoRequest* const> requests) override {
    for (IoRequest* request : requests) {
      if (request->op == IoRequest::Op::kWrite) {
        _recorder.write(_device, request->offset, request->data, request->bytes);
      } else if (request->offset + request->bytes > _recorder.size(_device)) {
        request->error = ENODATA;
      } else {
        _recorder.read(_device, request->offset, request->data, request->bytes);
      }
      _finished.push_back(request);
    }
  }
  std::size_t reap(std::span<IoRequest*> completed, unsigned, std::uint64_t) override {
    const std::size_t n = std::min(completed.size(), _finished.size());
    std::copy_n(_finished.begin(), n, completed.begin());
    _finished.erase(_finished.begin(), _finished.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

 private:
  Recorder& _recorder;
  const unsigned _device;
  const unsigned _depth;
  std::vector<IoRequest*> _finished;
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
    if (offset + bytes.size() > size_bytes()) return ENODATA;
    _recorder.read(_device, offset, bytes.data(), bytes.size());
    return 0;
  }
  [[nodiscard]] int write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    _recorder.write(_device, offset, bytes.data(), bytes.size());
    return 0;
  }
  [[nodiscard]] int flush() override {
    _recorder.flush(_device);
    return 0;
  }
  [[nodiscard]] int resize(std::uint64_t bytes) override {
    _recorder.resize(_device, bytes);
    return 0;
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

std::uint64_t Recorder::moment() const {
  const std::lock_guard lock(_mutex);
  return _events.size();
}

std::uint64_t Recorder::size(unsigned device) const {
  const std::lock_guard lock(_mutex);
  return _now[device].size();
}

void Recorder::read(unsigned device, std::uint64_t offset, std::byte* to, std::size_t bytes) {
  const std::lock_guard lock(_mutex);
  _now[device].read(offset, to, bytes);
}

void Recorder::write(unsigned device, std::uint64_t offset, const std::byte* from, std::size_t bytes) {
  const std::lock_guard lock(_mutex);
  _events.push_back({Event::Kind::kWrite, device, offset, {from, from + bytes}});
  _now[device].write(offset, from, bytes);
}

void Recorder::flush(unsigned device) {
  const std::lock_guard lock(_mutex);
  if (!_ignore_flush[device]) _events.push_back({Event::Kind::kFlush, device, 0, {}});
}

void Recorder::resize(unsigned device, std::uint64_t bytes) {
  const std::lock_guard lock(_mutex);
  _events.push_back({Event::Kind::kResize, device, bytes, {}});
  _now[device].resize(bytes);
}

void Recorder::play(const Event& event, DiskImage& image) {
  if (event.kind == Event::Kind::kResize) {
    image.resize(event.offset);
  } else {
    image.write(event.offset, event.bytes.data(), event.bytes.size());
  }
}

void Recorder::play_torn(const Event& event, DiskImage& image, std::mt19937_64& random) {
  if (event.kind == Event::Kind::kResize) return play(event, image);
  for (std::size_t at = 0; at < event.bytes.size(); at += DiskImage::kSector) {
    if (random() % 2 == 0) image.write(event.offset + at, event.bytes.data() + at, DiskImage::kSector);
  }
}

std::array<DiskImage, Recorder::kDevices> Recorder::cut(std::uint64_t moment, std::mt19937_64& random) {
  const std::lock_guard lock(_mutex);
  assert(moment >= _played && moment <= _events.size());
  for (; _played < moment; ++_played) {
    const Event& event = _events[_played];
    std::vector<std::uint64_t>& unflushed = _unflushed[event.device];
    if (event.kind != Event::Kind::kFlush) {
      unflushed.push_back(_played);
      continue;
    }
    for (const std::uint64_t number : unflushed) play(_events[number], _base[event.device]);
    unflushed.clear();
  }
  std::array<DiskImage, kDevices> images = _base;
  const unsigned mode = static_cast<unsigned>(random() % 4);  // nothing, everything, some, some of it torn
  const bool reorder = random() % 2 == 0;
  for (unsigned device = 0; device < kDevices && mode > 0; ++device) {
    std::vector<std::uint64_t> order = _unflushed[device];
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
