// SPDX-License-Identifier: MIT
//
// Sockets, timers and files outside the pool: A1 .. A4 of async_ring.hpp.
#include "vmcache/async_io.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "support/code_of.hpp"
#include "support/in_child.hpp"
#include "support/options.hpp"
#include "vmcache/worker.hpp"

namespace vmcache {
namespace {

using namespace std::chrono_literals;
using test::code_of;
using test::in_child;
using test::small_pool;
using test::TempFile;

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}
std::span<std::byte> room_in(std::string& text) {
  return std::as_writable_bytes(std::span(text));
}

//! Two ends of a connection.
std::pair<Socket, Socket> pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {Socket(ends[0]), Socket(ends[1])};
}

struct Ended {
  bool ended = false;
  Errc code = Errc::kOk;
  int os_error = 0;
};

//! Receives until the peer closes, and notes how that ended.
Task<> receive_all(AsyncIo& io, const Socket& from, std::string& received, Ended& how,
                   AsyncIo::Timeout timeout = AsyncIo::kForever) {
  try {
    std::string buffer(1000, ' ');
    while (const std::size_t bytes = co_await io.receive(from, room_in(buffer), timeout))
      received += buffer.substr(0, bytes);
  } catch (const Error& error) {
    how.code = error.code();
    how.os_error = error.os_error();
  }
  how.ended = true;
}

class AsyncIoTest : public testing::Test {
 protected:
  const TempFile file;
  BufferPool pool{small_pool(file, 64)};
};

TEST_F(AsyncIoTest, EchoesOverTcp) {
  constexpr unsigned kClients = 20;
  constexpr std::size_t kBytes = 300'000;  // more than a socket takes at once
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  const Socket listener = listen_on({});
  const std::uint16_t port = local_port(listener);
  ASSERT_NE(port, 0);
  const auto echo = [&](Socket client) -> Task<> {
    std::string buffer(10'000, ' ');
    while (const std::size_t bytes = co_await io.receive(client, room_in(buffer)))
      co_await io.send(client, bytes_of(buffer).first(bytes));
  };
  const auto serve = [&]() -> Task<> {
    for (unsigned n = 0; n < kClients; ++n) worker.spawn(echo(co_await io.accept(listener, 60s)));
  };
  unsigned right = 0;
  const auto send_all = [&](const Socket& to, const std::string& text) -> Task<> {
    co_await io.send(to, bytes_of(text));
    (void)::shutdown(to.fd(), SHUT_WR);
  };
  const auto ask = [&](unsigned number) -> Task<> {
    const Socket server = co_await io.connect("127.0.0.1", port);
    const std::string text(kBytes, static_cast<char>('A' + number % 26));
    std::string answer;
    Ended how;
    worker.spawn(send_all(server, text));
    co_await receive_all(io, server, answer, how);
    if (answer == text && how.code == Errc::kOk) ++right;
  };
  worker.spawn(serve());
  for (unsigned n = 0; n < kClients; ++n) worker.spawn(ask(n));
  worker.run();
  EXPECT_EQ(right, kClients);
  EXPECT_EQ(io.pending(), 0U);
}

TEST_F(AsyncIoTest, OtherTasksRunWhileOneSleeps) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  std::string order;
  const auto sleep = [&](std::chrono::milliseconds duration, char name) -> Task<> {
    co_await io.sleep_for(duration);
    order += name;
  };
  worker.spawn(sleep(60ms, 'c'));
  worker.spawn(sleep(30ms, 'b'));
  worker.spawn(sleep(-1ms, 'a'));
  const auto begin = std::chrono::steady_clock::now();
  worker.run();
  EXPECT_EQ(order, "abc");
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 60ms);
}

TEST_F(AsyncIoTest, ATimeoutEndsAWaitAndTheSocketIsAsBefore) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  auto [ours, theirs] = pair();
  std::string received;
  Ended first;
  worker.spawn(receive_all(io, ours, received, first, 20ms));
  worker.run();
  EXPECT_EQ(first.code, Errc::kTimedOut);
  ASSERT_EQ(::write(theirs.fd(), "later", 5), 5);
  theirs.close();
  Ended second;
  worker.spawn(receive_all(io, ours, received, second, 10s));
  worker.run();
  EXPECT_EQ(second.code, Errc::kOk);
  EXPECT_EQ(received, "later");
}

