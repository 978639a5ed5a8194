// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <functional>

#include "common/histogram.hpp"
#include "log/options.hpp"
#include "systems/vmcache_btree.hpp"
#include "vmcache/database.hpp"

namespace vmbench {

//! A Database on the bench's files, whose pool holds all of the data.
[[nodiscard]] vmcache::DatabaseOptions database_options(const LogBenchOptions& options);
//! The pool of the same size without a log, on FILE.plain.
[[nodiscard]] vmcache::PoolOptions plain_pool_options(const LogBenchOptions& options);
//! Puts all records in through transactions, and makes a checkpoint.
void load(vmcache::Database& database, const LogBenchOptions& options);
//! Changes a record of every page, so that their images are in the log before something is
//! measured.
void log_images(vmcache::Database& database, const LogBenchOptions& options);
//! The files of all parts.
void remove_files(const LogBenchOptions& options);

//! One transaction that gives a record a new value; returns the commit's position. Tries again on a
//! conflict.
vmcache::Lsn update_no_wait(vmcache::Database& database, Key key, std::uint64_t version);

//! The same in a task, until it is durable.
vmcache::Task<vmcache::Lsn> update(vmcache::Worker& worker, vmcache::Database& database, Key key,
                                   std::uint64_t version);

//! For a client that goes on working while its commits become durable, and answers for them in
//! groups: at the end of a group it waits for the group before, so at most two groups are not
//! acknowledged. One thread's.
class GroupAcknowledger {
 public:
  GroupAcknowledger(vmcache::WriteAheadLog& log, unsigned group) : _log(log), _group(group) {}

  void committed(vmcache::Lsn lsn);
  //! Waits for what is left.
  void finish();
  //! From the commit of a group's first transaction (so the longest of the group) until it was
  //! known to be durable.
  [[nodiscard]] const Histogram& waits() const { return _waits; }

 private:
  void acknowledge_previous();

  vmcache::WriteAheadLog& _log;
  const unsigned _group;
  unsigned _in_group = 0;
  std::uint64_t _began_ns = 0;
  vmcache::Lsn _last = 0;
  vmcache::Lsn _previous = 0;
  std::uint64_t _previous_began_ns = 0;
  Histogram _waits;
};

}  // namespace vmbench
