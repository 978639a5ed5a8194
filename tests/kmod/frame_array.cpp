// SPDX-License-Identifier: GPL-2.0-only
// The module's array of frame numbers alone, as a pool of 1 TiB and of 16 TiB needs it: room beyond
// what one piece of kernel memory can have, every place its own, growing keeps what is there, and
// what cannot be had leaves nothing. Runs the module's own header, on memory that costs nothing
// until it is written.
#include "exmap_test.h"

using namespace exmap_test;

namespace {

//! What the kernel gives, as far as array.h asks for it.
struct AnyPointer {
  void* address;
  template <typename T>
  operator T*() const {
    return static_cast<T*>(address);
  }
};

constexpr std::size_t kKvmallocMax = 0x7fffffff;  // more is refused (and warned of)
std::uint64_t pages_out = 0, lists_out = 0, pages_allowed = ~0ull;
char* heap = nullptr;
std::size_t heap_next = 0;
constexpr std::size_t kHeapBytes = 96ull << 30;

AnyPointer kvmalloc_array(std::size_t count, std::size_t size, int) {
  if (size != 0 && count > kKvmallocMax / size) return {nullptr};
  lists_out++;
  return {std::malloc(count * size)};
}
void kvfree(const void* list) {
  if (!list) return;
  lists_out--;
  std::free(const_cast<void*>(list));
}
unsigned long free_get_page(int) {
  if (pages_out == pages_allowed || heap_next == kHeapBytes) return 0;
  pages_out++;
  heap_next += 2 * kPageSize;  // with a gap, so that no block goes on in the next one
  return reinterpret_cast<unsigned long>(heap + heap_next - 2 * kPageSize);
}
void free_page(unsigned long page) {
  pages_out -= page != 0;
}
bool killed = false;

}  // namespace

#define PAGE_SIZE 4096UL
#define GFP_KERNEL_ACCOUNT 0
#define __GFP_NOWARN 0
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))
#define min(a, b) std::min<unsigned long>(a, b)
#define __get_free_page free_get_page
#define fatal_signal_pending(task) killed
#define cond_resched() ((void)0)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wold-style-cast"
#include "../../kmod/array.h"
#pragma GCC diagnostic pop
#undef min

namespace {

void grow(exmap_array& array, unsigned long capacity) {
  exmap_array larger{};
  CHECK_RESULT(0, exmap_array_extend(&array, capacity, &larger));
  exmap_array_exchange(&array, &larger);
  kvfree(larger.blocks);
  CHECK(exmap_array_capacity(&array) >= capacity, "room for %lu, not %lu",
        exmap_array_capacity(&array), capacity);
}

void empty(exmap_array& array) {
  exmap_array_free_blocks(&array, 0);
  CHECK(pages_out == 0 && lists_out == 0, "%llu pages and %llu lists are lost", ull(pages_out),
        ull(lists_out));
  array = {};
  heap_next = 0;
}

//! Around `place` every value is where it was put, however the pieces are cut.
void check_around(exmap_array& array, unsigned long place, Random& random) {
  constexpr unsigned long kSpan = 2000;
  std::vector<unsigned long> values(kSpan), seen(kSpan);
  array.count = place - kSpan / 2;
  for (unsigned long i = 0; i < kSpan; i++) values[i] = place + i;
  for (unsigned long done = 0, n; done < kSpan; done += n) {
    n = std::min<unsigned long>(1 + random.below(600), kSpan - done);
    exmap_array_put(&array, values.data() + done, n);
  }
  CHECK(array.count == place + kSpan / 2, "%lu entries", array.count);
  for (unsigned long i = 0; i < kSpan; i++)
    CHECK(*exmap_array_at(&array, place - kSpan / 2 + i) == values[i], "entry %lu is another's",
          place + i);
  for (unsigned long left = kSpan, n; left > 0; left -= n) {
    n = std::min<unsigned long>(1 + random.below(600), left);
    exmap_array_take(&array, seen.data() + left - n, n);
  }
  CHECK(seen == values && array.count == place - kSpan / 2, "what was taken is not what was put");
}

void large(Random& random) {
  exmap_array array{};
  for (const unsigned long tebibytes : {1ul, 2ul, 16ul}) {
    const unsigned long frames = tebibytes << 28;
    grow(array, frames);
    check_around(array, 5000, random);
    check_around(array, frames / 2, random);
    check_around(array, frames - 1000, random);
  }
  array.count = 0;
  empty(array);
}

void growing_keeps(Random& random) {
  exmap_array array{};
  std::vector<unsigned long> model;
  for (int round = 0; round < 200; round++) {
    grow(array, exmap_array_capacity(&array) + 1 + random.below(1500));
    for (int i = 0; i < 20; i++) {
      unsigned long pieces[700];
      const unsigned long n = random.below(700);
      if (random.below(3) && model.size() + n <= exmap_array_capacity(&array)) {
        for (unsigned long k = 0; k < n; k++) pieces[k] = random.next();
        exmap_array_put(&array, pieces, n);
        model.insert(model.end(), pieces, pieces + n);
      } else if (n <= model.size()) {
        exmap_array_take(&array, pieces, n);
        CHECK(std::equal(pieces, pieces + n, model.end() - static_cast<long>(n)),
              "what was taken was never put");
        model.resize(model.size() - n);
      }
    }
    CHECK(array.count == model.size(), "%lu entries, not %zu", array.count, model.size());
  }
  array.count = 0;
  empty(array);
}

void failures_leave_nothing() {
  exmap_array array{}, larger{};
  grow(array, 2000);
  const std::uint64_t pages = pages_out;
  for (std::uint64_t more = 0; more < 4; more++) {
    pages_allowed = pages + more;
    CHECK_RESULT(-ENOMEM, exmap_array_extend(&array, 6000, &larger));
    CHECK(pages_out == pages && lists_out == 1, "a growth that failed keeps %llu pages",
          ull(pages_out - pages));
  }
  pages_allowed = ~0ull;
  killed = true;
  CHECK_RESULT(-EINTR, exmap_array_extend(&array, 6000, &larger));
  killed = false;
  CHECK_RESULT(-ENOMEM, exmap_array_extend(&array, 1ul << 50, &larger));
  CHECK(pages_out == pages && lists_out == 1, "a growth that failed keeps %llu pages",
        ull(pages_out - pages));
  empty(array);
}

}  // namespace

int main(int argc, char** argv) {
  const Options options(argc, argv);
  Random random(options.number("seed", 1));
  void* const memory = mmap(nullptr, kHeapBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  CHECK(memory != MAP_FAILED, "mmap: %s", strerror(errno));
  heap = static_cast<char*>(memory);
  growing_keeps(random);
  failures_leave_nothing();
  large(random);
  return 0;
}
