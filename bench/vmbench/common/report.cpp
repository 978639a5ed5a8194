// SPDX-License-Identifier: MIT
#include "common/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "common/context.hpp"

namespace vmbench {

namespace {

std::string cell(const Json& row, const Column& column) {
  const auto found = row.find(column.key);
  if (found == row.end() || found->is_null()) return "-";
  if (found->is_string()) return found->get<std::string>();
  if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
  return fmt::format("{:.{}f}", found->get<double>() / column.unit, column.digits);
}

}  // namespace

Report::Report(const std::vector<std::string>& arguments) : _context(machine_context(arguments)) {}

void Report::print_table(const std::vector<Column>& columns) const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns) {
    std::size_t width = column.heading.size();
    for (const Json& row : _rows) width = std::max(width, cell(row, column).size());
    widths.push_back(width);
  }
  // The first column is a name and stands left, figures stand right.
  auto print_cell = [&](std::size_t i, const std::string& text) {
    fmt::print(fmt::runtime(i == 0 ? "{:<{}}" : "  {:>{}}"), text, widths[i]);
  };
  for (std::size_t i = 0; i < columns.size(); i++) print_cell(i, columns[i].heading);
  fmt::print("\n");
  for (const Json& row : _rows) {
    for (std::size_t i = 0; i < columns.size(); i++) print_cell(i, cell(row, columns[i]));
    fmt::print("\n");
  }
  std::fflush(stdout);
}

void Report::write_json(const std::string& path) const {
  std::ofstream out(path);
  out << Json{{"context", _context}, {"rows", _rows}}.dump(2) << '\n';
  out.close();
  if (!out)
    throw std::runtime_error(
        fmt::format("--json {}: cannot write: {}", path, std::strerror(errno)));
}

}  // namespace vmbench
