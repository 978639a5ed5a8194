// SPDX-License-Identifier: MIT
#include "session.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

namespace kvserver {
namespace {

using vmcache::Errc;
using vmcache::Error;
using vmcache::Task;

// Replies that are sent before the rest of a pipeline is served.
constexpr std::size_t kSend = 256 << 10;
// A peer that takes no byte for so long is gone.
constexpr std::chrono::seconds kSendTimeout{60};
// Requests of a pipeline that are served together.
constexpr std::size_t kJoint = 64;
constexpr std::size_t kJointBytes = vmcache::Transaction::kMaxBytes / 4;
// How often a transaction meets others before the client hears of it.
constexpr unsigned kMaxConflicts = 1000;
constexpr std::size_t kKeysAtOnce = 500;  // of FLUSHDB, in a transaction

std::string wrong_words(std::string_view name) {
  return "ERR wrong number of arguments for '" + std::string(name) + "' command";
}

//! The reply to a failure of the database. The connection goes on.
void answer_error(Reply& reply, const Error& error) {
  reply.error(std::string(error.code() == Errc::kConflict ? "TRYAGAIN " : "ERR ") + error.what());
}

}  // namespace

Task<> Session::run() {
  const int on = 1;
  (void)::setsockopt(_socket.fd(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  try {
    bool goes_on = true;
    while (goes_on && !_store.stopping) {
      if (!co_await receive()) break;
      goes_on = co_await serve();
      co_await flush();
    }
  } catch (const Error& error) {
    // The peer is gone, silent for too long, or the server stops.
  }
}

Task<bool> Session::receive() {
  if (_begin > 0) {
    std::memmove(_input.data(), _input.data() + _begin, _end - _begin);
    _end -= std::exchange(_begin, 0);
  }
  // The parser refuses longer requests before the buffer is longer than that.
  if (_end == _input.size()) _input.resize(_input.size() * 2);
  if (_end == 0 && _input.size() > kReceive) {
    _input.resize(kReceive);
    _input.shrink_to_fit();
  }
  const std::span<char> room = std::span(_input).subspan(_end);
  const unsigned idle = _store.settings().idle_seconds;
  _receiving = true;
  const std::size_t bytes =
      co_await _io.receive(_socket, std::as_writable_bytes(room),
                           idle == 0 ? vmcache::AsyncIo::kForever : std::chrono::seconds(idle));
  _receiving = false;
  _end += bytes;
  co_return bytes > 0;
}

Task<bool> Session::serve() {
  Request request;
  for (;;) {
    const std::string_view input(_input.data() + _begin, _end - _begin);
    const Parsed parsed = parse(input, _store.settings().max_request_bytes, request);
    const Joint kind = parsed.kind == Parsed::Kind::kRequest ? joint(request) : Joint::kNone;
    if (kind != _joint || _requests.size() == kJoint || _joint_bytes > kJointBytes)
      co_await serve_joint();
    if (parsed.kind == Parsed::Kind::kIncomplete) co_return true;
    if (parsed.kind == Parsed::Kind::kInvalid) {
      _reply.error(parsed.error);
      co_return false;
    }
    _begin += parsed.bytes;
    if (request.empty()) continue;
    _store.requests.fetch_add(1, std::memory_order_relaxed);
    if (kind == Joint::kNone) {
      co_await execute(request);
    } else {
      _joint = kind;
      _requests.push_back(request);
      _joint_bytes += parsed.bytes;
    }
    if (_quits) co_return false;
    if (_reply.bytes().size() > kSend) co_await flush();
  }
}

Session::Joint Session::joint(const Request& request) const {
  if (_multi || request.empty()) return Joint::kNone;
  if (request.size() == 2 && same(request[0], "GET")) return Joint::kGets;
  const Command* const command = find_command(request[0]);
  const bool right = command != nullptr && command->takes(request.size());
  return right && _store.settings().durability != Durability::kEach ? Joint::kTransaction
                                                                    : Joint::kNone;
}

Task<> Session::serve_joint() {
  const std::vector<Request> requests = std::exchange(_requests, {});
  const Joint kind = std::exchange(_joint, Joint::kNone);
  _joint_bytes = 0;
  if (requests.empty()) co_return;
  if (kind == Joint::kGets) {
    co_await get_all(requests);
    co_return;
  }
  std::optional<Error> failure;
  try {
    co_await transact(requests, false, _reply);
  } catch (const Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  if (requests.size() == 1) {
    answer_error(_reply, *failure);
    co_return;
  }
  for (const Request& request : requests) co_await execute(request);  // each by itself
}

Task<> Session::flush() {
  if (_store.settings().durability != Durability::kNone && _wants_durable != 0)
    co_await _store.database().wait_durable(_worker, std::exchange(_wants_durable, 0));
  if (!_reply.bytes().empty())
    co_await _io.send(_socket, std::as_bytes(std::span(_reply.bytes())), kSendTimeout);
  _reply.clear();
}

Task<> Session::execute(const Request& request) {
  const std::string_view name = request[0];
  const Command* const command = find_command(name);
  if (command != nullptr && !command->takes(request.size())) {
    _reply.error(wrong_words(name));
    _multi_failed = true;
    co_return;
  }
  std::optional<Error> failure;
  try {
    if (_multi && same(name, "EXEC")) {
      _multi = false;
      const std::vector<std::vector<std::string>> queued = std::exchange(_queued, {});
      if (_multi_failed) {
        _reply.error("EXECABORT Transaction discarded because of previous errors.");
        co_return;
      }
      std::vector<Request> requests;
      requests.reserve(queued.size());
      for (const std::vector<std::string>& words : queued)
        requests.emplace_back(words.begin(), words.end());
      co_await transact(requests, true, _reply);
    } else if (_multi) {
      queue(request);
    } else if (command != nullptr) {
      const std::vector<Request> requests(1, request);
      co_await transact(requests, false, _reply);
    } else if (same(name, "SCAN")) {
      co_await scan(request);
    } else if (same(name, "FLUSHDB")) {
      co_await flush_database();
    } else if (!execute_plain(request)) {
      _reply.error("ERR unknown command '" + std::string(name.substr(0, 128)) + "'");
    }
  } catch (const Error& error) {
    failure = error;
  }
  if (failure) answer_error(_reply, *failure);
}

Task<> Session::transact(const std::vector<Request>& requests, bool is_exec, Reply& to) {
  for (unsigned conflicts = 0;; ++conflicts) {
    vmcache::Transaction transaction(_store.database());
    Reply replies;
    replies.set_version(to.version());
    if (is_exec) replies.array(requests.size());
    std::int64_t added = 0;
    try {
      for (const Request& request : requests) {
        Call call{_worker, transaction, request, replies};
        co_await find_command(request[0])->run(call);
        added += call.added;
      }
      if (_store.settings().durability == Durability::kEach) {
        co_await transaction.commit(_worker);
      } else {
        _wants_durable = std::max(_wants_durable, co_await transaction.commit_no_wait(_worker));
      }
      _store.count(added);
      to.append(replies);
      co_return;
    } catch (const Error& error) {
      if (error.code() != Errc::kConflict || conflicts == kMaxConflicts) throw;
    }
    transaction.rollback();
    co_await _worker.yield();
  }
}

Task<> Session::get_all(const std::vector<Request>& requests) {
  const vmcache::BTree& keys = _store.keys();
  std::optional<Error> failure;
  try {
    std::vector<std::optional<std::string>> values(requests.size());
    if (_store.settings().durability == Durability::kNone) {
      std::vector<vmcache::Bytes> names;
      std::vector<std::size_t> places;
      for (std::size_t n = 0; n < requests.size(); ++n) {
        if (requests[n][1].size() > kMaxKey) continue;  // it cannot exist
        names.emplace_back(requests[n][1]);
        places.push_back(n);
      }
      co_await keys.lookup_each(_worker, names,
                                [&](std::size_t n, std::optional<vmcache::Bytes> value) {
                                  if (value) values[places[n]] = value->view();
                                });
    } else {  // what was read must be durable before the reply tells it
      for (std::size_t n = 0; n < requests.size(); ++n) {
        if (requests[n][1].size() > kMaxKey) continue;
        vmcache::Lsn lsn = 0;
        values[n] = co_await keys.get(_worker, requests[n][1], lsn);
        _wants_durable = std::max(_wants_durable, lsn);
      }
    }
    for (const auto& value : values) value ? _reply.bulk(*value) : _reply.null();
  } catch (const Error& error) {
    failure = error;
  }
  if (!failure) co_return;
  for (std::size_t n = 0; n < requests.size(); ++n) answer_error(_reply, *failure);
}

//! SCAN CURSOR [MATCH PATTERN] [COUNT NUMBER]
Task<> Session::scan(const Request& request) {
  std::int64_t cursor = 0;
  std::int64_t count = 10;
  std::string_view pattern = "*";
  bool valid = request.size() >= 2 && request.size() % 2 == 0 && read_integer(request[1], cursor);
  for (std::size_t n = 2; valid && n < request.size(); n += 2) {
    if (same(request[n], "MATCH")) {
      pattern = request[n + 1];
    } else if (same(request[n], "COUNT")) {
      valid = read_integer(request[n + 1], count) && count > 0;
    } else {
      valid = same(request[n], "TYPE") && same(request[n + 1], "string");
    }
  }
  if (!valid) {
    _reply.error("ERR syntax error (SCAN CURSOR [MATCH PATTERN] [COUNT NUMBER])");
    co_return;
  }
  constexpr std::int64_t kMaxCount = 10'000;
  auto left = static_cast<std::size_t>(std::min(count, kMaxCount));
  std::optional<std::string> from;
  if (cursor != 0) {
    from = _store.cursors().find(static_cast<std::uint64_t>(cursor));
    if (!from) {
      _reply.error("ERR the cursor is unknown, or too old");
      co_return;
    }
  }
  std::vector<std::string> found;
  std::string last;
  const auto bound = from ? vmcache::Bound::beyond(*from) : vmcache::Bound::all();
  co_await _store.keys().scan(_worker, bound, [&](vmcache::Bytes key, vmcache::Bytes /*value*/) {
    if (matches(pattern, key.view())) found.emplace_back(key.view());
    last = key.view();
    return --left > 0;
  });
  const std::uint64_t next = left > 0 ? 0 : _store.cursors().remember(std::move(last));
  _reply.array(2);
  _reply.bulk(std::to_string(next));
  _reply.array(found.size());
  for (const std::string& key : found) _reply.bulk(key);
}

//! In parts: others may see some of them.
Task<> Session::flush_database() {
  for (;;) {
    std::vector<std::string> found;
    co_await _store.keys().scan(_worker, vmcache::Bound::all(),
                                [&](vmcache::Bytes key, vmcache::Bytes /*value*/) {
                                  found.emplace_back(key.view());
                                  return found.size() < kKeysAtOnce;
                                });
    if (found.empty()) break;
    std::vector<Request> requests(1);
    requests[0].reserve(found.size() + 1);
    requests[0].emplace_back("DEL");
    requests[0].insert(requests[0].end(), found.begin(), found.end());
    Reply counts;  // nobody wants them
    co_await transact(requests, false, counts);
  }
  _reply.ok();
}

void Session::queue(const Request& request) {
  const std::string_view name = request[0];
  if (same(name, "DISCARD")) {
    _multi = false;
    _queued.clear();
    return _reply.ok();
  }
  std::size_t bytes = 0;
  for (const std::string_view word : request) bytes += word.size() + sizeof(std::string);
  const bool fits = _queued_bytes + bytes <= _store.settings().max_request_bytes;
  if (find_command(name) == nullptr || !fits) {
    _multi_failed = true;
    if (fits)
      return _reply.error("ERR '" + std::string(name.substr(0, 128)) +
                          "' is no command that may stand in MULTI");
    return _reply.error("ERR the transaction is longer than --max-request-bytes");
  }
  _queued_bytes += bytes;
  _queued.emplace_back(request.begin(), request.end());
  _reply.simple("QUEUED");
}

bool Session::execute_plain(const Request& request) {
  const std::string_view name = request[0];
  const std::size_t words = request.size();
  if (same(name, "PING") && words <= 2) {
    words == 1 ? _reply.simple("PONG") : _reply.bulk(request[1]);
  } else if (same(name, "ECHO") && words == 2) {
    _reply.bulk(request[1]);
  } else if (same(name, "MULTI") && words == 1) {
    _multi = true;
    _multi_failed = false;
    _queued_bytes = 0;
    _reply.ok();
  } else if (same(name, "EXEC") || same(name, "DISCARD")) {
    _reply.error("ERR " + std::string(name) + " without MULTI");
  } else if (same(name, "DBSIZE") && words == 1) {
    _reply.integer(_store.size());
  } else if (same(name, "SELECT") && words == 2) {
    request[1] == "0" ? _reply.ok() : _reply.error("ERR DB index is out of range (allowed: 0)");
  } else if (same(name, "HELLO")) {
    hello(request);
  } else if (same(name, "CONFIG")) {
    config(request);
  } else if (same(name, "COMMAND")) {
    words == 1 || !same(request[1], "COUNT") ? _reply.array(0) : _reply.integer(0);
  } else if (same(name, "CLIENT")) {
    _reply.ok();
  } else if (same(name, "INFO")) {
    info();
  } else if (same(name, "QUIT")) {
    _quits = true;
    _reply.ok();
  } else {
    return false;
  }
  return true;
}

void Session::hello(const Request& request) {
  if (request.size() > 1) {
    if (request[1] != "2" && request[1] != "3")
      return _reply.error("NOPROTO unsupported protocol version (allowed: 2, 3)");
    _reply.set_version(request[1] == "3" ? 3 : 2);
  }
  _reply.map(4);
  _reply.bulk("server");
  _reply.bulk("vmcache-kvserver");
  _reply.bulk("version");
  _reply.bulk("7.0.0");  // of the Redis whose replies these are
  _reply.bulk("proto");
  _reply.integer(_reply.version());
  _reply.bulk("mode");
  _reply.bulk("standalone");
}

//! CONFIG GET of what redis-benchmark asks for; any other parameter is unknown.
void Session::config(const Request& request) {
  if (request.size() < 3 || !same(request[1], "GET"))
    return _reply.error("ERR only CONFIG GET is supported");
  std::vector<std::pair<std::string_view, std::string_view>> found;
  for (std::size_t n = 2; n < request.size(); ++n) {
    if (matches(request[n], "save")) found.emplace_back("save", "");
    if (matches(request[n], "appendonly")) {
      const bool durable = _store.settings().durability != Durability::kNone;
      found.emplace_back("appendonly", durable ? "yes" : "no");
    }
  }
  _reply.map(found.size());
  for (const auto& [key, value] : found) {
    _reply.bulk(key);
    _reply.bulk(value);
  }
}

void Session::info() {
  const vmcache::PoolStats stats = _store.database().pool().stats();
  const auto line = [](std::string_view name, std::uint64_t value) {
    return std::string(name) + ':' + std::to_string(value) + "\r\n";
  };
  std::string text = "# Server\r\nredis_version:7.0.0\r\nserver_name:vmcache-kvserver\r\n";
  text += "# Clients\r\n" + line("connected_clients", _store.connections());
  text += "# Stats\r\n" +
          line("total_commands_processed", _store.requests.load(std::memory_order_relaxed));
  text += line("pool_pages", stats.pool_pages) + line("misses", stats.misses) +
          line("read_pages", stats.read_pages);
  text += "# Keyspace\r\ndb0:keys=" + std::to_string(_store.size()) + ",expires=0,avg_ttl=0\r\n";
  _reply.bulk(text);
}

}  // namespace kvserver
