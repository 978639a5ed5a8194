// SPDX-License-Identifier: MIT
//
// What the storage gives to a program that does nothing but read random pages: fio on the file of
// the vmcache systems.
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "systems/system.hpp"

namespace vmbench {

namespace {

constexpr unsigned kDepth = 128;

void run_program(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t child = 0;
  if (const int error = posix_spawnp(&child, argv[0], nullptr, nullptr, argv.data(), environ);
      error != 0)
    throw std::runtime_error(fmt::format("{}: {}", arguments.front(), std::strerror(error)));
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0)
    throw std::runtime_error(fmt::format("{} failed with status {}", arguments.front(), status));
}

Json make_row(const WorkloadOptions& options, const Json& output) {
  double ios = 0, seconds = 0, cpu_s = 0;
  for (const Json& job : output.at("jobs")) {
    const double runtime_s = job.at("read").at("runtime").get<double>() / 1000;
    ios += job.at("read").at("total_ios").get<double>();
    seconds = std::max(seconds, runtime_s);
    cpu_s += (job.at("usr_cpu").get<double>() + job.at("sys_cpu").get<double>()) / 100 * runtime_s;
  }
  const Json& percentiles = output.at("jobs").at(0).at("read").at("clat_ns").at("percentile");
  const double p50_us = percentiles.at("50.000000").get<double>() / 1000;
  const double p99_us = percentiles.at("99.000000").get<double>() / 1000;
  return Json{{"system", "fio"},
              {"workload", "randread 4 KiB"},
              {"threads", options.threads},
              {"tasks", kDepth},
              {"pool_bytes", 0},
              {"data_bytes", options.data_bytes},
              {"seconds", seconds},
              {"ops", static_cast<std::uint64_t>(ios)},
              {"ops_per_s", ios / seconds},
              {"page_reads", static_cast<std::uint64_t>(ios)},
              {"page_reads_per_s", ios / seconds},
              {"page_writes", 0},
              {"read_p50_us", p50_us},
              {"read_p99_us", p99_us},
              {"op_p50_us", p50_us},
              {"op_p99_us", p99_us},
              {"cpu_s", cpu_s},
              {"cpu_us_per_op", cpu_s * 1e6 / ios}};
}

}  // namespace

Json run_fio(const WorkloadOptions& options) {
  const std::string output_path = options.file + ".fio.json";
  run_program({"fio", "--name=reference", "--filename=" + vmcache_file(options), "--rw=randread",
               "--bs=4k", "--direct=1", "--ioengine=io_uring", fmt::format("--iodepth={}", kDepth),
               "--norandommap", "--time_based",
               fmt::format("--runtime={}", std::max(1L, std::lround(options.seconds))),
               fmt::format("--numjobs={}", options.threads), "--group_reporting",
               fmt::format("--randseed={}", options.seed), "--readonly", "--thread",
               "--output-format=json", "--output=" + output_path});
  std::ifstream file(output_path);
  const Json output = Json::parse(file, nullptr, false);
  unlink(output_path.c_str());
  if (output.is_discarded()) throw std::runtime_error("fio wrote no JSON that can be read");
  return make_row(options, output);
}

}  // namespace vmbench
