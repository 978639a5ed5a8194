// SPDX-License-Identifier: MIT
//
// mmap and the classic pool: two caches under the same B+tree and the same file.
#include <memory>

#include "plain/file.hpp"
#include "plain/mmap_cache.hpp"
#include "plain/pread_cache.hpp"
#include "plain/tree.hpp"
#include "systems/system.hpp"

namespace vmbench {

namespace {

template <typename Cache>
class TreeSession final : public Session {
 public:
  TreeSession(Cache& cache, plain::PageNo root) : _tree(cache, root) {}
  bool read(Key key, Value& value) override { return _tree.read(key, value); }
  bool update(Key key, const Value& value) override { return _tree.update(key, value); }
  void insert(Key key, const Value& value) override { _tree.insert(key, value); }
  unsigned scan(Key key, unsigned length) override { return _tree.scan(key, length); }

 private:
  plain::Tree<Cache> _tree;
};

class MmapSystem final : public System {
 public:
  explicit MmapSystem(const WorkloadOptions& options)
      : _file(plain_file(options), options.records(), false), _cache(_file) {
    if (options.mix.changes_data()) _file.mark_changed();
  }
  void run_thread(ThreadContext& context) override {
    TreeSession<plain::MmapCache> session(_cache, _file.root());
    run_session(session, context, true);
  }
  [[nodiscard]] IoCounters io() const override { return kernel_io(); }

 private:
  plain::File _file;
  plain::MmapCache _cache;
};

class PreadSystem final : public System {
 public:
  explicit PreadSystem(const WorkloadOptions& options)
      : _file(plain_file(options), options.records(), true), _cache(_file, options.pool_bytes) {
    if (options.mix.changes_data()) _file.mark_changed();
  }
  void run_thread(ThreadContext& context) override {
    TreeSession<plain::PreadCache> session(_cache, _file.root());
    plain::PreadCache::time_reads_into(&context.counters.read_ns);
    run_session(session, context, false);
    plain::PreadCache::time_reads_into(nullptr);
  }
  [[nodiscard]] IoCounters io() const override {
    return {_cache.page_reads(), _cache.page_writes()};
  }
  void close() override { _cache.flush(); }

 private:
  plain::File _file;
  plain::PreadCache _cache;
};

}  // namespace

std::string plain_file(const WorkloadOptions& options) {
  return options.file + ".plain";
}

void prepare_plain(const WorkloadOptions& options) {
  if (!plain::is_pristine(plain_file(options), options.records()))
    plain::build(plain_file(options), options.records());
}

std::unique_ptr<System> open_mmap(const WorkloadOptions& options) {
  return std::make_unique<MmapSystem>(options);
}
std::unique_ptr<System> open_pread(const WorkloadOptions& options) {
  return std::make_unique<PreadSystem>(options);
}

}  // namespace vmbench
