// SPDX-License-Identifier: MIT
//
// S1 and S2 of pool/residency.hpp at the one moment when they count: when the page's state word is
// stored. The words lie in a page of memory that cannot be written. So that store faults, and the
// signal handler looks at the slots before it lets the store go on.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>

#include <new>
#include <vector>

#include "pool/residency.hpp"
#include "vmcache/page_state.hpp"

namespace vmcache {
namespace {

constexpr PageId kPages = kPageSize / sizeof(AtomicPageState);
constexpr PageId kPage = 8;

void* words = nullptr;
const Residency* looked_at = nullptr;
int stores = 0;          // of state words
int seen_in_a_slot = 0;  // at those moments, the page was in a slot

void on_store(int /*signal*/, siginfo_t* info, void* /*context*/) {
  const auto* address = static_cast<const std::byte*>(info->si_addr);
  const auto* begin = static_cast<const std::byte*>(words);
  if (address < begin || address >= begin + kPageSize) {
    ::signal(SIGSEGV, SIG_DFL);  // a bug: the access is made again, and ends the test
    return;
  }
  ++stores;
  looked_at->for_each([](PageId page_id) { seen_in_a_slot += page_id == kPage ? 1 : 0; });
  ::mprotect(words, kPageSize, PROT_READ | PROT_WRITE);
}

class ResidencyOrder : public testing::Test {
 protected:
  ResidencyOrder() {
    words = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    _states = static_cast<AtomicPageState*>(words);
    for (PageId page_id = 0; page_id < kPages; ++page_id) new (&_states[page_id]) AtomicPageState;
    struct sigaction action {};
    action.sa_sigaction = on_store;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSEGV, &action, &_before);
  }
  ~ResidencyOrder() override {
    ::sigaction(SIGSEGV, &_before, nullptr);
    ::munmap(words, kPageSize);
  }
  ResidencyOrder(const ResidencyOrder&) = delete;
  ResidencyOrder& operator=(const ResidencyOrder&) = delete;

  //! Calls `change`, which stores the page's word once. Returns whether the page was in a slot when
  //! it did.
  template <typename Change>
  [[nodiscard]] bool in_slot_when_stored(const Residency& residency, Change change) {
    looked_at = &residency;
    stores = seen_in_a_slot = 0;
    ::mprotect(words, kPageSize, PROT_READ);
    change();
    ::mprotect(words, kPageSize, PROT_READ | PROT_WRITE);
    EXPECT_EQ(stores, 1);
    return seen_in_a_slot == 1;
  }

  AtomicPageState* _states = nullptr;

 private:
  struct sigaction _before {};
};

//! A checkpoint that begins now must find the page.
TEST_F(ResidencyOrder, APageIsInItsSlotWhenItIsPublished) {
  Residency residency(_states, 16, kPages);
  std::uint32_t slot = 0;
  residency.take_slots({&slot, 1});
  const PageState claimed = _states[kPage].load();
  EXPECT_TRUE(in_slot_when_stored(residency, [&] {
    residency.enter(slot, kPage, claimed, claimed.with_latch(PageState::kUnlocked));
  }));
}

//! Whoever claims the page now may put it into another slot.
TEST_F(ResidencyOrder, APageIsInNoSlotWhenItIsPublishedAsEvicted) {
  Residency residency(_states, 16, kPages);
  const auto enter = [&] {
    std::uint32_t slot = 0;
    residency.take_slots({&slot, 1});
    const PageState claimed = _states[kPage].load();
    residency.enter(slot, kPage, claimed, claimed.with_latch(PageState::kUnlocked));
  };
  enter();
  EXPECT_FALSE(in_slot_when_stored(
      residency, [&] { residency.leave(kPage, PageState{}.with_latch(PageState::kEvicted)); }));
  enter();
  const SweepResult::Victim victim{{kPage, 0}, _states[kPage].load()};
  EXPECT_FALSE(in_slot_when_stored(residency, [&] { residency.leave({&victim, 1}); }));
}

}  // namespace
}  // namespace vmcache
