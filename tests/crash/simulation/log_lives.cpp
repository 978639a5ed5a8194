// SPDX-License-Identifier: MIT
#include "crash/simulation/log_lives.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>

#include "recovery/master.hpp"
#include "vmcache/error.hpp"

namespace vmcache::test {
namespace {

constexpr std::uint32_t kType = 7;

}  // namespace

LostMaster lose_newer_master(DiskImage& log, std::mt19937_64& random) {
  std::array<Master, Master::kSlots> masters;
  for (unsigned slot = 0; slot < Master::kSlots; ++slot)
    log.read(slot * kPageSize, reinterpret_cast<std::byte*>(&masters[slot]), sizeof(Master));
  const auto is_whole = [](const Master& master) {
    return master.checksum == master.compute_checksum();
  };
  if (!std::ranges::all_of(masters, is_whole) || masters[0].begin != masters[1].begin)
    return LostMaster::kNone;
  const unsigned newer = masters[1].number > masters[0].number ? 1 : 0;
  // Lost before: of two in a row the next open knows one.
  if (masters[newer].epoch > masters[1 - newer].epoch + 1) return LostMaster::kNone;
  const std::uint64_t noise = random();
  log.write(newer * kPageSize + offsetof(Master, begin), reinterpret_cast<const std::byte*>(&noise),
            sizeof noise);
  return masters[1 - newer].identity.generation == 0 ? LostMaster::kToRefuse : LostMaster::kNoLoss;
}

void LogLives::run(std::uint64_t lives) {
  constexpr std::uint64_t kLivesOfALog = 12;
  for (std::uint64_t life = 0; life < lives && _finding.empty(); ++life) {
    if (life % kLivesOfALog == 0) begin_anew();
    Recorder recorder(_images, _random());
    recorder.behave(Recorder::kLog, _scenario.devices[Recorder::kLog]);
    {
      SchedulePlan plan = _scenario.schedule;
      plan.seed = _random();
      const Schedule schedule(plan);
      live_or_fail(recorder);
    }
    if (!_finding.empty()) _finding = "life " + std::to_string(life) + " of a log: " + _finding;
    if (_to_refuse) {
      begin_anew();
    } else {
      cut(recorder);
    }
  }
}

void LogLives::begin_anew() {
  _images = {};
  _records.clear();
  _promised = 0;
  _to_refuse = false;
}

void LogLives::live_or_fail(Recorder& recorder) {
  try {
    live(recorder);
    if (_to_refuse) _finding = "opens, though no master says what it holds";
  } catch (const Error& error) {
    const bool refused = _to_refuse && error.code() == Errc::kCorrupt;
    // Then the life is over; what was promised before is not.
    const bool failed = _scenario.kinds.has(Kind::kLogErrors) && error.code() == Errc::kIo;
    if (!refused && !failed) _finding = error.what();
  } catch (const std::exception& error) {
    _finding = error.what();
  }
}

void LogLives::live(Recorder& recorder) {
  LogOptions options;
  options.make_storage = [&recorder] { return recorder.open(Recorder::kLog); };
  options.capacity_bytes = std::uint64_t{1} << 20;
  WriteAheadLog log(options);
  std::vector<Record> found;
  const auto visit = [&](const WriteAheadLog::Record& record) {
    Record seen{0, record.begin, record.end};
    std::memcpy(&seen.number, record.body.data(), std::min(record.body.size(), sizeof seen.number));
    found.push_back(seen);
  };
  if (_to_refuse) return;
  const Lsn end = log.fresh() ? log.begin() : log.scan(visit);
  check(found);
  if (!_finding.empty()) return;
  _records = found;
  for (Record& record : _records) record.durable_at = 0;
  log.start(end);
  if (log.fresh()) {
    append(log, recorder, false);  // not promised before there is a master
    log.flush();
    log.set_begin(log.begin());
  }
  const std::uint64_t records = 2 + _random() % 90;
  for (std::uint64_t i = 0; i < records; ++i) append(log, recorder, true);
  log.flush();
}

//! What is found is a prefix of what there was, with all that was promised.
void LogLives::check(const std::vector<Record>& found) {
  if (found.size() < _promised || found.size() > _records.size()) {
    _finding = "a log has " + std::to_string(found.size()) + " records; of " +
               std::to_string(_records.size()) + " were " + std::to_string(_promised) + " promised";
    return;
  }
  for (std::size_t n = 0; n < found.size(); ++n) {
    if (found[n].number != _records[n].number) _finding = "a log has records that are not its own";
  }
}

void LogLives::append(WriteAheadLog& log, Recorder& recorder, bool may_wait) {
  // Most are a unit long.
  std::array<std::byte, 96> body{};
  Record record{_next_number++, 0, 0};
  std::memcpy(body.data(), &record.number, sizeof record.number);
  const Bytes part{body.data(), _random() % 16 == 0 ? body.size() : std::size_t{16}};
  record.end = log.append(kType, {&part, 1});
  _records.push_back(record);
  if (!may_wait || _random() % 24 != 0) return;
  log.wait_durable(record.end);
  const std::uint64_t moment = recorder.moment();
  for (Record& durable : _records) durable.durable_at = std::min(durable.durable_at, moment);
}

//! What the next life finds.
void LogLives::cut(Recorder& recorder) {
  // Most often near the end, where there is something that is not durable.
  const std::uint64_t moments = recorder.moment();
  const std::uint64_t moment =
      moments - std::min(moments, _random() % (_random() % 2 == 0 ? moments + 1 : 6));
  _images = recorder.cut(moment, _random);
  _promised = static_cast<std::size_t>(
      std::ranges::count_if(_records, [&](const Record& r) { return r.durable_at <= moment; }));
  if (_random() % 3 == 0 && _scenario.kinds.has(Kind::kLostMaster))
    _to_refuse = lose_newer_master(_images[Recorder::kLog], _random) == LostMaster::kToRefuse;
}

}  // namespace vmcache::test
