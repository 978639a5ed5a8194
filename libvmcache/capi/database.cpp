// SPDX-License-Identifier: MIT
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "capi/failure.hpp"
#include "capi/pool_handle.hpp"
#include "capi/structs.hpp"
#include "capi/tree_handle.hpp"
#include "vmcache.h"
#include "vmcache/database.hpp"

using namespace vmcache::capi;
using vmcache::Database;
using vmcache::Transaction;

static_assert(sizeof(struct vmcache_database_options) == 48);
static_assert(VMCACHE_TREES == Database::kTrees);
static_assert(VMCACHE_MAX_TRANSACTION == Transaction::kMaxBytes);

struct vmcache_database {
  vmcache_database(const vmcache::DatabaseOptions& options, std::shared_ptr<Logger> logger)
      : database(options), pool(database.pool(), std::move(logger)) {}

  Database database;
  vmcache_pool pool;
};

struct vmcache_transaction {
  explicit vmcache_transaction(vmcache_database& database)
      : use(database.pool.uses()), transaction(database.database) {}

  Use use;
  Transaction transaction;
  bool ended = false;
};

namespace {

constexpr std::uint64_t kNotForDatabases = VMCACHE_POOL_PAGE_HEADER | VMCACHE_POOL_ALLOW_UNCLEAN;

int options_of(const char* call, const struct vmcache_database_options& from,
               vmcache::DatabaseOptions& options, std::shared_ptr<Logger>& logger) {
  if (const int code = pool_options_of(call, from.pool, options.pool, logger)) return code;
  if ((from.pool->flags & kNotForDatabases) != 0)
    return fail(VMCACHE_INVALID_OPTION,
                "%s: options->pool->flags has VMCACHE_POOL_PAGE_HEADER or _ALLOW_UNCLEAN, which a "
                "database decides itself",
                call);
  if (from.log_path == nullptr) return fail_null(call, "options->log_path");
  if ((from.flags & ~std::uint64_t{VMCACHE_DATABASE_NO_CHECKPOINT_THREAD}) != 0)
    return fail(VMCACHE_INVALID_OPTION, "%s: options->flags is %#llx: allowed are bits of %#x",
                call, static_cast<unsigned long long>(from.flags),
                unsigned{VMCACHE_DATABASE_NO_CHECKPOINT_THREAD});
  if (from.reserved != 0)
    return fail(VMCACHE_INVALID_OPTION, "%s: options->reserved is %u: allowed is 0", call,
                from.reserved);
  options.log.path = from.log_path;
  if (from.log_capacity_bytes != 0) options.log.capacity_bytes = from.log_capacity_bytes;
  options.log.create = options.pool.create;
  options.log.direct_io = options.pool.direct_io;
  if (from.checkpoint_percent != 0) options.checkpoint_percent = from.checkpoint_percent;
  options.checkpoint_thread = (from.flags & VMCACHE_DATABASE_NO_CHECKPOINT_THREAD) == 0;
  return VMCACHE_OK;
}

int check_transaction(const char* call, const vmcache_transaction* transaction) noexcept {
  if (transaction == nullptr) return fail_null(call, "transaction");
  if (!transaction->ended) return VMCACHE_OK;
  return fail(VMCACHE_INVALID_OPTION, "%s: the transaction has ended: begin another one", call);
}

//! Runs a read or change. After some errors the transaction is over (Transaction says which).
template <typename Body>
int in_transaction(const char* call, vmcache_transaction& transaction, Body&& body) noexcept {
  const int code = guarded(call, std::forward<Body>(body));
  switch (code) {
    case VMCACHE_OK:
    case VMCACHE_NOT_FOUND:
    case VMCACHE_CONFLICT:
    case VMCACHE_TOO_LARGE:
    case VMCACHE_INVALID_OPTION:
      return code;
    default:
      transaction.transaction.rollback();
      transaction.ended = true;
      return code;
  }
}

int get(const char* call, vmcache_transaction* transaction, unsigned tree, const void* key,
        size_t key_size, void* buffer, size_t capacity, size_t* value_size, bool for_update) {
  if (const int code = check_transaction(call, transaction)) return code;
  if (value_size == nullptr) return fail_null(call, "value_size");
  if (const int code = check_bytes(call, "key", key, key_size)) return code;
  if (const int code = check_bytes(call, "buffer", buffer, capacity)) return code;
  return in_transaction(call, *transaction, [&] {
    const vmcache::Bytes wanted = bytes_of(key, key_size);
    const std::optional<std::string> value =
        for_update ? transaction->transaction.get_for_update(tree, wanted)
                   : transaction->transaction.get(tree, wanted);
    *value_size = value ? value->size() : 0;
    if (!value) return answer(VMCACHE_NOT_FOUND, "vmcache_get: the key does not exist");
    std::copy_n(value->data(), std::min(capacity, value->size()), static_cast<char*>(buffer));
    return int{VMCACHE_OK};
  });
}

}  // namespace

