// SPDX-License-Identifier: MIT
//
// A queue over an io_uring: reads and writes of files and block devices, or NVMe commands. One ring serves all
// devices of a stripe. A request becomes as many commands as stripes and transfer limits cut it into; it is
// finished when the last of them is.
#include <liburing.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "storage/nvme_command.hpp"
#include "storage/nvme_status.hpp"
#include "storage/poll_queues.hpp"
#include "storage/queues.hpp"
#include "storage/registered_memory.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

std::uint64_t clock_ns() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(time.tv_nsec);
}

class RingQueue final : public IoQueue {
 public:
  RingQueue(const Targets& targets, const RingSettings& settings, unsigned depth, bool one_thread)
      : _targets(targets), _settings(settings), _depth(depth) {
    _settings.deferred = _settings.deferred && one_thread;
    claim_poll_queues(one_thread);
    set_up(one_thread);
    if (_claim && _claim->cpu() && !pin_kernel_workers(*_claim->cpu())) {
      ::io_uring_queue_exit(&_ring);
      _claim.reset();
      _settings.polled = false;
      set_up(one_thread);
    }
    // All may be refused here though a trial worked (limits of the process and of the thread): plain descriptors
    // do as well.
    if (_settings.registered_files) {
      _settings.registered_files = ::io_uring_register_files(&_ring, targets.fds.data(),
                                                             static_cast<unsigned>(targets.fds.size())) == 0;
    }
    if (_settings.memory && !_settings.memory->lend(_ring)) _settings.memory.reset();
    if (_settings.registered_ring && one_thread && ::io_uring_register_ring_fd(&_ring) == 1)
      _registrant = ::gettid();
    // A command never waits for a free entry, and the completion queue, twice as long, never overflows.
    _commands.resize(_ring.sq.ring_entries);
    for (Command& command : _commands) command.next_free = std::exchange(_free, &command);
    // Nothing is allocated while transfers are under way: who would take the blame?
    _retry.reserve(_commands.size());
    _finished = std::make_unique<IoRequest*[]>(depth);
    _backlog.reserve(depth);
  }
  ~RingQueue() override {
    // A registration belongs to the thread that made it and ends with it. Another one must forget it, or it would
    // undo one of its own.
    if (_registrant != 0 && _registrant != ::gettid()) _ring.int_flags = 0;
    ::io_uring_queue_exit(&_ring);
  }
  RingQueue(const RingQueue&) = delete;
  RingQueue& operator=(const RingQueue&) = delete;

  [[nodiscard]] unsigned depth() const noexcept override { return _depth; }
  [[nodiscard]] unsigned in_flight() const noexcept override { return _in_flight; }
  [[nodiscard]] bool polled() const noexcept override { return _settings.polled; }

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

  std::size_t reap(std::span<IoRequest*> completed, unsigned wait_for, std::uint64_t timeout_ns) override {
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
  //! One transfer the kernel is asked for; what it did short is asked for again.
  struct Command {
    IoRequest* request = nullptr;
    Piece piece;
    std::byte* data = nullptr;
    unsigned retries = 0;
    bool registered = false;  // data is in the ring's registered memory
    Command* next_free = nullptr;
  };

  //! Without a claim completions come by interrupt.
  void claim_poll_queues(bool one_thread) {
    if (!_settings.poll_queues) return;
    // A kernel thread that submits does so from any CPU.
    const auto cpu = _settings.sq_polling ? std::optional<unsigned>{} : cpu_of_pinned_thread();
    if (one_thread) {
      if (auto claim = _settings.poll_queues->claim(cpu)) _claim.emplace(std::move(*claim));
    }
    _settings.polled = _claim.has_value();
  }

  void set_up(bool one_thread) {
    if (const int error = init_ring(_ring, _depth, _settings, one_thread); error != 0)
      throw Error(Status{Errc::kUnsupported, error, kNoPage}, "setting up an io_uring");
  }

  //! What the kernel cannot submit at once, it leaves to workers of its own for this thread. False if it refuses.
  [[nodiscard]] bool pin_kernel_workers(unsigned cpu) noexcept {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(cpu, &cpus);
    return ::io_uring_register_iowq_aff(&_ring, sizeof cpus, &cpus) == 0;
  }

  //! Of memory that is wanted back, as soon as no transfer uses it.
  void let_go_of_memory() noexcept {
    if (!_settings.memory || !_settings.memory->retired() || _under_way > 0) return;
    (void)::io_uring_unregister_buffers(&_ring);
    _settings.memory.reset();
  }

  //! Cuts what waits into commands, as long as there are any.
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
      command.registered = _settings.memory && request.registered != nullptr;
      command.data = (command.registered ? request.registered : request.data) + request.done_bytes;
      command.piece =
          _targets.layout.piece(request.offset + request.done_bytes, request.bytes - request.done_bytes);
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

  void finish(IoRequest& request) noexcept { _finished[_finished_count++] = &request; }

  void prepare(Command& command) noexcept {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&_ring);
    while (sqe == nullptr) {  // only while a kernel thread has not taken its entries yet
      ::io_uring_submit(&_ring);
      sqe = ::io_uring_get_sqe(&_ring);
    }
    const Piece& piece = command.piece;
    const int fd = _settings.registered_files ? static_cast<int>(piece.device) : _targets.fds[piece.device];
    const auto bytes = static_cast<std::uint32_t>(piece.bytes);
    const bool read = command.request->op == IoRequest::Op::kRead;
    if (_settings.passthrough) {
      nvme::prepare_transfer(*sqe, fd, _targets.name_spaces[piece.device],
                             read ? nvme::Opcode::kRead : nvme::Opcode::kWrite, piece.offset, command.data,
                             bytes);
    } else if (read) {
      ::io_uring_prep_read(sqe, fd, command.data, bytes, piece.offset);
    } else {
      ::io_uring_prep_write(sqe, fd, command.data, bytes, piece.offset);
    }
    if (command.registered) use_registered(*sqe, command);
    if (_settings.registered_files) sqe->flags |= IOSQE_FIXED_FILE;
    ::io_uring_sqe_set_data(sqe, &command);
  }

