// SPDX-License-Identifier: MIT
#include <fmt/format.h>

#include <exception>

#include "commands.hpp"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv, argv + argc);
  CLI::App app{
      "vmbench: what larger-than-memory access costs, through mmap, pread, LMDB and vmcache"};
  app.require_subcommand(1);
  app.get_formatter()->column_width(36);
  vmbench::add_lookup_command(app, arguments);
  vmbench::add_ycsb_command(app, arguments);
  vmbench::add_pages_command(app, arguments);
  vmbench::add_io_command(app, arguments);
  vmbench::add_log_command(app, arguments);
  vmbench::add_hitratio_command(app, arguments);
  vmbench::add_open_command(app, arguments);
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    fmt::print(stderr, "vmbench: {}\n", error.what());
    return 1;
  }
}
