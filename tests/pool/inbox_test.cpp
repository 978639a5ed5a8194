// SPDX-License-Identifier: MIT
//
// Work for a Worker from other threads: B1 .. B3 of inbox_queue.hpp.
#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
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
using Post = Inbox::Post;

//! A Worker that serves in a thread of its own.
class Server {
 public:
  explicit Server(BufferPool& pool) {
    std::promise<std::pair<Worker*, Inbox>> made;
    auto future = made.get_future();
    _thread = std::thread([&pool, made = std::move(made)]() mutable {
      Worker worker(pool);
      made.set_value({&worker, worker.inbox()});
      worker.serve();
      while (worker.tasks() > 0) worker.run_once(-1ms);
    });
    std::tie(_worker, _inbox) = [&] {
      auto [worker, inbox] = future.get();
      return std::tuple(worker, std::optional(inbox));
    }();
  }
  ~Server() {
    _inbox->stop();
    _thread.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  [[nodiscard]] Inbox inbox() const { return *_inbox; }
  //! For tasks of the server.
  [[nodiscard]] Worker& worker() const { return *_worker; }
  [[nodiscard]] std::thread::id thread_id() const { return _thread.get_id(); }

 private:
  Worker* _worker = nullptr;
  std::optional<Inbox> _inbox;
  std::thread _thread;
};

TEST(Inbox, WorkOfManyThreadsRunsInTheWorkersThread) {
  constexpr unsigned kThreads = 4;
  constexpr unsigned kEach = 3000;  // together more than the inbox holds
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::vector<unsigned> next(kThreads);
  unsigned wrong = 0;
  {
    const Server server(pool);
    const std::thread::id own = server.thread_id();
    std::vector<std::thread> threads;
    threads.reserve(kThreads);
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t, inbox = server.inbox()]() mutable {
        for (unsigned n = 0; n < kEach; ++n) {
          const auto work = [&, t, own] {
            if (std::this_thread::get_id() != own) ++wrong;
            ++next[t];
          };
          while (inbox.post(work) == Post::kFull) std::this_thread::yield();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(wrong, 0U);
  for (const unsigned count : next) EXPECT_EQ(count, kEach);
}

// B1: a lost wake-up would leave the Worker asleep, and this test waiting.
TEST(Inbox, NoWakeUpIsLost) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const Server server(pool);
  Inbox inbox = server.inbox();
  for (int n = 0; n < 5000; ++n) {
    auto answer = inbox.ask([n] { return n + 1; });
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->get(), n + 1);
  }
}

TEST(Inbox, AResultOrAnExceptionComesBack) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  const PageId page_id = pool.allocate().page_id();
  const Server server(pool);
  Inbox inbox = server.inbox();
  Worker& worker = server.worker();
  EXPECT_EQ(inbox
                .ask([&]() -> Task<PageId> {
                  const SharedGuard guard = co_await worker.fix_shared(page_id);
                  co_return guard.page_id();
                })
                ->get(),
            page_id);
  inbox.ask([] {})->get();
  EXPECT_THROW(inbox.ask([]() -> int { throw std::out_of_range("far"); })->get(),
               std::out_of_range);
}

TEST(Inbox, AFullOneSaysSo) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  Inbox inbox = worker.inbox();
  std::size_t ran = 0;
  const auto work = [&] { ++ran; };
  for (std::size_t n = 0; n < Inbox::kSlots; ++n) ASSERT_EQ(inbox.post(work), Post::kTaken);
  EXPECT_EQ(inbox.post(work), Post::kFull);
  EXPECT_FALSE(inbox.ask([] { return 1; }));
  worker.run();
  EXPECT_EQ(ran, Inbox::kSlots);
  EXPECT_EQ(inbox.post(work), Post::kTaken);
  EXPECT_EQ(worker.poll(), 0U);
  EXPECT_EQ(ran, Inbox::kSlots + 1);
}

TEST(Inbox, TheDescriptorSaysThatSomethingWasPosted) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  Inbox inbox = worker.inbox();
  pollfd waits{worker.fd(), POLLIN, 0};
  EXPECT_EQ(worker.poll(), 0U);
  EXPECT_EQ(::poll(&waits, 1, 0), 0) << "there is nothing to do";
  bool ran = false;
  std::thread other([&] { EXPECT_EQ(inbox.post([&] { ran = true; }), Post::kTaken); });
  EXPECT_EQ(::poll(&waits, 1, -1), 1);
  EXPECT_EQ(worker.poll(), 0U);
  other.join();
  EXPECT_TRUE(ran);
}

