// SPDX-License-Identifier: MIT
#include "storage/file_queues.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "clock.hpp"
#include "logger.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

//! Completions of a file's transfers come by interrupt, because a polled ring takes no other kind
//! of file; a file has a descriptor of its own in each request.
IoUringOptions for_files(IoUringOptions options) {
  options.polled = Switch::kOff;
  options.registered_files = Switch::kOff;
  return options;
}

class JoinedQueue final : public IoQueue {
 public:
  JoinedQueue(std::unique_ptr<IoQueue> database, std::unique_ptr<IoQueue> files)
      : _database(std::move(database)), _files(std::move(files)) {
    _of_database.reserve(_database->depth());
    _of_files.reserve(_files->depth());
  }

  [[nodiscard]] unsigned depth() const noexcept override {
    return std::min(_database->depth(), _files->depth());
  }
  [[nodiscard]] unsigned in_flight() const noexcept override {
    return _database->in_flight() + _files->in_flight();
  }
  [[nodiscard]] bool polled() const noexcept override { return _database->polled(); }
  [[nodiscard]] bool serves_files() const noexcept override { return true; }
  [[nodiscard]] bool announce(int event_fd) noexcept override {
    return _database->announce(event_fd) && _files->announce(event_fd);
  }

  void submit(std::span<IoRequest* const> requests) override {
    _of_database.clear();
    _of_files.clear();
    for (IoRequest* request : requests)
      (request->file != nullptr ? _of_files : _of_database).push_back(request);
    if (!_of_database.empty()) _database->submit(_of_database);
    if (!_of_files.empty()) _files->submit(_of_files);
  }

  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    if (_files->in_flight() == 0) return _database->reap(completed, wait_for, timeout_ns);
    if (_database->in_flight() == 0) return _files->reap(completed, wait_for, timeout_ns);
    // Neither announces what the other completes: waits for them by turns.
    constexpr std::uint64_t kTurnNs = 50'000;
    const std::uint64_t deadline = detail::now_ns() + timeout_ns;
    for (;;) {
      std::size_t n = _database->reap(completed, 0, 0);
      n += _files->reap(completed.subspan(n), 0, 0);
      if (n > 0 || wait_for == 0) return n;
      const std::uint64_t now = detail::now_ns();
      if (now >= deadline) return 0;
      IoQueue& next = *(std::exchange(_files_next, !_files_next) ? _files : _database);
      n = next.reap(completed, 1, std::min(kTurnNs, deadline - now));
      if (n > 0) return n;
    }
  }
  [[nodiscard]] std::uint64_t take_empty_poll_ns() noexcept override {
    return _database->take_empty_poll_ns() + _files->take_empty_poll_ns();
  }

 private:
  std::unique_ptr<IoQueue> _database;
  std::unique_ptr<IoQueue> _files;
  std::vector<IoRequest*> _of_database;
  std::vector<IoRequest*> _of_files;
  bool _files_next = false;
};

class NoDatabase final : public Storage {
 public:
  NoDatabase(const PoolOptions& options, Logger& logger) : _queues(options, logger) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return 0; }
  [[nodiscard]] bool can_grow() const noexcept override { return true; }
  [[nodiscard]] bool blank() override { return true; }
  [[nodiscard]] std::unique_ptr<IoQueue> make_queue(unsigned depth, bool single_issuer) override {
    return _queues.make(depth, single_issuer);
  }
  [[nodiscard]] int read(std::uint64_t, std::span<std::byte>) override { return ENODATA; }
  [[nodiscard]] int write(std::uint64_t, std::span<const std::byte>) override { return 0; }
  [[nodiscard]] int flush() override { return 0; }
  [[nodiscard]] int resize(std::uint64_t) override { return 0; }
  [[nodiscard]] std::string description() const override {
    return "no database, " + _queues.description();
  }

 private:
  FileQueues _queues;
};

}  // namespace

FileQueues::FileQueues(const PoolOptions& options, Logger& logger) {
  if (options.storage == StorageKind::kPread || probe_io_uring() != 0) return;
  _ring = choose_ring_settings(for_files(options.io_uring), _targets, "", "files", logger);
}

std::unique_ptr<IoQueue> FileQueues::make(unsigned depth, bool single_issuer) const {
  if (_ring) {
    try {
      return limit_file_size({}, make_ring_queue(_targets, *_ring, depth, single_issuer));
    } catch (const Error& error) {
      if (!at_a_limit(error)) throw;
    }
  }
  return limit_file_size({}, make_pread_queue(_targets, depth));
}

std::string FileQueues::description() const {
  return _ring ? _ring->description() : "pread/pwrite";
}

std::unique_ptr<IoQueue> join_queues(std::unique_ptr<IoQueue> database,
                                     std::unique_ptr<IoQueue> files) {
  return std::make_unique<JoinedQueue>(std::move(database), std::move(files));
}

std::unique_ptr<Storage> make_no_database(const PoolOptions& options, Logger& logger) {
  return std::make_unique<NoDatabase>(options, logger);
}

}  // namespace vmcache
