// SPDX-License-Identifier: MIT
//
// io_uring on files and block devices, and NVMe passthrough, which is the same ring with longer
// entries.
#include <fcntl.h>
#include <fmt/format.h>
#include <liburing.h>
#include <linux/nvme_ioctl.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <mutex>
#include <new>
#include <optional>
#include <span>

#include "io/errors.hpp"
#include "io/nvme.hpp"
#include "io/ways.hpp"
#include "storage/poll_queues.hpp"

namespace vmbench {

namespace {

constexpr std::uint8_t kNvmeWrite = 0x01;
constexpr std::uint8_t kNvmeRead = 0x02;

std::string setup_text(const RingOptions& options) {
  std::string text = "io_uring_setup";
  if (options.passthrough) text += " SQE128|CQE32";
  if (options.polled) text += " IOPOLL";
  if (options.sqpoll) text += " SQPOLL";
  if (options.deferred) text += " SINGLE_ISSUER|DEFER_TASKRUN";
  return text;
}

void check(int result, const std::string& what) {
  if (result < 0) throw RungMissing(fmt::format("{}: {}", what, std::strerror(-result)));
}

//! A disk without poll queues completes by interrupt, and a polled ring runs on it without a word;
//! that would measure something else.
void need_poll_queues(const Layer& layer) {
  for (const Device& device : layer.devices) {
    // Files and arrays: the kernel refuses the transfer.
    if (device.kind != Device::Kind::kDisk) continue;
    const std::string path = "/sys/block/" + device.sysfs_name() + "/queue/io_poll";
    int polls = 0;
    std::ifstream(path) >> polls;
    if (polls != 1)
      throw RungMissing(fmt::format("no poll queues: {} is {} (nvme.poll_queues)", path, polls));
  }
}

//! One for all threads of the run, which has a process of its own.
std::shared_ptr<vmcache::PollQueues> shared_poll_queues(std::span<const int> fds) {
  static std::mutex mutex;
  static std::shared_ptr<vmcache::PollQueues> queues;
  const std::lock_guard lock(mutex);
  if (queues) return queues;
  std::vector<dev_t> nodes;
  for (const int fd : fds) {
    struct stat info {};
    if (fstat(fd, &info) == 0) nodes.push_back(info.st_rdev);
  }
  std::string why_not;
  queues = vmcache::PollQueues::take(nodes, why_not);
  if (!queues) throw RungMissing(why_not);
  return queues;
}

//! Two rings that poll one hardware queue on passthrough can make the kernel oops
//! (storage/poll_queues.hpp).
vmcache::PollQueues::Claim claim_poll_queues(std::span<const int> fds, bool sqpoll) {
  const auto cpu = sqpoll ? std::optional<unsigned>{} : vmcache::cpu_of_pinned_thread();
  auto claim = shared_poll_queues(fds)->claim(cpu);
  if (!claim)
    throw RungMissing(
        "two rings would poll one hardware queue, at which Linux can oops (nvme.poll_queues)");
  return std::move(*claim);
}

class RingWay final : public IoWay {
 public:
  RingWay(IoLane& lane, const RingOptions& options)
      : _lane(lane),
        _options(options),
        _open(*lane.config().layer,
              (lane.config().write ? O_RDWR : O_RDONLY) | (options.passthrough ? 0 : O_DIRECT),
              options.passthrough) {
    if (options.polled) need_poll_queues(*lane.config().layer);
    if (options.polled && options.passthrough)
      _claim.emplace(claim_poll_queues(_open.fds(), options.sqpoll));
    if (options.passthrough)
      for (std::size_t i = 0; i < _open.fds().size(); i++)
        _namespaces.push_back(
            identify_namespace(_open.fds()[i], lane.config().layer->devices[i].char_path));
    set_up();
    try {
      do_register();
    } catch (...) {
      ::io_uring_queue_exit(&_ring);
      throw;
    }
    for (unsigned i = 0; i < lane.config().depth; i++) _free.push_back(i);
  }
  ~RingWay() override { ::io_uring_queue_exit(&_ring); }

  void run() override {
    while (fill()) {
      if (_options.polled && !_options.sqpoll)
        poll();
      else
        wait();
    }
  }

 private:
  //! Prepares transfers for free slots; false at the end of the phase, when none is in flight any
  //! more. A polled ring is asked often and finds few completions a time: there, only a batch is
  //! worth a submission.
  bool fill() {
    const unsigned depth = _lane.config().depth;
    if (!_options.polled || _free.size() >= std::min(_lane.config().batch, depth) ||
        _free.size() == depth) {
      while (!_free.empty() && _lane.more()) {
        prepare(_free.back());
        _free.pop_back();
      }
    }
    return _free.size() < depth;
  }

  void wait() {
    const unsigned in_flight = _lane.config().depth - static_cast<unsigned>(_free.size());
    check_enter(::io_uring_submit_and_wait(&_ring, std::min(_lane.config().batch, in_flight)));
    reap();
  }

  //! Asks once, without waiting, so that a turn which had nothing to do can be told from one which
  //! had.
  void poll() {
    const std::uint64_t start = __rdtsc();
    const bool submits = ::io_uring_sq_ready(&_ring) > 0;
    check_enter(::io_uring_submit_and_get_events(&_ring));
    if (reap() == 0 && !submits) _lane.add_empty_poll(__rdtsc() - start);
  }

