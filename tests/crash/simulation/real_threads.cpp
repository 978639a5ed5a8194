// SPDX-License-Identifier: MIT
//
// Schedule for the sanitizers' builds: threads are the system's, and a seed says all but their
// order.
#include "crash/simulation/schedule.hpp"

namespace vmcache::test {

Schedule::Schedule(const SchedulePlan& /*plan*/) {}
Schedule::~Schedule() = default;
bool Schedule::deterministic() noexcept {
  return false;
}
std::uint64_t Schedule::digest() noexcept {
  return 0;
}
std::uint64_t Schedule::marks() noexcept {
  return 0;
}
void Schedule::on_stuck(void (*)(const char* what)) noexcept {}

}  // namespace vmcache::test
