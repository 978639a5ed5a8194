// SPDX-License-Identifier: MIT
#include "common/child.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

namespace vmbench {

namespace {

void write_all(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t written = write(fd, text.data() + done, text.size() - done);
    if (written <= 0) return;  // the parent is gone, and with it whoever would care
    done += static_cast<std::size_t>(written);
  }
}

std::string read_all(int fd) {
  std::string text;
  char buffer[65536];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) != 0;) {
    if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    if (got < 0 && errno != EINTR) break;
  }
  return text;
}

[[noreturn]] void be_child(int fd, const std::function<Json()>& work) {
  // A benchmark whose parent was interrupted must not run on.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  Json answer;
  try {
    answer["result"] = work();
  } catch (const std::exception& error) {
    answer["error"] = error.what();
  }
  write_all(fd, answer.dump());
  std::fflush(nullptr);
  _exit(0);
}

}  // namespace

Json run_in_child(const std::function<Json()>& work) {
  int ends[2];
  if (pipe(ends) != 0) throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
  if (child == 0) {
    close(ends[0]);
    be_child(ends[1], work);
  }
  close(ends[1]);
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    throw std::runtime_error(
        fmt::format("the run was killed by signal {}{}", WTERMSIG(status),
                    WTERMSIG(status) == SIGKILL ? " (over its memory limit?)" : ""));
  const Json answer = Json::parse(text, nullptr, false);
  if (answer.is_discarded()) throw std::runtime_error("the run ended without an answer");
  if (answer.contains("error")) throw std::runtime_error(answer["error"].get<std::string>());
  return answer["result"];
}

}  // namespace vmbench
