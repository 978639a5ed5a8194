// SPDX-License-Identifier: MIT
//
// Commands on keys. Each runs in a transaction: its own, or that of EXEC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <vmcache/database.hpp>

#include "resp.hpp"

namespace kvserver {

//! What a command works with.
struct Call {
  vmcache::Worker& worker;
  vmcache::Transaction& transaction;
  const Request& request;
  Reply& reply;
  std::int64_t added = 0;  //!< keys, once the transaction is committed
};

struct Command {
  std::string_view name;  //!< in capitals
  std::size_t min_words;
  std::size_t max_words;
  vmcache::Task<> (*run)(Call& call);

  [[nodiscard]] bool takes(std::size_t words) const noexcept {
    return words >= min_words && words <= max_words;
  }
};

//! Null if there is no such command on keys. Case does not count.
[[nodiscard]] const Command* find_command(std::string_view name);

//! Whether two names are the same but for case.
[[nodiscard]] bool same(std::string_view a, std::string_view b) noexcept;
//! Whether `name` matches a pattern of Redis: * ? [a-z] [^a] and \ before a character.
[[nodiscard]] bool matches(std::string_view pattern, std::string_view name) noexcept;
//! False if `text` is no number.
[[nodiscard]] bool read_integer(std::string_view text, std::int64_t& number) noexcept;

}  // namespace kvserver
