// SPDX-License-Identifier: MIT
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "capi/failure.hpp"
#include "capi/file_handle.hpp"
#include "capi/pool_handle.hpp"
#include "capi/structs.hpp"
#include "vmcache.h"
#include "vmcache/file.hpp"
#include "vmcache/page_format.hpp"

namespace vmcache::capi {
namespace {

static_assert(sizeof(struct vmcache_page_format) == 40);
static_assert(sizeof(struct vmcache_write_ahead) == 48);
static_assert(sizeof(struct vmcache_file_options) == 48);

constexpr std::uint64_t kAllFileFlags = VMCACHE_FILE_NO_CREATE | VMCACHE_FILE_NO_DIRECT_IO |
                                        VMCACHE_FILE_TEMPORARY | VMCACHE_FILE_READ_ONLY;

//! A format and a log that are functions of C.
class Hooks final : public PageFormat, public WriteAhead {
 public:
  [[nodiscard]] int take(const char* call, const struct vmcache_file_options& options) noexcept {
    has_format = options.format != nullptr;
    has_log = options.write_ahead != nullptr;
    if (has_format) {
      if (const int code = take_struct(call, "options->format", options.format, _format))
        return code;
      if (_format.before_write == nullptr) return fail_null(call, "format->before_write");
      if (_format.after_read == nullptr) return fail_null(call, "format->after_read");
    }
    if (has_log) {
      if (const int code = take_struct(call, "options->write_ahead", options.write_ahead, _log))
        return code;
      if (_log.durable_lsn == nullptr) return fail_null(call, "write_ahead->durable_lsn");
      if (!has_format || _format.lsn_of == nullptr) return fail_null(call, "format->lsn_of");
      if (_log.flushes_itself > 1)
        return fail(VMCACHE_INVALID_OPTION,
                    "%s: write_ahead->flushes_itself is %llu: allowed are 0 and 1", call,
                    static_cast<unsigned long long>(_log.flushes_itself));
    }
    return VMCACHE_OK;
  }

  void before_write(std::uint64_t offset, std::span<std::byte> bytes) const noexcept override {
    _format.before_write(_format.user, offset, bytes.data(), bytes.size());
  }
  [[nodiscard]] Status after_read(std::uint64_t offset,
                                  std::span<std::byte> bytes) const noexcept override {
    const int code = _format.after_read(_format.user, offset, bytes.data(), bytes.size());
    if (code >= 0 && code <= VMCACHE_CANCELLED) return {.code = static_cast<Errc>(code)};
    return {.code = Errc::kCorrupt, .found = static_cast<std::uint64_t>(code)};
  }
  [[nodiscard]] Lsn lsn_of(std::span<const std::byte> bytes) const noexcept override {
    return _format.lsn_of != nullptr ? _format.lsn_of(_format.user, bytes.data(), bytes.size()) : 0;
  }

  [[nodiscard]] Lsn durable_lsn() const noexcept override { return _log.durable_lsn(_log.user); }
  void want_durable(Lsn lsn) noexcept override {
    if (_log.want_durable != nullptr) _log.want_durable(_log.user, lsn);
  }
  [[nodiscard]] bool flushes_itself() const noexcept override { return _log.flushes_itself != 0; }
  [[nodiscard]] int log_error() const noexcept override {
    return _log.log_error != nullptr ? _log.log_error(_log.user) : 0;
  }

  bool has_format = false;
  bool has_log = false;

 private:
  struct vmcache_page_format _format {};
  struct vmcache_write_ahead _log {};
};

}  // namespace
}  // namespace vmcache::capi

using namespace vmcache::capi;

struct vmcache_file {
  //! `open` gets the C++ pool, and returns the file.
  template <typename Open>
  vmcache_file(vmcache_pool& pool, std::shared_ptr<Hooks> of_file, Open open)
      : use(pool.uses()), handle(pool), hooks(std::move(of_file)) {
    handle.process().require("the pool");  // before a lock that a thread of the parent may have
    handle.keep_until_the_end(hooks);      // what cannot be closed may still call them
    try {
      file = open(handle.pool());
    } catch (...) {
      handle.let_go(hooks);
      throw;
    }
  }

  Use use;
  vmcache_pool& handle;
  std::shared_ptr<Hooks> hooks;
  vmcache::File file;
};

vmcache::File& vmcache::capi::file_of(vmcache_file& file) noexcept {
  return file.file;
}

vmcache_pool& vmcache::capi::pool_of(vmcache_file& file) noexcept {
  return file.handle;
}

