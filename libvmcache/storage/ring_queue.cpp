// SPDX-License-Identifier: MIT
//
// A queue over an io_uring: reads and writes of files and block devices, or NVMe commands. One ring
// serves all devices of a stripe. A request becomes as many commands as stripes and transfer limits
// cut it into; it is finished when the last of them is.
#include <liburing.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "clock.hpp"
#include "nvme_status.hpp"
#include "storage/file_target.hpp"
#include "storage/nvme_command.hpp"
#include "storage/poll_queues.hpp"
#include "storage/queues.hpp"
#include "storage/registered_memory.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

using detail::now_ns;

constexpr unsigned kMaxCancelled = 1000;

class RingQueue final : public IoQueue {
 public:
  RingQueue(const Targets& targets, const RingSettings& settings, unsigned depth,
            bool single_issuer)
      : _targets(targets), _settings(settings), _depth(depth) {
    _settings.deferred = _settings.deferred && single_issuer;
    claim_poll_queues(single_issuer);
    set_up(single_issuer);
    if (_claim && _claim->cpu() && !pin_kernel_workers(*_claim->cpu())) {
      ::io_uring_queue_exit(&_ring);
      _claim.reset();
      _settings.polled = false;
      set_up(single_issuer);
    }
    // The kernel may refuse this although a trial worked (limits of the process and of the thread).
    // Plain descriptors work as well.
    if (_settings.registered_files) {
      _settings.registered_files =
          ::io_uring_register_files(&_ring, targets.fds.data(),
                                    static_cast<unsigned>(targets.fds.size())) == 0;
    }
    if (_settings.memory && !_settings.memory->lend(_ring)) _settings.memory.reset();
    if (_settings.registered_ring && single_issuer && ::io_uring_register_ring_fd(&_ring) == 1)
      _registrant = ::gettid();
    // A command never waits for a free entry. The completion queue is twice as long and never
    // overflows.
    _commands.resize(_ring.sq.ring_entries);
    for (Command& command : _commands) command.next_free = std::exchange(_free, &command);
    // Nothing is allocated while transfers are under way, because no caller could report the
    // failure.
    _retry.reserve(_commands.size());
    _finished = std::make_unique<IoRequest*[]>(depth);
    _backlog.reserve(depth);
  }
  ~RingQueue() override {
    // A registration belongs to the thread that made it, and ends with that thread. Another thread
    // must only forget it. To undo it would undo a registration of its own.
    if (_registrant != 0 && _registrant != ::gettid()) _ring.int_flags = 0;
    ::io_uring_queue_exit(&_ring);
  }
  RingQueue(const RingQueue&) = delete;
  RingQueue& operator=(const RingQueue&) = delete;

  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override { return _in_flight; }
  [[nodiscard]] bool polled() const noexcept override { return _settings.polled; }
  [[nodiscard]] bool serves_files() const noexcept override { return !_settings.polled; }
  //! Not the ring's own descriptor: with deferred work nobody wakes those who wait for that one.
  [[nodiscard]] bool announce(int event_fd) noexcept override {
    if (_settings.polled) return false;
    (void)::io_uring_unregister_eventfd(&_ring);
    return ::io_uring_register_eventfd(&_ring, event_fd) == 0;
  }

