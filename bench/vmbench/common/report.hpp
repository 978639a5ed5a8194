// SPDX-License-Identifier: MIT
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace vmbench {

using Json = nlohmann::ordered_json;

//! A column of the table on stdout: a key of the row and how its value is shown.
struct Column {
  std::string key;
  std::string heading;
  //! Digits after the point; a value that is a string or null is shown as it is.
  int digits = 0;
  //! The value is divided by this before it is shown (1000 for k, 1e6 for M ...).
  double unit = 1.0;
};

//! What a run found: {"context": {...}, "rows": [...]}.
class Report {
 public:
  //! `arguments` are those of main; they go into the context.
  explicit Report(const std::vector<std::string>& arguments);

  //! Adds or replaces a fact about the run that holds for all rows.
  void set_context(const std::string& key, Json value) { _context[key] = std::move(value); }
  void add_row(Json row) { _rows.push_back(std::move(row)); }
  [[nodiscard]] const std::vector<Json>& rows() const { return _rows; }

  //! Prints the rows as an aligned table to stdout.
  void print_table(const std::vector<Column>& columns) const;
  //! Writes the JSON to `path`. Throws std::runtime_error with the path and the errno's text.
  void write_json(const std::string& path) const;

 private:
  Json _context;
  std::vector<Json> _rows;
};

}  // namespace vmbench
