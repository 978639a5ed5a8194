// SPDX-License-Identifier: MIT
//
// One connection: receives requests, runs them in order, and sends the replies of all that came
// together in one piece, once what they tell is as durable as the settings say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <vmcache/async_io.hpp>
#include <vmcache/worker.hpp>

#include "commands.hpp"
#include "resp.hpp"
#include "store.hpp"

namespace kvserver {

class Session {
 public:
  Session(vmcache::Worker& worker, Store& store, vmcache::Socket socket)
      : _worker(worker), _io(worker.async_io()), _store(store), _socket(std::move(socket)) {}

  //! Ends when the peer closes, the connection fails, or the server stops.
  vmcache::Task<> run();
  //! Ends the wait for the next request, if that is what it does.
  void stop_receiving() {
    if (_receiving) (void)_io.cancel(_socket);
  }

 private:
  //! Makes room and receives. False at the end.
  vmcache::Task<bool> receive();
  //! Runs what has been received as a whole. False if the connection is to be closed.
  vmcache::Task<bool> serve();
  vmcache::Task<> flush();
  //! Consecutive requests of a pipeline may be served together.
  enum class Joint : std::uint8_t {
    kNone,
    kGets,         //!< their misses, in memory and on the drive, overlap
    kTransaction,  //!< commands on keys share one
  };
  [[nodiscard]] Joint joint(const Request& request) const;
  vmcache::Task<> serve_joint();
  vmcache::Task<> get_all(const std::vector<Request>& requests);
  vmcache::Task<> execute(const Request& request);
  //! Runs commands on keys in one transaction, again after a conflict. Their replies are appended
  //! to `to`, if it is committed.
  vmcache::Task<> transact(const std::vector<Request>& requests, bool is_exec, Reply& to);
  vmcache::Task<> scan(const Request& request);
  vmcache::Task<> flush_database();
  //! What needs no key. False if there is no such command.
  bool execute_plain(const Request& request);
  void hello(const Request& request);
  void config(const Request& request);
  void info();
  void queue(const Request& request);

  vmcache::Worker& _worker;
  vmcache::AsyncIo& _io;
  Store& _store;
  vmcache::Socket _socket;
  std::vector<char> _input = std::vector<char>(kReceive);
  std::size_t _begin = 0;  // of what is not served yet
  std::size_t _end = 0;
  Reply _reply;
  vmcache::Lsn _wants_durable = 0;
  bool _quits = false;
  bool _receiving = false;
  Joint _joint = Joint::kNone;
  std::vector<Request> _requests;  // of that kind
  std::size_t _joint_bytes = 0;

  // MULTI: the requests, copied, until EXEC.
  bool _multi = false;
  bool _multi_failed = false;
  std::size_t _queued_bytes = 0;
  std::vector<std::vector<std::string>> _queued;

  static constexpr std::size_t kReceive = 16 << 10;
};

}  // namespace kvserver
