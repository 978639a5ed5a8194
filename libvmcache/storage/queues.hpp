// SPDX-License-Identifier: MIT
#pragma once

#include <memory>
#include <vector>

#include "storage/layout.hpp"
#include "storage/nvme_identify.hpp"
#include "storage/ring_settings.hpp"
#include "vmcache/error.hpp"
#include "vmcache/storage.hpp"

namespace vmcache {

//! What a queue sends its transfers to. It must outlive the queue.
struct Targets {
  Layout layout;
  std::vector<int> fds;
  std::vector<nvme::Namespace> name_spaces;  //!< one a device on passthrough, else empty
};

//! A queue over an io_uring of its own. Throws Error kUnsupported.
[[nodiscard]] std::unique_ptr<IoQueue> make_ring_queue(const Targets& targets,
                                                       const RingSettings& settings, unsigned depth,
                                                       bool single_issuer);
//! True if the process may have no more rings (descriptors, memory): a queue without one works.
[[nodiscard]] bool at_a_limit(const Error& error) noexcept;
//! A queue without io_uring. It makes each transfer by itself, with pread or pwrite.
[[nodiscard]] std::unique_ptr<IoQueue> make_pread_queue(const Targets& targets, unsigned depth);
//! Refuses writes past the file-size limit, and passes everything else on to `queue`.
[[nodiscard]] std::unique_ptr<IoQueue> limit_file_size(const Layout& layout,
                                                       std::unique_ptr<IoQueue> queue);

}  // namespace vmcache
