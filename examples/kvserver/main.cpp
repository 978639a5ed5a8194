// SPDX-License-Identifier: MIT
//
// A key-value server that speaks the protocol of Redis, over a database of this library. Each
// thread has a Worker, a listening socket of its own on the same port, and a task a connection.
// usage: kvserver DIRECTORY [options]
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <vmcache/async_io.hpp>
#include <vmcache/database.hpp>
#include <vmcache/worker.hpp>

#include "session.hpp"
#include "store.hpp"

namespace {

using kvserver::Durability;
using kvserver::Session;
using kvserver::Store;
using vmcache::Task;

//! A thread of the server, its listening socket and its connections.
class Listener {
 public:
  Listener(Store& store, vmcache::Socket socket) : _store(store), _socket(std::move(socket)) {}

  [[nodiscard]] std::uint16_t port() const { return vmcache::local_port(_socket); }

  //! Runs until stop(), in the thread that calls it.
  void run() {
    vmcache::Worker worker(_store.database().pool());
    {
      const std::lock_guard lock(_mutex);
      _inbox.emplace(worker.inbox());
    }
    worker.spawn(accept_all(worker));
    worker.run();
  }
  //! For another thread, after Store::stopping was set. Requests that have come are still served.
  void stop() {
    const std::lock_guard lock(_mutex);
    if (_inbox) (void)_inbox->post([this] { end_waits(); });  // nobody else fills the inbox
  }

 private:
  //! Without a descriptor or memory for one more connection, it tries again a little later.
  Task<> accept_all(vmcache::Worker& worker) {
    _io = &worker.async_io();
    while (!_store.stopping) {
      bool scarce = false;
      try {
        vmcache::Socket socket = co_await _io->accept(_socket);
        worker.spawn(_store.connect() ? converse(worker, std::move(socket))
                                      : refuse(*_io, std::move(socket)));
      } catch (const vmcache::Error& error) {
        scarce = error.code() != vmcache::Errc::kCancelled;
      }
      constexpr std::chrono::milliseconds kPause{100};
      if (scarce) co_await _io->sleep_for(kPause);
    }
  }
  Task<> converse(vmcache::Worker& worker, vmcache::Socket socket) {
    Session session(worker, _store, std::move(socket));
    _sessions.insert(&session);
    co_await session.run();
    _sessions.erase(&session);
    _store.disconnect();
  }
  static Task<> refuse(vmcache::AsyncIo& io, vmcache::Socket socket) {
    constexpr std::string_view kFull = "-ERR max number of clients reached\r\n";
    try {
      co_await io.send(socket, std::as_bytes(std::span(kFull)), std::chrono::seconds(1));
    } catch (const vmcache::Error&) {  // it is gone already
    }
  }
  void end_waits() {
    (void)_io->cancel(_socket);
    for (Session* session : _sessions) session->stop_receiving();
  }

  Store& _store;
  vmcache::Socket _socket;
  vmcache::AsyncIo* _io = nullptr;
  std::set<Session*> _sessions;
  std::mutex _mutex;
  std::optional<vmcache::Inbox> _inbox;
};

//! The threads of a server.
class Server {
 public:
  Server(Store& store, vmcache::ListenOptions options, unsigned workers) : _store(store) {
    for (unsigned n = 0; n < workers; ++n) {
      _listeners.push_back(std::make_unique<Listener>(store, vmcache::listen_on(options)));
      options.port = port();  // the first may have been given any
    }
    for (const auto& listener : _listeners) {
      _threads.emplace_back([this, listener = listener.get()] { run(*listener); });
    }
  }
  ~Server() { stop(); }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  [[nodiscard]] std::uint16_t port() const { return _listeners.front()->port(); }
  //! Whether all threads ended as they should. After stop().
  [[nodiscard]] bool worked() const { return !_failed; }
  void stop() {
    _store.stopping = true;
    for (const auto& listener : _listeners) listener->stop();
    for (std::thread& thread : _threads) thread.join();
    _threads.clear();
  }

 private:
  void run(Listener& listener) {
    try {
      listener.run();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "kvserver: %s\n", error.what());
      _failed = true;
      (void)::kill(::getpid(), SIGTERM);  // the others end, too
    }
  }

  Store& _store;
  std::vector<std::unique_ptr<Listener>> _listeners;
  std::vector<std::thread> _threads;
  std::atomic<bool> _failed{false};
};

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("A key-value server that speaks the protocol of Redis.", "kvserver");
  std::filesystem::path folder;
  vmcache::ListenOptions listening;
  listening.port = 6379;
  listening.reuse_port = true;
  kvserver::Settings settings;
  std::uint64_t pool_mib = 256;
  std::uint64_t log_mib = 256;
  unsigned workers = 1;
  const std::map<std::string, Durability> durabilities = {
      {"none", Durability::kNone}, {"group", Durability::kGroup}, {"each", Durability::kEach}};
  app.add_option("DIRECTORY", folder, "where the database is, or is made")->required();
  app.add_option("--address", listening.address, "to listen on")->capture_default_str();
  app.add_option("--port", listening.port)->capture_default_str();
  app.add_option("--workers", workers, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_option("--pool", pool_mib, "MiB of memory for pages")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  app.add_option("--log", log_mib, "MiB of the log, when it is made")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--durability", settings.durability,
                 "when a change is answered: none (it is visible), group (durable; one flush "
                 "serves many), each (durable; requests of a pipeline one by one)")
      ->transform(CLI::CheckedTransformer(durabilities))
      ->default_str("group");
  app.add_option("--max-connections", settings.max_connections)
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  app.add_option("--max-request-bytes", settings.max_request_bytes)
      ->check(CLI::Range(4096, 1 << 26))
      ->capture_default_str();
  app.add_option("--idle-seconds", settings.idle_seconds,
                 "until a silent connection is closed; 0: never")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  // Threads inherit the mask: only this one takes the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    std::filesystem::create_directories(folder);
    vmcache::DatabaseOptions options;
    options.pool.path = folder / "pages";
    options.pool.pool_bytes = pool_mib << 20;
    options.pool.workers = workers + 1;
    options.log.path = folder / "log";
    options.log.capacity_bytes = log_mib << 20;
    options.pool.logger = [](vmcache::LogLevel, std::string_view text) {
      std::fprintf(stderr, "kvserver: %.*s\n", static_cast<int>(text.size()), text.data());
    };
    vmcache::Database database(options);
    Store store(database, settings);
    Server server(store, listening, workers);
    std::printf("ready: port %u, %lld keys\n", unsigned{server.port()},
                static_cast<long long>(store.size()));
    std::fflush(stdout);
    int signal = 0;
    sigwait(&signals, &signal);
    server.stop();
    store.close();
    database.close();
    return server.worked() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kvserver: %s\n", error.what());
    return 1;
  }
}
