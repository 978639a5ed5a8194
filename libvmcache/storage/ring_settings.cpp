// SPDX-License-Identifier: MIT
#include "storage/ring_settings.hpp"

#include <fmt/format.h>
#include <liburing.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <vector>

#include "logger.hpp"
#include "storage/aligned_buffer.hpp"
#include "storage/nvme_command.hpp"
#include "storage/queues.hpp"
#include "vmcache/error.hpp"

namespace vmcache {
namespace {

constexpr unsigned kSqThreadIdleMs = 50;  // then it sleeps, and the next submission wakes it

unsigned flags_of(const RingSettings& settings, bool single_issuer) noexcept {
  unsigned flags = 0;
  if (settings.passthrough) flags |= IORING_SETUP_SQE128 | IORING_SETUP_CQE32;
  // Completions are handled when this thread asks for them instead of interrupting it; needs a
  // single submitter.
  if (settings.deferred && single_issuer)
    flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
  if (settings.polled) flags |= IORING_SETUP_IOPOLL;
  if (settings.sq_polling) flags |= IORING_SETUP_SQPOLL;
  return flags;
}

struct RingDeleter {
  void operator()(io_uring* ring) const noexcept {
    ::io_uring_queue_exit(ring);
    delete ring;
  }
};
using OwnedRing = std::unique_ptr<io_uring, RingDeleter>;

//! A small ring, or the errno.
OwnedRing make_ring(const RingSettings& settings, int& error) {
  auto plain = std::make_unique<io_uring>();
  error = init_ring(*plain, 4, settings, true);
  if (error != 0) return {};
  return OwnedRing{plain.release()};
}

//! Finds out what works by doing it.
class Trial {
 public:
  Trial(const Targets& targets, RingSettings& settings) : _targets(targets), _settings(settings) {}

  //! Reads a page of every device. Returns the errno if the ring, or a transfer on it, is refused.
  //! A device's own read error does not count.
  [[nodiscard]] int read_all() const {
    int error = 0;
    const OwnedRing ring = make_ring(_settings, error);
    if (!ring) return error;
    for (std::size_t device = 0; device < _targets.fds.size(); ++device) {
      const int result = read_one(*ring, device);
      if (result == -EOPNOTSUPP || result == -ENOTTY || result == -EINVAL || result == -EACCES ||
          result == -EPERM)
        return -result;
    }
    return 0;
  }

  [[nodiscard]] int set_up() const {
    int error = 0;
    (void)make_ring(_settings, error);
    return error;
  }
  [[nodiscard]] int register_files() const {
    int error = 0;
    const OwnedRing ring = make_ring(_settings, error);
    if (!ring) return error;
    return -::io_uring_register_files(ring.get(), _targets.fds.data(),
                                      static_cast<unsigned>(_targets.fds.size()));
  }
  [[nodiscard]] int register_ring() const {
    int error = 0;
    const OwnedRing ring = make_ring(_settings, error);
    if (!ring) return error;
    const int result = ::io_uring_register_ring_fd(ring.get());  // 1 if it worked
    return result < 0 ? -result : 0;
  }
  [[nodiscard]] int own_sq_thread() const {
    int error = 0;
    OwnedRing ring = make_ring(_settings, error);
    if (ring) _settings.sq_owner = std::shared_ptr<io_uring>(ring.release(), RingDeleter{});
    return error;
  }

 private:
  [[nodiscard]] int read_one(io_uring& ring, std::size_t device) const {
    const AlignedBuffer page(kPageSize);
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring);
    if (_settings.passthrough) {
      nvme::prepare_transfer(*sqe, _targets.fds[device], _targets.name_spaces[device],
                             nvme::Opcode::kRead, 0, page.bytes().data(), kPageSize);
    } else {
      ::io_uring_prep_read(sqe, _targets.fds[device], page.bytes().data(), kPageSize, 0);
    }
    io_uring_cqe* cqe = nullptr;
    // Not a wait, which a polled ring would do by spinning in the kernel whatever happens.
    while (::io_uring_peek_cqe(&ring, &cqe) != 0) {
      const int result = ::io_uring_submit_and_get_events(&ring);
      if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) return result;
    }
    const int result = cqe->res;
    ::io_uring_cqe_seen(&ring, cqe);
    return result;
  }

  const Targets& _targets;
  RingSettings& _settings;
};

//! One feature after the other.
class Chooser {
 public:
  Chooser(const std::string& name, RingSettings& settings) : _name(name), _settings(settings) {}

