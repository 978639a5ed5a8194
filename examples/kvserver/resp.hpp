// SPDX-License-Identifier: MIT
//
// RESP, the protocol of Redis: requests are arrays of strings (or a line of words), replies are
// typed. https://redis.io/docs/latest/develop/reference/protocol-spec/
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvserver {

//! The words of a request. They point into what was received.
using Request = std::vector<std::string_view>;

struct Parsed {
  enum class Kind : std::uint8_t {
    kRequest,     //!< may be empty: then there is nothing to do
    kIncomplete,  //!< more bytes are needed
    kInvalid,     //!< the rest of the connection cannot be understood
  };
  Kind kind = Kind::kIncomplete;
  std::size_t bytes = 0;   //!< of the request
  const char* error = "";  //!< kInvalid
};

inline constexpr std::size_t kMaxWords = 65'536;  //!< in a request

//! Reads a request from the start of `input`. One that is longer than `max_bytes` is invalid.
[[nodiscard]] Parsed parse(std::string_view input, std::size_t max_bytes, Request& request);

//! Replies, appended to what is to be sent.
class Reply {
 public:
  //! 2 or 3: the protocol's version.
  void set_version(int version) noexcept { _version = version; }
  [[nodiscard]] int version() const noexcept { return _version; }

  void simple(std::string_view text) { line('+', text); }
  void ok() { simple("OK"); }
  //! `text` begins with a word in capitals. Line ends in it become spaces.
  void error(std::string_view text);
  void integer(std::int64_t value) { line(':', std::to_string(value)); }
  void bulk(std::string_view bytes);
  void null() { _bytes += _version == 3 ? "_\r\n" : "$-1\r\n"; }
  void array(std::size_t size) { line('*', std::to_string(size)); }
  //! As many pairs follow.
  void map(std::size_t pairs) {
    _version == 3 ? line('%', std::to_string(pairs)) : array(2 * pairs);
  }
  void append(const Reply& other) { _bytes += other._bytes; }

  [[nodiscard]] std::string_view bytes() const noexcept { return _bytes; }
  void clear() noexcept { _bytes.clear(); }

 private:
  void line(char type, std::string_view text);

  std::string _bytes;
  int _version = 2;
};

}  // namespace kvserver
