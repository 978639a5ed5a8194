// SPDX-License-Identifier: MIT
#pragma once

#include <sys/wait.h>
#include <unistd.h>

namespace vmcache::test {

//! Runs `child` in a fork, and returns what it returned (0 .. 100); 101 if it threw, and the
//! negative number of the signal that ended it, which is SIGALRM if it hung.
int in_child(const auto& child) {
  constexpr int kThrew = 101;
  constexpr unsigned kHangsAfterSeconds = 100;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::alarm(kHangsAfterSeconds);
    int result = kThrew;
    try {
      result = child();
    } catch (...) {  // NOLINT: said by the result
    }
    ::_exit(result);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace vmcache::test