  //! Switches `feature` of the settings on if it is wanted and `attempt` (0 or an errno) succeeds;
  //! else says why not, if `why_not` does not do so already.
  template <typename Attempt>
  void choose(Switch wanted, bool RingSettings::*feature, std::string_view what,
              std::string why_not, Attempt attempt) {
    if (wanted == Switch::kOff) return;
    int error = 0;
    if (why_not.empty()) {
      _settings.*feature = true;
      error = attempt();
      if (error == 0) return;
      _settings.*feature = false;
      why_not = fmt::format("refused: {} (errno {})", std::strerror(error), error);
    }
    if (wanted == Switch::kOn) {
      throw Error(Status{Errc::kUnsupported, error, kNoPage},
                  fmt::format("{}: {} was asked for, but {}", _name, what, why_not));
    }
    _missing += fmt::format("{}{}: {}", _missing.empty() ? "" : "; ", what, why_not);
  }

  [[nodiscard]] const std::string& missing() const noexcept { return _missing; }

 private:
  const std::string& _name;
  RingSettings& _settings;
  std::string _missing;
};

void require_passthrough(const Trial& trial, const std::string& name) {
  int error = trial.set_up();
  if (error == 0) error = trial.read_all();
  if (error == 0) return;
  const bool denied = error == EACCES || error == EPERM;
  throw Error(
      Status{Errc::kUnsupported, error, kNoPage},
      name + (denied ? ": no permission for NVMe commands (CAP_SYS_ADMIN is needed)"
                     : ": this kernel or device has no NVMe passthrough by io_uring (Linux 5.19)"));
}

}  // namespace

std::string RingSettings::description() const {
  std::string text = "io_uring";
  const auto add = [&](bool on, std::string_view what) {
    if (on) text += fmt::format(" + {}", what);
  };
  add(registered_files, "registered files");
  add(registered_ring, "registered ring");
  add(deferred, "deferred task run");
  add(polled, "polled completions");
  add(sq_polling, "SQ polling");
  add(memory != nullptr, "registered frames");
  return text;
}

int init_ring(io_uring& ring, unsigned entries, const RingSettings& settings,
              bool single_issuer) noexcept {
  io_uring_params params{};
  params.flags = flags_of(settings, single_issuer) | IORING_SETUP_CLAMP;
  if (settings.sq_polling) {
    params.sq_thread_idle = kSqThreadIdleMs;
    if (settings.sq_owner) {
      params.flags |= IORING_SETUP_ATTACH_WQ;
      params.wq_fd = static_cast<unsigned>(settings.sq_owner->ring_fd);
    }
  }
  return -::io_uring_queue_init_params(std::bit_ceil(entries), &ring, &params);
}

int probe_io_uring() noexcept {
  io_uring ring{};
  const int error = init_ring(ring, 1, {}, false);
  if (error == 0) ::io_uring_queue_exit(&ring);
  return error;
}

RingSettings choose_ring_settings(const IoUringOptions& options, const Targets& targets,
                                  const std::string& why_not_polled, const std::string& name,
                                  Logger& logger) {
  if (options.sq_polling == Switch::kOn && options.deferred == Switch::kOn) {
    throw Error(Errc::kInvalidOption,
                "io_uring.sq_polling and io_uring.deferred are on: one of them, not both");
  }
  RingSettings settings;
  settings.passthrough = !targets.name_spaces.empty();
  const Trial trial(targets, settings);
  if (settings.passthrough) require_passthrough(trial, name);
  Chooser chooser(name, settings);
  const auto read = [&] { return trial.read_all(); };
  chooser.choose(options.polled, &RingSettings::polled, "polled completions", why_not_polled, read);
  // Only one of the two can be on. Deferred completions cost nothing.
  const bool deferred_wins = options.sq_polling == Switch::kAuto && options.deferred == Switch::kOn;
  chooser.choose(options.sq_polling, &RingSettings::sq_polling, "SQ polling",
                 deferred_wins ? "deferred task run excludes it" : "",
                 [&] { return trial.own_sq_thread(); });
  chooser.choose(options.deferred, &RingSettings::deferred, "deferred task run",
                 settings.sq_polling ? "SQ polling excludes it" : "", read);
  chooser.choose(options.registered_files, &RingSettings::registered_files, "registered files", "",
                 [&] { return trial.register_files(); });
  chooser.choose(options.registered_ring, &RingSettings::registered_ring, "a registered ring", "",
                 [&] { return trial.register_ring(); });
  if (!chooser.missing().empty())
    logger(LogLevel::kInfo, fmt::format("{}: without {}", name, chooser.missing()));
  return settings;
}

}  // namespace vmcache
