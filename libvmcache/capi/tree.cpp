// SPDX-License-Identifier: MIT
#include "capi/failure.hpp"
#include "capi/pool_handle.hpp"
#include "capi/tree_handle.hpp"
#include "vmcache.h"
#include "vmcache/btree.hpp"

using namespace vmcache::capi;
using vmcache::BTree;

static_assert(VMCACHE_MAX_KEY == BTree::kMaxKey && VMCACHE_MAX_VALUE == BTree::kMaxValue);

struct vmcache_cursor {
  vmcache_cursor(vmcache_tree& tree, vmcache::Direction direction, const vmcache::Bound& from)
      : use(tree.cursors), cursor(*tree.tree, direction, from) {}

  Use use;
  BTree::Cursor cursor;
};

namespace {

constexpr unsigned kAllCursorFlags =
    VMCACHE_CURSOR_DESCENDING | VMCACHE_CURSOR_ALL | VMCACHE_CURSOR_BEYOND;

int check_change(const char* call, const vmcache_tree* tree) noexcept {
  if (tree == nullptr) return fail_null(call, "tree");
  if (tree->own) return VMCACHE_OK;
  return fail(VMCACHE_INVALID_OPTION, "%s: the tree is a database's: change it by a transaction",
              call);
}

}  // namespace

int vmcache_tree_create(struct vmcache_pool* pool, uint64_t* root) {
  constexpr const char* kCall = "vmcache_tree_create";
  if (root == nullptr) return fail_null(kCall, "root");
  *root = VMCACHE_NO_PAGE;
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] { *root = BTree::create(pool->pool()); });
}

int vmcache_tree_open(struct vmcache_pool* pool, uint64_t root, struct vmcache_tree** tree) {
  constexpr const char* kCall = "vmcache_tree_open";
  if (tree == nullptr) return fail_null(kCall, "tree");
  *tree = nullptr;
  if (pool == nullptr) return fail_null(kCall, "pool");
  if (const int code = pool->refuse_database(kCall)) return code;
  return guarded(kCall, [&] { *tree = new vmcache_tree(*pool, root); });
}

int vmcache_tree_destroy(struct vmcache_tree* tree) {
  if (tree == nullptr) return VMCACHE_OK;
  if (tree->cursors.load(std::memory_order_acquire) > 0)
    return fail(VMCACHE_BUSY, "vmcache_tree_destroy: the tree has a cursor");
  delete tree;
  return VMCACHE_OK;
}

int vmcache_tree_insert(struct vmcache_tree* tree, const void* key, size_t key_size,
                        const void* value, size_t value_size) {
  constexpr const char* kCall = "vmcache_tree_insert";
  if (const int code = check_change(kCall, tree)) return code;
  if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
  if (const int code = check_bytes(kCall, "value", value, value_size)) return code;
  return guarded(kCall, [&] {
    if (tree->own->insert(bytes_of(key, key_size), bytes_of(value, value_size)))
      return int{VMCACHE_OK};
    return answer(VMCACHE_EXISTS, "vmcache_tree_insert: the key exists");
  });
}

int vmcache_tree_upsert(struct vmcache_tree* tree, const void* key, size_t key_size,
                        const void* value, size_t value_size) {
  constexpr const char* kCall = "vmcache_tree_upsert";
  if (const int code = check_change(kCall, tree)) return code;
  if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
  if (const int code = check_bytes(kCall, "value", value, value_size)) return code;
  return guarded(kCall, [&] {
    (void)tree->own->upsert(bytes_of(key, key_size), bytes_of(value, value_size));
  });
}

int vmcache_tree_erase(struct vmcache_tree* tree, const void* key, size_t key_size) {
  constexpr const char* kCall = "vmcache_tree_erase";
  if (const int code = check_change(kCall, tree)) return code;
  if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
  return guarded(kCall, [&] {
    if (tree->own->erase(bytes_of(key, key_size))) return int{VMCACHE_OK};
    return answer(VMCACHE_NOT_FOUND, "vmcache_tree_erase: the key does not exist");
  });
}

int vmcache_tree_lookup(struct vmcache_tree* tree, const void* key, size_t key_size, void* buffer,
                        size_t capacity, size_t* value_size) {
  constexpr const char* kCall = "vmcache_tree_lookup";
  if (tree == nullptr) return fail_null(kCall, "tree");
  if (value_size == nullptr) return fail_null(kCall, "value_size");
  if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
  if (const int code = check_bytes(kCall, "buffer", buffer, capacity)) return code;
  return guarded(kCall, [&] {
    const std::optional<std::size_t> size = tree->tree->lookup(
        bytes_of(key, key_size), std::span(static_cast<std::byte*>(buffer), capacity));
    *value_size = size.value_or(0);
    if (size) return int{VMCACHE_OK};
    return answer(VMCACHE_NOT_FOUND, "vmcache_tree_lookup: the key does not exist");
  });
}

int vmcache_cursor_open(struct vmcache_tree* tree, const void* key, size_t key_size, unsigned flags,
                        struct vmcache_cursor** cursor) {
  constexpr const char* kCall = "vmcache_cursor_open";
  if (cursor == nullptr) return fail_null(kCall, "cursor");
  *cursor = nullptr;
  if (tree == nullptr) return fail_null(kCall, "tree");
  if ((flags & ~kAllCursorFlags) != 0)
    return fail(VMCACHE_INVALID_OPTION, "%s: flags is %#x: allowed are bits of %#x", kCall, flags,
                kAllCursorFlags);
  const bool all = (flags & VMCACHE_CURSOR_ALL) != 0;
  if (!all) {
    if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
    if (key_size > BTree::kMaxKey)
      return fail(VMCACHE_TOO_LARGE, "%s: key_size is %zu: allowed are 0 to %d", kCall, key_size,
                  VMCACHE_MAX_KEY);
  }
  return guarded(kCall, [&] {
    const auto direction = (flags & VMCACHE_CURSOR_DESCENDING) != 0
                               ? vmcache::Direction::kDescending
                               : vmcache::Direction::kAscending;
    vmcache::Bound from = vmcache::Bound::all();
    if (!all) {
      from = vmcache::Bound::at(bytes_of(key, key_size));
      from.inclusive = (flags & VMCACHE_CURSOR_BEYOND) == 0;
    }
    *cursor = new vmcache_cursor(*tree, direction, from);
  });
}

int vmcache_cursor_next(struct vmcache_cursor* cursor, const void** key, size_t* key_size,
                        const void** value, size_t* value_size) {
  constexpr const char* kCall = "vmcache_cursor_next";
  if (cursor == nullptr) return fail_null(kCall, "cursor");
  if (key == nullptr) return fail_null(kCall, "key");
  if (key_size == nullptr) return fail_null(kCall, "key_size");
  if (value == nullptr) return fail_null(kCall, "value");
  if (value_size == nullptr) return fail_null(kCall, "value_size");
  *key = *value = nullptr;
  *key_size = *value_size = 0;
  return guarded(kCall, [&] {
    if (!cursor->cursor.next())
      return answer(VMCACHE_NOT_FOUND, "vmcache_cursor_next: the scan is at its end");
    *key = cursor->cursor.key().data();
    *key_size = cursor->cursor.key().size();
    *value = cursor->cursor.value().data();
    *value_size = cursor->cursor.value().size();
    return int{VMCACHE_OK};
  });
}

int vmcache_cursor_destroy(struct vmcache_cursor* cursor) {
  delete cursor;
  return VMCACHE_OK;
}
