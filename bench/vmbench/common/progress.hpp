// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace vmbench {

//! One line on stderr that is rewritten in place; silent where stderr is not a terminal. Not
//! thread-safe.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& line);
  //! Takes the line away, so that something else can be printed.
  void clear();

 private:
  bool _terminal;
  bool _shown = false;
};

}  // namespace vmbench