  void submit(std::span<IoRequest* const> requests) override {
    let_go_of_memory();
    _in_flight += static_cast<unsigned>(requests.size());
    assert(_in_flight <= _depth);
    for (IoRequest* request : requests) {
      request->done_bytes = 0;
      request->commands = 0;
      request->retries = 0;
      if (!_backlog.empty() || !cut(*request)) _backlog.push_back(request);
    }
  }

  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for,
                   std::uint64_t timeout_ns) override {
    for (Command* command : _retry) prepare(*command);
    _retry.clear();
    if (_under_way > 0) {
      const bool wait = timeout_ns > 0 && _finished_count == 0;
      enter(wait ? std::min(wait_for, _under_way) : 0, timeout_ns);
      collect();
      feed();
    }
    const std::size_t n = std::min<std::size_t>(completed.size(), _finished_count);
    std::copy_n(_finished.get(), n, completed.begin());
    std::copy(_finished.get() + n, _finished.get() + _finished_count, _finished.get());
    _finished_count -= static_cast<unsigned>(n);
    _in_flight -= static_cast<unsigned>(n);
    return n;
  }
  [[nodiscard]] std::uint64_t take_empty_poll_ns() noexcept override {
    return std::exchange(_empty_poll_ns, 0);
  }

 private:
  //! One transfer in the kernel. If it is short, the rest is submitted again.
  struct Command {
    IoRequest* request = nullptr;
    Piece piece;
    std::byte* data = nullptr;
    unsigned retries = 0;
    unsigned cancelled = 0;
    bool registered = false;     // data is in the ring's registered memory
    int fd = -1;                 // of a file (IoRequest::file)
    std::uint64_t file_end = 0;  // its length when the command was made
    Command* next_free = nullptr;
  };

  //! Without a claim completions come by interrupt.
  void claim_poll_queues(bool single_issuer) {
    if (!_settings.poll_queues) return;
    // A kernel thread that submits does so from any CPU.
    const auto cpu = _settings.sq_polling ? std::optional<unsigned>{} : cpu_of_pinned_thread();
    if (single_issuer) {
      if (auto claim = _settings.poll_queues->claim(cpu)) _claim.emplace(std::move(*claim));
    }
    _settings.polled = _claim.has_value();
  }

  void set_up(bool single_issuer) {
    if (const int error = init_ring(_ring, _depth, _settings, single_issuer); error != 0)
      throw Error(Status{Errc::kUnsupported, error, kNoPage}, "setting up an io_uring");
  }

  //! Pins the kernel's workers for this thread, which submit what cannot be submitted at once.
  //! False if the kernel refuses.
  [[nodiscard]] bool pin_kernel_workers(unsigned cpu) noexcept {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    return ::io_uring_register_iowq_aff(&_ring, sizeof cpus, &cpus) == 0;
  }

  //! Unregisters retired memory, as soon as no transfer uses it.
  void let_go_of_memory() noexcept {
    if (!_settings.memory || !_settings.memory->retired() || _under_way > 0) return;
    (void)::io_uring_unregister_buffers(&_ring);
    _settings.memory.reset();
  }

  //! Puts waiting requests into commands, as long as commands are free.
  void feed() noexcept {
    if (_backlog.empty()) return;
    auto waiting = _backlog.begin();
    while (waiting != _backlog.end() && cut(**waiting)) ++waiting;
    _backlog.erase(_backlog.begin(), waiting);
  }

  //! Puts the rest of a request into commands. False if there are not enough of them.
  [[nodiscard]] bool cut(IoRequest& request) noexcept {
    if (request.error != 0) {  // of an earlier command: the rest is of no use
      request.done_bytes = request.bytes;
      if (request.commands == 0) finish(request);
      return true;
    }
    do {
      if (_free == nullptr) return false;
      Command& command = *std::exchange(_free, _free->next_free);
      ++_under_way;
      command.request = &request;
      command.retries = 0;
      command.cancelled = 0;
      command.registered = _settings.memory && request.registered != nullptr;
      command.data = (command.registered ? request.registered : request.data) + request.done_bytes;
      if (request.file != nullptr) {
        take_file(command, request);
        return true;
      }
      command.piece = _targets.layout.piece(request.offset + request.done_bytes,
                                            request.bytes - request.done_bytes);
      if (_settings.passthrough) {
        const std::uint64_t limit = _targets.name_spaces[command.piece.device].max_transfer_bytes;
        command.piece.bytes = std::min(command.piece.bytes, limit);
      }
      request.done_bytes += static_cast<std::uint32_t>(command.piece.bytes);
      ++request.commands;
      prepare(command);
    } while (request.done_bytes < request.bytes);
    return true;
  }

  //! One command does all of it.
  void take_file(Command& command, IoRequest& request) noexcept {
    const FileRun run = file_run(*request.file, request.op, request.offset, request.bytes);
    request.done_bytes = request.bytes;
    ++request.commands;
    if (run.bytes == 0) {
      command.piece.bytes = 0;
      return complete(command, 0);
    }
    command.fd = run.fd;
    command.file_end = run.end;
    command.piece = {0, request.offset, run.bytes};
    prepare(command);
  }

  void finish(IoRequest& request) noexcept { _finished[_finished_count++] = &request; }

  void prepare(Command& command) noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&_ring);
    while (sqe == nullptr) {  // only while a kernel thread has not taken its entries yet
      ::io_uring_submit(&_ring);
      sqe = ::io_uring_get_sqe(&_ring);
    }
    const Piece& piece = command.piece;
    const bool of_file = command.request->file != nullptr;
    const bool registered_file = _settings.registered_files && !of_file;
    int fd = command.fd;
    if (!of_file)
      fd = registered_file ? static_cast<int>(piece.device) : _targets.fds[piece.device];
    const auto bytes = static_cast<std::uint32_t>(piece.bytes);
    const bool read = command.request->op == IoRequest::Op::kRead;
    if (passes_through(command)) {
      nvme::prepare_transfer(*sqe, fd, _targets.name_spaces[piece.device],
                             read ? nvme::Opcode::kRead : nvme::Opcode::kWrite, piece.offset,
                             command.data, bytes);
    } else if (read) {
      ::io_uring_prep_read(sqe, fd, command.data, bytes, piece.offset);
    } else {
      ::io_uring_prep_write(sqe, fd, command.data, bytes, piece.offset);
    }
    if (command.registered) use_registered(*sqe, command);
    if (registered_file) sqe->flags |= IOSQE_FIXED_FILE;
    ::io_uring_sqe_set_data(sqe, &command);
  }

  [[nodiscard]] bool passes_through(const Command& command) const noexcept {
    return _settings.passthrough && command.request->file == nullptr;
  }

  void use_registered(io_uring_sqe& sqe, const Command& command) const noexcept {
    sqe.buf_index = static_cast<std::uint16_t>(_settings.memory->index_of(command.data));
    if (passes_through(command)) {
      sqe.uring_cmd_flags = IORING_URING_CMD_FIXED;
    } else {
      sqe.opcode = sqe.opcode == IORING_OP_READ ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
    }
  }

  //! Submits what was prepared, and waits. A signal, a full completion queue, or "try again" is no
  //! failure: the commands stay prepared or in flight, and the next call continues.
  void enter(unsigned wait_for, std::uint64_t timeout_ns) noexcept {
    if (_settings.polled) return poll(wait_for, timeout_ns);
    if (wait_for > 0 && ::io_uring_cq_ready(&_ring) < wait_for) {
      __kernel_timespec timeout{static_cast<long long>(timeout_ns / 1'000'000'000),
                                static_cast<long long>(timeout_ns % 1'000'000'000)};
      io_uring_cqe* cqe = nullptr;
      (void)::io_uring_submit_and_wait_timeout(&_ring, &cqe, wait_for, &timeout, nullptr);
    } else if (_settings.deferred) {
      (void)::io_uring_submit_and_get_events(&_ring);
    } else if (::io_uring_sq_ready(&_ring) > 0) {
      (void)::io_uring_submit(&_ring);
    }
  }

  //! On a polled ring the kernel's wait has no timeout, so the loop is here. It takes completions
  //! in each round, because the kernel does not poll while there are completions that were not
  //! taken. It keeps the core for as long as a read from a healthy device may take. If it yielded,
  //! another thread might keep the core for a time slice, as long as many reads take.
  void poll(unsigned wait_for, std::uint64_t timeout_ns) noexcept {
    constexpr std::uint64_t kKeepCoreNs = 1'000'000;
    const std::uint64_t start = wait_for > 0 ? now_ns() : 0;
    std::uint64_t yield_at = start + kKeepCoreNs;
    for (std::uint64_t last = start;;) {
      const bool submits = ::io_uring_sq_ready(&_ring) > 0;
      // With SQ polling the kernel's thread polls, too.
      if (!_settings.sq_polling) {
        (void)::io_uring_submit_and_get_events(&_ring);
      } else if (submits) {
        (void)::io_uring_submit(&_ring);
      }
      const unsigned seen = collect();
      if (_finished_count >= wait_for || !_retry.empty()) return;
      if (seen > 0) feed();  // of a request that is cut into more commands than there were
      const std::uint64_t now = now_ns();
      if (!submits && seen == 0) _empty_poll_ns += now - last;
      if (now - start >= timeout_ns) return;
      last = now;
      if (now < yield_at) continue;
      ::sched_yield();
      yield_at = now_ns() + kKeepCoreNs;
    }
  }

  //! How many there were.
  unsigned collect() noexcept {
    unsigned seen = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&_ring, head, cqe) {
      ++seen;
      // Liburing emulates timeouts before 5.11.
      if (cqe->user_data == LIBURING_UDATA_TIMEOUT) continue;
      complete(*static_cast<Command*>(::io_uring_cqe_get_data(cqe)), cqe->res);
    }
    ::io_uring_cq_advance(&_ring, seen);
    return seen;
  }

  void complete(Command& command, int result) noexcept {
    IoRequest& request = *command.request;
    if (!account(command, result)) {
      _retry.push_back(&command);
      return;
    }
    command.next_free = std::exchange(_free, &command);
    --_under_way;
    if (--request.commands == 0 && request.done_bytes == request.bytes) finish(request);
  }

  //! Handles a command's result: bytes or 0, an NVMe status, or -errno. False if the command, or
  //! the rest of it, must be submitted again.
  [[nodiscard]] bool account(Command& command, int result) const noexcept {
    const bool passthrough = passes_through(command);
    const std::int64_t wanted = passthrough ? 0 : static_cast<std::int64_t>(command.piece.bytes);
    if (result == wanted) [[likely]]
      return true;
    IoRequest& request = *command.request;
    if (result == -EINTR || result == -EAGAIN) return false;
    // The thread that submitted it ended before the kernel began with it. (The library cancels
    // nothing.) Bounded, because this thread may end, too.
    if (result == -ECANCELED && command.cancelled < kMaxCancelled) {
      ++command.cancelled;
      return false;
    }
    if (result < 0) {
      request.error = -result;
    } else if (passthrough) {
      if (nvme::may_pass(result) && command.retries < nvme::kMaxRetries) {
        ++command.retries;
        ++request.retries;
        return false;
      }
      request.device_status = static_cast<std::uint16_t>(result & nvme::kStatusMask);
      request.error = nvme::errno_of(request.device_status);
    } else if (request.file != nullptr && request.op == IoRequest::Op::kRead) {
      return account_short_read(command, static_cast<std::uint64_t>(result));
    } else if (result == 0) {
      // Past the end; no progress.
      request.error = request.op == IoRequest::Op::kRead ? ENODATA : EIO;
    } else {
      advance(command, static_cast<std::uint64_t>(result));
      return false;
    }
    return true;
  }

  static void advance(Command& command, std::uint64_t bytes) noexcept {
    command.data += bytes;
    command.piece.offset += bytes;
    command.piece.bytes -= bytes;
  }

  //! Of a file: see account().
  [[nodiscard]] static bool account_short_read(Command& command, std::uint64_t got) noexcept {
    IoRequest& request = *command.request;
    switch (short_read(*request.file, command.file_end, command.piece.offset, got)) {
      case ShortRead::kWhole:
        std::memset(command.data + got, 0, command.piece.bytes - got);
        return true;
      case ShortRead::kMore:
        advance(command, got);
        return false;
      case ShortRead::kPastEnd:
        request.error = ENODATA;
    }
    return true;
  }

  std::optional<PollQueues::Claim> _claim;  // until the ring has gone
  io_uring _ring{};
  const Targets& _targets;
  RingSettings _settings;
  unsigned _depth;
  unsigned _in_flight = 0;  // requests
  pid_t _registrant = 0;    // the thread that registered the ring
  std::vector<Command> _commands;
  Command* _free = nullptr;  // a list by next_free
  unsigned _under_way = 0;   // commands
  // Short, interrupted, or failed for now: asked for with the next reap.
  std::vector<Command*> _retry;
  std::vector<IoRequest*> _backlog;         // not, or not wholly, put into commands
  std::unique_ptr<IoRequest*[]> _finished;  // not reaped; room for all that may be in flight
  unsigned _finished_count = 0;
  std::uint64_t _empty_poll_ns = 0;
};

}  // namespace

bool at_a_limit(const Error& error) noexcept {
  const int reason = error.os_error();
  return reason == EMFILE || reason == ENFILE || reason == ENOMEM || reason == EAGAIN;
}

std::unique_ptr<IoQueue> make_ring_queue(const Targets& targets, const RingSettings& settings,
                                         unsigned depth, bool single_issuer) {
  return std::make_unique<RingQueue>(targets, settings, depth, single_issuer);
}

}  // namespace vmcache