  void set_up() {
    io_uring_params params{};
    params.flags = IORING_SETUP_CLAMP;
    if (_options.passthrough) params.flags |= IORING_SETUP_SQE128 | IORING_SETUP_CQE32;
    if (_options.polled) params.flags |= IORING_SETUP_IOPOLL;
    if (_options.deferred) params.flags |= IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;
    if (_options.sqpoll) {
      params.flags |= IORING_SETUP_SQPOLL;
      params.sq_thread_idle = 1000;  // ms
    }
    check(::io_uring_queue_init_params(std::bit_ceil(_lane.config().depth), &_ring, &params),
          setup_text(_options));
  }

  void do_register() {
    if (_options.files) {
      check(::io_uring_register_files(&_ring, _open.fds().data(),
                                      static_cast<unsigned>(_open.fds().size())),
            "io_uring_register_files");
      const int count = ::io_uring_register_ring_fd(&_ring);
      check(count == 0 ? -EINVAL : count, "io_uring_register_ring_fd");
    }
    if (!_options.buffers) return;
    std::vector<iovec> buffers;
    for (const IoSlot& slot : _lane.slots())
      buffers.push_back({slot.buffer, _lane.config().io_bytes});
    check(
        ::io_uring_register_buffers(&_ring, buffers.data(), static_cast<unsigned>(buffers.size())),
        "io_uring_register_buffers");
  }

  static void check_enter(int result) {
    if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY)
      check(result, "io_uring_enter");
  }

  void prepare(unsigned index) {
    IoSlot& slot = _lane.slots()[index];
    _lane.start(slot);
    io_uring_sqe* sqe = ::io_uring_get_sqe(&_ring);
    while (sqe == nullptr) {  // the SQ thread has not taken the last ones yet
      ::io_uring_submit(&_ring);
      sqe = ::io_uring_get_sqe(&_ring);
    }
    const int fd = _options.files ? static_cast<int>(slot.device) : _open.fds()[slot.device];
    if (_options.passthrough)
      prepare_command(*sqe, fd, slot, index);
    else
      prepare_transfer(sqe, fd, slot, index);
    if (_options.files) sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = index;
  }

  void prepare_transfer(io_uring_sqe* sqe, int fd, const IoSlot& slot, unsigned index) const {
    const auto bytes = static_cast<unsigned>(_lane.config().io_bytes);
    const auto buffer_index = static_cast<int>(index);
    if (_lane.config().write) {
      if (_options.buffers)
        ::io_uring_prep_write_fixed(sqe, fd, slot.buffer, bytes, slot.offset, buffer_index);
      else
        ::io_uring_prep_write(sqe, fd, slot.buffer, bytes, slot.offset);
    } else if (_options.buffers) {
      ::io_uring_prep_read_fixed(sqe, fd, slot.buffer, bytes, slot.offset, buffer_index);
    } else {
      ::io_uring_prep_read(sqe, fd, slot.buffer, bytes, slot.offset);
    }
  }

  void prepare_command(io_uring_sqe& sqe, int fd, const IoSlot& slot, unsigned index) const {
    const NvmeNamespace& space = _namespaces[slot.device];
    const std::uint64_t lba = slot.offset >> space.lba_shift;
    sqe = {};
    sqe.opcode = IORING_OP_URING_CMD;
    sqe.fd = fd;
    sqe.cmd_op = NVME_URING_CMD_IO;
    if (_options.buffers) {
      sqe.uring_cmd_flags = IORING_URING_CMD_FIXED;
      sqe.buf_index = static_cast<std::uint16_t>(index);
    }
    // SQE128: there is room for it behind the entry's own fields.
    auto& command = *new (sqe.cmd) nvme_uring_cmd{};
    command.opcode = _lane.config().write ? kNvmeWrite : kNvmeRead;
    command.nsid = space.nsid;
    command.addr = reinterpret_cast<std::uint64_t>(slot.buffer);
    command.data_len = static_cast<std::uint32_t>(_lane.config().io_bytes);
    command.cdw10 = static_cast<std::uint32_t>(lba);
    command.cdw11 = static_cast<std::uint32_t>(lba >> 32);
    // 0's based.
    command.cdw12 = static_cast<std::uint32_t>(_lane.config().io_bytes >> space.lba_shift) - 1;
  }

  unsigned reap() {
    unsigned head = 0, seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&_ring, head, cqe) {
      const auto index = static_cast<unsigned>(cqe->user_data);
      if (_options.passthrough && cqe->res != 0)
        throw RungMissing(fmt::format("passthrough command at byte {}: {}",
                                      _lane.slots()[index].offset, nvme_result_text(cqe->res)));
      _lane.finish(_lane.slots()[index], _options.passthrough
                                             ? static_cast<std::int64_t>(_lane.config().io_bytes)
                                             : cqe->res);
      _free.push_back(index);
      seen++;
    }
    ::io_uring_cq_advance(&_ring, seen);
    return seen;
  }

  IoLane& _lane;
  RingOptions _options;
  OpenLayer _open;
  std::vector<NvmeNamespace> _namespaces;
  std::optional<vmcache::PollQueues::Claim> _claim;
  io_uring _ring{};
  std::vector<unsigned> _free;  // slots
};

}  // namespace

std::unique_ptr<IoWay> make_ring_way(IoLane& lane, const RingOptions& options) {
  return std::make_unique<RingWay>(lane, options);
}

}  // namespace vmbench
