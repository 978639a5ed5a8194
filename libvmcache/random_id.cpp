// SPDX-License-Identifier: MIT
#include "random_id.hpp"

#include <fmt/format.h>
#include <sys/random.h>

#include <cerrno>

#include "vmcache/error.hpp"

namespace vmcache {
namespace {

void fill_randomly(void* to, std::size_t bytes) {
  if (::getrandom(to, bytes, 0) != static_cast<ssize_t>(bytes))
    throw Error(Status{Errc::kUnsupported, errno, kNoPage}, "getrandom");
}

}  // namespace

DatabaseId random_id() {
  DatabaseId id{};
  fill_randomly(id.data(), id.size());
  id[6] = static_cast<std::uint8_t>((id[6] & 0x0f) | 0x40);
  id[8] = static_cast<std::uint8_t>((id[8] & 0x3f) | 0x80);
  return id;
}

std::uint64_t random_number() {
  std::uint64_t number = 0;
  fill_randomly(&number, sizeof number);
  return number | 1;
}

std::string to_text(const DatabaseId& id) {
  std::string text;
  for (std::size_t i = 0; i < id.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", id[i]);
  }
  return text;
}

}  // namespace vmcache
