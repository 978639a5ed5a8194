// SPDX-License-Identifier: MIT
#include "log_check.hpp"

#include <fmt/format.h>

#include <array>
#include <cstring>
#include <utility>

#include "copy_on_write.hpp"
#include "pool/page_buffer.hpp"
#include "recovery/master.hpp"
#include "recovery/record.hpp"
#include "vmcache/write_ahead_log.hpp"

namespace vmcache::check {
namespace {

class LogCheck {
 public:
  LogCheck(Storage& storage, const std::string& file, Report& report)
      : _storage(storage), _file(file), _report(report) {}

  [[nodiscard]] std::optional<LogState> run(Redo& redo) {
    if (!check_masters()) return std::nullopt;
    // Opening an empty log makes one: in memory only.
    CopyOnWriteStorage tried(_storage);
    LogOptions options;
    options.make_storage = [&] { return std::make_unique<BorrowedStorage>(tried); };
    WriteAheadLog log(options);
    LogState found;
    Lsn at = log.begin();
    try {
      at = log.scan([&](const WriteAheadLog::Record& record) {
        at = record.begin;
        redo.visit(record);
        at = record.end;
        ++_report.counts.records;
        const auto type = static_cast<RecordType>(record.type);
        if (type == RecordType::kPages || type == RecordType::kCommit) ++found.changes;
        if (type == RecordType::kCommit) ++found.transactions;
      });
      redo.require_snapshot();
    } catch (const Error& error) {
      // What redo finds missing is said in the words of one who opens the database.
      const Region region = at == log.begin() ? Region::kSnapshot : Region::kRecord;
      damage(region, fmt::format("LSN {}", at), error.what());
      return std::nullopt;
    }
    found.used_bytes = at - log.begin();
    found.facts = {log.identity(), at, redo.snapshots()};
    look_beyond(at);
    return found;
  }

 private:
  void damage(Region region, std::string place, std::string what) {
    _report.add(
        {.region = region, .file = _file, .place = std::move(place), .what = std::move(what)});
  }

  [[nodiscard]] bool check_masters() {
    if (_storage.size_bytes() < kRingAt) {
      damage(Region::kMaster, {},
             fmt::format("{} bytes are too few for a log", _storage.size_bytes()));
      return false;
    }
    std::array<MasterSlot, Master::kSlots> slots;
    for (unsigned slot = 0; slot < Master::kSlots; ++slot)
      slots[slot] = read_master_slot(_storage, slot);
    const MasterSlot* newest = nullptr;
    for (const MasterSlot& slot : slots) {
      if (slot.whole && (newest == nullptr || slot.master.number > newest->master.number))
        newest = &slot;
    }
    if (newest == nullptr) return none_is_whole(slots);
    _newest = newest->master;
    if (_newest.identity.generation == 0) {
      const MasterSlot& other = slots[(_newest.number + 1) % Master::kSlots];
      if (may_hide_a_newer(_newest, other)) {
        damage(Region::kMaster, fmt::format("slot {}", (_newest.number + 1) % Master::kSlots),
               "is damaged, and the other master is of the log's creation: what the log holds "
               "cannot be told");
        return false;
      }
      _report.add(
          {.damage = false,
           .region = Region::kMaster,
           .file = _file,
           .place = {},
           .what = "the database was being made when that was cut: the next open begins again"});
      return false;
    }
    for (unsigned slot = 0; slot < Master::kSlots; ++slot) check_slot(slot, slots[slot]);
    if (_storage.size_bytes() < kRingAt + _newest.capacity) {
      damage(Region::kMaster, fmt::format("slot {}", _newest.number % Master::kSlots),
             fmt::format("it has {} bytes, but the log in it {}: it was cut off",
                         _storage.size_bytes(), kRingAt + _newest.capacity));
      return false;
    }
    return true;
  }

  [[nodiscard]] bool none_is_whole(const std::array<MasterSlot, Master::kSlots>& slots) {
    bool ours = false;
    bool blank = true;
    for (const MasterSlot& slot : slots) {
      ours = ours || slot.master.magic == Master::kMagic;
      blank = blank && slot.blank;
    }
    if (!ours && !blank) throw Error(Errc::kNotADatabase, _file + ": is not a log");
    damage(Region::kMaster, {},
           blank ? "the log is empty, and the page file is not" : "neither slot is whole");
    return false;
  }

  void check_slot(unsigned slot, const MasterSlot& found) {
    const std::string place = fmt::format("slot {}", slot);
    if (found.whole) {
      const bool newest = found.master.number == _newest.number;
      if (found.master.number % Master::kSlots != slot ||
          (!newest && found.master.number + 1 != _newest.number)) {
        damage(Region::kMaster, place,
               fmt::format(
                   "holds master {}, beside {}: written to the wrong place, or a write was lost",
                   found.master.number, _newest.number));
      }
      return;
    }
    if (found.blank && _newest.number == 1) return;  // its turn has not come
    damage(
        Region::kMaster, place,
        fmt::format(
            "checksum is {:#010x}, its bytes give {:#010x}; the next open takes the other slot's",
            found.master.checksum, found.master.compute_checksum()));
  }

  //! A record that would be the next one and is not whole: a crash has torn it, or it is damaged.
  //! Nobody can tell.
  void look_beyond(Lsn end) {
    RecordHeader header;
    read_ring(end, reinterpret_cast<std::byte*>(&header), sizeof header);
    RecordHeader here = header;
    here.lsn = end;
    const std::uint32_t salt = RecordSalt(_newest.salt).header;
    if (header.epoch < _newest.epoch ||
        (header.lsn != end && header.checksum != here.compute_checksum(salt)))
      return;
    _report.add(
        {.damage = false,
         .region = Region::kRecord,
         .file = _file,
         .place = fmt::format("LSN {}", end),
         .what = "the log ends before a record that is not whole: torn by a crash, or damaged"});
  }

  void read_ring(Lsn at, std::byte* to, std::size_t bytes) {
    PageBuffer page;
    std::uint64_t loaded = 0;
    for (; bytes > 0; ++at, ++to, --bytes) {
      const std::uint64_t place = kRingAt + at % _newest.capacity;
      if (loaded != place / kPageSize) {
        loaded = place / kPageSize;
        if (_storage.read(loaded * kPageSize, page.bytes) != 0) page.bytes = {};
      }
      *to = page.bytes[place % kPageSize];
    }
  }

  Storage& _storage;
  const std::string& _file;
  Report& _report;
  Master _newest;
};

}  // namespace

std::optional<LogState> check_log(Storage& storage, const std::string& file, Redo& redo,
                                  Report& report) {
  return LogCheck(storage, file, report).run(redo);
}

void scan_log(Storage& storage, const WriteAheadLog::Visitor& visit) {
  CopyOnWriteStorage tried(storage);
  LogOptions options;
  options.make_storage = [&] { return std::make_unique<BorrowedStorage>(tried); };
  WriteAheadLog(options).scan(visit);
}

}  // namespace vmcache::check
