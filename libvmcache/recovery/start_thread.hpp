// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "vmcache/error.hpp"

namespace vmcache {

//! Starts a thread that calls `run`. Throws Error kOutOfMemory, which names `what` the thread is
//! for, if the system refuses it: the process has a limit on threads or address space.
template <typename Run>
[[nodiscard]] std::thread start_thread(const char* what, Run run) {
  try {
    return std::thread(std::move(run));
  } catch (const std::system_error& error) {
    throw Error(Status{Errc::kOutOfMemory, error.code().value(), kNoPage},
                std::string("starting the thread of ") + what);
  }
}

}  // namespace vmcache
