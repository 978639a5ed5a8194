// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <optional>

namespace vmbench {

//! TLB shootdown interrupts of all CPUs since boot (the TLB row of /proc/interrupts); nothing where
//! there is no such row.
[[nodiscard]] std::optional<std::uint64_t> tlb_shootdowns();

//! Instructions, user and kernel, of the calling thread from construction on.
class InstructionCounter {
 public:
  InstructionCounter();
  ~InstructionCounter();
  InstructionCounter(const InstructionCounter&) = delete;
  InstructionCounter& operator=(const InstructionCounter&) = delete;

  //! Nothing where the machine has no such counter or does not let us have it.
  [[nodiscard]] std::optional<std::uint64_t> read() const;

 private:
  int _fd;
};

}  // namespace vmbench
