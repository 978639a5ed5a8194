// SPDX-License-Identifier: MIT
#include "resp.hpp"

#include <charconv>

namespace kvserver {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::size_t kMaxLine = 65'536;

Parsed incomplete() {
  return {};
}
Parsed invalid(const char* error) {
  return {Parsed::Kind::kInvalid, 0, error};
}

//! A number between a type's character at `at` and the line's end. Moves `at` behind the line.
enum class Number : std::uint8_t { kRead, kIncomplete, kInvalid };
Number read_number(std::string_view input, std::size_t& at, std::int64_t& number) {
  constexpr std::size_t kMaxDigits = 21;
  const std::size_t end = input.find(kLineEnd, at);
  if (end == std::string_view::npos)
    return input.size() - at > kMaxDigits + 1 ? Number::kInvalid : Number::kIncomplete;
  const char* const last = input.data() + end;
  const auto [stopped, error] = std::from_chars(input.data() + at + 1, last, number);
  if (error != std::errc() || stopped != last) return Number::kInvalid;
  at = end + kLineEnd.size();
  return Number::kRead;
}

//! A line of words, as a person types it.
Parsed parse_line(std::string_view input, Request& request) {
  const std::size_t end = input.find('\n');
  if (end == std::string_view::npos)
    return input.size() > kMaxLine ? invalid("ERR Protocol error: too big inline request")
                                   : incomplete();
  std::size_t at = 0;
  while (at < end) {
    const std::size_t begin = input.find_first_not_of(" \t\r", at);
    if (begin >= end) break;
    at = std::min(input.find_first_of(" \t\r\n", begin), end);
    request.push_back(input.substr(begin, at - begin));
  }
  return {Parsed::Kind::kRequest, end + 1, ""};
}

}  // namespace

Parsed parse(std::string_view input, std::size_t max_bytes, Request& request) {
  request.clear();
  if (input.empty()) return incomplete();
  if (input.front() != '*') return parse_line(input, request);
  std::size_t at = 0;
  std::int64_t count = 0;
  const Number counted = read_number(input, at, count);
  if (counted == Number::kIncomplete) return incomplete();
  if (counted == Number::kInvalid || count > static_cast<std::int64_t>(kMaxWords))
    return invalid("ERR Protocol error: invalid multibulk length");
  for (; count > 0; --count) {
    if (at == input.size()) return incomplete();
    if (input[at] != '$') return invalid("ERR Protocol error: expected '$'");
    std::int64_t length = 0;
    const Number read = read_number(input, at, length);
    if (read == Number::kIncomplete) return incomplete();
    if (read == Number::kInvalid || length < 0)
      return invalid("ERR Protocol error: invalid bulk length");
    const auto bytes = static_cast<std::size_t>(length);
    if (bytes > max_bytes || at + bytes > max_bytes)
      return invalid("ERR Protocol error: the request is longer than --max-request-bytes");
    if (input.size() < at + bytes + kLineEnd.size()) return incomplete();
    if (input.substr(at + bytes, kLineEnd.size()) != kLineEnd)
      return invalid("ERR Protocol error: a string is longer than it says");
    request.push_back(input.substr(at, bytes));
    at += bytes + kLineEnd.size();
  }
  return {Parsed::Kind::kRequest, at, ""};
}

void Reply::line(char type, std::string_view text) {
  _bytes += type;
  _bytes += text;
  _bytes += kLineEnd;
}

void Reply::error(std::string_view text) {
  _bytes += '-';
  for (const char c : text) _bytes += c == '\r' || c == '\n' ? ' ' : c;
  _bytes += kLineEnd;
}

void Reply::bulk(std::string_view bytes) {
  line('$', std::to_string(bytes.size()));
  _bytes += bytes;
  _bytes += kLineEnd;
}

}  // namespace kvserver
