// SPDX-License-Identifier: MIT
#include "recovery/log_masters.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>

#include "pool/page_buffer.hpp"
#include "random_id.hpp"
#include "recovery/record.hpp"
#include "vmcache/error.hpp"

namespace vmcache {

LogMasters::LogMasters(Storage& storage) : _storage(storage), _nonce(random_number()) {}

bool LogMasters::read() {
  Master& newest = _current;
  const std::uint64_t size = _storage.size_bytes();
  if (size < kRingAt) {
    if (size > 0 && !_storage.blank()) {
      throw Error(Errc::kNotADatabase, fmt::format("{}: is not a log ({} bytes); not touched",
                                                   _storage.description(), size));
    }
    return true;
  }
  bool found = false;
  bool blank = true;
  std::array<MasterSlot, Master::kSlots> slots;
  bool damaged = false;
  for (unsigned slot = 0; slot < Master::kSlots; ++slot) {
    const MasterSlot& read = slots[slot] = read_master_slot(_storage, slot);
    blank = blank && read.blank;
    damaged = damaged || (!read.whole && !read.blank);
    if (!read.whole) continue;
    if (!found || read.master.number > newest.number) newest = read.master;
    found = true;
  }
  // Generation 0 says that the log holds nothing (R21), but a newer master may have said otherwise.
  if (found && may_hide_a_newer(newest, slots[(newest.number + 1) % Master::kSlots])) {
    throw Error(
        Errc::kCorrupt,
        fmt::format("{}: one of its two masters is damaged or gone, and the other one is of the "
                    "log's creation, so what the log holds cannot be told; not touched",
                    _storage.description()));
  }
  // The damaged master may have been the newer one, of the next epoch. That epoch must not be used
  // again.
  if (damaged) ++newest.epoch;
  if (!found && !blank)
    throw Error(Errc::kNotADatabase, _storage.description() + ": is not a log; not touched");
  // A creation writes a master before it makes a file longer. A device may hold anything behind its
  // first pages; the salt distinguishes that from records.
  if (!found && _storage.can_grow() && size > kRingAt) {
    throw Error(
        Errc::kNotADatabase,
        fmt::format(
            "{}: begins with zeros and has {} bytes: neither empty nor what a creation that was "
            "cut has left ({} bytes at most); not touched",
            _storage.description(), size, kRingAt));
  }
  return newest.identity.generation == 0;
}

void LogMasters::begin_new(std::uint64_t capacity) {
  // Number 0: no master was written, so this is not a creation that was cut.
  const bool cut = _current.number != 0;
  Master fresh;
  if (cut) {
    fresh.number = _current.number;
    fresh.epoch = _current.epoch;
    fresh.salt = _current.salt;
    fresh.identity.database = _current.identity.database;
  } else {
    fresh.salt = random_number();
    fresh.identity.database = random_id();
  }
  fresh.capacity = capacity;
  fresh.begin = kFirstLsn;
  _current = fresh;
}

int LogMasters::advance(Lsn begin) {
  const std::lock_guard lock(_mutex);
  return write(begin, next());
}

Identity LogMasters::identity() const {
  const std::lock_guard lock(_mutex);
  return _current.identity;
}

Identity LogMasters::next_identity() const {
  const std::lock_guard lock(_mutex);
  return next();
}

int LogMasters::write(Lsn begin, const Identity& identity) {
  Master master = _current;
  ++master.number;
  master.begin = begin;
  master.identity = identity;
  master.checksum = master.compute_checksum();
  PageBuffer page;
  std::memcpy(page.bytes.data(), &master, sizeof master);
  // Not the slot of the current master, which must survive a torn write.
  int error = _storage.write(master.number % Master::kSlots * kPageSize, page.bytes);
  if (error == 0) error = _storage.flush();
  if (error == 0) _current = master;
  return error;
}

}  // namespace vmcache
