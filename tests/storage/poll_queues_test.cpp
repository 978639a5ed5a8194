// SPDX-License-Identifier: MIT
#include "storage/poll_queues.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

namespace vmcache {
namespace {

std::shared_ptr<PollQueues> queues(std::vector<PollQueues::QueueOfCpu> controllers) {
  return std::make_shared<PollQueues>(std::move(controllers));
}

TEST(PollQueues, ARingOnAnyCpuHasThemAll) {
  const auto poll_queues = queues({{4, 5}});
  {
    const auto first = poll_queues->claim({});
    ASSERT_TRUE(first);
    EXPECT_FALSE(first->cpu());
    EXPECT_FALSE(poll_queues->claim({}));
    EXPECT_FALSE(poll_queues->claim(0));
    EXPECT_FALSE(poll_queues->claim(1));
  }
  EXPECT_TRUE(poll_queues->claim({}));
}

TEST(PollQueues, PinnedRingsHaveThatOfTheirCpu) {
  const auto poll_queues = queues({{4, 5, 4, 5}});
  auto first = std::make_unique<std::optional<PollQueues::Claim>>(poll_queues->claim(0));
  ASSERT_TRUE(*first);
  EXPECT_EQ((*first)->cpu(), 0u);
  EXPECT_FALSE(poll_queues->claim({}));
  EXPECT_FALSE(poll_queues->claim(0)) << "another ring on the same CPU";
  EXPECT_FALSE(poll_queues->claim(2)) << "the CPU shares the queue of CPU 0";
  const auto second = poll_queues->claim(3);
  EXPECT_TRUE(second);
  EXPECT_FALSE(poll_queues->claim(1));
  first.reset();
  EXPECT_TRUE(poll_queues->claim(2));
}

TEST(PollQueues, TheQueuesOfSeveralControllersAreClaimedTogether) {
  const auto poll_queues = queues({{2, 3, 2, 3}, {2, 2, 3, 3}});
  const auto first = poll_queues->claim(0);
  ASSERT_TRUE(first);
  EXPECT_FALSE(poll_queues->claim(1)) << "shares the queue of the second controller";
  EXPECT_FALSE(poll_queues->claim(2)) << "shares the queue of the first controller";
  EXPECT_TRUE(poll_queues->claim(3));
}

TEST(PollQueues, WhereTheKernelDoesNotTellAllAreOne) {
  for (const auto& controllers : {std::vector<PollQueues::QueueOfCpu>{{}}, {{2, 3}, {}}, {{2}}}) {
    const auto poll_queues = queues(controllers);
    const auto first = poll_queues->claim(1);
    ASSERT_TRUE(first);
    EXPECT_FALSE(first->cpu()) << "it may submit anywhere";
    EXPECT_FALSE(poll_queues->claim(0));
    EXPECT_FALSE(poll_queues->claim({}));
  }
}

TEST(PollQueues, APinnedThreadKnowsItsCpu) {
  std::thread([] {
    cpu_set_t allowed;
    ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
    unsigned cpu = CPU_SETSIZE - 1;
    while (!CPU_ISSET(cpu, &allowed)) --cpu;
    EXPECT_EQ(cpu_of_pinned_thread().has_value(), CPU_COUNT(&allowed) == 1);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(cpu_of_pinned_thread(), cpu);
  }).join();
}

}  // namespace
}  // namespace vmcache