// A4: whichever comes first, nobody is told twice.
TEST_F(AsyncIoTest, BytesAndTimeoutMayComeAtOnce) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  unsigned received = 0;
  unsigned timed_out = 0;
  const auto wait = [&](const Socket& from) -> Task<> {
    std::array<std::byte, 8> buffer{};
    try {
      (void)co_await io.receive(from, buffer, 300us);
      ++received;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kTimedOut);
      ++timed_out;
    }
  };
  constexpr unsigned kRounds = 300;
  for (unsigned n = 0; n < kRounds; ++n) {
    auto [ours, theirs] = pair();
    worker.spawn(wait(ours));
    std::thread other([&, fd = theirs.fd()] {
      std::this_thread::sleep_for(std::chrono::microseconds(100 + n));
      (void)!::write(fd, "x", 1);
    });
    worker.run();
    other.join();
  }
  EXPECT_EQ(received + timed_out, kRounds);
  EXPECT_EQ(io.pending(), 0U);
}

TEST_F(AsyncIoTest, CancelEndsTheWaitsForOneSocketOrForAll) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  auto [ours, theirs] = pair();
  auto [other, far] = pair();
  std::string received;
  Ended one;
  Ended two;
  Ended three;
  worker.spawn(receive_all(io, ours, received, one));
  worker.spawn(receive_all(io, other, received, two));
  const auto sleep = [&]() -> Task<> {
    try {
      co_await io.sleep_for(1h);
    } catch (const Error& error) {
      three.code = error.code();
    }
    three.ended = true;
  };
  worker.spawn(sleep());
  while (io.pending() < 3) (void)worker.poll();
  EXPECT_EQ(io.cancel(ours), 1U);
  while (!one.ended) (void)worker.run_once(-1ms);
  EXPECT_EQ(one.code, Errc::kCancelled);
  EXPECT_FALSE(two.ended || three.ended);
  EXPECT_EQ(io.cancel_all(), 2U);
  worker.run();
  EXPECT_EQ(two.code, Errc::kCancelled);
  EXPECT_EQ(three.code, Errc::kCancelled);
  EXPECT_EQ(io.cancel_all(), 0U);
  EXPECT_EQ(io.cancel(Socket()), 0U);
}

TEST_F(AsyncIoTest, SaysWhyACallFailed) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  std::uint16_t nobody = 0;
  {
    const Socket closed = listen_on({});
    nobody = local_port(closed);
  }
  auto [ours, theirs] = pair();
  theirs.close();
  const auto failing = [&]() -> Task<> {
    try {
      (void)co_await io.connect("127.0.0.1", nobody);
      ADD_FAILURE() << "connected to nobody";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kIo);
      EXPECT_EQ(error.os_error(), ECONNREFUSED);
      EXPECT_NE(std::string(error.what()).find("connect"), std::string::npos) << error.what();
    }
    try {
      co_await io.send(ours, bytes_of("nobody reads this"));
      ADD_FAILURE() << "sent to nobody";
    } catch (const Error& error) {
      EXPECT_EQ(error.os_error(), EPIPE);
    }
    try {
      (void)co_await io.connect("no address", 1);
      ADD_FAILURE() << "that is no address";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kInvalidOption);
    }
  };
  worker.spawn(failing());
  worker.run();
  EXPECT_EQ(code_of([&] { (void)listen_on({.address = "localhost"}); }), Errc::kInvalidOption);
  EXPECT_EQ(code_of([&] { (void)listen_on({.backlog = 0}); }), Errc::kInvalidOption);
  const Socket taken = listen_on({});
  EXPECT_EQ(code_of([&] { (void)listen_on({.port = local_port(taken)}); }), Errc::kIo);
  const Socket first = listen_on({.reuse_port = true});
  const Socket second = listen_on({.port = local_port(first), .reuse_port = true});
  EXPECT_EQ(local_port(first), local_port(second));
}

