// SPDX-License-Identifier: MIT
#include "commands.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>
#include <string>

#include "store.hpp"

namespace kvserver {
namespace {

using vmcache::Task;
using Value = std::optional<std::string>;

constexpr std::size_t kAny = kMaxWords;

bool refuse_sizes(Reply& reply, std::string_view key, std::size_t value_bytes = 0) {
  if (key.size() > kMaxKey) {
    reply.error("ERR the key has " + std::to_string(key.size()) + " bytes (allowed: at most " +
                std::to_string(kMaxKey) + ")");
  } else if (value_bytes > kMaxValue) {
    reply.error("ERR the value has " + std::to_string(value_bytes) + " bytes (allowed: at most " +
                std::to_string(kMaxValue) + ")");
  } else {
    return false;
  }
  return true;
}

Task<Value> read(Call& call, std::string_view key) {
  if (key.size() > kMaxKey) co_return std::nullopt;  // it cannot exist
  co_return co_await call.transaction.get(call.worker, kKeys, key);
}

void put(Call& call, std::string_view key, std::string_view value, const Value& old) {
  call.transaction.put(kKeys, key, value);
  if (!old) ++call.added;
}

void answer(Reply& reply, const Value& value) {
  value ? reply.bulk(*value) : reply.null();
}

Task<> get(Call& call) {
  answer(call.reply, co_await read(call, call.request[1]));
}

Task<> mget(Call& call) {
  call.reply.array(call.request.size() - 1);
  for (std::size_t n = 1; n < call.request.size(); ++n)
    answer(call.reply, co_await read(call, call.request[n]));
}

Task<> set(Call& call) {
  const std::string_view key = call.request[1];
  const std::string_view value = call.request[2];
  bool if_new = false;
  bool if_there = false;
  bool returns_old = false;
  for (std::size_t n = 3; n < call.request.size(); ++n) {
    const std::string_view word = call.request[n];
    if (same(word, "NX")) {
      if_new = true;
    } else if (same(word, "XX")) {
      if_there = true;
    } else if (same(word, "GET")) {
      returns_old = true;
    } else if (same(word, "EX") || same(word, "PX") || same(word, "EXAT") || same(word, "PXAT")) {
      call.reply.error("ERR keys do not expire here: SET has no option EX, PX, EXAT or PXAT");
      co_return;
    } else if (!same(word, "KEEPTTL")) {
      call.reply.error("ERR syntax error");
      co_return;
    }
  }
  if (if_new && if_there) {
    call.reply.error("ERR syntax error");
    co_return;
  }
  if (refuse_sizes(call.reply, key, value.size())) co_return;
  const Value old = co_await call.transaction.get_for_update(call.worker, kKeys, key);
  const bool sets = !(if_new && old) && !(if_there && !old);
  if (sets) put(call, key, value, old);
  if (returns_old) {
    answer(call.reply, old);
  } else {
    sets ? call.reply.ok() : call.reply.null();
  }
}

Task<> mset(Call& call) {
  const Request& words = call.request;
  if (words.size() % 2 == 0) {
    call.reply.error("ERR wrong number of arguments for 'mset' command");
    co_return;
  }
  for (std::size_t n = 1; n < words.size(); n += 2) {
    if (refuse_sizes(call.reply, words[n], words[n + 1].size())) co_return;
  }
  for (std::size_t n = 1; n < words.size(); n += 2) {
    const Value old = co_await call.transaction.get_for_update(call.worker, kKeys, words[n]);
    put(call, words[n], words[n + 1], old);
  }
  call.reply.ok();
}

Task<> del(Call& call) {
  std::int64_t count = 0;
  for (std::size_t n = 1; n < call.request.size(); ++n) {
    const std::string_view key = call.request[n];
    if (key.size() > kMaxKey) continue;
    if (!co_await call.transaction.get_for_update(call.worker, kKeys, key)) continue;
    call.transaction.erase(kKeys, key);
    ++count;
  }
  call.added -= count;
  call.reply.integer(count);
}

Task<> exists(Call& call) {
  std::int64_t count = 0;
  for (std::size_t n = 1; n < call.request.size(); ++n) {
    if (co_await read(call, call.request[n])) ++count;
  }
  call.reply.integer(count);
}

Task<> strlen(Call& call) {
  const Value value = co_await read(call, call.request[1]);
  call.reply.integer(value ? static_cast<std::int64_t>(value->size()) : 0);
}

Task<> append(Call& call) {
  const std::string_view key = call.request[1];
  if (refuse_sizes(call.reply, key)) co_return;
  const Value old = co_await call.transaction.get_for_update(call.worker, kKeys, key);
  std::string value = old.value_or("");
  value += call.request[2];
  if (refuse_sizes(call.reply, key, value.size())) co_return;
  put(call, key, value, old);
  call.reply.integer(static_cast<std::int64_t>(value.size()));
}

Task<> add(Call& call, std::int64_t amount) {
  const std::string_view key = call.request[1];
  if (refuse_sizes(call.reply, key)) co_return;
  const Value old = co_await call.transaction.get_for_update(call.worker, kKeys, key);
  std::int64_t number = 0;
  if ((old && !read_integer(*old, number)) || __builtin_add_overflow(number, amount, &number)) {
    call.reply.error("ERR value is not an integer or out of range");
    co_return;
  }
  put(call, key, std::to_string(number), old);
  call.reply.integer(number);
}

Task<> incr(Call& call) {
  return add(call, 1);
}
Task<> decr(Call& call) {
  return add(call, -1);
}

Task<> add_given(Call& call, bool negative) {
  std::int64_t amount = 0;
  // The smallest number has no negative.
  if (!read_integer(call.request[2], amount) ||
      (negative && amount == std::numeric_limits<std::int64_t>::min())) {
    call.reply.error("ERR value is not an integer or out of range");
    co_return;
  }
  co_await add(call, negative ? -amount : amount);
}
Task<> incrby(Call& call) {
  return add_given(call, false);
}
Task<> decrby(Call& call) {
  return add_given(call, true);
}

Task<> type(Call& call) {
  call.reply.simple(co_await read(call, call.request[1]) ? "string" : "none");
}

//! No key expires: -1, or -2 if there is no such key.
Task<> ttl(Call& call) {
  call.reply.integer(co_await read(call, call.request[1]) ? -1 : -2);
}

constexpr Command kCommands[] = {
    {"GET", 2, 2, &get},          {"SET", 3, kAny, &set},    {"DEL", 2, kAny, &del},
    {"EXISTS", 2, kAny, &exists}, {"MGET", 2, kAny, &mget},  {"MSET", 3, kAny, &mset},
    {"INCR", 2, 2, &incr},        {"DECR", 2, 2, &decr},     {"INCRBY", 3, 3, &incrby},
    {"DECRBY", 3, 3, &decrby},    {"STRLEN", 2, 2, &strlen}, {"APPEND", 3, 3, &append},
    {"TYPE", 2, 2, &type},        {"TTL", 2, 2, &ttl},       {"PTTL", 2, 2, &ttl},
};

char upper(char c) noexcept {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

//! A set of characters at `pattern`, behind its bracket. Returns whether `c` is in it, and moves
//! `pattern` behind the set.
bool in_set(std::string_view& pattern, char c) noexcept {
  const bool negated = !pattern.empty() && pattern.front() == '^';
  if (negated) pattern.remove_prefix(1);
  bool found = false;
  while (!pattern.empty() && pattern.front() != ']') {
    if (pattern.front() == '\\' && pattern.size() > 1) pattern.remove_prefix(1);
    const char first = pattern.front();
    char last = first;
    if (pattern.size() > 2 && pattern[1] == '-' && pattern[2] != ']') {
      last = pattern[2];
      pattern.remove_prefix(2);
    }
    pattern.remove_prefix(1);
    const auto [low, high] = std::minmax(first, last);
    found = found || (c >= low && c <= high);
  }
  if (!pattern.empty()) pattern.remove_prefix(1);
  return found != negated;
}

//! One character of the pattern that is no star. Moves both behind it.
bool match_one(std::string_view& pattern, std::string_view& name) noexcept {
  const char p = pattern.front();
  const char c = name.front();
  pattern.remove_prefix(1);
  name.remove_prefix(1);
  if (p == '?') return true;
  if (p == '[') return in_set(pattern, c);
  if (p != '\\' || pattern.empty()) return p == c;
  const char literal = pattern.front();
  pattern.remove_prefix(1);
  return literal == c;
}

}  // namespace

const Command* find_command(std::string_view name) {
  for (const Command& command : kCommands) {
    if (same(command.name, name)) return &command;
  }
  return nullptr;
}

bool same(std::string_view a, std::string_view b) noexcept {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return upper(x) == upper(y); });
}

// A star takes nothing at first; where the rest does not match, the last star takes one more.
bool matches(std::string_view pattern, std::string_view name) noexcept {
  std::string_view after_star;
  std::string_view taken_to;
  bool star = false;
  for (;;) {
    if (!pattern.empty() && pattern.front() == '*') {
      pattern.remove_prefix(1);
      star = true;
      after_star = pattern;
      taken_to = name;
      continue;
    }
    if (name.empty() && pattern.empty()) return true;
    if (!name.empty() && !pattern.empty() && match_one(pattern, name)) continue;
    if (!star || taken_to.empty()) return false;
    taken_to.remove_prefix(1);
    pattern = after_star;
    name = taken_to;
  }
}

bool read_integer(std::string_view text, std::int64_t& number) noexcept {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && stopped == end && !text.empty();
}

}  // namespace kvserver
