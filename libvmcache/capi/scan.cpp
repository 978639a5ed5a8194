// SPDX-License-Identifier: MIT
#include "vmcache/scan.hpp"

#include <cstddef>
#include <utility>
#include <variant>

#include "capi/failure.hpp"
#include "capi/pool_handle.hpp"
#include "vmcache.h"
#include "vmcache/run.hpp"

using namespace vmcache::capi;
using vmcache::ExclusiveRun;
using vmcache::Run;
using vmcache::Scan;
using vmcache::SharedRun;

struct vmcache_scan {
  vmcache_scan(vmcache_pool& pool, std::uint64_t first, std::uint64_t pages, unsigned read_ahead)
      : use(pool.uses()), handle(pool), scan(pool.pool(), first, pages, read_ahead) {}

  Use use;
  vmcache_pool& handle;
  Scan scan;
};

struct vmcache_run {
  template <typename Guards>
  vmcache_run(vmcache_pool& pool, Guards fixed)
      : use(pool.uses()), handle(pool), guards(std::move(fixed)) {}

  Use use;
  vmcache_pool& handle;
  std::variant<SharedRun, ExclusiveRun> guards;  // goes first
};

namespace {

constexpr unsigned kDefaultReadAhead = 64;

int unfix(const char* call, struct vmcache_run* run, bool unchanged) noexcept {
  if (run == nullptr) return VMCACHE_OK;
  return guarded(call, [&] {
    run->handle.process().require("the run");
    auto* exclusive = std::get_if<ExclusiveRun>(&run->guards);
    if (exclusive != nullptr && unchanged) exclusive->release_unmodified();
    delete run;
  });
}

}  // namespace

int vmcache_scan_open(struct vmcache_pool* pool, uint64_t first, uint64_t pages,
                      unsigned read_ahead, struct vmcache_scan** scan) {
  constexpr const char* kCall = "vmcache_scan_open";
  if (scan == nullptr) return fail_null(kCall, "scan");
  *scan = nullptr;
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] {
    pool->process().require("the pool");
    *scan = new vmcache_scan(*pool, first, pages, read_ahead == 0 ? kDefaultReadAhead : read_ahead);
  });
}

int vmcache_scan_next(struct vmcache_scan* scan, const void** data, uint64_t* page_id) {
  constexpr const char* kCall = "vmcache_scan_next";
  if (scan == nullptr) return fail_null(kCall, "scan");
  if (data == nullptr) return fail_null(kCall, "data");
  *data = nullptr;
  if (page_id != nullptr) *page_id = 0;
  return guarded(kCall, [&] {
    scan->handle.process().require("the scan");
    if (!scan->scan.next()) return answer(VMCACHE_NOT_FOUND, "vmcache_scan_next: at the end");
    *data = scan->scan.page().data();
    if (page_id != nullptr) *page_id = scan->scan.page().page_id();
    return int{VMCACHE_OK};
  });
}

int vmcache_scan_destroy(struct vmcache_scan* scan) {
  if (scan == nullptr) return VMCACHE_OK;
  return guarded("vmcache_scan_destroy", [&] {
    scan->handle.process().require("the scan");
    delete scan;
  });
}

int vmcache_run_fix(struct vmcache_pool* pool, uint64_t first, uint64_t pages, int mode,
                    struct vmcache_run** run, void** data) {
  constexpr const char* kCall = "vmcache_run_fix";
  if (run == nullptr) return fail_null(kCall, "run");
  *run = nullptr;
  if (data == nullptr) return fail_null(kCall, "data");
  *data = nullptr;
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (const int code = check_mode(kCall, mode)) return code;
  return guarded(kCall, [&] {
    pool->process().require("the pool");
    const Run pages_of(pool->pool(), first, pages);
    if (mode == VMCACHE_SHARED) {
      *run = new vmcache_run(*pool, pages_of.fix_shared());
    } else {
      *run = new vmcache_run(*pool, pages_of.fix_exclusive());
    }
    *data = pool->pool().address(first);
  });
}

int vmcache_run_unfix(struct vmcache_run* run) {
  return unfix("vmcache_run_unfix", run, false);
}

int vmcache_run_unfix_unchanged(struct vmcache_run* run) {
  return unfix("vmcache_run_unfix_unchanged", run, true);
}

int vmcache_run_prefetch(struct vmcache_pool* pool, uint64_t first, uint64_t pages) {
  constexpr const char* kCall = "vmcache_run_prefetch";
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] { Run(pool->pool(), first, pages).prefetch(); });
}

int vmcache_run_write_back(struct vmcache_pool* pool, uint64_t first, uint64_t pages) {
  constexpr const char* kCall = "vmcache_run_write_back";
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] { Run(pool->pool(), first, pages).write_back(); });
}