TEST_F(AsyncIoTest, ReadsAndWritesFiles) {
  const TempFile other;
  const int fd = ::open(other.path().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  const auto work = [&]() -> Task<> {
    EXPECT_EQ(co_await io.write(fd, bytes_of("hello, file"), 100), 11U);
    co_await io.flush(fd);
    std::string text(20, ' ');
    EXPECT_EQ(co_await io.read(fd, room_in(text), 107), 4U);
    EXPECT_EQ(text.substr(0, 4), "file");
    EXPECT_EQ(co_await io.read(fd, room_in(text), 1000), 0U);
  };
  worker.spawn(work());
  worker.run();
  ::close(fd);
}

// A2: pages are read while a task waits for a socket, and bytes and posts come meanwhile.
TEST_F(AsyncIoTest, WaitsForStorageSocketsAndInboxAtOnce) {
  constexpr unsigned kPages = 400;
  std::vector<PageId> pages;
  for (unsigned n = 0; n < kPages; ++n) pages.push_back(pool.allocate().page_id());
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  Inbox inbox = worker.inbox();
  auto [ours, theirs] = pair();
  std::string received;
  Ended how;
  unsigned posted = 0;
  const auto read = [&]() -> Task<> {
    for (const PageId page_id : pages) (void)co_await worker.fix_shared(page_id);
  };
  worker.spawn(read());
  worker.spawn(receive_all(io, ours, received, how));
  std::thread other([&, inbox]() mutable {
    for (unsigned n = 0; n < 100; ++n) {
      (void)!::write(theirs.fd(), "x", 1);
      while (inbox.post([&] { ++posted; }) == Inbox::Post::kFull) std::this_thread::yield();
      std::this_thread::sleep_for(100us);
    }
    (void)::shutdown(theirs.fd(), SHUT_WR);
  });
  worker.run();
  other.join();
  worker.run();  // what was posted at last
  EXPECT_EQ(received.size(), 100U);
  EXPECT_EQ(posted, 100U);
  EXPECT_TRUE(how.ended);
}

// A2: the kernel ends a wait for an eventfd that another ring has written. Nothing but the post
// comes here.
TEST_F(AsyncIoTest, APostWakesAWorkerThatHasReadPages) {
  std::vector<PageId> pages;
  for (unsigned n = 0; n < 400; ++n) pages.push_back(pool.allocate().page_id());
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  auto [ours, theirs] = pair();
  std::string received;
  Ended how;
  std::atomic<bool> has_read{false};
  const auto read = [&]() -> Task<> {
    for (const PageId page_id : pages) (void)co_await worker.fix_shared(page_id);
    has_read = true;
    co_await receive_all(io, ours, received, how);
  };
  worker.spawn(read());
  std::thread other([&, inbox = worker.inbox()]() mutable {
    while (!has_read) std::this_thread::sleep_for(1ms);
    std::this_thread::sleep_for(30ms);
    EXPECT_EQ(inbox.post([&] { (void)io.cancel(ours); }), Inbox::Post::kTaken);
  });
  worker.run();
  other.join();
  EXPECT_EQ(how.code, Errc::kCancelled);
}

TEST_F(AsyncIoTest, FdIsReadableWhenBytesHaveCome) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  auto [ours, theirs] = pair();
  std::string received;
  Ended how;
  worker.spawn(receive_all(io, ours, received, how));
  (void)worker.poll();
  (void)worker.poll();
  const int fd = worker.fd();
  const auto readable = [&](int timeout_ms) {
    pollfd waits{fd, POLLIN, 0};
    return ::poll(&waits, 1, timeout_ms) == 1;
  };
  while (readable(0)) (void)worker.poll();
  EXPECT_FALSE(readable(20));
  ASSERT_EQ(::write(theirs.fd(), "now", 3), 3);
  EXPECT_TRUE(readable(10'000));
  while (received.empty()) (void)worker.poll();
  EXPECT_EQ(received, "now");
  theirs.close();
  while (!how.ended) {
    EXPECT_TRUE(readable(10'000));
    (void)worker.poll();
  }
}

// A3
TEST_F(AsyncIoTest, AWorkerThatGoesEndsTheCallsAndLeavesBuffersAlone) {
  auto own = std::make_unique<BufferPool>(small_pool(TempFile(), 64));
  auto [ours, theirs] = pair();
  auto buffer = std::make_unique<std::string>(8, '-');
  {
    Worker worker(*own);
    AsyncIo& io = worker.async_io();
    const auto wait = [](AsyncIo& of, const Socket& from, std::string& to) -> Task<> {
      (void)co_await of.receive(from, room_in(to));
    };
    worker.spawn(wait(io, ours, *buffer));
    while (io.pending() == 0) (void)worker.poll();
  }
  ASSERT_EQ(::write(theirs.fd(), "too late", 8), 8);
  std::this_thread::sleep_for(10ms);
  EXPECT_EQ(*buffer, "--------");
  EXPECT_EQ(code_of([&] { own->close(); }), Errc::kBusy);  // the task still has its place
  own.reset();
}

TEST_F(AsyncIoTest, IsOfNoUseInAChildAndInOtherThreads) {
  Worker worker(pool);
  AsyncIo& io = worker.async_io();
  EXPECT_EQ(in_child([&] {
              return code_of([&] { (void)io.cancel_all(); }) == Errc::kWrongProcess &&
                     code_of([&] { (void)worker.async_io(); }) == Errc::kWrongProcess;
            }),
            1);
  std::thread([&] {
    EXPECT_EQ(code_of([&] { (void)io.cancel_all(); }), Errc::kWrongThread);
  }).join();
  bool slept = false;
  const auto sleep = [&]() -> Task<> {
    co_await io.sleep_for(1us);
    slept = true;
  };
  worker.spawn(sleep());
  worker.run();
  EXPECT_TRUE(slept);
}

}  // namespace
}  // namespace vmcache