int vmcache_file_open(struct vmcache_pool* pool, const struct vmcache_file_options* options,
                      struct vmcache_file** file) {
  constexpr const char* kCall = "vmcache_file_open";
  if (file == nullptr) return fail_null(kCall, "file");
  *file = nullptr;
  if (pool == nullptr) return fail_null(kCall, "pool");
  return guarded(kCall, [&] {
    struct vmcache_file_options from;
    if (const int code = take_struct(kCall, "options", options, from)) return code;
    const bool temporary = (from.flags & VMCACHE_FILE_TEMPORARY) != 0;
    if (from.path == nullptr && !temporary) return fail_null(kCall, "options->path");
    if ((from.flags & ~kAllFileFlags) != 0)
      return fail(VMCACHE_INVALID_OPTION, "%s: options->flags is %#llx: allowed are bits of %#llx",
                  kCall, static_cast<unsigned long long>(from.flags),
                  static_cast<unsigned long long>(kAllFileFlags));
    if (temporary) {
      constexpr std::uint64_t kOthers = VMCACHE_FILE_NO_CREATE | VMCACHE_FILE_READ_ONLY;
      if ((from.flags & kOthers) != 0 || from.format != nullptr || from.write_ahead != nullptr)
        return fail(VMCACHE_INVALID_OPTION,
                    "%s: a temporary file has no format, no log and no flag NO_CREATE or READ_ONLY",
                    kCall);
      vmcache::TemporaryOptions cpp;
      if (from.path != nullptr) cpp.folder = from.path;
      if (from.capacity_bytes != 0) cpp.capacity_bytes = from.capacity_bytes;
      cpp.direct_io = (from.flags & VMCACHE_FILE_NO_DIRECT_IO) == 0;
      *file = new vmcache_file(*pool, std::make_shared<Hooks>(),
                               [&](vmcache::BufferPool& of) { return of.open_temporary(cpp); });
      return int{VMCACHE_OK};
    }
    auto hooks = std::make_shared<Hooks>();
    if (const int code = hooks->take(kCall, from)) return code;
    vmcache::FileOptions cpp;
    cpp.path = from.path;
    if (from.capacity_bytes != 0) cpp.capacity_bytes = from.capacity_bytes;
    cpp.create = (from.flags & VMCACHE_FILE_NO_CREATE) == 0;
    cpp.direct_io = (from.flags & VMCACHE_FILE_NO_DIRECT_IO) == 0;
    cpp.read_only = (from.flags & VMCACHE_FILE_READ_ONLY) != 0;
    if (hooks->has_format) cpp.format = hooks.get();
    if (hooks->has_log) cpp.write_ahead = hooks.get();
    *file = new vmcache_file(*pool, std::move(hooks),
                             [&](vmcache::BufferPool& of) { return of.open_file(cpp); });
    return int{VMCACHE_OK};
  });
}

int vmcache_file_page_id(struct vmcache_file* file, uint64_t n, uint64_t* page_id) {
  constexpr const char* kCall = "vmcache_file_page_id";
  if (file == nullptr) return fail_null(kCall, "file");
  if (page_id == nullptr) return fail_null(kCall, "page_id");
  return guarded(kCall, [&] { *page_id = file->file.page_id(n); });
}

int vmcache_file_size(struct vmcache_file* file, uint64_t* bytes) {
  constexpr const char* kCall = "vmcache_file_size";
  if (file == nullptr) return fail_null(kCall, "file");
  if (bytes == nullptr) return fail_null(kCall, "bytes");
  return guarded(kCall, [&] { *bytes = file->file.size_bytes(); });
}

int vmcache_file_resize(struct vmcache_file* file, uint64_t bytes) {
  constexpr const char* kCall = "vmcache_file_resize";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.resize(bytes); });
}

int vmcache_file_write_back(struct vmcache_file* file, const uint64_t* pages, size_t count) {
  constexpr const char* kCall = "vmcache_file_write_back";
  if (file == nullptr) return fail_null(kCall, "file");
  if (pages == nullptr && count != 0) return fail_null(kCall, "pages");
  return guarded(kCall, [&] {
    if (pages == nullptr) return file->file.write_back();
    file->file.write_back(std::span(pages, count));
  });
}

int vmcache_file_sync(struct vmcache_file* file) {
  constexpr const char* kCall = "vmcache_file_sync";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.sync(); });
}

int vmcache_file_drop(struct vmcache_file* file, uint64_t first, uint64_t count) {
  constexpr const char* kCall = "vmcache_file_drop";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.drop(first, count); });
}

int vmcache_file_discard(struct vmcache_file* file, uint64_t first, uint64_t count) {
  constexpr const char* kCall = "vmcache_file_discard";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.discard(first, count); });
}

int vmcache_file_flush(struct vmcache_file* file) {
  constexpr const char* kCall = "vmcache_file_flush";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.flush(); });
}

int vmcache_file_dirty_pages(struct vmcache_file* file, struct vmcache_dirty_page* pages,
                             size_t capacity, size_t* count) {
  constexpr const char* kCall = "vmcache_file_dirty_pages";
  if (file == nullptr) return fail_null(kCall, "file");
  if (count == nullptr) return fail_null(kCall, "count");
  if (pages == nullptr && capacity != 0) return fail_null(kCall, "pages");
  return guarded(kCall, [&] {
    const std::vector<vmcache::DirtyPage> all = file->file.dirty_pages();
    for (std::size_t n = 0; n < all.size() && n < capacity; ++n)
      pages[n] = {all[n].page, all[n].recovery_lsn};
    *count = all.size();
    if (all.size() <= capacity) return int{VMCACHE_OK};
    return fail(VMCACHE_TOO_LARGE, "%s: %zu pages are dirty, capacity is %zu", kCall, all.size(),
                capacity);
  });
}

int vmcache_file_close(struct vmcache_file* file) {
  constexpr const char* kCall = "vmcache_file_close";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.close(); });
}

int vmcache_file_remove(struct vmcache_file* file) {
  constexpr const char* kCall = "vmcache_file_remove";
  if (file == nullptr) return fail_null(kCall, "file");
  return guarded(kCall, [&] { file->file.remove(); });
}

int vmcache_file_destroy(struct vmcache_file* file) {
  constexpr const char* kCall = "vmcache_file_destroy";
  if (file == nullptr) return VMCACHE_OK;
  // The close of its pool has closed it, too.
  const int closed = guarded(kCall, [&] { file->file.close(); });
  if (closed == VMCACHE_BUSY) return closed;
  if (!file->file) file->handle.let_go(file->hooks);
  delete file;
  return closed;
}
