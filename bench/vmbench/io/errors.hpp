// SPDX-License-Identifier: MIT
#pragma once

#include <stdexcept>

namespace vmbench {

//! This machine cannot give a rung; what() names the call or the probe that said so, and the
//! errno's text.
class RungMissing : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

//! A transfer that was called a success brought other bytes than were written there.
class WrongData : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace vmbench