// B2: and no descriptor of somebody else is written.
TEST(Inbox, OfAWorkerThatIsGoneIsClosed) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::optional<Inbox> inbox;
  std::optional<std::future<int>> never;
  bool destroyed = false;
  {
    Worker worker(pool);
    inbox = worker.inbox();
    never = inbox->ask([] { return 1; });
    const std::shared_ptr<bool> kept(&destroyed, [](bool* flag) { *flag = true; });
    EXPECT_EQ(inbox->post([kept] {}), Post::kTaken);
  }
  EXPECT_TRUE(destroyed) << "what was dropped is destroyed";
  EXPECT_THROW(never->get(), std::future_error);
  EXPECT_EQ(inbox->post([] {}), Post::kClosed);
  EXPECT_EQ(code_of([&] { (void)inbox->ask([] { return 1; }); }), Errc::kClosed);
  inbox->stop();
}

TEST(Inbox, StopLeavesTasksAsTheyAre) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  Inbox inbox = worker.inbox();
  int steps = 0;
  worker.spawn([](Worker& own, Inbox& in, int& count) -> Task<> {
    for (; count < 6; ++count) {
      if (count % 3 == 2) in.stop();
      co_await own.yield();
    }
  }(worker, inbox, steps));
  worker.run();
  EXPECT_EQ(worker.tasks(), 1U);
  EXPECT_EQ(steps, 2);
  worker.serve();
  EXPECT_EQ(worker.tasks(), 1U);
  EXPECT_EQ(steps, 5);
  worker.run();
  EXPECT_EQ(worker.tasks(), 0U);
}

TEST(Inbox, AFailedTaskEndsServeAndTheOthersGoOn) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  Inbox inbox = worker.inbox();
  bool ran = false;
  (void)inbox.post([] { throw std::out_of_range("far"); });
  (void)inbox.post([&] {
    ran = true;
    inbox.stop();
  });
  EXPECT_THROW(worker.serve(), std::out_of_range);
  worker.serve();
  EXPECT_TRUE(ran);
}

TEST(Inbox, RunOnceWaitsNoLongerThanItWasTold) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker worker(pool);
  EXPECT_EQ(worker.run_once(0ms), 0U);
  EXPECT_EQ(worker.run_once(2ms), 0U);
  bool ran = false;
  worker.spawn([](bool& flag) -> Task<> {
    flag = true;
    co_return;
  }(ran));
  EXPECT_EQ(worker.run_once(-1ms), 0U);
  EXPECT_TRUE(ran);
}

// B3: two Workers that call each other, with inboxes that are full most of the time.
Task<> call_often(Worker& mine, Inbox other, unsigned times, std::atomic<unsigned>& right) {
  for (unsigned n = 0; n < times; ++n) {
    const unsigned answer = co_await other.call(mine, [n] { return n + 1; });
    if (answer == n + 1) ++right;
  }
}

TEST(Inbox, WorkersCallEachOther) {
  constexpr unsigned kTasks = 2 * Inbox::kSlots;
  constexpr unsigned kTimes = 3;
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  std::atomic<unsigned> right{0};
  {
    const Server first(pool);
    const Server second(pool);
    const auto begin = [&](const Server& from, const Server& to) {
      for (unsigned n = 0; n < kTasks; ++n) {
        const auto work = [&from, &right, inbox = to.inbox()] {
          return call_often(from.worker(), inbox, kTimes, right);
        };
        while (from.inbox().post(work) == Post::kFull) std::this_thread::yield();
      }
    };
    std::thread other([&] { begin(second, first); });
    begin(first, second);
    other.join();
    while (right.load() < 2 * kTasks * kTimes) std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(right.load(), 2 * kTasks * kTimes);
}

TEST(Inbox, ACallIsToldWhenTheOtherWorkerGoes) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  Worker mine(pool);
  auto other = std::make_unique<Worker>(pool);
  Inbox inbox = other->inbox();
  Errc while_it_waited{};
  Errc afterwards{};
  const auto call = [](Worker& own, Inbox to, Errc& code) -> Task<> {
    try {
      (void)co_await to.call(own, [] { return 1; });
    } catch (const Error& error) {
      code = error.code();
    }
  };
  mine.spawn(call(mine, inbox, while_it_waited));
  EXPECT_EQ(mine.poll(), 1U);
  other.reset();
  mine.run();
  EXPECT_EQ(while_it_waited, Errc::kClosed);
  mine.spawn(call(mine, inbox, afterwards));
  mine.run();
  EXPECT_EQ(afterwards, Errc::kClosed);
}

TEST(Inbox, BelongsToTheProcess) {
  const TempFile file;
  BufferPool pool(small_pool(file, 64));
  auto worker = std::make_unique<Worker>(pool);
  Inbox inbox = worker->inbox();
  bool destroyed = false;
  const std::shared_ptr<bool> kept(&destroyed, [](bool* flag) { *flag = true; });
  EXPECT_EQ(inbox.post([kept] {}), Post::kTaken);
  EXPECT_EQ(in_child([&] {
              return code_of([&] { (void)inbox.post([] {}); }) == Errc::kWrongProcess &&
                             code_of([&] { inbox.stop(); }) == Errc::kWrongProcess
                         ? 0
                         : 1;
            }),
            0);
  worker->run();
}

}  // namespace
}  // namespace vmcache
