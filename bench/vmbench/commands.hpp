// SPDX-License-Identifier: MIT
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace vmbench {

//! Each adds its subcommand with its options to `app`; the subcommand's callback does the work.
//! `arguments` are those of main, for the report, and must outlive the parse.
void add_pages_command(CLI::App& app, const std::vector<std::string>& arguments);
void add_lookup_command(CLI::App& app, const std::vector<std::string>& arguments);
void add_ycsb_command(CLI::App& app, const std::vector<std::string>& arguments);
void add_io_command(CLI::App& app, const std::vector<std::string>& arguments);
void add_log_command(CLI::App& app, const std::vector<std::string>& arguments);
void add_hitratio_command(CLI::App& app, const std::vector<std::string>& arguments);
void add_open_command(CLI::App& app, const std::vector<std::string>& arguments);

}  // namespace vmbench