  void use_registered(io_uring_sqe& sqe, const Command& command) const noexcept {
    sqe.buf_index = static_cast<std::uint16_t>(_settings.memory->index_of(command.data));
    if (_settings.passthrough) {
      sqe.uring_cmd_flags = IORING_URING_CMD_FIXED;
    } else {
      sqe.opcode = sqe.opcode == IORING_OP_READ ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
    }
  }

  //! Hands over what was prepared and waits. Signals, a full completion queue and "try again" are no
  //! failures: the commands stay prepared or in flight, and the next turn comes here again.
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

  //! On a polled ring the kernel's own wait knows no timeout, so the loop is here. It collects as it goes, because the kernel
  //! does not poll while there are completions that were not taken. It keeps the core as long as a device that is well
  //! would let it wait: whoever gets the core instead may have it for a scheduler's slice, the time of many reads.
  void poll(unsigned wait_for, std::uint64_t timeout_ns) noexcept {
    constexpr std::uint64_t kKeepCoreNs = 1'000'000;
    const std::uint64_t start = wait_for > 0 ? clock_ns() : 0;
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
      const std::uint64_t now = clock_ns();
      if (!submits && seen == 0) _empty_poll_ns += now - last;
      if (now - start >= timeout_ns) return;
      last = now;
      if (now < yield_at) continue;
      ::sched_yield();
      yield_at = clock_ns() + kKeepCoreNs;
    }
  }

  //! How many there were.
  unsigned collect() noexcept {
    unsigned seen = 0;
    unsigned head = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&_ring, head, cqe) {
      ++seen;
      if (cqe->user_data == LIBURING_UDATA_TIMEOUT) continue;  // liburing emulates timeouts before 5.11
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

  //! Books what the kernel says of a command: bytes or 0, an NVMe status, or -errno. False if it, or the rest of
  //! it, must be asked for again.
  [[nodiscard]] bool account(Command& command, int result) const noexcept {
    const std::int64_t wanted = _settings.passthrough ? 0 : static_cast<std::int64_t>(command.piece.bytes);
    if (result == wanted) [[likely]]
      return true;
    IoRequest& request = *command.request;
    if (result == -EINTR || result == -EAGAIN) return false;
    if (result < 0) {
      request.error = -result;
    } else if (_settings.passthrough) {
      if (nvme::may_pass(result) && command.retries < nvme::kMostRetries) {
        ++command.retries;
        ++request.retries;
        return false;
      }
      request.device_status = static_cast<std::uint16_t>(result & nvme::kStatusMask);
      request.error = nvme::errno_of(request.device_status);
    } else if (result == 0) {
      request.error = request.op == IoRequest::Op::kRead ? ENODATA : EIO;  // past the end; no progress
    } else {
      command.data += result;
      command.piece.offset += static_cast<std::uint64_t>(result);
      command.piece.bytes -= static_cast<std::uint64_t>(result);
      return false;
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
  Command* _free = nullptr;          // a list by next_free
  unsigned _under_way = 0;           // commands
  std::vector<Command*> _retry;      // short, interrupted, or failed for now: asked for with the next reap
  std::vector<IoRequest*> _backlog;  // not, or not wholly, put into commands
  std::unique_ptr<IoRequest*[]> _finished;  // not reaped; room for all that may be in flight
  unsigned _finished_count = 0;
  std::uint64_t _empty_poll_ns = 0;
};

}  // namespace

std::unique_ptr<IoQueue> make_ring_queue(const Targets& targets, const RingSettings& settings, unsigned depth,
                                         bool one_thread) {
  return std::make_unique<RingQueue>(targets, settings, depth, one_thread);
}

}  // namespace vmcache