int vmcache_database_open(const struct vmcache_database_options* options,
                          struct vmcache_database** database) {
  constexpr const char* kCall = "vmcache_database_open";
  if (database == nullptr) return fail_null(kCall, "database");
  *database = nullptr;
  return guarded(kCall, [&] {
    struct vmcache_database_options from;
    vmcache::DatabaseOptions cpp;
    std::shared_ptr<Logger> logger;
    if (const int code = take_struct(kCall, "options", options, from)) return code;
    if (const int code = options_of(kCall, from, cpp, logger)) return code;
    *database = new vmcache_database(cpp, std::move(logger));
    return int{VMCACHE_OK};
  });
}

int vmcache_database_close(struct vmcache_database* database) {
  constexpr const char* kCall = "vmcache_database_close";
  if (database == nullptr) return fail_null(kCall, "database");
  return guarded(kCall, [&] { database->database.close(); });
}

int vmcache_database_destroy(struct vmcache_database* database) {
  constexpr const char* kCall = "vmcache_database_destroy";
  if (database == nullptr) return VMCACHE_OK;
  if (database->pool.process().here()) {
    if (const int busy = database->pool.refuse_if_used(kCall)) return busy;
  }
  const int closed = guarded(kCall, [&] { database->database.close(); });
  if (closed == VMCACHE_BUSY) return closed;
  delete database;
  return closed;
}

int vmcache_database_checkpoint(struct vmcache_database* database) {
  constexpr const char* kCall = "vmcache_database_checkpoint";
  if (database == nullptr) return fail_null(kCall, "database");
  return guarded(kCall, [&] { database->database.checkpoint(); });
}

struct vmcache_pool* vmcache_database_pool(struct vmcache_database* database) {
  if (database != nullptr) return &database->pool;
  (void)fail_null("vmcache_database_pool", "database");
  return nullptr;
}

int vmcache_database_tree(struct vmcache_database* database, unsigned index,
                          struct vmcache_tree** tree) {
  constexpr const char* kCall = "vmcache_database_tree";
  if (tree == nullptr) return fail_null(kCall, "tree");
  *tree = nullptr;
  if (database == nullptr) return fail_null(kCall, "database");
  return guarded(kCall,
                 [&] { *tree = new vmcache_tree(database->pool, database->database.tree(index)); });
}

int vmcache_begin(struct vmcache_database* database, struct vmcache_transaction** transaction) {
  constexpr const char* kCall = "vmcache_begin";
  if (transaction == nullptr) return fail_null(kCall, "transaction");
  *transaction = nullptr;
  if (database == nullptr) return fail_null(kCall, "database");
  return guarded(kCall, [&] { *transaction = new vmcache_transaction(*database); });
}

int vmcache_get(struct vmcache_transaction* transaction, unsigned tree, const void* key,
                size_t key_size, void* buffer, size_t capacity, size_t* value_size) {
  return get("vmcache_get", transaction, tree, key, key_size, buffer, capacity, value_size, false);
}

int vmcache_get_for_update(struct vmcache_transaction* transaction, unsigned tree, const void* key,
                           size_t key_size, void* buffer, size_t capacity, size_t* value_size) {
  return get("vmcache_get_for_update", transaction, tree, key, key_size, buffer, capacity,
             value_size, true);
}

int vmcache_put(struct vmcache_transaction* transaction, unsigned tree, const void* key,
                size_t key_size, const void* value, size_t value_size) {
  constexpr const char* kCall = "vmcache_put";
  if (const int code = check_transaction(kCall, transaction)) return code;
  if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
  if (const int code = check_bytes(kCall, "value", value, value_size)) return code;
  return in_transaction(kCall, *transaction, [&] {
    transaction->transaction.put(tree, bytes_of(key, key_size), bytes_of(value, value_size));
  });
}

int vmcache_erase(struct vmcache_transaction* transaction, unsigned tree, const void* key,
                  size_t key_size) {
  constexpr const char* kCall = "vmcache_erase";
  if (const int code = check_transaction(kCall, transaction)) return code;
  if (const int code = check_bytes(kCall, "key", key, key_size)) return code;
  return in_transaction(kCall, *transaction,
                        [&] { transaction->transaction.erase(tree, bytes_of(key, key_size)); });
}

int vmcache_commit(struct vmcache_transaction* transaction) {
  constexpr const char* kCall = "vmcache_commit";
  if (const int code = check_transaction(kCall, transaction)) return code;
  transaction->ended = true;
  const int code = guarded(kCall, [&] { (void)transaction->transaction.commit(); });
  if (code != VMCACHE_OK) transaction->transaction.rollback();
  return code;
}

int vmcache_rollback(struct vmcache_transaction* transaction) {
  if (transaction == nullptr) return fail_null("vmcache_rollback", "transaction");
  transaction->transaction.rollback();
  transaction->ended = true;
  return VMCACHE_OK;
}

int vmcache_transaction_destroy(struct vmcache_transaction* transaction) {
  delete transaction;
  return VMCACHE_OK;
}
