// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pool/engine_base.hpp"
#include "pool/evictor.hpp"
#include "pool/io_channel.hpp"
#include "pool/request_ends.hpp"
#include "vmcache/detail/fault.hpp"
#include "vmcache/error.hpp"
#include "vmcache/page_state.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

//! An engine's claimed pages: they get frames, then their bytes, and are published.
class FaultQueue {
 public:
  FaultQueue(EngineBase& base, IoChannel& io, Evictor& evictor, RequestEnds& ends) noexcept
      : _base(base), _core(base.core), _io(io), _evictor(evictor), _ends(ends) {}

  //! After a new queue of the channel. Throws std::bad_alloc.
  void bind();
  //! Room for that many faults. Throws std::bad_alloc.
  void reserve(std::size_t faults) { _faults.reserve(faults); }

  //! The request's page is claimed (0xfe); `word` is what its state was before.
  void add(FaultRequest& request, PageState word);
  //! Gives frames to as many faults as it can, and prepares their reads. The others wait for the
  //! next turn.
  void serve() {
    _evictor.claim_written();
    if (!_faults.empty() || _evictor.has_victims()) serve_all();
  }
  //! A read, prepared here, has ended.
  void complete(IoRequest& request);

  //! Whether no fault waits for a frame.
  [[nodiscard]] bool empty() const noexcept { return _faults.empty(); }
  [[nodiscard]] std::size_t reads_in_flight() const noexcept { return _reads; }
  //! Recent duration of a read (moving average).
  [[nodiscard]] std::uint64_t read_ns() const noexcept { return _read_ns; }

 private:
  void serve_all();
  [[nodiscard]] std::size_t pick(std::uint64_t& pages) const;
  [[nodiscard]] std::uint64_t starved_for_ns() const noexcept;
  void starve();
  void admit(FaultRequest& request, std::uint32_t slot);
  void publish(FaultRequest& request);
  void fail(FaultRequest& request, Status status);

  EngineBase& _base;
  PoolCore& _core;
  IoChannel& _io;
  Evictor& _evictor;
  RequestEnds& _ends;
  std::vector<FaultRequest*> _faults;  // without frames
  std::vector<Extent> _wanted;         // scratch of serve()
  std::vector<std::uint32_t> _slots;   // the same
  std::size_t _reads = 0;              // in flight
  std::uint64_t _read_ns = 0;
};

}  // namespace vmcache::detail
