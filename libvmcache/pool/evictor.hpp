// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pool/engine_base.hpp"
#include "pool/io_channel.hpp"
#include "pool/page_writer.hpp"
#include "pool/residency.hpp"
#include "vmcache/error.hpp"
#include "vmcache/types.hpp"

namespace vmcache::detail {

//! Finds frames for an engine's faults: free ones, and those of victims of sweeps.
class Evictor {
 public:
  Evictor(EngineBase& base, IoChannel& io, PageWriter& writer) noexcept
      : _base(base), _core(base.core), _io(io), _writer(writer) {}

  //! After a new queue of the channel. Throws std::bad_alloc.
  void bind();

  //! Victims that have been written leave now, if nobody has used them since.
  void claim_written() {
    if (!_writer.written_victims().empty()) claim_all_written();
  }
  //! Whether there are victims that exchange() has not taken yet.
  [[nodiscard]] bool has_victims() const noexcept { return !_swept.victims.empty(); }
  //! Returns how many frames there are, `wanted` if there are as many: free ones, which are the
  //! caller's now, and those of victims, which exchange() brings. `starved_ns`: how long faults
  //! have found none.
  [[nodiscard]] std::uint64_t find_frames(std::uint64_t wanted, std::uint64_t starved_ns);
  //! One page-table call: the victims' frames go, and frames come under the extents `wanted`. Then
  //! the victims are published as evicted. Returns whether `wanted` have their frames.
  [[nodiscard]] Status exchange(std::span<const Extent> wanted);

  //! Sweeps once for `pages` pages, gives the frames that it could take to the pool, and starts to
  //! write dirty pages.
  void evict(std::uint64_t pages, SweepEffort effort);

 private:
  void claim_all_written();
  void sweep(std::uint64_t pages, SweepEffort effort);
  [[nodiscard]] std::size_t room_for_victims() const noexcept;

  EngineBase& _base;
  PoolCore& _core;
  IoChannel& _io;
  PageWriter& _writer;
  SweepResult _swept;            // since the last exchange()
  std::vector<Extent> _leaving;  // scratch of exchange()
};

}  // namespace vmcache::detail
