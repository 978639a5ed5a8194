// SPDX-License-Identifier: MIT
#include "pages/pages_run.hpp"

#include <fmt/format.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <exception>
#include <numeric>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

#include "common/random.hpp"
#include "pages/counters.hpp"

namespace vmbench {

namespace {

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void pin_to(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

//! All pages in an order that is random but for clusters of `locality` neighbours.
std::vector<PageIndex> shuffled_pages(std::size_t pages, unsigned locality) {
  std::vector<PageIndex> clusters(pages / locality);
  std::iota(clusters.begin(), clusters.end(), PageIndex{0});
  SplitMix64 random(42);
  for (std::size_t i = clusters.size() - 1; i > 0; i--)
    std::swap(clusters[i], clusters[random.below(i + 1)]);
  std::vector<PageIndex> order;
  order.reserve(clusters.size() * locality);
  for (const PageIndex cluster : clusters)
    for (unsigned i = 0; i < locality; i++) order.push_back(cluster * locality + i);
  return order;
}

//! A thread's own pages, scattered over the whole area: a ring in which a window of half its length
//! is resident. Giving back at the window's tail and getting at its head is random in addresses,
//! and each page rests equally long.
class Ring {
 public:
  Ring(std::span<const PageIndex> pages, unsigned batch) : _batch(batch) {
    const std::size_t usable = pages.size() / (2 * batch) * (2 * batch);
    _pages.assign(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(usable));
  }
  [[nodiscard]] std::span<const PageIndex> window() const {
    return {_pages.data(), _pages.size() / 2};
  }
  [[nodiscard]] std::span<const PageIndex> tail() const { return {&_pages[_position], _batch}; }
  [[nodiscard]] std::span<const PageIndex> head() const {
    return {&_pages[(_position + _pages.size() / 2) % _pages.size()], _batch};
  }
  void advance() { _position = (_position + _batch) % _pages.size(); }

 private:
  std::vector<PageIndex> _pages;
  std::size_t _batch;
  std::size_t _position = 0;
};

struct WorkerResult {
  std::uint64_t pages = 0;
  std::uint64_t elapsed_ns = 0;
  ExchangeTimes times;
  std::optional<std::uint64_t> instructions;
  std::exception_ptr error;
};

void exchange_until(PageWay& way, unsigned thread, Ring& ring, std::uint64_t duration_ns,
                    WorkerResult& result) {
  const InstructionCounter counter;
  const std::optional<std::uint64_t> instructions_before = counter.read();
  const std::uint64_t start = now_ns();
  do {
    way.exchange(thread, ring.tail(), ring.head(), result.times);
    result.pages += ring.tail().size();
    ring.advance();
    result.elapsed_ns = now_ns() - start;
  } while (result.elapsed_ns < duration_ns);
  const std::optional<std::uint64_t> instructions_after = counter.read();
  if (instructions_before && instructions_after)
    result.instructions = *instructions_after - *instructions_before;
}

//! A thread of the process that keeps a core busy, so that its TLB must be told of every unmapping.
class Spinner {
 public:
  explicit Spinner(int cpu)
      : _thread([this, cpu] {
          pin_to(cpu);
          while (!_stop.load(std::memory_order_relaxed)) {
          }
        }) {}
  ~Spinner() {
    _stop.store(true, std::memory_order_relaxed);
    _thread.join();
  }
  Spinner(const Spinner&) = delete;
  Spinner& operator=(const Spinner&) = delete;

 private:
  std::atomic<bool> _stop{false};
  std::thread _thread;
};

//! The threads' slices of the shuffled pages; neighbouring clusters go to different threads.
std::vector<Ring> deal(const PagesRun& run) {
  const std::vector<PageIndex> order = shuffled_pages(run.pages, run.locality);
  const std::size_t share = order.size() / run.threads;
  std::vector<Ring> rings;
  for (unsigned i = 0; i < run.threads; i++)
    rings.emplace_back(std::span(order).subspan(i * share, share), run.batch);
  return rings;
}

std::vector<WorkerResult> run_workers(const PagesRun& run, PageWay& way,
                                      const std::vector<int>& cpus,
                                      std::optional<std::uint64_t>& shootdowns) {
  std::vector<Ring> rings = deal(run);
  std::vector<WorkerResult> results(run.threads);
  std::barrier start_line(static_cast<std::ptrdiff_t>(run.threads) + 1);
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < run.threads; i++) {
    threads.emplace_back([&, i] {
      pin_to(cpus[i % cpus.size()]);
      try {
        way.fill(i, rings[i].window());
      } catch (...) {
        results[i].error = std::current_exception();
      }
      start_line.arrive_and_wait();
      start_line.arrive_and_wait();
      if (results[i].error) return;
      try {
        exchange_until(way, i, rings[i], static_cast<std::uint64_t>(run.seconds * 1e9), results[i]);
      } catch (...) {
        results[i].error = std::current_exception();
      }
    });
  }
  start_line.arrive_and_wait();
  const std::optional<std::uint64_t> shootdowns_before = tlb_shootdowns();
  start_line.arrive_and_wait();
  for (std::thread& thread : threads) thread.join();
  if (shootdowns_before) shootdowns = *tlb_shootdowns() - *shootdowns_before;
  for (const WorkerResult& result : results)
    if (result.error) std::rethrow_exception(result.error);
  return results;
}

std::size_t resident_pages(std::span<std::byte> area) {
  std::vector<unsigned char> present(area.size() / kPage);
  if (mincore(area.data(), area.size(), present.data()) != 0)
    throw std::system_error(errno, std::generic_category(), "mincore of the page area");
  return static_cast<std::size_t>(
      std::count_if(present.begin(), present.end(), [](unsigned char p) { return p & 1; }));
}

//! A way that loses or keeps pages it should not would look fast; the kernel's own view decides.
void check_resident(const PagesRun& run, const PageWay& way) {
  std::size_t expected = 0;
  for (const Ring& ring : deal(run)) expected += ring.window().size();
  const std::size_t found = resident_pages(way.area());
  // A probe of the kernel's abilities at opening may have left the first page.
  if (found < expected || found > expected + 1)
    throw std::runtime_error(fmt::format("{}: {} pages are resident after the run, expected {}",
                                         run.way->name, found, expected));
}

Json empty_row(const PagesRun& run) {
  return Json{{"way", run.way->name},
              {"batch", run.batch},
              {"threads", run.threads},
              {"spinner", run.spinner},
              {"locality", run.locality},
              {"pages_per_s", nullptr},
              {"ns_per_page", nullptr},
              {"give_back_ns_per_page", nullptr},
              {"get_ns_per_page", nullptr},
              {"ipis_per_page", nullptr},
              {"instructions_per_page", nullptr}};
}

void fill_row(const PagesRun& run, const std::vector<WorkerResult>& results,
              const std::optional<std::uint64_t>& shootdowns, Json& row) {
  double pages = 0, pages_per_s = 0, busy_ns = 0, instructions = 0;
  ExchangeTimes times;
  bool counted = true;
  for (const WorkerResult& result : results) {
    pages += static_cast<double>(result.pages);
    busy_ns += static_cast<double>(result.elapsed_ns);
    pages_per_s += static_cast<double>(result.pages) * 1e9 / static_cast<double>(result.elapsed_ns);
    times.give_back_ns += result.times.give_back_ns;
    times.get_ns += result.times.get_ns;
    times.fallbacks += result.times.fallbacks;
    counted = counted && result.instructions.has_value();
    instructions += static_cast<double>(result.instructions.value_or(0));
  }
  row["pages_per_s"] = pages_per_s;
  row["ns_per_page"] = busy_ns / pages;
  if (times.get_ns != 0) {
    row["give_back_ns_per_page"] = static_cast<double>(times.give_back_ns) / pages;
    row["get_ns_per_page"] = static_cast<double>(times.get_ns) / pages;
  }
  if (shootdowns) row["ipis_per_page"] = static_cast<double>(*shootdowns) / pages;
  if (run.icount_clock)
    row["instructions_per_page"] = busy_ns / pages;
  else if (counted)
    row["instructions_per_page"] = instructions / pages;
  if (times.fallbacks != 0)
    row["fallbacks_per_page"] = static_cast<double>(times.fallbacks) / pages;
}

}  // namespace

Json measure(const PagesRun& run) {
  Json row = empty_row(run);
  const std::vector<int> cpus = allowed_cpus();
  try {
    if (run.spinner && run.threads >= cpus.size())
      throw Refused(fmt::format("no core is left for the spinner: {} threads on {} cores",
                                run.threads, cpus.size()));
    const std::unique_ptr<PageWay> way = run.way->make({run.pages, run.pages / 2, run.threads});
    std::optional<Spinner> spinner;
    if (run.spinner) spinner.emplace(cpus[run.threads]);
    std::optional<std::uint64_t> shootdowns;
    const std::vector<WorkerResult> results = run_workers(run, *way, cpus, shootdowns);
    check_resident(run, *way);
    fill_row(run, results, shootdowns, row);
  } catch (const Refused& refused) {
    row["refused"] = refused.what();
  }
  return row;
}

}  // namespace vmbench
